# SPDX-License-Identifier: Apache-2.0
"""What gate and zygote, and gate and child, say to each other.

Control channel (a Unix SOCK_SEQPACKET pair): one datagram a job, `Start` as JSON with the descriptors
``[status pipe, answer socket, view, view, ...]``. The zygote never sees what the job is about.
Answer socket (a Unix SOCK_STREAM pair): one job frame in, any number of ``part`` frames and one ``done`` or
``failed`` frame out. Status pipe: one JSON line when the child has ended: how.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass

from signwright.errors import (
    FormatError,
    LimitError,
    MalformedError,
    SignwrightError,
    UsageError,
    VerificationError,
)
from signwright.model.framing import Frame, read_frame
from signwright.model.text import first_bad_character

MAX_START = 4096
MAX_VIEWS = 16
#: Largest JSON a child may answer with, and the most bytes beside it.
MAX_ANSWER = 1 << 20
MAX_ATTACHMENTS = 64 << 20
MAX_MESSAGE_TEXT = 500

_CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_OFFSET = re.compile(r" \(at offset \d+\)\Z")

#: Errors that a child may report about its input, by the name they have on the wire.
ERROR_KINDS: dict[str, type[SignwrightError]] = {
    "format": FormatError,
    "limit": LimitError,
    "malformed": MalformedError,
    "usage": UsageError,
    "verification": VerificationError,
}


@dataclass(frozen=True, slots=True)
class Start:
    """``seconds``: wall time; ``cpu_seconds``: processor time; ``memory``: bytes; ``reopen``: the job may reopen its
    views.
    """

    job: str
    views: int
    seconds: float
    cpu_seconds: int
    memory: int
    reopen: bool = False

    def encode(self) -> bytes:
        row = [self.job, self.views, self.seconds, self.cpu_seconds, self.memory, self.reopen]
        return json.dumps(row).encode()

    @classmethod
    def decode(cls, datagram: bytes) -> Start:
        try:
            job, views, seconds, cpu_seconds, memory, reopen = json.loads(datagram)
        except (ValueError, TypeError) as problem:
            raise MalformedError("job start does not parse") from problem
        whole = all(type(n) is int and n >= 0 for n in (views, cpu_seconds, memory))
        if type(job) is not str or not whole or type(seconds) not in (int, float) or type(reopen) is not bool:
            raise MalformedError("job start has fields of the wrong type")
        return cls(job, views, float(seconds), cpu_seconds, memory, reopen)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a child ended: its exit code, or the signal that killed it; ``overrun``: it was killed for its wall time."""

    exit_code: int
    signal: int
    overrun: bool

    def encode(self) -> bytes:
        return json.dumps([self.exit_code, self.signal, self.overrun]).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Ending:
        try:
            exit_code, signal, overrun = json.loads(line)
            return cls(int(exit_code), int(signal), bool(overrun))
        except (ValueError, TypeError) as problem:
            raise MalformedError("job ending does not parse") from problem


#: Exit codes of a child that could not start its job.
EXIT_NO_SANDBOX = 97
EXIT_REFUSED = 98
EXIT_BROKEN = 99


def describe_error(error: Exception) -> dict[str, object]:
    """An exception of a job as the content of a ``failed`` frame: nothing of it but code, text and offset crosses."""
    for kind, known in ERROR_KINDS.items():
        if type(error) is known and isinstance(error, SignwrightError):
            text = _OFFSET.sub("", error.message)
            return {"kind": kind, "code": error.code, "text": text, "offset": getattr(error, "offset", 0)}
    kind = "memory" if isinstance(error, MemoryError) else "crash"
    # The name of a module that was not loaded before the fork says nothing about the artifact, and much to us.
    missing = f" {error.name}" if isinstance(error, ImportError) else ""
    return {"kind": kind, "code": "", "text": type(error).__name__ + missing, "offset": 0}


def rebuild_error(failed: object) -> SignwrightError:
    """The error that a ``failed`` frame speaks of. Every field is the word of a process that read hostile input."""
    row = failed if isinstance(failed, dict) else {}
    kind, code, text, offset = row.get("kind"), row.get("code"), row.get("text"), row.get("offset")
    text = printable(text) if isinstance(text, str) else "no reason given"
    if kind == "memory":
        return FormatError("reading the artifact took more memory than a worker has", code="worker-memory")
    known = ERROR_KINDS.get(kind) if isinstance(kind, str) else None
    if known is None or not isinstance(code, str) or len(code) > 64 or not _CODE.fullmatch(code):
        return FormatError(f"the worker failed on the artifact: {text}", code="worker-crashed")
    if known is FormatError:
        return FormatError(text, offset=offset if type(offset) is int and offset >= 0 else 0, code=code)
    return known(text, code=code)


def printable(text: str) -> str:
    """``text`` cut to a sensible length, with what could move a cursor replaced."""
    text = text[:MAX_MESSAGE_TEXT]
    return "".join("\N{REPLACEMENT CHARACTER}" if first_bad_character(c) is not None else c for c in text)


def read_exactly_from(descriptor: int) -> Callable[[int], bytes]:
    """A ``read_exactly`` over a descriptor; raises `EOFError` when the other side has closed."""

    def read_exactly(wanted: int) -> bytes:
        content = bytearray()
        while len(content) < wanted:
            piece = os.read(descriptor, min(wanted - len(content), 1 << 20))
            if not piece:
                raise EOFError
            content += piece
        return bytes(content)

    return read_exactly


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of ``content``; the sandbox allows ``write`` and nothing of the socket calls."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def read_answer(read_exactly: Callable[[int], bytes], attachments: int) -> Frame:
    """A frame from a child, refused with `LimitError` before a byte beyond `MAX_ANSWER` and ``attachments`` is read."""
    left = -1

    def bounded(wanted: int) -> bytes:
        nonlocal left
        if left < 0:  # the length of the header
            head = read_exactly(wanted)
            left = int.from_bytes(head, "big")
            if left > MAX_ANSWER:
                raise LimitError(f"the worker answers with {left} bytes, at most {MAX_ANSWER} are read")
            left += attachments
            return head
        left -= wanted
        if left < 0:
            raise LimitError(f"the worker answers with more than {attachments} bytes of attachments")
        return read_exactly(wanted)

    return read_frame(bounded)
