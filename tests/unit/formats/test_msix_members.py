# SPDX-License-Identifier: Apache-2.0
"""Members of a package that get another content: how they are packed, and what becomes of the block map."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signwright.errors import FormatError
from signwright.formats import msix_members
from signwright.formats.msix import MsixFormat, MsixOptions
from signwright.formats.msix_members import (
    MAX_PACKED_SIZE,
    ChangedFile,
    changed_block_map,
    hash_blocks,
    pack_blocks,
)
from signwright.formats.msix_parts import MAX_BLOCK_MAP, block_map
from signwright.model.strict_xml import MAX_ELEMENTS
from signwright.model.view import BytesView
from signwright.readers.msix_members import check_block_map, neutral_block_map
from tests.support.msix_block_maps import block_map_of
from tests.support.msix_builder import BLOCK, FILE_HASHES, METHODS, Msix, Row, packed, sign, small_bundle
from tests.support.signed_files import identity

NAME, ESCAPED = "app.exe", "Assets/Logo%20of%20it.png"
OLD, NEW = b"MZ old " * 9000, b"MZ new " * 20000
FILES = ((NAME, OLD), (ESCAPED, b"\x89PNG" + bytes(500)), ("a%2520b.txt", b"%20 in its name"), ("empty.txt", b""))
SHAPES = {
    "packager": Msix(files=FILES),
    "newer": Msix(files=FILES, file_hashes=True, fields64=True),
    "narrow": Msix(files=FILES, wide=False),
    "stored": Msix(files=FILES, stored=True, file_hashes=True),
    "sha384": Msix(files=FILES, algorithm="sha384", file_hashes=True),
    "sha512": Msix(files=FILES, algorithm="sha512"),
}
#: Lengths around the borders of blocks, and many between.
SIZES = st.one_of(st.sampled_from([0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK]), st.integers(0, 3 * BLOCK))


class Endless:
    """A view that is never read."""

    def __init__(self, size: int) -> None:
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        raise AssertionError((offset, length))


def content_of(seed: int, size: int) -> bytes:
    """One half does not pack, the other does very well."""
    noise = hashlib.shake_256(b"%d" % seed).digest(size)
    return (noise[: size // 2] + b"signed " * (size // 14 + 1))[:size]


def text_of(package: Msix) -> bytes:
    return block_map_of(package.build())


def with_files(package: Msix, **changed: bytes) -> Msix:
    names = {NAME: "app", ESCAPED: "logo", "a%2520b.txt": "percent", "empty.txt": "empty"}
    return package.but(files=tuple((name, changed.get(names[name], content)) for name, content in package.files))


def row_of(name: str, content: bytes, package: Msix) -> ChangedFile:
    """In plain steps, with the builder's own packing."""
    parts = [content[at : at + BLOCK] for at in range(0, len(content), BLOCK)]
    stored = package.stored or name.endswith(".png")
    return ChangedFile(
        size=len(content),
        header_size=30 + len(name),
        hashes=tuple(hashlib.new(package.algorithm, part).digest() for part in parts),
        whole=hashlib.new(package.algorithm, content).digest(),
        sizes=None if stored else tuple(len(part) for part in packed(content)[: len(parts)]),
    )


def code_of(text: bytes, name: str = NAME, row: ChangedFile | None = None) -> str:
    with pytest.raises(FormatError) as refusal:
        changed_block_map(text, {name: row or row_of(name, NEW, Msix())})
    return refusal.value.code


# Packing.


@given(seed=st.integers(0, 99), size=SIZES)
@settings(max_examples=60, deadline=None)
def test_what_is_packed_unpacks_as_a_whole_and_block_by_block(seed: int, size: int) -> None:
    content = content_of(seed, size)
    found = pack_blocks(BytesView(content), "sha256")
    assert zlib.decompress(found.packed, -15) == content
    assert found.packed.endswith(b"\3\0")
    assert sum(found.sizes) + 2 == len(found.packed)
    at, alone = 0, []
    for length in found.sizes:
        engine = zlib.decompressobj(-15)
        alone.append(engine.decompress(found.packed[at : at + length]))
        assert found.packed[at + length - 4 : at + length] == b"\0\0\xff\xff"
        at += length
    assert alone == [content[start : start + BLOCK] for start in range(0, size, BLOCK)]


