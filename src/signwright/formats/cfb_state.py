# SPDX-License-Identifier: Apache-2.0
"""A `Space` as plain data: what of a compound file goes from one process to the next. Read again strictly."""

from __future__ import annotations

import base64
from array import array
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from signwright.containers.cfb import HEADER_SIZE, MAX_SIZE, words
from signwright.formats.cfb_edit import MAX_FREE, MAX_MINI_FREE
from signwright.formats.cfb_space import Space, Table, packed
from signwright.formats.state import bad_state
from signwright.model.operation import Strict

#: Sectors that ``prepare`` may itself have taken behind the end of the file.
TAKEN = 16

Word = Annotated[int, Field(ge=0, le=0xFFFFFFFF)]
Offset = Annotated[int, Field(ge=0, lt=2 * MAX_SIZE, multiple_of=64)]
Text = Annotated[str, StringConstraints(max_length=1 << 20)]


class PageState(Strict):
    """A sector of a table: its number in the table, where it stands, its bytes in base64."""

    number: Word
    place: Word
    content: Text


class TableState(Strict):
    count: Word
    pages: list[PageState] = Field(max_length=512)
    dirty: list[Word] = Field(max_length=512)


class WrittenState(Strict):
    """Bytes that replace those at ``offset``, in base64."""

    offset: Offset
    content: Text


class SpaceState(Strict):
    """The fields of `Space`; lists of pairs as two lists."""

    sector_size: Literal[512, 4096]
    header: Text
    count: Word
    fat: TableState
    mini_fat: TableState
    difat: PageState | None
    free: list[Word] = Field(max_length=MAX_FREE + 2048)
    stale: list[Word] = Field(max_length=MAX_FREE + 2048)
    mini_size: Word
    mini_start: Word
    mini_last: Word
    mini_fat_last: Word
    mini_free: list[Word] = Field(max_length=MAX_MINI_FREE)
    mini_free_offsets: list[Offset] = Field(max_length=MAX_MINI_FREE)
    written: list[WrittenState] = Field(max_length=4096)


def dump(space: Space) -> SpaceState:
    """``space`` as it is; `Space.hold` was called before."""
    difat = None
    if space.difat is not None:
        difat = PageState(number=0, place=space.difat[0], content=_text(packed(space.difat[1])))
    return SpaceState(
        sector_size=512 if space.sector_size == HEADER_SIZE else 4096,
        header=_text(bytes(space.header)),
        count=space.count,
        fat=_table(space.fat),
        mini_fat=_table(space.mini_fat),
        difat=difat,
        free=space.free,
        stale=sorted(space.stale),
        mini_size=space.mini_size,
        mini_start=space.mini_start,
        mini_last=space.mini_last,
        mini_fat_last=space.mini_fat_last,
        mini_free=[sector for sector, _ in space.mini_free],
        mini_free_offsets=[offset for _, offset in space.mini_free],
        written=[WrittenState(offset=offset, content=_text(content)) for offset, content in space.written()],
    )


def load(state: SpaceState, source_size: int) -> Space:
    """The space again, for a file of ``source_size`` bytes; raises `FormatError` (``bad-state``)."""
    size = state.sector_size
    if (state.count + 1) * size > source_size + TAKEN * size or len(state.mini_free) != len(state.mini_free_offsets):
        raise bad_state("sizes do not fit")
    if state.count > state.fat.count * size // 4:
        raise bad_state("sectors beyond the FAT")
    if any(sector >= state.count for sector in (*state.free, *state.stale)):
        raise bad_state("a free sector behind the end")
    header = content_of(state.header, HEADER_SIZE)
    fat, mini_fat = _load_table(state.fat, size), _load_table(state.mini_fat, size)
    space = Space(size, header, count=state.count, fat=fat, mini_fat=mini_fat)
    if state.difat is not None:
        space.difat = (state.difat.place, words(content_of(state.difat.content, size)))
    space.free, space.stale = list(state.free), set(state.stale)
    space.mini_size, space.mini_start = state.mini_size, state.mini_start
    space.mini_last, space.mini_fat_last = state.mini_last, state.mini_fat_last
    if not space.mini_is_covered:
        raise bad_state("a mini stream beyond its table")
    space.mini_free = list(zip(state.mini_free, state.mini_free_offsets, strict=True))
    for one in state.written:
        content = content_of(one.content)
        if len(content) % 64:
            raise bad_state("a replacement of odd length")
        space.write(one.offset, content)
    return space


def content_of(text: str, size: int | None = None) -> bytes:
    """Base64 of ``size`` bytes; raises `FormatError` (``bad-state``)."""
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError as problem:
        raise bad_state("not base64") from problem
    if size is not None and len(content) != size:
        raise bad_state(f"{len(content)} bytes, wanted {size}")
    return content


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _table(table: Table) -> TableState:
    pages = [
        PageState(number=number, place=place, content=_text(packed(numbers)))
        for number, (place, numbers) in sorted(table.pages.items())
    ]
    return TableState(count=table.count, pages=pages, dirty=sorted(table.dirty))


def _load_table(state: TableState, sector_size: int) -> Table:
    table = Table(sector_size // 4, state.count, None)
    for page in state.pages:
        numbers: array[int] = words(content_of(page.content, sector_size))
        table.pages[page.number] = (page.place, numbers)
    if not table.pages.keys() >= set(state.dirty) or any(number >= state.count for number in table.pages):
        raise bad_state("a page of a table is missing")
    table.dirty = set(state.dirty)
    return table
