# SPDX-License-Identifier: Apache-2.0
"""Paths of members, and the patterns that an artifact configuration names them by."""

from __future__ import annotations

import unicodedata
from fnmatch import fnmatchcase

from signwright.model.text import first_bad_character

#: Longest path of a member, from the artifact on (`signwright.model.operation.Operation.inner_path`).
MAX_PATH = 1024
#: Folders around a member, and the member: work on a pattern grows with them.
MAX_SEGMENTS = 64
_ANY_FOLDERS, _LONGEST = "**", 200


def matches(pattern: str, path: str) -> bool:
    """Whether ``path`` is one that ``pattern`` names: segment by segment as a shell would, ``**`` for any number of
    folders, also none. ``app/**`` names everything below ``app``. Case counts. Time is bounded by the product of the
    lengths, whatever the path.
    """
    wanted, found = pattern.split("/"), path.split("/")
    reached = {0}  # how many segments of the path the pattern so far can stand for
    for number, segment in enumerate(wanted):
        if segment == _ANY_FOLDERS:
            first = min(reached) + (number == len(wanted) - 1)  # at the end it stands for a file as well
            reached = set(range(first, len(found) + 1))
        else:
            reached = {n + 1 for n in reached if n < len(found) and fnmatchcase(found[n], segment)}
        if not reached:
            return False
    return len(found) in reached


def path_problem(path: str) -> str | None:
    """Why nobody should unpack a member of this name; None for a path that leads below where it is unpacked."""
    if not path or len(path) > MAX_PATH:
        return "a name that is empty or too long"
    if first_bad_character(path) is not None:
        return "a name with characters that do not print"
    if "\\" in path or ":" in path or path.startswith("/"):
        return "a name with backslashes, a colon or a root"
    segments = path.split("/")
    if {"", ".", ".."} & set(segments):
        return "a name that leads elsewhere"
    if any(segment.endswith((".", " ")) for segment in segments):
        return "a name with a dot or space at an end, where Windows cuts it"
    return None


def same_file(path: str) -> str:
    """The same text for paths that are one file where case or the form of composed letters does not count (Windows,
    macOS).
    """
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def shown(path: str) -> str:
    """As much of a name as a message has room for."""
    return path if len(path) <= _LONGEST else f"{path[:_LONGEST]}…"


def below(outer: str, inner: str) -> str:
    """The path of ``inner``, which is in ``outer``; either may be ""."""
    return f"{outer}/{inner}" if outer and inner else outer or inner
