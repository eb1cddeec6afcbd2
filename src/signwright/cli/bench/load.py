# SPDX-License-Identifier: Apache-2.0
"""The load: many signed requests in digest mode, from one process, over connections that stay open.

``python -m signwright.cli.bench.load --url U --credentials F --policy P --format raw|cms --clients N --seconds S
--requests M`` makes M requests ahead (and more when they run out), each with a subject, a nonce and signatures of its
own, prints ``ready``, waits for a line on stdin, and sends for S seconds; each client waits for its request to be
completed, with receipt and envelope in the answer, before it sends the next. Prints a JSON object.
"""

from __future__ import annotations

import argparse
import base64
import json
import secrets
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain, count, islice
from pathlib import Path
from urllib.parse import urlsplit

from signwright.cli.bench.measure import cpu_seconds
from signwright.client.credentials import MachineCredential, load_credentials
from signwright.errors import SignwrightError, UnavailableError
from signwright.formats.base import Prepared
from signwright.formats.registry import FORMATS
from signwright.identity.messages import MessageParts, sign_message
from signwright.model.times import format_time
from signwright.model.view import BytesView
from signwright.statements.models import Request, RequestedArtifact
from signwright.statements.writing import statement_payload

PATH, QUERY = "/v1/requests", "wait=60&include=results"
_ANSWER_SECONDS = 90.0
_WARM_UP = 2


def signed_call(host: str, credential: MachineCredential, *, policy: str, format_name: str, now: datetime) -> bytes:
    """One whole HTTP request: a file that nobody saw before, prepared, stated, signed, and the call signed again."""
    content = secrets.token_bytes(64)
    prepared: Prepared = FORMATS[format_name].prepare(BytesView(content), (), FORMATS[format_name].options())
    project, _, name = policy.partition("/")
    artifact = RequestedArtifact(size=prepared.source_size, format=format_name, operations=prepared.operations)
    request = Request(
        project=project,
        signing_policy=name,
        mode="digest",
        artifacts=(artifact,),
        nonce=secrets.token_hex(16),
        created=format_time(now),
        expires=format_time(now + timedelta(hours=1)),
    )
    body = credential.sign_statement(statement_payload(request, [("bench.bin", prepared.source_sha256)])).encode()
    signed = sign_message(
        MessageParts.with_body("POST", PATH, QUERY, body),
        key_id=credential.key_id,
        sign=credential.key.sign,
        created=int(now.timestamp()),
        nonce=secrets.token_urlsafe(16),
    )
    headers = {"host": host, "content-type": "application/json", "content-length": str(len(body)), **signed}
    head = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
    return f"POST {PATH}?{QUERY} HTTP/1.1\r\n{head}\r\n".encode("ascii") + body


@dataclass
class Client:
    """One connection with one call under way."""

    connection: socket.socket
    sent: float = 0.0
    answer: bytearray = field(default_factory=bytearray)

    def send(self, call: bytes) -> None:
        self.answer.clear()
        self.sent = time.perf_counter()
        self.connection.sendall(call)

    def receive(self) -> bytes | None:
        """The body once it is complete; raises `UnavailableError` for anything but 200."""
        content = self.connection.recv(1 << 18)
        if not content:
            raise UnavailableError("the hub hung up", code="bench")
        self.answer += content
        head, blank, body = bytes(self.answer).partition(b"\r\n\r\n")
        if not blank:
            return None
        lines = head.decode("latin-1").lower().split("\r\n")
        length = next(int(line.partition(":")[2]) for line in lines if line.startswith("content-length:"))
        if len(body) < length:
            return None
        if " 200 " not in lines[0] + " ":
            raise UnavailableError(f"{lines[0]}: {body[:500].decode(errors='replace')}", code="bench")
        return body


@dataclass
class Run:
    """What happened within the time; ``delays``: seconds from call to answer."""

    seconds: float
    delays: list[float]
    cpu: float

    def as_json(self) -> dict[str, object]:
        ordered = sorted(self.delays)
        return {
            "done": len(ordered),
            "seconds": self.seconds,
            "rate": len(ordered) / self.seconds,
            "median_ms": 1000 * ordered[len(ordered) // 2] if ordered else 0.0,
            "p95_ms": 1000 * ordered[len(ordered) * 95 // 100] if ordered else 0.0,
            "cpu": self.cpu,
        }


def run(host: str, port: int, calls: Iterator[bytes], *, clients: int, seconds: float) -> Run:
    """Every client sends as soon as it was answered; calls answered after the end are waited for and not counted."""
    selector = selectors.DefaultSelector()
    everyone = [Client(socket.create_connection((host, port), timeout=_ANSWER_SECONDS)) for _ in range(clients)]
    for client in everyone:
        client.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(client.connection, selectors.EVENT_READ, client)
    try:
        _round(selector, everyone, calls, rounds=_WARM_UP)
        cpu, start, delays = cpu_seconds(), time.perf_counter(), list[float]()
        _round(selector, everyone, calls, until=start + seconds, delays=delays)
        return Run(seconds, delays, cpu_seconds() - cpu)
    finally:
        for client in everyone:
            client.connection.close()
        selector.close()


def _round(
    selector: selectors.BaseSelector,
    everyone: list[Client],
    calls: Iterator[bytes],
    *,
    rounds: int = 0,
    until: float = 0.0,
    delays: list[float] | None = None,
) -> None:
    """``rounds`` calls of each client, or calls until a moment."""
    left = rounds * len(everyone)
    for client in everyone:
        client.send(next(calls))
        left -= 1
    under_way = len(everyone)
    while under_way:
        ready = selector.select(_ANSWER_SECONDS)
        if not ready:
            raise UnavailableError(f"no answer within {_ANSWER_SECONDS:.0f} s", code="bench")
        for key, _ in ready:
            client = key.data
            assert isinstance(client, Client)
            body = client.receive()
            if body is None:
                continue
            moment = time.perf_counter()
            _check(body)
            if delays is not None and moment <= until:
                delays.append(moment - client.sent)
            if left > 0 or moment < until:
                client.send(next(calls))
                left -= 1
            else:
                under_way -= 1


def _check(body: bytes) -> None:
    view = json.loads(body)
    if view["state"] != "completed":
        raise UnavailableError(f"a request ended as {view['state']}: {view['reasons']}", code="bench")
    result = view["results"][0]
    if not (base64.b64decode(result["receipt"]) and base64.b64decode(result["envelopes"][0])):
        raise UnavailableError("a result came without receipt or envelope", code="bench")


def main() -> int:
    """The process of its own."""
    parser = argparse.ArgumentParser(prog="signwright.cli.bench.load")
    parser.add_argument("--url", required=True)
    parser.add_argument("--credentials", type=Path, required=True)
    parser.add_argument("--policy", required=True)
    parser.add_argument("--format", required=True)
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--requests", type=int, required=True)
    told = parser.parse_args()
    address = urlsplit(told.url)
    credential = next(c for c in load_credentials(told.credentials) if c.kind == "test")
    now = datetime.now(UTC)
    endless = (
        signed_call(address.netloc, credential, policy=told.policy, format_name=told.format, now=now) for _ in count()
    )
    ahead = list(islice(endless, told.requests))
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        done = run(
            str(address.hostname), address.port or 80, chain(ahead, endless), clients=told.clients, seconds=told.seconds
        )
    except (SignwrightError, OSError) as problem:
        print(json.dumps({"error": f"{type(problem).__name__}: {problem}"}))
        return 1
    print(json.dumps(done.as_json()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
