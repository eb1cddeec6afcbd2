# SPDX-License-Identifier: Apache-2.0
"""Distance: a TCP relay on loopback that holds everything back for a while in each direction.

``python -m tests.support.far_away --to 127.0.0.1:8461 --round-trip-ms 30 --ready-file FILE`` writes ``host:port``.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path


async def relay(host: str, port: int, *, round_trip_seconds: float) -> asyncio.Server:
    """A listening relay on a free port of 127.0.0.1; its address is that of ``sockets[0]``."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, port)
        half = round_trip_seconds / 2
        await asyncio.gather(_carry(reader, far_writer, half), _carry(far_reader, writer, half))

    return await asyncio.start_server(connected, "127.0.0.1", 0)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Bytes in order, each ``seconds`` late, whatever came before it."""
    clock = asyncio.get_running_loop().time
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, content = await under_way.get()
            await asyncio.sleep(max(0.0, due - clock()))
            if not content:
                return
            writer.write(content)
            await writer.drain()

    delivery = asyncio.ensure_future(deliver())
    try:
        while content := await reader.read(1 << 16):
            under_way.put_nowait((clock() + seconds, content))
        under_way.put_nowait((clock() + seconds, b""))
        await delivery
    except ConnectionError:
        delivery.cancel()
    finally:
        writer.close()


async def _main() -> None:
    parser = argparse.ArgumentParser(description="Relay a TCP port with a delay.")
    parser.add_argument("--to", required=True, metavar="HOST:PORT")
    parser.add_argument("--round-trip-ms", type=float, default=30.0)
    parser.add_argument("--ready-file", type=Path, required=True)
    arguments = parser.parse_args()
    host, _, port = arguments.to.rpartition(":")
    server = await relay(host, int(port), round_trip_seconds=arguments.round_trip_ms / 1000)
    host, port = server.sockets[0].getsockname()
    draft = arguments.ready_file.with_name(f"{arguments.ready_file.name}.new")
    draft.write_text(f"{host}:{port}\n", encoding="ascii")
    draft.replace(arguments.ready_file)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
