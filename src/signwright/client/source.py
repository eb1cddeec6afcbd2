# SPDX-License-Identifier: Apache-2.0
"""Where the files come from, as the working copy of git says it. A claim of the submitter; it never fails a request."""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from pydantic import ValidationError

from signwright.statements.models import SourceRevision

_HEX = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_MAX_FILE = 1 << 20


def find_revision(start: Path) -> SourceRevision | None:
    """The commit that is checked out around ``start``, read from git's own files; None when there is nothing to say."""
    try:
        folder = _git_folder(start.resolve())
        return _revision(folder) if folder is not None else None
    except (OSError, ValueError, ValidationError, configparser.Error):
        return None


def _git_folder(start: Path) -> Path | None:
    for folder in (start, *start.parents):
        named = folder / ".git"
        if named.is_dir():
            return named
        if named.is_file():  # a worktree or submodule: "gitdir: PATH"
            return folder / _text(named).removeprefix("gitdir:").strip()
    return None


def _revision(folder: Path) -> SourceRevision | None:
    common = folder / _text(folder / "commondir").strip() if (folder / "commondir").is_file() else folder
    head = _text(folder / "HEAD").strip()
    ref = head.removeprefix("ref:").strip() if head.startswith("ref:") else None
    commit = _resolve(folder, common, ref) if ref else head
    if commit is None or not _HEX.fullmatch(commit):
        return None
    remote = _remote(common / "config")
    return SourceRevision(repository=remote, commit=commit, ref=ref) if remote else None


def _resolve(folder: Path, common: Path, ref: str) -> str | None:
    for base in (folder, common):
        if (base / ref).is_file():
            return _text(base / ref).strip()
    if (common / "packed-refs").is_file():
        rows = (line.split(" ", 1) for line in _text(common / "packed-refs").splitlines() if " " in line)
        return next((value for value, name in rows if name == ref), None)
    return None


def _remote(config: Path) -> str | None:
    """The address of ``origin`` without a user name or password in it."""
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
    parser.read_string("\n".join(line.strip() for line in _text(config).splitlines()))
    name = 'remote "origin"'
    if not parser.has_option(name, "url"):
        return None
    url = parser.get(name, "url")
    parts = urlsplit(url)
    if not parts.scheme:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def _text(file: Path) -> str:
    with file.open("rb") as opened:
        return opened.read(_MAX_FILE).decode("utf-8", "replace")
