# SPDX-License-Identifier: Apache-2.0
"""Page hashes: the table that is signed, what is refused, and that writer and reader agree without sharing a line."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signwright.envelopes.base import check_seen
from signwright.envelopes.templates import TEMPLATES
from signwright.errors import FormatError, MalformedError, VerificationError
from signwright.formats.pe import PeFormat, PeOptions
from signwright.formats.pe_layout import read_layout
from signwright.formats.pe_pages import PageHashes
from signwright.model.operation import Operation
from signwright.model.view import BytesView
from signwright.readers.pe import PeReader
from tests.support.pe_builder import SHAPES, Pe, distlib_launcher, sign

PAGE = 4096
READER = PeReader()


def with_pages(content: bytes) -> bytes:
    return sign(content, page_hashes=True)


def table_of(content: bytes) -> bytes:
    pages = PageHashes(read_layout(BytesView(content)))
    pages.take(memoryview(content), 0)
    return pages.table()


def rows_by_the_book(content: bytes) -> list[bytes]:
    """The specification in its plainest form."""
    layout = read_layout(BytesView(content))
    head = content[: layout.headers_size]
    for at, size in ((layout.security_offset, 8), (layout.checksum_offset, 4)):
        head = head[:at] + head[at + size :]
    pages, end = [(0, head + bytes(PAGE - layout.headers_size))], layout.headers_size
    for section in layout.sections:
        body = content[section.offset : section.offset + section.size]
        pages += [(section.offset + at, body[at : at + PAGE].ljust(PAGE, b"\0")) for at in range(0, len(body), PAGE)]
        end = section.offset + section.size
    rows = [at.to_bytes(4, "little") + hashlib.sha256(page).digest() for at, page in pages]
    return [*rows, end.to_bytes(4, "little") + bytes(32)]


@pytest.mark.parametrize("shape", sorted(set(SHAPES) - {"no-sections"}))
def test_table_is_that_of_the_specification(shape):
    content = SHAPES[shape].build()
    assert table_of(content) == b"".join(rows_by_the_book(content))


@given(cuts=st.lists(st.integers(1, 20_000), max_size=8))
@settings(max_examples=30)
def test_table_does_not_depend_on_how_the_file_was_read(cuts):
    content = Pe(sections=(bytes(range(256)) * 60, b"two" * 3000), overlay=b"more").build()
    pages, at = PageHashes(read_layout(BytesView(content))), 0
    for cut in [*cuts, len(content)]:
        pages.take(memoryview(content)[at : at + cut], at)
        at = min(at + cut, len(content))
    assert pages.table() == table_of(content)


@pytest.mark.parametrize("shape", ["pe32", "pe32plus", "driver", "gap", "odd-end", "arm64"])
def test_reader_checks_every_page_of_a_signed_file(shape):
    result = with_pages(SHAPES[shape].build())
    (found,) = READER.read(BytesView(result)).signatures
    assert found.notes["page_hashes"] == "sha256, every page"
    assert (
        found.content_digest
        == PeFormat()
        .prepare(BytesView(SHAPES[shape].build()), (), PeOptions(page_hashes=True))
        .operations[0]
        .content_digest
    )


def test_real_program_gets_a_row_for_each_page():
    content = distlib_launcher().read_bytes()
    assert table_of(content) == b"".join(rows_by_the_book(content))
    assert READER.read(BytesView(with_pages(content))).warnings == ()


def test_page_hashes_of_another_file_are_refused_by_the_reader(monkeypatch):
    """The digest of the file holds; only a page differs: somebody signed a wrong table."""
    wrong = bytearray(table_of(SHAPES["pe32"].build()))
    wrong[40] ^= 1
    monkeypatch.setattr(PageHashes, "table", lambda _: bytes(wrong))
    result = with_pages(SHAPES["pe32"].build())
    with pytest.raises(VerificationError) as refusal:
        READER.read(BytesView(result))
    assert refusal.value.code == "page-hash-mismatch"


@pytest.mark.parametrize("rows", [-1, 1])
def test_a_row_too_few_or_too_many_is_refused_by_the_reader(monkeypatch, rows):
    good = table_of(SHAPES["pe32"].build())
    wrong = good[:36] * (rows > 0) + good if rows > 0 else good[:36] + good[72:]
    monkeypatch.setattr(PageHashes, "table", lambda _: wrong)
    with pytest.raises(VerificationError) as refusal:
        READER.read(BytesView(with_pages(SHAPES["pe32"].build())))
    assert refusal.value.code == "page-hash-mismatch"


def test_headers_larger_than_a_page_have_no_page_hashes():
    content = bytearray(Pe().build())
    at = int.from_bytes(content[60:64], "little") + 24
    content[at + 32 : at + 36] = (32).to_bytes(4, "little")
    with pytest.raises(FormatError) as refusal:
        with_pages(bytes(content))
    assert refusal.value.code == "page-hashes"


def test_more_pages_than_a_signature_holds_are_refused_before_they_are_hashed():
    content = bytearray(Pe(sections=(bytes(12 << 20),)).build())
    at = int.from_bytes(content[60:64], "little") + 24
    content[at + 32 : at + 36] = (512).to_bytes(4, "little")
    with pytest.raises(FormatError, match="24578 pages") as refusal:
        PageHashes(read_layout(BytesView(bytes(content))))
    assert refusal.value.code == "page-hashes"


def prepared_content() -> tuple[Operation, bytes]:
    prepared = PeFormat().prepare(BytesView(SHAPES["pe32"].build()), (), PeOptions(page_hashes=True))
    (operation,), (content,) = prepared.operations, prepared.contents
    return operation, content


def test_content_is_what_the_template_wants_to_see():
    operation, content = prepared_content()
    assert operation.template == "authenticode-pe-pages"
    check_seen(TEMPLATES[operation.template], operation, content)


@given(at=st.integers(0, 400), mask=st.integers(1, 255))
@settings(max_examples=60)
def test_no_other_content_is_a_table_of_pages_in_its_one_form(at, mask):
    operation, content = prepared_content()
    check = TEMPLATES[operation.template].check_content
    wrong = bytearray(content)
    wrong[at % len(content)] ^= mask
    try:
        check(operation, bytes(wrong))
    except MalformedError:
        return
    # What may differ is the digest of a page, an offset, or the image's digest: values, never the form.
    rows, position = table_of(SHAPES["pe32"].build()), at % len(content)
    start = content.index(rows)
    assert start + 4 <= position < start + len(rows) - 32 or position >= len(content) - 32


@pytest.mark.parametrize("cut", [0, 1, 2, 40])
def test_content_that_is_cut_or_of_another_shape_is_refused(cut):
    operation, content = prepared_content()
    check = TEMPLATES[operation.template].check_content
    for wrong in (content[:cut], content + b"\x30\x00", b"\x30\x00" * 2, b"\x31" + content[1:]):
        with pytest.raises(MalformedError):
            check(operation, wrong)
