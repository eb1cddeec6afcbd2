# SPDX-License-Identifier: Apache-2.0
"""Page hashes: the table that is signed, what is refused, and that writer and reader agree without sharing a line."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

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
from signwright.readers.pe_pages import Place, check_pages
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


def put(content: bytes, at: int, value: int, size: int = 4) -> bytes:
    return content[:at] + value.to_bytes(size, "little") + content[at + size :]


def optional_at(content: bytes) -> int:
    return int.from_bytes(content[60:64], "little") + 24


def section_at(content: bytes, number: int) -> int:
    """Offset of SizeOfRawData in a section header; PointerToRawData follows."""
    size = int.from_bytes(content[optional_at(content) - 4 : optional_at(content) - 2], "little")
    return optional_at(content) + size + 40 * number + 16


def swapped(content: bytes) -> bytes:
    one, two = section_at(content, 0), section_at(content, 1)
    return content[:one] + content[two : two + 8] + content[one + 8 : two] + content[one : one + 8] + content[two + 8 :]


def aligned(value: int) -> Callable[[bytes], bytes]:
    return lambda content: put(content, optional_at(content) + 32, value)


def machine(value: int) -> Callable[[bytes], bytes]:
    return lambda content: put(content, optional_at(content) - 20, value, 2)


#: Files whose pages verifiers tell differently, or that would have pages of any number of bytes.
ODD: dict[str, Callable[[bytes], bytes]] = {
    **{f"pages-of-{size}": aligned(size) for size in (0, 1, 32, 512, 2048, 8192, 65536, 1 << 22, 1 << 31, 0xFFFFFFFF)},
    "itanium-pages-of-4096": machine(0x0200),
    "headers-beyond-a-page": lambda content: put(content, optional_at(content) + 60, 4097),
    "headers-over-a-section": lambda content: put(content, optional_at(content) + 60, 1024),
    "no-headers": lambda content: put(content, optional_at(content) + 60, 64),
    "sections-in-another-order": swapped,
    "sections-one-over-another": lambda content: put(content, section_at(content, 0), 1024),
    "section-in-the-headers": lambda content: put(content, section_at(content, 0) + 4, 0),
}


@pytest.mark.parametrize("odd", sorted(ODD))
def test_odd_file_gets_no_page_hashes_and_signs_without(odd):
    content = ODD[odd](SHAPES["pe32plus"].build())
    with pytest.raises(FormatError) as refusal:
        with_pages(content)
    assert refusal.value.code == "page-hashes"
    assert READER.read(BytesView(sign(content))).signatures


class AnyTable:
    """A table that the writer never made, over a file that it would refuse."""

    table_of_bytes = b""

    def __init__(self, _: object) -> None:
        pass

    def take(self, block: memoryview, offset: int) -> None:
        pass

    def table(self) -> bytes:
        return self.table_of_bytes


def signed_with(monkeypatch: pytest.MonkeyPatch, content: bytes, table: bytes) -> bytes:
    """By somebody whose program writes any table."""
    monkeypatch.setattr(AnyTable, "table_of_bytes", table)
    monkeypatch.setattr("signwright.formats.pe.PageHashes", AnyTable)
    return with_pages(content)


@pytest.mark.parametrize("odd", sorted(ODD))
def test_odd_file_with_page_hashes_is_refused_by_the_reader_in_little_memory(monkeypatch, odd):
    content = ODD[odd](SHAPES["pe32plus"].build())
    result = BytesView(signed_with(monkeypatch, content, table_of(SHAPES["pe32plus"].build())))
    tracemalloc.start()
    try:
        with pytest.raises(FormatError) as refusal:
            READER.read(result)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert refusal.value.code == "page-hashes"


@pytest.mark.parametrize("count", [97, 0xFFFF])
def test_sections_that_no_loader_loads_are_refused_by_the_reader_before_they_are_looked_at(count):
    content = with_pages(Pe(sections=(b"code",)).build())
    optional = optional_at(content)
    place = Place(optional - 20, optional + 64, optional + 144, len(content))
    with pytest.raises(FormatError, match=f"{count} sections"):
        check_pages(BytesView(put(content, optional - 18, count, 2)), table_of(content), place)


def test_section_that_ends_behind_the_content_is_refused_by_the_reader():
    content = with_pages(SHAPES["pe32plus"].build())
    optional = optional_at(content)
    place = Place(optional - 20, optional + 64, optional + 144, len(SHAPES["pe32plus"].build()))
    check_pages(BytesView(content), table_of(content), place)
    with pytest.raises(FormatError, match="a section of 1024 bytes"):
        check_pages(BytesView(put(content, section_at(content, 1), 1024)), table_of(content), place)


def test_pages_of_itanium_have_8_kib():
    content = aligned(8192)(machine(0x0200)(Pe(sections=(b"x" * 9000, b"y")).build()))
    assert len(table_of(content)) == 36 * (1 + 2 + 1 + 1)
    (found,) = READER.read(BytesView(with_pages(content))).signatures
    assert found.notes["page_hashes"] == "sha256, every page"


def test_pages_are_hashed_only_for_a_signature_that_holds(monkeypatch):
    """A table that nobody signed must cost nobody the hashing of the file."""
    content = bytearray(with_pages(SHAPES["pe32"].build()))
    value = READER.read(BytesView(bytes(content))).signatures[0].signature_value
    content[content.index(value) + len(value) - 1] ^= 1
    hashed: list[object] = []
    monkeypatch.setattr("signwright.readers.pe.check_pages", lambda *_, **__: hashed.append(1))
    with pytest.raises(VerificationError) as refusal:
        READER.read(BytesView(bytes(content)))
    assert refusal.value.code != "page-hash-mismatch"
    assert hashed == []


def test_more_pages_than_a_signature_holds_are_refused_before_they_are_hashed():
    layout = read_layout(BytesView(Pe(sections=(b"code",)).build()))
    large = replace(layout.sections[0], size=96 << 20)
    with pytest.raises(FormatError, match="24578 pages") as refusal:
        PageHashes(replace(layout, size=1 << 30, sections=(large,)))
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
