# SPDX-License-Identifier: Apache-2.0
"""Distance: a TCP relay on loopback that holds everything back for a while in each direction."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def relay(host: str, port: int, *, round_trip_seconds: float) -> Iterator[int]:
    """The port of a relay to ``host:port`` on 127.0.0.1, served by a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    started = asyncio.run_coroutine_threadsafe(_serve(host, port, round_trip_seconds), loop).result()
    try:
        yield int(started.sockets[0].getsockname()[1])
    finally:
        asyncio.run_coroutine_threadsafe(_end(started), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _serve(host: str, port: int, seconds: float) -> asyncio.Server:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, port)
        await asyncio.gather(_carry(reader, far_writer, seconds / 2), _carry(far_reader, writer, seconds / 2))

    return await asyncio.start_server(connected, "127.0.0.1", 0)


async def _end(server: asyncio.Server) -> None:
    server.close()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


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
    except OSError:
        pass
    finally:
        delivery.cancel()
        writer.close()
