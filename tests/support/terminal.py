# SPDX-License-Identifier: Apache-2.0
"""A program on a real terminal of its own: what it shows, and a person who types."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

#: Makes the terminal on its stdin the controlling one, so that Ctrl-C and /dev/tty work as for a person.
_TAKE = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
_ESCAPE = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9])")


class Terminal:
    """``shown``: everything that came out on stderr so far, with escape sequences; stdout is a pipe."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self.shown = ""
        self._master = master
        self._at = 0

    @property
    def text(self) -> str:
        """What was shown without what only moves and paints."""
        return _ESCAPE.sub("", self.shown)

    def expect(self, wanted: str, *, seconds: float = 40.0) -> None:
        """Wait until ``wanted`` is shown after what was expected last."""
        deadline = time.monotonic() + seconds
        while wanted not in self.text[self._at :]:
            if time.monotonic() > deadline or not self._read(deadline):
                raise AssertionError(f"{wanted!r} was not shown; shown was:\n{self.text}")
        self._at = self.text.index(wanted, self._at) + len(wanted)

    def type(self, line: str) -> None:
        os.write(self._master, line.encode() + b"\n")

    def press(self, key: str) -> None:
        """A control key by its letter: ``c`` interrupts."""
        os.write(self._master, bytes([ord(key.upper()) - 64]))

    def end(self, *, seconds: float = 60.0) -> tuple[int, str]:
        """(exit status, stdout) after the program ended by itself."""
        deadline = time.monotonic() + seconds
        while self._read(deadline):
            assert time.monotonic() < deadline, self.text
        assert self.process.stdout is not None
        out = self.process.stdout.read().decode()
        return self.process.wait(max(1.0, deadline - time.monotonic())), out

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        try:
            block = os.read(self._master, 65536) if ready else b""
        except OSError:  # Linux says EIO when the other side is closed
            block = b""
        self.shown += block.decode("utf-8", "replace")
        return bool(block)


@contextmanager
def on_terminal(command: Sequence[str], *, env: Mapping[str, str], cwd: Path | None = None) -> Iterator[Terminal]:
    """Run ``command`` on a new terminal; ended by its process id whatever happens."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _TAKE, *command],
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=slave,
        env={**env, "TERM": "xterm"},
        cwd=cwd,
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        os.close(master)
