# SPDX-License-Identifier: Apache-2.0
"""Paths of members, and the patterns that an artifact configuration names them by."""

from __future__ import annotations

from fnmatch import fnmatchcase

from signwright.model.text import first_bad_character

#: Longest path of a member, from the artifact on (`signwright.model.operation.Operation.inner_path`).
MAX_PATH = 1024
_ANY_FOLDERS = "**"


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
    if "\\" in path or path.startswith("/") or path[1:2] == ":":
        return "a name with backslashes or a root"
    if {"", ".", ".."} & set(path.removesuffix("/").split("/")):
        return "a name that leads elsewhere"
    return None


def below(outer: str, inner: str) -> str:
    """The path of ``inner``, which is in ``outer``; either may be ""."""
    return f"{outer}/{inner}" if outer and inner else outer or inner
