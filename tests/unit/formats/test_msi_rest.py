# SPDX-License-Identifier: Apache-2.0
"""What a file holds in places that belong to nothing stays there, whatever is signed, replaced or removed around it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from signwright.containers.cfb import CompoundFile, Entry
from signwright.errors import FormatError
from signwright.formats.msi import MsiFormat
from signwright.model.patch import Patched, sealed
from signwright.model.view import BytesView
from signwright.readers.msi import MsiReader
from tests.support.cfb_builder import Cfb
from tests.support.msi_builder import EXTENDED, LONG_URL, SIGNATURE, read, sign
from tests.support.signed_files import identity

_TREE = {"Large": bytes(range(1, 251)) * 20, "Other": b"o" * 4500, "small": b"content", "sub": {"inner": b"1234"}}
_CLEAN = Cfb(_TREE, gaps=10, mini_gaps=1, clean=True, spare_entries=9)
_OLD = b"old" * 2000


def strip_digest(content: bytes) -> str:
    return MsiReader().stripped(BytesView(content))


def removed(content: bytes) -> bytes:
    view = BytesView(content)
    patch = sealed(view, MsiFormat().remove(view))
    return Patched(view, patch).read(0, patch.result_size)


def entry_of(content: bytes, name: str) -> tuple[CompoundFile, Entry]:
    file = CompoundFile(BytesView(content))
    return file, next(entry for entry in file.entries if entry.kind and entry.text == name)


def with_bytes(content: bytes, at: int, inside: bytes) -> bytes:
    return content[:at] + inside + content[at + len(inside) :]


def behind(content: bytes, name: str) -> int:
    file, entry = entry_of(content, name)
    return sum(list(file.pieces(entry))[-1])


def field(content: bytes, name: str, at: int) -> int:
    file, entry = entry_of(content, name)
    return file.entry_offset(entry.index) + at


def check_all(source: bytes) -> None:
    """Each way of signing over an old signature, and its removal, leave the digest as it is; nothing of it is left."""
    expected = strip_digest(source)
    for url in (None, LONG_URL):
        for extended in (False, True):
            result = sign(source, identity("rsa3072"), url=url, extended=extended, existing="replace")
            assert read(result).stripped_sha256 == expected
            assert b"oldold" not in result
            assert strip_digest(sign(result, existing="append")) == expected
            assert strip_digest(removed(result)) == expected
    if any(SIGNATURE in entry.text for entry in CompoundFile(BytesView(source)).entries):
        assert strip_digest(removed(source)) == expected
        assert b"oldold" not in removed(source)


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("old", [_OLD, b"old" * 1000, b"old"], ids=["large", "small", "tiny"])
def test_what_stands_behind_an_old_signature_stays_where_it_is(old, version):
    for scatter in (3, 4, 5):
        source = Cfb(_TREE | {SIGNATURE: old, EXTENDED: b"old" * 9}, version=version, scatter=scatter, clean=True)
        content = source.build()
        content = with_bytes(content, behind(content, SIGNATURE), b"hidden")
        content = with_bytes(content, behind(content, EXTENDED), b"concealed")
        try:
            check_all(content)
        except FormatError as problem:
            if problem.code != "data-behind-content":  # it stood in the sector that would become the last one
                raise
            continue
        result = sign(content, existing="replace")
        assert b"hidden" in result
        assert b"concealed" in result


def test_the_rest_of_a_signature_that_ends_the_file_is_refused():
    """Without the signature it would be data behind the last sector in use."""
    content = Cfb(_TREE | {"zzz" + SIGNATURE: b"", SIGNATURE: _OLD}).build()
    file, entry = entry_of(content, SIGNATURE)
    assert behind(content, SIGNATURE) > max(file.offset(s) for s in range(file.sectors))
    content = with_bytes(content, behind(content, SIGNATURE), b"hidden")
    for act in (removed, lambda one: sign(one, existing="replace")):
        with pytest.raises(FormatError) as refusal:
            act(content)
        assert refusal.value.code == "data-behind-content"
    assert entry.size == len(_OLD)


def test_old_content_in_front_of_a_signature_that_ends_the_file_is_refused():
    content = Cfb(_TREE | {SIGNATURE: _OLD}, gaps=2).build()
    with pytest.raises(FormatError) as refusal:
        removed(content)
    assert refusal.value.code == "data-behind-content"
    check_all(Cfb(_TREE | {SIGNATURE: _OLD}, gaps=2, clean=True).build())


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize(("name", "at"), [
    (SIGNATURE, 60), (SIGNATURE, 80), (SIGNATURE, 96), (SIGNATURE, 104), (EXTENDED, 62), (EXTENDED, 112),
    (SIGNATURE, 76), ("small", 90), ("small", 40), ("sub", 116), ("Root Entry", 30),
])  # fmt: skip
def test_odd_fields_of_entries_stay(name, at, version):
    content = Cfb(_TREE | {SIGNATURE: _OLD, EXTENDED: b"old" * 9}, version=version, scatter=5, clean=True).build()
    check_all(with_bytes(content, field(content, name, at), b"X"))


@pytest.mark.parametrize("name", [SIGNATURE, EXTENDED, "small", "Root Entry"])
def test_the_upper_half_of_a_size_stays_in_version_3(name):
    content = Cfb(_TREE | {SIGNATURE: _OLD, EXTENDED: b"old" * 9}, scatter=5, clean=True).build()
    check_all(with_bytes(content, field(content, name, 124), b"\xcc" * 4))


def test_unused_entries_that_say_something_are_not_taken():
    content = _CLEAN.build()
    file = CompoundFile(BytesView(content))
    first = file.entry_offset(next(entry.index for entry in file.entries if not entry.kind))
    content = with_bytes(content, first, b"Some old name")
    check_all(content)
    assert sign(content)[first : first + 128] == content[first : first + 128]


def test_old_content_in_the_mini_stream_is_not_overwritten():
    content = _CLEAN.but(clean=False).build()
    file = CompoundFile(BytesView(content))
    tail = file.offset(file.mini_places[-1]) + file.root.size % 512
    for one in (content, with_bytes(content, tail, b"hidden"), with_bytes(content, tail + 100, b"hidden")):
        check_all(one)
        result = sign(one, identity("rsa2048"))
        start = file.offset(file.mini_places[0])
        assert b"\xee" * 64 + b"content" + b"\xdd" * 57 in one[start:tail] == result[start:tail]
        assert (b"hidden" in one) is (b"hidden" in result)


def test_an_old_signature_in_a_mini_stream_with_old_content_behind_it_goes():
    tree = {"a": b"x" * 100, "b": b"y" * 100, SIGNATURE: b"old" * 100}
    content = Cfb(tree | {"Only": bytes(5000)}, clean=True).build()
    file, _ = entry_of(content, SIGNATURE)
    tail = file.offset(file.mini_places[-1]) + file.root.size % 512
    check_all(content)
    check_all(with_bytes(content, tail + 3, b"hidden"))
    check_all(with_bytes(content, behind(content, SIGNATURE), b"hidden"))


@pytest.mark.parametrize(("name", "at", "code"), [
    ("Root Entry", 116, None), ("small", 67, "cfb-directory"), ("header", 60, None),
])  # fmt: skip
def test_words_that_signing_would_have_to_change_are_refused(name, at, code):
    tree = {"Only": bytes(5000), "small": b""}
    content = Cfb(tree).build()
    assert content[60:64] == b"\xfe\xff\xff\xff"
    offset = at if name == "header" else field(content, name, at)
    with pytest.raises(FormatError) as refusal:
        sign(with_bytes(content, offset, b"X"))
    assert refusal.value.code == (code or ("cfb-header" if name == "header" else "cfb-directory"))


def test_a_mini_fat_that_goes_on_behind_the_mini_stream_is_refused():
    content = _CLEAN.build()
    file = CompoundFile(BytesView(content))
    word = file.offset(file.mini_fat_places[0]) + 4 * (file.mini_sectors + 3)
    check_all(with_bytes(content, word, struct.pack("<I", 0xFFFFFFFE)))
    with pytest.raises(FormatError) as refusal:
        sign(with_bytes(content, word, b"abcd"))
    assert refusal.value.code == "cfb-fat"


@given(st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=9)), min_size=1, max_size=4),
       st.sampled_from([3, 4]), st.sampled_from([None, 3, 5]), st.booleans())  # fmt: skip
@example([(1536, b"hidden")], 3, None, True)
@settings(max_examples=40, deadline=None)
def test_junk_anywhere_is_refused_or_leaves_the_digest_alone(junk, version, scatter, clean):
    tree = _TREE | {SIGNATURE: _OLD, EXTENDED: b"old" * 9}
    content = Cfb(tree, version=version, scatter=scatter, gaps=2, mini_gaps=1, clean=clean, spare_entries=3).build()
    for at, inside in junk:
        content = with_bytes(content, at % (len(content) - 9), inside)
    for act in (
        lambda: sign(content, existing="replace"),
        lambda: sign(content, identity("rsa3072"), existing="replace", extended=True, url=LONG_URL),
        lambda: removed(content),
    ):
        try:
            result = act()
        except FormatError:
            continue
        assert strip_digest(result) == strip_digest(content)
        assert strip_digest(sign(result, existing="replace")) == strip_digest(content)
