# SPDX-License-Identifier: Apache-2.0
"""The readers' own view of zips, where bytes before the archive and structures of 64 bits may be there."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signwright.errors import FormatError
from signwright.model.view import BytesView
from signwright.readers.zip import Archive, entry_names, read_archive, read_entry
from tests.support.zip_builder import SHAPES, Zip, unpacked, widened

WIDE = Zip(wide=True).build()
END = len(WIDE) - 22


def put(at: int, field: bytes, content: bytes = WIDE) -> bytes:
    return content[:at] + field + content[at + len(field) :]


def archive_of(content: bytes) -> Archive:
    return read_archive(BytesView(content), free=True)


@pytest.mark.parametrize("shape", SHAPES)
def test_members_are_what_another_reader_finds(shape: str) -> None:
    content = SHAPES[shape].build()
    view, archive = BytesView(content), archive_of(content)
    found = [(entry.name.decode(), b"".join(read_entry(view, entry))) for entry in archive.entries]
    assert found == unpacked(content)
    assert entry_names(view, free=True) == [entry.name for entry in archive.entries]
    assert archive.start == (len(SHAPES[shape].prefix) if archive.entries else archive.directory)
    assert content[archive.end :].startswith(b"PK\5\6")
    ends = [archive.start, *(entry.end for entry in archive.entries)]
    assert [entry.local for entry in archive.entries] == ends[:-1]
    assert ends[-1] == archive.directory


def _sized(offset: int) -> bytes:
    """One stored member with sizes and offset in 64-bit fields of both headers, as large files have them."""
    content, full = b"content", 0xFFFFFFFF
    crc = zlib.crc32(content)
    local_extra = struct.pack("<2H2Q", 1, 16, len(content), len(content))
    extra = struct.pack("<2H3Q", 1, 24, len(content), len(content), offset)
    local = (
        struct.pack("<4s5H3L2H", b"PK\3\4", 45, 0, 0, 0, 0, crc, full, full, 1, len(local_extra)) + b"n" + local_extra
    )
    row = (b"PK\1\2", 45, 45, 0, 0, 0, 0, crc, full, full, 1, len(extra), 0, 0, 0, 0, full)
    record = struct.pack("<4s6H3L5H2L", *row) + b"n" + extra
    start = len(local) + len(content)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(record), start, 0)
    return local + content + record + end


def test_sizes_and_offsets_of_64_bits_are_read() -> None:
    view = BytesView(_sized(0))
    (entry,) = read_archive(view, free=True).entries
    assert (entry.size, entry.packed, entry.local) == (7, 7, 0)
    assert b"".join(read_entry(view, entry)) == b"content"
    for beyond in (1 << 20, 1 << 62):
        with pytest.raises(FormatError):
            archive_of(_sized(beyond))


BROKEN = {
    "no-end64": put(END - 76, b"XX"),
    "long-end64": put(END - 72, b"\x2d"),
    "other-volume": put(END - 60, b"\1"),
    "counts-differ": put(END - 52, b"\7"),
    "count": put(END - 44, b"\7"),
    "start": put(END - 28, b"\1"),
    "locator-elsewhere": put(END - 12, b"\1"),
    "two-volumes": put(END - 4, b"\2"),
    "narrow-count-contradicts": put(END + 8, b"\7\0\7\0"),
    "narrow-size-contradicts": put(END + 12, b"\7\0\0\0"),
    "prefix-that-the-64-bit-end-does-not-count": b"MZ stub" + WIDE,
    "prefix-that-only-the-locator-counts": b"MZ stub" + put(END - 12, struct.pack("<Q", END - 76 + 7)),
    "end-in-the-comment": Zip(comment=b"PK\5\6" + bytes(19)).build(),
    "member-before-the-first": b"PK\3\4" + WIDE,
    "nothing": b"",
}


@pytest.mark.parametrize("defect", BROKEN)
def test_what_another_program_could_read_differently_is_refused(defect: str) -> None:
    with pytest.raises(FormatError):
        archive_of(BROKEN[defect])


def test_the_64_bit_end_record_is_the_one_that_java_finds() -> None:
    """Java takes the locator's number from the start of the file: there another archive's end record could stand."""
    other = Zip(members=(("other", b"content"),)).build()
    prefix = bytes(END - 76 - other.rindex(b"PK\5\6")) + widened(other)[:-42]
    assert prefix.startswith(b"PK\6\6", END - 76)
    with pytest.raises(FormatError) as refusal:
        archive_of(prefix + WIDE)
    assert refusal.value.code == "zip-end"


@settings(max_examples=300)
@given(st.sampled_from([WIDE, _sized(0), SHAPES["prefix"].build()]), st.data())
def test_junk_never_gives_another_error(content: bytes, data: st.DataObject) -> None:
    at, junk = data.draw(st.integers(0, len(content))), data.draw(st.binary(max_size=8))
    view = BytesView(put(at, junk, content))
    try:
        for entry in read_archive(view, free=True).entries:
            b"".join(read_entry(view, entry))
    except FormatError:
        pass
