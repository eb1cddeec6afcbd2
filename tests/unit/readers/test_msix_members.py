# SPDX-License-Identifier: Apache-2.0
"""Whether a block map is that of its package."""

from __future__ import annotations

import base64
import hashlib
import io
import struct
import tracemalloc
import zipfile
import zlib
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signwright.errors import FormatError, VerificationError
from signwright.model.view import BytesView
from signwright.readers import msix_members
from signwright.readers.msix_members import check_block_map, neutral_block_map
from tests.support.msix_block_maps import FILES, HEAD, LARGE, LOGO, PACKAGE, block_map_of, hash_of
from tests.support.msix_builder import BLOCK, FILE_HASHES, SHAPES, Msix, Row, packed, sign, small_bundle
from tests.support.msix_vectors import FOLDER


def check(content: bytes) -> None:
    check_block_map(BytesView(content))


def code_of(content: bytes) -> str:
    with pytest.raises((FormatError, VerificationError)) as refusal:
        check(content)
    return refusal.value.code  # type: ignore[no-any-return]


def mapped(old: str, new: str) -> Msix:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return PACKAGE.but(map_of=change)


@cache
def built() -> bytes:
    return PACKAGE.build()


@cache
def text() -> bytes:
    return block_map_of(built())


# The package against its block map.


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_package_is_what_its_block_map_says(shape: str) -> None:
    check(SHAPES[shape].build())
    check(sign(SHAPES[shape].build()))


@pytest.mark.parametrize(
    "changes", [{}, {"stored": True}, {"algorithm": "sha384"}, {"algorithm": "sha512", "wide": False}]
)
def test_files_of_many_blocks_with_hashes_of_their_own_are_checked(changes: dict[str, object]) -> None:
    check(PACKAGE.but(**changes).build())


@pytest.mark.parametrize("name", sorted(path.name for path in (FOLDER / "good").glob("*.bin")))
def test_the_good_vectors_are_what_their_block_maps_say(name: str) -> None:
    check((FOLDER / "good" / name).read_bytes())


@pytest.mark.parametrize("year", [2015, 2017])
def test_the_hash_of_a_file_is_checked_in_older_namespaces(year: int) -> None:
    check(mapped(FILE_HASHES, FILE_HASHES.replace("2021", str(year))).build())


def test_order_and_layout_of_the_map_are_free() -> None:
    rows = text().decode().split("<File ")
    turned = "<!-- c -->\r\n\t<File ".join([rows[0], *reversed([row.removesuffix("</BlockMap>") for row in rows[1:]])])
    check(PACKAGE.but(map_of=lambda _: turned + "</BlockMap>").build())


def test_a_folder_needs_no_row() -> None:
    folder = Row("Assets/", b"", b"", 0, described=False)
    check(PACKAGE.but(rows_of=lambda rows: [folder, *rows]).build())


def test_a_last_block_that_ends_the_stream_is_as_good() -> None:
    """Packers other than Microsoft's write that; both are known to Windows."""
    content = b"one block"
    engine = zlib.compressobj(wbits=-15)
    stream = engine.compress(content) + engine.flush()
    package = Msix(
        files=(("app.exe", content),),
        rows_of=lambda rows: [replace(row, packed=stream) if row.name == "app.exe" else row for row in rows],
        map_of=lambda text: text.replace(f'Size="{len(packed(content)[0])}"', f'Size="{len(stream)}"', 1),
    )
    check(package.build())


