# SPDX-License-Identifier: Apache-2.0
"""The table of containers: what is searched for, and what an opened archive leaves to be searched."""

from __future__ import annotations

import io
import zipfile

import pytest

from signwright.containers.base import ArchiveLimits, Reach, Run
from signwright.containers.registry import CONTAINERS, Coverage, claimed, container_of, embedded
from signwright.errors import FormatError
from signwright.model.view import BytesView


def zipped(name: str, content: bytes, comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
        archive.comment = comment
    return buffer.getvalue()


def test_containers_stand_under_their_kinds() -> None:
    assert all(kind == one.kind for kind, one in CONTAINERS.items())


def test_a_kind_that_is_not_there_is_a_format_error() -> None:
    with pytest.raises(FormatError) as refusal:
        container_of("rar")
    assert refusal.value.code == "unknown-container"


@pytest.mark.parametrize(
    ("covered", "parts"),
    [
        ([], [(0, 10)]),
        ([(0, 10)], []),
        ([(2, 4)], [(0, 2), (4, 10)]),
        ([(6, 8), (2, 4)], [(0, 2), (4, 6), (8, 10)]),
        ([(2, 8), (3, 4), (7, 9)], [(0, 2), (9, 10)]),
        ([(2, 4), (4, 6), (0, 0)], [(0, 2), (6, 10)]),
    ],
)
def test_what_no_archive_explains_is_left_over(covered: list[tuple[int, int]], parts: list[tuple[int, int]]) -> None:
    for steps in ([covered], [[one] for one in covered], [[one] for one in reversed(covered)]):
        coverage = Coverage(10)
        for ranges in steps:
            coverage.add(ranges)
        assert coverage.rest() == parts
        assert [offset in coverage for offset in range(10)] == [
            not any(start <= offset < end for start, end in parts) for offset in range(10)
        ]


def test_a_zip_explains_its_members_and_its_directory_and_nothing_else() -> None:
    archive = zipped("a", b"content", comment=b"a comment")
    content = b"before" + archive
    (place,) = claimed(BytesView(content))
    opened = container_of(place.kind).open(BytesView(content), place, ArchiveLimits())
    assert list(opened.covered) == [(6, len(content) - len(b"a comment"))]


def test_bytes_between_two_members_are_not_explained_by_the_zip_around_them() -> None:
    content = _with_hole(b"between the members")
    (place,) = claimed(BytesView(content))
    coverage = Coverage(len(content))
    coverage.add(container_of(place.kind).open(BytesView(content), place, ArchiveLimits()).covered)
    (hole,) = coverage.rest()
    assert content[slice(*hole)] == b"between the members"


def _with_hole(hole: bytes) -> bytes:
    """A zip with ``hole`` between its first and its second member."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", b"x" * 50)
        buffer.write(hole)
        archive.start_dir = buffer.tell()
        archive.writestr("b", b"y" * 50)
    return buffer.getvalue()


def test_an_archive_in_the_middle_is_found_by_where_its_mark_begins() -> None:
    archive = zipped("a", b"content")
    content = b"." * 100 + archive + b"." * 70_000  # more than a comment can hold
    mark = content.index(b"PK\x05\x06")
    assert claimed(BytesView(content)) == []
    assert [place.mark for place in embedded(BytesView(content), 0, len(content))] == [mark]
    assert [place.mark for place in embedded(BytesView(content), mark, mark + 1)] == [mark]
    assert embedded(BytesView(content), mark + 1, len(content)) == []
    assert embedded(BytesView(content), 0, mark) == []


@pytest.mark.parametrize(
    ("reach", "shown", "shown_packed"),
    [
        (Reach(10, 40, 40), True, True),
        (Reach(10, 41, 41), False, False),
        (Reach(9, 40, 40), False, False),
        (Reach(10, 46, 70), False, False),
        (Reach(60, 90, 119), True, True),
        (Reach(60, 100, 120), True, True),
        (Reach(60, 101, 110), False, False),
        (Reach(60, 90, 121), False, False),
        (Reach(210, 220, 220), False, True),
        (Reach(150, 160, 160), False, False),
        (Reach(310, 320, 320), True, True),
    ],
)
def test_what_lies_in_one_member_is_shown_by_it(reach: Reach, shown: bool, shown_packed: bool) -> None:
    coverage = Coverage(400)
    coverage.add([(0, 400)], [Run(50, 100, behind=20), Run(10, 40), Run(200, 250, packed=True)])
    coverage.add([], [Run(300, 400)])
    assert coverage.shows(reach, packed=False) is shown
    assert coverage.shows(reach, packed=True) is shown_packed


def test_what_archives_explain_comes_in_pieces_without_a_gap() -> None:
    coverage = Coverage(1 << 28)
    coverage.add([(5, 10), (100, 1 << 28)])
    pieces = list(coverage.explained())
    assert pieces[0] == (5, 10)
    assert [start for start, _ in pieces[1:]] == [100, *(end for _, end in pieces[1:-1])]
    assert pieces[-1][1] == 1 << 28
    assert max(end - start for start, end in pieces) <= 1 << 26