@pytest.mark.parametrize("algorithm", METHODS)
def test_hashes_are_of_64_kib_each_and_of_the_whole(algorithm: str) -> None:
    content = content_of(7, 2 * BLOCK + 5)
    for found in (hash_blocks(BytesView(content), algorithm), pack_blocks(BytesView(content), algorithm).hashed):
        parts = (content[:BLOCK], content[BLOCK : 2 * BLOCK], content[2 * BLOCK :])
        assert found.hashes == tuple(hashlib.new(algorithm, part).digest() for part in parts)
        assert found.whole == hashlib.new(algorithm, content).digest()
        assert (found.size, found.crc) == (len(content), zlib.crc32(content))


def test_an_empty_member_is_two_bytes_and_no_block() -> None:
    found = pack_blocks(BytesView(b""), "sha256")
    assert (found.packed, found.sizes, found.hashed.hashes) == (b"\3\0", (), ())
    assert (found.row(40).sizes, hash_blocks(BytesView(b""), "sha256").row(40).sizes) == ((), None)


def test_what_is_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(FormatError, match="store it") as refusal:
        pack_blocks(Endless(MAX_PACKED_SIZE + 1), "sha256")
    assert refusal.value.code == "too-large"
    with pytest.raises(FormatError) as refusal:
        hash_blocks(Endless((MAX_ELEMENTS + 1) * BLOCK), "sha256")
    assert refusal.value.code == "too-large"


# The block map.