FIRST = len(packed(LARGE)[0])
WHOLE = f'<b4:FileHash Hash="{hash_of(LARGE)}"/>'
DIFFERENT = {
    "size": mapped(f'Size="{len(LARGE)}"', f'Size="{len(LARGE) + 1}"'),
    "header": mapped('LfhSize="37"', 'LfhSize="38"'),
    "a block's hash": mapped(hash_of(LARGE[BLOCK : 2 * BLOCK]), hash_of(b"")),
    "the last block's hash": mapped(hash_of(LARGE[2 * BLOCK :]), hash_of(b"")),
    "the file's hash": mapped(hash_of(LARGE), hash_of(b"")),
    "a small file's hash": mapped(hash_of(b"a"), hash_of(b"b")),
    "sum of packed sizes": mapped(f'Size="{FIRST}"', f'Size="{FIRST + 1}"'),
    "sum with the end of the stream": mapped(f'Size="{FIRST}"', f'Size="{FIRST + 2}"'),
    "a block too few": mapped(f'<Block Hash="{hash_of(LARGE[:BLOCK])}" Size="{FIRST}"/>', ""),
    "a block too many": mapped("</File>", f'<Block Hash="{hash_of(b"")}" Size="1"/></File>').but(file_hashes=False),
    "an empty file's block": mapped(
        'Name="0" Size="0" LfhSize="31">', f'Name="0" Size="0" LfhSize="31"><Block Hash="{hash_of(b"")}"/>'
    ),
    "blocks without sizes": mapped(f' Size="{FIRST}"', ""),
    "stored with sizes": mapped(f'"{hash_of(FILES[1][1])}"', f'"{hash_of(FILES[1][1])}" Size="504"'),
    "a stored file's block too many": mapped(
        f'"{hash_of(FILES[1][1])}"/>', f'"{hash_of(FILES[1][1])}"/><Block Hash="{hash_of(b"")}"/>'
    ),
    "an empty file without the end of a stream": PACKAGE.but(
        rows_of=lambda rows: [replace(row, packed=b"") if row.name == "0" else row for row in rows]
    ),
    "not listed": mapped('<File Name="0" Size="0" LfhSize="31"></File>', ""),
    "not there": PACKAGE.but(rows_of=lambda rows: [row for row in rows if row.name != "0"]),
    "another name": mapped('Name="0"', 'Name="1"'),
    "another letter case": mapped('Name="app.exe"', 'Name="App.exe"'),
    "escapes in the map": mapped("Logo of it", "Logo%20of%20it"),
    "slashes in the map": mapped("Assets\\Logo", "Assets/Logo"),
    "a listed signature": mapped('Name="0"', 'Name="AppxSignature.p7x"'),
    "content": PACKAGE.but(rows_of=lambda rows: [with_content(rows[0], b"MZ" + LARGE[2:]), *rows[1:]]),
    "content of a stored file": PACKAGE.but(
        rows_of=lambda rows: [rows[0], with_content(rows[1], bytes(504)), *rows[2:]]
    ),
}


def with_content(row: Row, content: bytes) -> Row:
    return replace(row, content=content, packed=b"".join(packed(content)) if row.method else content)


@pytest.mark.parametrize("case", DIFFERENT)
def test_a_package_that_differs_from_its_map_is_refused(case: str) -> None:
    assert code_of(DIFFERENT[case].build()) == "block-map"


def streamed(stream: bytes, *sizes: int) -> Msix:
    """The first file packed as ``stream``, of which the map says ``sizes``."""

    def map_of(text: str) -> str:
        for old, new in zip(map(len, packed(LARGE)[:3]), sizes, strict=True):
            text = text.replace(f' Size="{old}"/>', f' Size="{new}" />', 1)
        return text

    return PACKAGE.but(rows_of=lambda rows: [replace(rows[0], packed=stream), *rows[1:]], map_of=map_of)


