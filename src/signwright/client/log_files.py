# SPDX-License-Identifier: Apache-2.0
"""A log's files from a folder or a web server that hands them to anybody. Neither is believed: readers verify."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from signwright.client.http import HubConnection
from signwright.errors import ConfigurationError, LimitError, NotFoundError, UsageError
from signwright.transparency.note import MAX_NOTE
from signwright.transparency.tiles import MAX_ENTRY, WIDTH, Tile

CHECKPOINT = "checkpoint"
#: The largest bundle of entries that there can be.
MAX_FILE = WIDTH * (MAX_ENTRY + 2)

#: From ``checkpoint`` or a tile's path to the file's bytes; raises `NotFoundError` and `LimitError`.
ReadFile = Callable[[str], bytes]


def folder_files(folder: Path) -> ReadFile:
    """Files of a copy of the log below ``folder``; raises `UsageError` when there is no such folder."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no folder with a log", code="no-log")

    def read(path: str) -> bytes:
        try:
            with (folder / _checked(path)).open("rb") as file:
                content = file.read(MAX_FILE + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as problem:
            raise NotFoundError(f"the log in {folder} has no {path}", code="no-such-log-file") from problem
        except OSError as problem:
            raise ConfigurationError(f"{folder / path}: {problem.strerror}", code="cannot-read") from problem
        return _bounded(path, content)

    return read


def served_files(connection: HubConnection, prefix: str) -> ReadFile:
    """Files of a log below ``prefix`` of a web server, by plain unsigned calls."""

    def read(path: str) -> bytes:
        return _bounded(path, connection.call("GET", f"{prefix}/{quote(_checked(path), safe='/')}").body)

    return read


def _checked(path: str) -> str:
    return path if path == CHECKPOINT else Tile.parse(path).path


def _bounded(path: str, content: bytes) -> bytes:
    limit = MAX_NOTE if path == CHECKPOINT else MAX_FILE
    if len(content) > limit:
        raise LimitError(f"log file {path}: {len(content)} bytes; at most {limit} are read", code="log-file-too-large")
    return content
