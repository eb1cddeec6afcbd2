# SPDX-License-Identifier: Apache-2.0
"""The log's files as the gate published them. The hub keeps copies and vouches for nothing; readers verify."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from signwright.errors import ConflictError, MalformedError, NotFoundError, UnavailableError

_PATH = re.compile(r"checkpoint|tile/[a-z0-9]{1,16}(/[a-z0-9]{1,16}(\.p)?){1,12}")
CHECKPOINT = "checkpoint"


def log_path(folder: Path, path: str) -> Path:
    """The file of a log path; raises `MalformedError` for anything that is not one."""
    if not _PATH.fullmatch(path):
        raise MalformedError(f"not a log path: {path[:100]!r}", code="bad-log-path")
    return folder / path


def write_log_files(folder: Path, files: list[tuple[str, bytes]]) -> None:
    """Write files in order, each whole or not at all. Only the checkpoint is ever replaced by another content."""
    targets = [(log_path(folder, path), content) for path, content in files]
    for target, content in targets:
        if target.name != CHECKPOINT and target.exists():
            if target.read_bytes() != content:
                raise ConflictError(f"log file {target.name} is there with another content", code="log-file-changed")
            continue
        try:
            _replace(target, content)
        except OSError as problem:
            raise UnavailableError(f"log file cannot be written: {problem.strerror}", code="storage-full") from problem


def _replace(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fdatasync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def read_log_file(folder: Path, path: str) -> bytes:
    """A published file; raises `NotFoundError`."""
    try:
        return log_path(folder, path).read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as problem:
        raise NotFoundError(f"the log has no {path!r} yet", code="no-such-log-file") from problem
