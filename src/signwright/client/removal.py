# SPDX-License-Identifier: Apache-2.0
"""Take signatures out of files: recognised by content, written beside the output, checked by a reader, put in place.

Every file is written and checked before the first takes its place, so a problem with one of them leaves all as they
were. Taking their places is one step for each file: who cannot do one of them is told which were done before. Needs no
hub: whoever has a file may unsign it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from signwright.client.files import Draft, draft, open_input
from signwright.client.recognise import format_named
from signwright.client.results import output_for
from signwright.errors import FormatError, SignwrightError, UsageError, VerificationError
from signwright.formats.base import Format
from signwright.formats.registry import FORMATS
from signwright.model.patch import Patch, Patched, apply_patch
from signwright.model.view import FileView, View
from signwright.readers.base import Reader, Stripper
from signwright.readers.registry import READERS


@dataclass(frozen=True, slots=True)
class Wish:
    """``output``: a file, or a folder when ``several``; None with ``in_place``; ``format``: None by content."""

    output: Path | None
    in_place: bool
    several: bool
    format: str | None = None


@dataclass(frozen=True, slots=True)
class Removed:
    """One file without its signatures. ``sha256``: hex digest of ``output``; ``size``: its bytes."""

    source: Path
    output: Path
    format: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Problem:
    """Why nothing can be removed from ``file``."""

    file: Path
    error: SignwrightError


@dataclass(frozen=True, slots=True)
class _Ready:
    removed: Removed
    draft: Draft
    mode: int


def remove_signatures(files: Sequence[Path], wish: Wish) -> tuple[list[Removed], list[Problem]]:
    """Write every file without its signatures, or nothing and every problem: the outputs, or the problems.

    Code ``not-signed``: no signature inside. Raises `SignwrightError` when writing itself goes wrong: ``cannot-write``
    (disk full) and nothing was written, ``partly-written`` and the message names the outputs that are there.
    """
    ready: list[_Ready] = []
    problems: list[Problem] = []
    with ExitStack() as stack:
        for path in files:
            try:
                made = _prepared(stack, path, wish)
                if any(one.removed.output == made.removed.output for one in ready):
                    raise UsageError("another file has the same output", code="same-output")
                ready.append(made)
            except SignwrightError as problem:
                problems.append(Problem(path, problem))
        if problems:
            return [], problems
        _publish(ready)
    return [one.removed for one in ready], []


def _publish(ready: Sequence[_Ready]) -> None:
    written: list[Path] = []
    for step in (Draft.settle, Draft.publish):
        for one in ready:
            try:
                step(one.draft, mode=one.mode)
            except (OSError, SignwrightError) as problem:
                raise _unwritten(one.removed.output, problem, written) from None
            written += [one.removed.output] if step is Draft.publish else []


def _unwritten(output: Path, problem: OSError | SignwrightError, written: Sequence[Path]) -> SignwrightError:
    said = problem.message if isinstance(problem, SignwrightError) else f"{output}: {problem.strerror}"
    if not written and isinstance(problem, SignwrightError):
        return problem
    if not written:
        return SignwrightError(f"{said}; nothing was written", code="cannot-write")
    return SignwrightError(
        f"{said}; written before that, whole: {', '.join(map(str, written))}",
        code="partly-written",
        hint="name the other files again",
    )


def _prepared(stack: ExitStack, path: Path, wish: Wish) -> _Ready:
    source = stack.enter_context(open_input(path))
    view = FileView(source)
    chosen, patch = _removal([format_named(wish.format)] if wish.format else _recognized(view, path), view)
    output = output_for(chosen, path, output=wish.output, in_place=wish.in_place, several=wish.several)
    _check(chosen, view, Patched(view, patch))
    new = stack.enter_context(draft(output))
    sha256 = apply_patch(view, patch, new.file.write)
    removed = Removed(path, output, chosen.name, sha256, patch.result_size)
    return _Ready(removed, new, os.fstat(source.fileno()).st_mode & 0o777)


def _removal(candidates: Sequence[Format], view: View) -> tuple[Format, Patch]:
    """The first that finds a signature of its own; raises `FormatError` when none does, rather one about the file than
    one that it is not signed.
    """
    refusals: list[FormatError] = []
    for one in candidates:
        try:
            return one, one.remove(view)
        except FormatError as problem:
            refusals.append(problem)
    raise next((problem for problem in refusals if problem.code != "not-signed"), refusals[0])


def _recognized(view: View, path: Path) -> list[Format]:
    """The formats that know the content, of which a text may have several; first those that expect such a name."""
    inside = [one for one in FORMATS.values() if not one.detached_suffix]
    inside.sort(key=lambda one: not any(n != "*" and fnmatchcase(path.name.lower(), n) for n in one.file_names))
    found = [one for one in inside if one.recognizes(view)]
    if not found:
        raise FormatError(
            f"none of the kinds of files that carry a signature inside: {', '.join(one.name for one in inside)}",
            code="unknown-content",
            hint="a signature beside its file is removed by deleting it",
        )
    return found


def _check(chosen: Format, before: View, after: View) -> None:
    """A stranger's look: nothing is signed any more, and the content is the same. Raises `VerificationError`."""
    left = READERS[chosen.name].read(after, None)
    if left.signatures:
        raise VerificationError("a signature would still be there", code="still-signed")
    was = _stripped(READERS[chosen.name], before)
    if was is not None and was != left.stripped_sha256:
        raise VerificationError("the content would not stay the same", code="strip-test")


def _stripped(reader: Reader, view: View) -> str | None:
    """None where a signature does not hold, which may be removed too, and the reader says nothing without one."""
    if isinstance(reader, Stripper):
        return reader.stripped(view)
    try:
        return reader.read(view, None).stripped_sha256
    except SignwrightError:
        return None
