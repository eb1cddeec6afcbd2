# SPDX-License-Identifier: Apache-2.0
"""A real clamd on a Unix socket or a loopback port, with a database of two lines, ended by pid."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from signwright.scanner.engines.base import EICAR
from tests.support.processes import child_process, free_port, port_answers, wait_until
from tests.support.tools import require_tool


@contextmanager
def running_clamd(*, alert_exceeds_max: bool = True, tcp: bool = False, max_file_size: str = "4000M") -> Iterator[str]:
    """The address in the scanner's form. Its folder is short-lived and short-named: socket paths end at 108 bytes."""
    program = require_tool("clamd", "clamav-daemon")
    folder = Path(tempfile.mkdtemp(prefix="clamd-"))
    try:
        (folder / "database").mkdir()
        (folder / "database" / "test.ndb").write_text(f"Eicar-Prefix:0:*:{EICAR[:40].hex()}\n")
        address, line = f"unix:{folder}/socket", f"LocalSocket {folder}/socket"
        if tcp:
            port = free_port()
            address, line = f"tcp:127.0.0.1:{port}", f"TCPAddr 127.0.0.1\nTCPSocket {port}"
        configuration = folder / "clamd.conf"
        configuration.write_text(
            f"Foreground yes\nDatabaseDirectory {folder}/database\n{line}\nUser {getpass.getuser()}\n"
            f"TemporaryDirectory {folder}\nLogFile {folder}/log\nMaxThreads 2\nSelfCheck 0\n"
            f"AlertExceedsMax {'yes' if alert_exceeds_max else 'no'}\nMaxFileSize {max_file_size}\n"
            f"MaxScanSize {max_file_size}\nStreamMaxLength 16M\nExitOnOOM yes\n"
        )
        with child_process([program, "-c", configuration], log=folder / "output") as process:

            def answers() -> bool:
                assert process.poll() is None, (folder / "output").read_text()
                return port_answers(port) if tcp else _accepts(folder / "socket")

            wait_until(answers, what="clamd")
            yield address
    finally:
        shutil.rmtree(folder)


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as channel:
        try:
            channel.connect(os.fspath(path))
        except OSError:
            return False
    return True