CUTS = {
    "one block ends early": (-1, 1, 0),
    "one block ends late": (1, -1, 0),
    "the mark of the flush is in the next block": (-4, 4, 0),
    "half of it is in the next block": (-FIRST // 2, FIRST // 2, 0),
}


@pytest.mark.parametrize("case", CUTS)
def test_packed_blocks_that_end_elsewhere_are_refused_though_the_sum_is_right(case: str) -> None:
    parts = packed(LARGE)
    sizes = [len(part) + move for part, move in zip(parts[:3], CUTS[case], strict=True)]
    assert code_of(streamed(b"".join(parts), *sizes).build()) == "block-map"


def bits(*parts: bytes) -> tuple[bytes, list[int]]:
    return b"".join(parts), [len(part) for part in parts[:3]]


def stored_block(content: bytes, *, last: bool = False) -> bytes:
    """RFC 1951, 3.2.4."""
    out = b""
    for at in range(0, len(content), 0xFFFF):
        piece = content[at : at + 0xFFFF]
        out += struct.pack("<B2H", last and at + 0xFFFF >= len(content), len(piece), len(piece) ^ 0xFFFF) + piece
    return out


RAW = [stored_block(LARGE[at : at + BLOCK]) for at in range(0, len(LARGE), BLOCK)]
ENDED = stored_block(LARGE[BLOCK * 2 :], last=True)
STREAMS = {
    "no end": bits(*RAW),
    "another end": bits(*RAW, b"\1\0"),
    "an end with more bits": bits(*RAW, b"\3\4"),
    "two ends": bits(*RAW[:2], ENDED, b"\3\0"),
    "an end in the middle": bits(RAW[0], stored_block(LARGE[BLOCK : 2 * BLOCK], last=True), RAW[2], b"\3\0"),
    "bytes behind the end": bits(*RAW[:2], ENDED + b"\0"),
    "content behind the last": bits(*RAW[:2], RAW[2] + stored_block(b"more"), b"\3\0"),
    "no deflate": bits(*RAW[:2], b"\7" * len(RAW[2]), b"\3\0"),
}


def test_blocks_that_are_stored_in_the_stream_are_taken() -> None:
    check(streamed(*unpacked(bits(*RAW, b"\3\0"))).build())
    check(streamed(*unpacked(bits(*RAW[:2], ENDED))).build())
    check(streamed(*unpacked(bits(*RAW[:2], RAW[2] + b"\0\0\0\xff\xff" * 3, b"\3\0"))).build())


def unpacked(case: tuple[bytes, list[int]]) -> tuple[bytes, int, int, int]:
    stream, (first, second, third) = case
    return stream, first, second, third


@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_that_readers_could_end_elsewhere_is_refused(case: str) -> None:
    assert code_of(streamed(*unpacked(STREAMS[case])).build()) == "block-map"


def test_blocks_that_refer_back_to_others_are_refused() -> None:
    """They unpack as a whole, but not for a reader that begins at the second one."""
    same = LARGE[:BLOCK] * 2 + LARGE[2 * BLOCK :]
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    half = [
        engine.compress(same[at : at + BLOCK]) + engine.flush(zlib.Z_SYNC_FLUSH) for at in range(0, len(same), BLOCK)
    ]
    stream = b"".join((*half, engine.flush()))
    assert zlib.decompress(stream, -15) == same

    def map_of(text: str) -> str:
        for old, new in zip(packed(same), half, strict=False):
            text = text.replace(f' Size="{len(old)}"/>', f' Size="{len(new)}" />', 1)
        return text

    package = PACKAGE.but(
        files=(("app.exe", same), *FILES[1:]),
        rows_of=lambda rows: [replace(rows[0], packed=stream), *rows[1:]],
        map_of=map_of,
    )
    assert code_of(package.build()) == "block-map"


MALFORMED = {
    "no sha": mapped("xmlenc#sha256", "xmldsig#sha1"),
    "another root": mapped("2010/blockmap", "2011/blockmap"),
    "document type": mapped("<BlockMap ", "<!DOCTYPE BlockMap><BlockMap "),
    "a file twice": mapped(HEAD, HEAD + "</File>" + HEAD),
    "more files than members": mapped(
        "</BlockMap>", "".join(f'<File Name="more{n}" Size="0" LfhSize="31"/>' for n in range(9)) + "</BlockMap>"
    ),
    "attribute of a file": mapped(HEAD, HEAD[:-1] + ' More="1">'),
    "attribute of a block": mapped("<Block ", '<Block More="1" '),
    "attribute of a file's hash": mapped("<b4:FileHash ", '<b4:FileHash Size="1" '),
    "a file without size": mapped(f' Size="{len(LARGE)}"', ""),
    "a block without hash": mapped(f' Hash="{hash_of(b"a")}"', ""),
    "an element": mapped(HEAD, HEAD + "<More/>"),
    "a file of another namespace": mapped("</BlockMap>", '<b4:File Name="x"/></BlockMap>'),
    "a block of another namespace": mapped("</File>", '<b4:Block Hash=""/></File>'),
    "a file in a file": mapped(HEAD, HEAD + '<File Name="x" Size="0" LfhSize="31"/>'),
    "a block in a block": mapped("/></File>", '><Block Hash=""/></Block></File>').but(file_hashes=False),
    "a block outside": mapped("</BlockMap>", f'<Block Hash="{hash_of(b"")}"/></BlockMap>'),
    "a block behind the file's hash": mapped(WHOLE, f'{WHOLE}<Block Hash="{hash_of(b"")}"/>'),
    "two hashes of a file": mapped(WHOLE, WHOLE * 2),
    "unknown year": mapped(FILE_HASHES, FILE_HASHES.replace("2021", "2031")),
    "text": mapped(HEAD, HEAD + "text"),
    "a blank that is none": mapped(HEAD, HEAD + "\u00a0"),
    "a number with zeros": mapped(f'"{len(LARGE)}"', f'"0{len(LARGE)}"'),
    "a block of no bytes": mapped(f'Size="{FIRST}"', 'Size="0"'),
    "hash of another length": mapped(hash_of(LARGE), base64.b64encode(bytes(48)).decode()),
    "hash spelt in another way": mapped(hash_of(LARGE), hash_of(LARGE)[:-2] + chr(ord(hash_of(LARGE)[-2]) + 1) + "="),
    "hash with a blank": mapped(hash_of(LARGE), " " + hash_of(LARGE)),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_map_that_could_be_read_in_two_ways_is_refused(case: str) -> None:
    assert code_of(MALFORMED[case].build()) == "bad-block-map"


def renamed(old: str, new: str) -> bytes:
    return PACKAGE.but(rows_of=lambda rows: [replace(row, name=row.name.replace(old, new)) for row in rows]).build()


def doubled(name: str) -> bytes:
    return PACKAGE.but(files=(*FILES, (name, b"")), map_of=lambda text: text).build()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (doubled("APP.EXE"), "ambiguous-member"),
        (doubled("app%2Eexe"), "ambiguous-member"),
        (doubled("appxblockmap.xml"), "ambiguous-member"),
        (doubled("AppxSignature%2Ep7x"), "ambiguous-member"),
        (renamed("AppxBlockMap.xml", "AppxBlockMap%2Exml"), "ambiguous-member"),
        (renamed("[Content_Types].xml", "%5BContent_Types%5D.xml"), "ambiguous-member"),
        (doubled("Assets%2Fmore"), "zip-name"),
        (doubled("Assets%5Cmore"), "zip-name"),
        (doubled("Assets\\more"), "zip-name"),
        (doubled("\u00e4"), "zip-name"),
        (renamed("R%26D%25", "%ff"), "zip-name"),
        (renamed("AppxBlockMap.xml", "BlockMap.xml"), "not-a-package"),
        (small_bundle(), "bundle-members"),
        (b"PK", "bad-artifact"),
    ],
    ids=[
        *("letter case", "escaped", "map's letter case", "escaped signature", "escaped map", "escaped types"),
        *("escaped slash", "escaped backslash", "backslash", "not ascii", "not utf-8", "no map", "bundle", "no zip"),
    ],
)
def test_an_archive_in_which_a_name_is_not_one_file_s_is_refused(content: bytes, code: str) -> None:
    assert code_of(content) == code