@pytest.mark.parametrize("new", [b"", b"MZ", bytes(BLOCK), bytes(BLOCK + 1), NEW], ids=["0", "2", "64k", "64k+1", "2x"])
@pytest.mark.parametrize("old", [b"", OLD, NEW], ids=["0", "1x", "2x"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_changed_map_is_the_one_of_a_package_made_anew(shape: str, old: bytes, new: bytes) -> None:
    before = with_files(SHAPES[shape], app=old, logo=old)
    after = with_files(before, app=new, logo=new)
    wanted = text_of(after)
    found = changed_block_map(text_of(before), {NAME: row_of(NAME, new, before), ESCAPED: row_of(ESCAPED, new, before)})
    # An element with nothing in it is written without an end tag.
    for name in (NAME, "Assets\\Logo of it.png"):
        head = f'<File Name="{name}" Size="0" LfhSize="{30 + len(NAME if name == NAME else ESCAPED)}"'.encode()
        found = found.replace(head + b"/>", head + b"></File>")
    assert found == wanted


@given(seed=st.integers(0, 99), size=SIZES, shape=st.sampled_from(sorted(SHAPES)))
@settings(max_examples=40, deadline=None)
def test_a_package_with_the_new_member_and_map_is_one_that_can_be_signed(seed: int, size: int, shape: str) -> None:
    content, source = content_of(seed, size), SHAPES[shape]
    view = BytesView(content)
    found, packing = hash_blocks(view, source.algorithm), pack_blocks(view, source.algorithm)
    row = (found if source.stored else packing).row(30 + len(NAME))
    made = replaced(source, content, content if source.stored else packing.packed, row)
    check_block_map(BytesView(made))
    MsixFormat().prepare(BytesView(made), identity("rsa2048").chain, MsixOptions())
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        assert archive.testzip() is None
        assert archive.read(NAME) == content
        text = archive.read("AppxBlockMap.xml")
    assert neutral_block_map(text, [NAME]) == neutral_block_map(text_of(source), [NAME])
    assert neutral_block_map(text, []) != neutral_block_map(text_of(source), [])


def replaced(source: Msix, content: bytes, stream: bytes, row: ChangedFile) -> bytes:
    def rows_of(rows: list[Row]) -> list[Row]:
        return [replace(one, content=content, packed=stream) if one.name == NAME else one for one in rows]

    return source.but(
        rows_of=rows_of, map_of=lambda text: changed_block_map(text.encode(), {NAME: row}).decode()
    ).build()


def test_every_byte_outside_the_changed_rows_stays() -> None:
    """Comments, blanks, instructions, odd quotes and other spellings of other rows, a mark before all."""
    head = "\ufeff<?xml version='1.0'?><!-- first --><?tool x?>\r\n<BlockMap  xmlns = '%s'\r\n HashMethod='%s' >\n"
    head %= ("http://schemas.microsoft.com/appx/2010/blockmap", METHODS["sha256"])
    value = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    other = (
        f"<File LfhSize = '39'\tSize='5' Name='R&amp;D &#x41;.dll' ><!-- c --><Block Hash='{value}'></Block ></File >\n"
    )
    row = row_of(NAME, NEW, Msix())
    hashes = [base64.b64encode(one).decode() for one in row.hashes]
    assert row.sizes
    first = "<File\n LfhSize='9' Name = \"app.exe\"  Size='1' >\r\n  "
    first += f"<Block Hash='{value}' Size='1'></Block>\r\n\t</File >"
    blocks = "".join(f'\r\n  <Block Hash="{one}" Size="{size}"/>' for one, size in zip(hashes, row.sizes, strict=True))
    last = f"<File\n LfhSize='37' Name = \"app.exe\"  Size='{len(NEW)}'>{blocks}\r\n\t</File>"
    tail = "<!-- > <File Name='app.exe'/> --></BlockMap>\n<!-- end -->"
    text = "".join((head, other, first, other.replace("x41", "x42"), tail)).encode()
    wanted = "".join((head, other, last, other.replace("x41", "x42"), tail)).encode()
    assert changed_block_map(text, {NAME: row}) == wanted


def test_elements_keep_the_prefix_of_their_map() -> None:
    text = text_of(with_files(SHAPES["newer"], app=b"")).replace(b"<File", b"<m:File").replace(b"</File", b"</m:File")
    text = text.replace(b"<Block ", b"<m:Block ").replace(b"BlockMap xmlns=", b"m:BlockMap xmlns:m=")
    text = text.replace(b"</BlockMap", b"</m:BlockMap").replace(b"b4", b"h")
    found = changed_block_map(text, {NAME: row_of(NAME, NEW, Msix())})
    assert found.count(b"<m:Block ") - text.count(b"<m:Block ") == 3
    assert found.count(b"<h:FileHash ") == 1
    assert b"<Block " not in found


def test_the_hash_of_the_file_is_where_the_packager_has_it() -> None:
    """Of more than one block, in maps that know it; one that a packager wrote for a small file stays."""
    newer, older = SHAPES["newer"], SHAPES["packager"]
    large, small = row_of(NAME, NEW, newer), row_of(NAME, b"MZ", newer)
    assert b"FileHash" not in changed_block_map(text_of(older), {NAME: large})
    assert b"FileHash" not in changed_block_map(text_of(with_files(older, app=NEW)), {NAME: large})
    assert b"FileHash" in changed_block_map(text_of(newer), {NAME: large})
    assert b"FileHash" not in changed_block_map(text_of(with_files(newer, app=NEW)), {NAME: small})
    without = text_of(with_files(older, app=NEW)).replace(
        b"<BlockMap ", b'<BlockMap xmlns:b4="%b" ' % FILE_HASHES.encode()
    )
    assert b"FileHash " not in changed_block_map(without, {NAME: large})
    value = base64.b64encode(bytes(32))
    text = text_of(newer).replace(b"</File>", b'<b4:FileHash Hash="%b"/></File>' % value, 1)
    found = changed_block_map(text, {NAME: small})
    assert base64.b64encode(small.whole) in found
    assert value not in found


def test_a_stored_file_s_blocks_have_no_size_and_a_packed_one_s_have() -> None:
    found = changed_block_map(text_of(SHAPES["packager"]), {NAME: row_of(NAME, NEW, SHAPES["stored"])})
    assert block_map(found).files[NAME].packed is None
    packed_row = row_of(NAME, NEW, SHAPES["packager"])
    assert packed_row.sizes
    found = changed_block_map(text_of(SHAPES["stored"]), {NAME: packed_row})
    assert block_map(found).files[NAME].packed == sum(packed_row.sizes)


@pytest.mark.parametrize(
    ("member", "there"),
    [("Assets/Logo%20of%20it.png", True), ("a%2520b.txt", True), ("Assets/Logo of it.png", True), ("a%20b.txt", False)],
)
def test_names_are_compared_without_escapes(member: str, there: bool) -> None:
    text = text_of(SHAPES["packager"])
    if there:
        changed_block_map(text, {member: row_of(member, NEW, Msix())})
    else:
        assert code_of(text, member) == "block-map"


def test_many_blocks_cost_no_more_than_few_each() -> None:
    """A file of 2 GiB, as the map has it."""
    count = 32_000
    row = ChangedFile(count * BLOCK, 37, (bytes(32),) * count, bytes(32), (8,) * count)
    found = changed_block_map(text_of(SHAPES["newer"]), {NAME: row})
    assert changed_block_map(found, {NAME: row}) == found


def edited(old: str, new: str, count: int = 1) -> Callable[[bytes], bytes]:
    def change(text: bytes) -> bytes:
        assert old.encode() in text
        return text.replace(old.encode(), new.encode(), count)

    return change


FILE = '<File Name="app.exe" Size="63000" LfhSize="37">'
ODD = {
    "entity in the name": edited('"app.exe"', '"app&#46;exe"'),
    "entity in a size": edited('"63000"', '"6300&#48;"'),
    "comment": edited(FILE, FILE + "<!-- -->"),
    "empty comment": edited(FILE, FILE + "<!---->"),
    "instruction": edited(FILE, FILE + "<?x?>"),
    "character data": edited(FILE, FILE + "<![CDATA[ ]]>"),
    "text": edited(FILE, FILE + "text"),
    "attribute of the file": edited(FILE, FILE[:-1] + ' More="1">'),
    "attribute of another namespace": edited(FILE, FILE[:-1] + ' xml:space="preserve">'),
    "namespace at the file": edited(FILE, FILE[:-1] + ' xmlns:q="urn:q">'),
    "attribute of a block": edited("<Block ", '<Block More="1" '),
    "namespace at a block": edited("<Block ", '<Block xmlns:q="urn:q" '),
    "element": edited(FILE, FILE + "<More/>"),
    "element of another namespace": edited(FILE, FILE + '<q:Block xmlns:q="urn:q" Hash=""/>'),
    "older hash of the file": edited(FILE, FILE + f'<FileHash xmlns="{FILE_HASHES.replace("21", "17")}" Hash=""/>'),
    "element in a block": edited("/></File>", "><Block/></Block></File>"),
    "file in a file": edited(FILE, f"{FILE}{FILE}</File>"),
    "name in other letters": edited("<File ", '<File Name="APP.exe" Size="0" LfhSize="37"/><File '),
}


@pytest.mark.parametrize("case", ODD)
def test_a_row_that_cannot_be_changed_without_a_guess_is_refused(case: str) -> None:
    text = text_of(SHAPES["packager"])
    changed = ODD[case](text)
    assert changed != text
    assert code_of(changed) == "odd-block-map"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (edited("<File ", FILE + "</File><File "), "bad-block-map"),
        (edited("<BlockMap ", "<!DOCTYPE BlockMap><BlockMap "), "bad-block-map"),
        (edited("xmlenc#sha256", "xmldsig#sha1"), "bad-block-map"),
        (edited('"63000"', '"063000"'), "bad-block-map"),
        (edited("</BlockMap>", ""), "bad-block-map"),
        (edited("app.exe", "app2.exe"), "block-map"),
        (edited("</BlockMap>", "</BlockMap>" + " " * MAX_BLOCK_MAP), "too-large"),
    ],
    ids=["twice", "document type", "sha1", "number", "cut short", "not listed", "too large"],
)
def test_a_map_that_does_not_read_is_refused(change: Callable[[bytes], bytes], code: str) -> None:
    assert code_of(change(text_of(SHAPES["packager"]))) == code


