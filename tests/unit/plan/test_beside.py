# SPDX-License-Identifier: Apache-2.0
"""What stands in a zip beside its members, or under a second name, is as closed a world as the members are."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import pytest

from signwright.errors import FormatError
from tests.support.deep import inside, kept, prepared, signed
from tests.support.member_zips import Part, build
from tests.support.pe_builder import Pe

PROGRAM, TEXT = Part("a.exe", Pe().build()), Part("read.me", b"read")
RULE = inside(signed("*.exe", "pe"), kept())
OPEN = inside(signed("*.exe", "pe"), kept(), unlisted="keep")
MEMBER = Part("evil.exe", b"MZ").records(0)[0]


def another_name(name: bytes, plain: bytes = b"read.me", version: int = 1) -> bytes:
    return struct.pack("<2HBL", 0x7075, 5 + len(name), version, zlib.crc32(plain)) + name


@pytest.mark.parametrize(
    "parts",
    [
        (PROGRAM, TEXT.but(extra=another_name(b"evil.exe"))),
        (PROGRAM, TEXT.but(local_extra=another_name(b"evil.exe"))),
        (PROGRAM, TEXT.but(local_extra=another_name(b"evil.exe", b"stale"))),
        (PROGRAM, TEXT.but(extra=struct.pack("<2H", 1, 0) + another_name(b"evil.exe"))),
        (PROGRAM, TEXT.but(extra=another_name(b"read.me") + another_name(b"evil.exe"))),
        (PROGRAM, TEXT.but(extra=another_name(b""))),
        (PROGRAM.but(extra=another_name(b"other.exe", b"a.exe")), TEXT),
        (PROGRAM, TEXT, Part("folder/", deflate=False, extra=another_name(b"../folder/", b"folder/"))),
    ],
)
def test_member_that_has_another_name_in_an_extra_field_is_refused(parts):
    with pytest.raises(FormatError, match="gives it another name"):
        prepared(build(parts), OPEN)


@pytest.mark.parametrize(
    "extra",
    [another_name(b"read.me"), another_name(b"evil.exe", version=2), struct.pack("<2H", 0x7075, 0), b"\x75\x70\xff\0"],
)
def test_field_that_says_the_same_name_or_nothing_is_kept(extra):
    assert prepared(build([PROGRAM, TEXT.but(extra=extra, local_extra=extra)]), RULE).operations


@pytest.mark.parametrize(
    "content",
    [
        build([PROGRAM.but(gap=b"\0" + MEMBER), TEXT]),
        build([PROGRAM, TEXT.but(gap=b"gap")]),
        build([PROGRAM, TEXT], prefix=b"MZ stub"),
        build([PROGRAM, TEXT], prefix=b"Rar!\x1a\7", counted=False),
    ],
    ids=["hidden-member", "before-the-directory", "prefix", "prefix-not-counted"],
)
def test_bytes_that_no_member_has_are_refused_unless_what_is_unlisted_is_kept(content):
    with pytest.raises(FormatError, match=r"\d+ bytes before or between the members are of none"):
        prepared(content, RULE)
    assert prepared(content, OPEN).operations


def test_comment_of_an_archive_is_no_such_bytes():
    assert prepared(build([PROGRAM, TEXT], comment=b"a comment"), RULE).operations


@pytest.mark.parametrize("packed", [b"\3\0x", b"content"])
def test_folder_in_which_something_is_packed_is_refused(packed):
    folder = Part("x/", deflate=False, packed=packed)
    with pytest.raises(FormatError, match="x/: a folder with content"):
        prepared(build([PROGRAM, folder]), RULE)
    assert prepared(build([PROGRAM, folder.but(packed=b"\3\0", method=8)]), RULE).operations


@pytest.mark.parametrize("rule", [RULE, OPEN])
def test_archive_in_the_comment_that_many_programs_would_open_is_refused_also_within_one_that_is_kept(rule):
    plain = build([PROGRAM, TEXT])
    local, record = Part("evil.exe", b"MZ evil", deflate=False).records(len(plain))
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(record), len(plain) + len(local), 0)
    content = build([PROGRAM, TEXT], comment=local + record + end + b"more")
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        assert opened.namelist() == ["evil.exe"]
    with pytest.raises(FormatError, match="another end record"):
        prepared(content, rule)
    within = inside({**kept("in.zip"), "members": [kept("*")]}, signed("*.exe", "pe"))
    with pytest.raises(FormatError, match=r"in\.zip: .*another end record"):
        prepared(build([PROGRAM, Part("in.zip", content)]), within)


def test_archive_that_is_kept_and_looked_into_is_as_closed():
    within = inside({**kept("in.zip"), "members": [kept("*")]}, signed("*.exe", "pe"))
    renamed = TEXT.but(extra=another_name(b"evil.exe"))
    for parts, how, words in [([renamed], {}, "another name"), ([TEXT], {"prefix": b"stub"}, "are of none")]:
        with pytest.raises(FormatError, match=rf"in\.zip/.*{words}"):
            prepared(build([PROGRAM, Part("in.zip", build(parts, **how))]), within)  # type: ignore[arg-type]
