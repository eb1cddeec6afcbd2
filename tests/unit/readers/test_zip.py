# SPDX-License-Identifier: Apache-2.0
"""The readers' own view of zips: what every program reads in one way, and nothing else."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signwright.errors import FormatError
from signwright.model.view import BytesView
from signwright.readers import zip as archives
from signwright.readers.zip import Entry, entry_names, read_archive, read_entry
from tests.support.zip_builder import SOME, Zip, unpacked

READ = {
    "deflated": Zip(),
    "stored": Zip(stored=True),
    "descriptors": Zip(descriptors=True),
    "comment": Zip(comment=b"a comment"),
    "empty": Zip(members=()),
}
PLAIN = Zip().build()
END = len(PLAIN) - 22


def put(at: int, field: bytes, content: bytes = PLAIN) -> bytes:
    return content[:at] + field + content[at + len(field) :]


def contents(content: bytes) -> list[tuple[str, bytes]]:
    view = BytesView(content)
    return [(e.name.decode(), b"".join(read_entry(view, e))) for e in read_archive(view).entries]


@pytest.mark.parametrize("shape", READ)
def test_members_are_what_another_reader_finds(shape: str) -> None:
    content = READ[shape].build()
    assert contents(content) == unpacked(content) == list(READ[shape].members)
    archive = read_archive(BytesView(content))
    assert entry_names(BytesView(content)) == [entry.name for entry in archive.entries]
    assert content[archive.end :].startswith(b"PK\5\6")
    ends = [0, *(entry.end for entry in archive.entries)]
    assert [entry.local for entry in archive.entries] == ends[:-1]
    assert ends[-1] == archive.directory


CENTRAL = int.from_bytes(PLAIN[END + 16 : END + 20], "little")
BROKEN = {
    "empty": (b"", "zip-end"),
    "no-end": (PLAIN[:END], "zip-end"),
    "cut": (PLAIN[:-1], "zip-end"),
    "behind": (PLAIN + b"x", "zip-end"),
    "two-ends": (Zip(comment=b"PK\5\6" + bytes(18)).build(), "zip-end"),
    "end-in-the-comment": (Zip(comment=b"PK\5\6" + bytes(19)).build(), "zip-end"),
    "volumes": (put(END + 4, b"\1"), "zip-end"),
    "count": (put(END + 8, struct.pack("<2H", 5, 5)), "zip-directory"),
    "count-too-small": (put(END + 8, struct.pack("<2H", 3, 3)), "zip-directory"),
    "counts-differ": (put(END + 8, struct.pack("<2H", 4, 5)), "zip-end"),
    "count-65535": (put(END + 8, b"\xff\xff\xff\xff"), "zip64"),
    "start": (put(END + 16, b"\0"), "zip-end"),
    "wide": (Zip(wide=True).build(), "zip-end"),
    "prefix": (Zip(prefix=b"MZ").build(), "zip-prefix"),
    "prefix-not-counted": (Zip(prefix=b"MZ", counted=False).build(), "zip-end"),
    "no-record": (put(CENTRAL, b"XX"), "zip-directory"),
    "long-record": (put(CENTRAL + 32, b"\xff\xff"), "zip-directory"),
    "other-volume": (put(CENTRAL + 34, b"\1"), "zip-directory"),
    "other-flags": (put(CENTRAL + 8, b"\2"), "zip-local"),
    "other-name": (put(CENTRAL + 46, b"b"), "zip-local"),
    "other-size": (put(CENTRAL + 24, b"\1"), "zip-local"),
    "local-beyond": (put(CENTRAL + 42, b"\xff\xff\xff\x7f"), "truncated"),
    "local-is-none": (put(0, b"XX"), "zip-local"),
    "overlap": (put(CENTRAL + 20, b"\xff", put(18, b"\xff")), "zip-overlap"),
}


@pytest.mark.parametrize("defect", BROKEN)
def test_what_another_program_could_read_differently_is_refused(defect: str) -> None:
    content, code = BROKEN[defect]
    with pytest.raises(FormatError) as refusal:
        contents(content)
    assert refusal.value.code == code or code == "truncated"


def test_a_member_that_the_directory_does_not_list_is_refused() -> None:
    first, second = read_archive(BytesView(PLAIN)).entries[:2]
    record = PLAIN[first.record : first.record_end]
    hidden = PLAIN.replace(record, b"")
    end = len(hidden) - 22
    size = int.from_bytes(hidden[end + 12 : end + 16], "little") - len(record)
    hidden = put(end + 8, struct.pack("<2HL", 3, 3, size), hidden)
    with pytest.raises(FormatError) as refusal:
        read_archive(BytesView(hidden))
    assert refusal.value.code == "zip-prefix"
    assert second.local == first.end


@pytest.mark.parametrize("at", range(3))
def test_content_that_is_not_what_the_headers_say_is_refused(at: int) -> None:
    entry = read_archive(BytesView(PLAIN)).entries[0]
    changes = [put(entry.data + 2, b"\xff\xff\xff"), put(entry.data, b"\x07"), put(entry.data, b"\x03\x00" + bytes(3))]
    with pytest.raises(FormatError):
        contents(changes[at])


def test_encrypted_and_unknown_packing_are_refused() -> None:
    view = BytesView(PLAIN)
    entry = read_archive(view).entries[0]
    fields = [getattr(entry, name) for name in Entry.__slots__]
    for index, value in ((1, 1), (2, 99)):
        other = Entry(*fields[:index], value, *fields[index + 1 :])
        with pytest.raises(FormatError):
            list(read_entry(view, other))


def test_a_directory_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_DIRECTORY", 10)
    with pytest.raises(FormatError) as refusal:
        read_archive(BytesView(PLAIN))
    assert refusal.value.code == "too-large"


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=40), st.integers(0, len(PLAIN)), st.integers(0, 40))
def test_any_bytes_give_members_that_another_reader_agrees_with_or_a_refusal(noise: bytes, at: int, cut: int) -> None:
    content = PLAIN[:at] + noise + PLAIN[at + cut :]
    try:
        found = contents(content)
    except (FormatError, UnicodeDecodeError):
        return
    assert [row[1] for row in found] == [row[1] for row in unpacked(content)] or found == list(SOME)