def test_a_map_that_would_become_too_large_is_refused() -> None:
    text = text_of(SHAPES["packager"])
    filler = (b"<!-- -->" + b" " * 1000) * (MAX_BLOCK_MAP // 1008)
    text = text.replace(b"</BlockMap>", filler[: MAX_BLOCK_MAP - len(text) - 4] + b"</BlockMap>")
    assert block_map(text).files
    assert code_of(text) == "too-large"


@pytest.mark.parametrize(
    "wrong",
    [
        {"hashes": ()},
        {"hashes": (bytes(20), bytes(20), bytes(20))},
        {"whole": b""},
        {"sizes": (1, 2)},
        {"sizes": (1, 2, 0)},
        {"size": 1},
    ],
    ids=["no hashes", "sha1", "no whole", "two sizes", "empty block", "one byte"],
)
def test_a_row_that_is_not_one_of_blocks_is_refused(wrong: dict[str, object]) -> None:
    row = row_of(NAME, NEW, Msix())
    assert code_of(text_of(SHAPES["packager"]), row=replace(row, **wrong)) == "odd-block-map"


def test_two_names_for_one_file_and_one_that_is_no_text_are_refused() -> None:
    text, row = text_of(SHAPES["packager"]), row_of(NAME, NEW, Msix())
    with pytest.raises(FormatError) as refusal:
        changed_block_map(text, {NAME: row, "app%2Eexe": row})
    assert refusal.value.code == "odd-block-map"
    assert code_of(text, "%ff") == "odd-block-map"


def test_a_bundle_s_map_is_refused_with_what_to_do() -> None:
    text = block_map_of(small_bundle())
    with pytest.raises(FormatError) as refusal:
        changed_block_map(text, {"x64.msix": row_of("x64.msix", NEW, Msix())})
    assert refusal.value.code == "bundle-members"
    assert refusal.value.hint == "sign the packages before they are bundled"


def test_a_name_that_looks_like_attributes_stays() -> None:
    name = f"a Size='5' LfhSize='6' xmlns:c='{FILE_HASHES.replace('/', '')}'.exe"
    source = SHAPES["newer"].but(files=((name.replace(" xmlns", "xmlns"), b"MZ"),))
    ((member, _),) = source.files
    found = changed_block_map(text_of(source), {member: row_of(member, NEW, source)})
    assert found == text_of(source.but(files=((member, NEW),)))


def test_what_would_not_read_as_wanted_is_not_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*row: object) -> bytes:
        del row
        return b""

    monkeypatch.setattr(msix_members, "_written", nothing)
    with pytest.raises(FormatError, match="what was written"):
        changed_block_map(text_of(SHAPES["packager"]), {NAME: row_of(NAME, NEW, Msix())})


def test_nothing_changed_changes_nothing() -> None:
    text = text_of(SHAPES["newer"])
    assert changed_block_map(text, {}) == text


def test_the_map_of_a_signed_package_changes_as_well() -> None:
    text = block_map_of(sign(SHAPES["packager"].build()))
    row = row_of(NAME, NEW, Msix())
    assert changed_block_map(text, {NAME: row}) == changed_block_map(text_of(SHAPES["packager"]), {NAME: row})