def test_a_checksum_of_the_zip_that_is_another_is_refused() -> None:
    content = PACKAGE.but(described=False).build()
    right = struct.pack("<L", zlib.crc32(LARGE))
    assert content.count(right) == 2
    assert code_of(content.replace(right, struct.pack("<L", zlib.crc32(LARGE) ^ 1))) == "block-map"


def test_small_packages_may_be_packed_very_well_and_large_ones_as_well_as_files_are() -> None:
    check(Msix(files=(("app.exe", bytes(900_000)),)).build())
    check(Msix(files=(("app.exe", hashlib.shake_256(b"noise").digest(1 << 20)),)).build())


def test_limits_hold_before_anything_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = Msix(files=(("app.exe", bytes(4 << 20)),)).build()
    assert code_of(bomb) == "archive-ratio"
    monkeypatch.setattr(msix_members, "MAX_MAP", len(text()) - 1)
    assert code_of(built()) == "too-large"
    with pytest.raises(FormatError) as refusal:
        neutral_block_map(text(), [])
    assert refusal.value.code == "too-large"


def test_a_packed_block_that_grows_without_end_is_stopped() -> None:
    """256 MiB in the place of 64 KiB, of which little more is unpacked."""
    first = packed(bytes(BLOCK))[0] * 4096
    content = streamed(b"".join((first, *packed(LARGE)[1:])), len(first), *map(len, packed(LARGE)[1:3])).build()
    tracemalloc.start()
    try:
        assert code_of(content) == "block-map"
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def deflated(*fields: tuple[int, int]) -> bytes:
    """Bits of a deflate stream (RFC 1951, 3.1.1), each field a number and how many bits it has. They fill all bytes."""
    total = at = 0
    for value, width in fields:
        total |= value << at
        at += width
    assert at % 8 == 0
    return total.to_bytes(at // 8, "little")


def literals(content: bytes) -> list[tuple[int, int]]:
    """Fixed codes, which stand the other way round (3.2.6)."""
    codes = [(0x30 + byte, 8) if byte < 144 else (0x190 + byte - 144, 9) for byte in content]
    return [(int(f"{code:0{width}b}"[::-1], 2), width) for code, width in codes]


def lengths(count: int) -> bytes:
    """A last block with codes of its own: 0 for ``a``, 1 for the end of the block; ``count`` times ``a``, no end.

    Of the codes for code lengths, those for 1 and 18 (a run of zeros, 11 and more) have one bit: 0 and 1.
    """
    order = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1)
    head = [(1, 1), (2, 2), (0, 5), (0, 5), (len(order) - 4, 4), *((int(one in (1, 18)), 3) for one in order)]
    runs = [(1, 1), (97 - 11, 7), (0, 1), (1, 1), (138 - 11, 7), (1, 1), (20 - 11, 7), (0, 1), (0, 1)]
    return deflated(*head, *runs, (0, count))


