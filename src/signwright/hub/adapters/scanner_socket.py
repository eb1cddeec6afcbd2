# SPDX-License-Identifier: Apache-2.0
"""The scanner's Unix socket, asked for one verdict at a time (protocol: `signwright.scanner.service`)."""

from __future__ import annotations

import socket
from pathlib import Path

from signwright.errors import MalformedError, SignwrightError, UnavailableError
from signwright.model.framing import Frame, encode_frame, read_frame, reader

#: A scanner at work sends progress every two seconds.
SILENCE_SECONDS = 30.0
MAX_VERDICT = 256 << 10


class ScannerSocket:
    """The `ScannerPort` over ``path``; None when no scanner is configured."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def scan(self, descriptor: int, *, name: str, sha256: str, size: int) -> bytes:
        """The signed verdict on the file behind ``descriptor``; raises `UnavailableError` or the scanner's refusal."""
        if self._path is None:
            raise UnavailableError("no scanner is configured", code="no-scanner")
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
                channel.settimeout(SILENCE_SECONDS)
                channel.connect(str(self._path))
                socket.send_fds(channel, [b"\0"], [descriptor])
                channel.sendall(encode_frame({"scan": {"name": name, "sha256": sha256, "size": size}}))
                return _verdict(channel)
        except (OSError, EOFError) as problem:
            raise UnavailableError(f"the scanner did not answer: {problem}", code="scanner-down") from problem


def _verdict(channel: socket.socket) -> bytes:
    exactly = reader(channel)
    frame = read_frame(exactly)
    while "progress" in frame.message:
        frame = read_frame(exactly)
    return _opened(frame)


def _opened(frame: Frame) -> bytes:
    match frame.message:
        case {"verdict": str()} if len(frame.parts) == 1 and len(frame.parts[0]) <= MAX_VERDICT:
            return frame.parts[0]
        case {"error": {"code": str(code), "message": str(message)}}:
            raise SignwrightError(f"the scanner refused: {message[:300]}", code=code[:64])
    raise MalformedError("the scanner's answer does not parse", code="bad-verdict")
