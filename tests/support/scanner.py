# SPDX-License-Identifier: Apache-2.0
"""A scanner process of our own, and an asker."""

from __future__ import annotations

import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from signwright.model.framing import Frame, encode_frame, read_frame
from signwright.scanner.bootstrap import create_key
from signwright.scanner.settings import load_settings
from signwright.statements.dsse import parse_envelope
from signwright.statements.keys import verify_envelope
from signwright.statements.models import ScanEvidence, parse_statement
from tests.support.processes import stop


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


@dataclass
class RunningScanner:
    process: subprocess.Popen[bytes]
    socket_path: Path
    public_key: str
    frames: list[Frame] = field(default_factory=list)

    def begin(
        self, content: bytes, name: str = "artifact", *, sha256: str = "", size: int | None = None
    ) -> socket.socket:
        """Ask about ``content`` and return the open channel."""
        channel = socket.socket(socket.AF_UNIX)
        channel.connect(os.fspath(self.socket_path))
        with tempfile.TemporaryFile() as file:
            file.write(content)
            file.flush()
            socket.send_fds(channel, [b"\0"], [file.fileno()])
        subject = {
            "name": name,
            "sha256": sha256 or hashlib.sha256(content).hexdigest(),
            "size": len(content) if size is None else size,
        }
        channel.sendall(encode_frame({"scan": subject}))
        return channel

    def ask(self, content: bytes, name: str = "artifact", *, sha256: str = "", size: int | None = None) -> Frame:
        """The last frame of the answer; the ones before go to ``frames``."""
        with self.begin(content, name, sha256=sha256, size=size) as channel:
            return self.finish(channel)

    def finish(self, channel: socket.socket) -> Frame:
        """The frame that ends the answer."""
        while "progress" in (frame := self.receive(channel)).message:
            self.frames.append(frame)
        return frame

    def receive(self, channel: socket.socket) -> Frame:
        def exactly(wanted: int) -> bytes:
            content = b""
            while len(content) < wanted:
                piece = channel.recv(wanted - len(content))
                if not piece:
                    raise EOFError
                content += piece
            return content

        channel.settimeout(60)
        return read_frame(exactly)

    def evidence(self, content: bytes, name: str = "artifact") -> ScanEvidence:
        """The verdict on ``content``, its signature and subject checked."""
        frame = self.ask(content, name)
        assert "verdict" in frame.message, frame.message
        envelope = parse_envelope(frame.parts[0])
        assert len(verify_envelope(envelope, "evidence", [self.public_key])) == 1
        statement = parse_statement(envelope, ScanEvidence)
        assert [(s.name, s.digest.sha256) for s in statement.subjects] == [(name, hashlib.sha256(content).hexdigest())]
        assert statement.predicate.verdict == frame.message["verdict"]
        return statement.predicate


def scanner_command(settings: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "signwright.scanner", "--settings", str(settings), *arguments]


def write_settings(folder: Path, **settings: object) -> Path:
    path = folder / "scanner.json"
    path.write_text(json.dumps({"socket": "socket", "key_file": "key", "spool": "spool", **settings}))
    return path


@contextmanager
def running_scanner(folder: Path, *, umask: int = 0o077, **settings: object) -> Iterator[RunningScanner]:
    """``folder`` should have a short name. Ended by pid."""
    path = write_settings(folder, **settings)
    public_key = create_key(load_settings(path))
    process = subprocess.Popen(
        scanner_command(path), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, umask=umask
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert line.startswith("ready "), f"the scanner ended with {process.wait(10)}"
        yield RunningScanner(process, Path(line.split()[1]), public_key)
    finally:
        stop(process)


def rules_of(evidence: ScanEvidence) -> Sequence[tuple[str, str, str]]:
    return [(f.path, f.rule, f.engine) for f in evidence.findings]