def only(content: bytes, part: bytes, tail: bytes = b"\3\0") -> bytes:
    """A package with one file, of one block that is packed as ``part``."""
    said = f'Size="{len(packed(content)[0])}"/>'
    return Msix(
        files=(("app.exe", content),),
        rows_of=lambda rows: [replace(rows[0], packed=part + tail), *rows[1:]],
        map_of=lambda text: text.replace(said, f'Size="{len(part)}"/>', 1),
    ).build()


def test_a_block_whose_end_is_the_end_of_the_stream_is_refused() -> None:
    """The first bit of what ends the stream ends this block, and a byte is left."""
    count = 86
    part = lengths(count)
    engine = zlib.decompressobj(-15)
    assert engine.decompress(part + b"\3\0") == b"a" * count
    assert (engine.eof, engine.unused_data) == (True, b"\0")
    assert code_of(only(b"a" * count, part)) == "block-map"


def test_a_block_that_has_no_end_is_refused() -> None:
    content = b"content" + b"\xff" * 5
    part = deflated((0, 1), (1, 2), *literals(content))
    engine = zlib.decompressobj(-15)
    assert engine.decompress(part) == content
    assert code_of(only(content, part)) == "block-map"
    ended = deflated((0, 1), (1, 2), *literals(content), (0, 7), (0, 9)) + b"\0\0\xff\xff"
    assert zlib.decompressobj(-15).decompress(ended) == content
    check(only(content, deflated((0, 1), (1, 2), *literals(content), (0, 7), (0, 3), (0, 6)) + b"\0\0\xff\xff"))


def test_a_file_shorter_than_all_headers_say_is_refused() -> None:
    """The hash in the map is that of the content: only its length tells."""
    content = b"one block"
    made = Msix(
        files=(("app.exe", content),),
        described=False,
        wide=False,
        map_of=lambda text: text.replace('Size="9"', 'Size="10"', 1),
    ).build()
    sizes = struct.pack("<3L", zlib.crc32(content), sum(map(len, packed(content))), 9)
    assert made.count(sizes) == 2
    assert code_of(made.replace(sizes, sizes[:8] + b"\x0a\0\0\0")) == "block-map"


@cache
def extents() -> dict[str, tuple[int, int]]:
    """Where the packed bytes of each member stand."""
    with zipfile.ZipFile(io.BytesIO(built())) as archive:
        starts = {info.filename: info.header_offset + 30 + len(info.filename) for info in archive.infolist()}
        return {info.filename: (starts[info.filename], info.compress_size) for info in archive.infolist()}


@given(place=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255), member=st.sampled_from(["app.exe", LOGO]))
@settings(max_examples=200, deadline=None)
def test_a_flipped_bit_of_a_member_is_noticed_where_it_changes_content(place: float, mask: int, member: str) -> None:
    """A packed block has a few bits that mean nothing."""
    start, size = extents()[member]
    wrong = bytearray(built())
    wrong[start + int(place * size)] ^= mask
    try:
        check(bytes(wrong))
    except (FormatError, VerificationError):
        return
    assert member == "app.exe"
    assert zlib.decompress(wrong[start : start + size], -15) == LARGE


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_any_byte_of_the_map_that_changes_is_noticed(data: st.DataObject) -> None:
    """By the comparison with the package, or as another neutral form; in the row of a changed file by the first."""
    changed = data.draw(st.sampled_from([[], ["app.exe"], ["app.exe", "0"], ["app.exe", LOGO]]))
    at, value = data.draw(st.integers(0, len(text()) - 1)), data.draw(st.integers(0, 255))
    wrong = bytearray(text())
    wrong[at] = value
    if wrong == text():
        return
    try:
        assert neutral_block_map(bytes(wrong), changed) == neutral_block_map(text(), changed)
        made = PACKAGE.but(
            rows_of=lambda rows: [
                with_content(row, bytes(wrong)) if row.name == "AppxBlockMap.xml" else row for row in rows
            ]
        )
        check(made.build())
    except (FormatError, VerificationError, AssertionError):
        return
    # What is left is a blank in the place of another, in the row of a file that was changed.
    assert wrong[at] in b" \t\r\n'\""
