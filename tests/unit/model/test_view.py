# SPDX-License-Identifier: Apache-2.0
"""No view gives bytes that are not there: not before its beginning, not beyond its end, not after it shrank."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from signwright.errors import FormatError
from signwright.model.patch import Patch, Patched, Splice
from signwright.model.view import BytesView, FileView, Head, View, check_range

CONTENT = b"0123456789"


def patched() -> View:
    return Patched(BytesView(CONTENT[:5]), Patch("", 5, "", 10, (Splice(5, 0, CONTENT[5:]),)))


VIEWS: dict[str, Callable[[], View]] = {
    "bytes": lambda: BytesView(CONTENT),
    "file": lambda: FileView(io.BytesIO(CONTENT)),
    "head": lambda: Head(BytesView(CONTENT + b"more"), 10),
    "patched": patched,
}


@pytest.mark.parametrize("kind", VIEWS)
def test_range_within_is_read_and_any_other_is_refused(kind: str) -> None:
    view = VIEWS[kind]()
    assert view.size == 10
    for offset, length in [(0, 10), (3, 4), (10, 0), (4, 2), (0, 0)]:
        assert view.read(offset, length) == CONTENT[offset : offset + length]
    for offset, length in [(-1, 1), (-3, 2), (0, -1), (5, -5), (0, 11), (10, 1), (11, 0)]:
        with pytest.raises(FormatError):
            view.read(offset, length)


def test_file_that_became_shorter_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    with path.open("r+b") as file:
        view = FileView(file)
        file.truncate(4)
        assert view.read(0, 4) == CONTENT[:4]
        with pytest.raises(FormatError, match="shorter"):
            view.read(2, 5)


def test_head_of_more_than_there_is_is_refused() -> None:
    with pytest.raises(FormatError):
        Head(BytesView(CONTENT), 11)


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (1, -1), (9, 2)])
def test_range_is_refused_for_each_of_its_faults(offset: int, length: int) -> None:
    check_range(0, 10, 10)
    with pytest.raises(FormatError):
        check_range(offset, length, 10)
