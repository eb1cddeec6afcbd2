# SPDX-License-Identifier: Apache-2.0
"""Where a signature finds room in an installer: tables and directory that grow, room that is given back, limits."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signwright.containers.cfb import BLACK, NO_ENTRY, RED, CompoundFile
from signwright.errors import FormatError
from signwright.formats.base import MAX_PREPARED, Prepared
from signwright.formats.msi import MsiFormat, MsiOptions
from signwright.model.patch import Patched
from signwright.model.view import BytesView
from signwright.readers.msi import MsiReader
from tests.support.cfb_builder import Cfb, Repeated
from tests.support.large_files import SizedView, growth_kib
from tests.support.msi_builder import (
    EXTENDED,
    LONG_URL,
    SHAPES,
    SIGNATURE,
    filled,
    prepare,
    read,
    sign,
    sign_view,
    some_tree,
    streams_of,
    stripped,
    wixl_installer,
)
from tests.support.signed_files import envelope_of, identity


def envelope_for(prepared: Prepared, signer=None) -> bytes:
    (operation,) = prepared.operations
    return envelope_of(operation, signer or identity())


@pytest.mark.parametrize(("tables", "version"), [(1, 3), (2, 3), (109, 3), (110, 3), (236, 3), (1, 4), (2, 4)])
def test_tables_grow_where_they_are_full(tables, version):
    """109 sectors of the FAT stand in the header, 127 more in each sector of the DIFAT."""
    source = filled(tables, version).build()
    result = sign(source, identity("rsa3072"), url=LONG_URL, extended=True)
    assert read(result).stripped_sha256 == stripped(source)
    file = CompoundFile(BytesView(result))
    assert len(file.fat_places) == tables + 1
    assert len(file.difat_places) == (0 if tables < 109 else 1 if tables < 236 else 2)
    assert sum(byte == 0 for byte in file.owned) == 0
    nested = sign(result, identity("rsa2048"), existing="append")
    assert len(read(nested).signatures) == 2


@pytest.mark.parametrize("shape", ["directory-full", "directory-full-version-3"])
def test_a_full_directory_grows_and_version_4_counts_it(shape):
    source = SHAPES[shape].build()
    before, after = CompoundFile(BytesView(source)), CompoundFile(BytesView(sign(source)))
    assert len(after.directory_places) == len(before.directory_places) + 1
    counted = int.from_bytes(sign(source)[40:44], "little")
    assert counted == (len(after.directory_places) if shape == "directory-full" else 0)


def test_a_balanced_tree_stays_red_and_black():
    for count in (1, 2, 3, 6, 7, 12, 40):
        source = Cfb({f"n{number:02}" + "y" * (number % 28): b"" for number in range(count)}).build()
        for content in (source, sign(source, extended=True), sign(sign(source, extended=True), existing="replace")):
            file = CompoundFile(BytesView(content))
            _black_height(file, file.root.child)


def _black_height(file: CompoundFile, index: int) -> int:
    if index == NO_ENTRY:
        return 1
    entry = file.entries[index]
    below = [file.entries[n] for n in (entry.left, entry.right) if n != NO_ENTRY]
    assert entry.color == BLACK or all(one.color == BLACK for one in below)
    left, right = _black_height(file, entry.left), _black_height(file, entry.right)
    assert left == right
    return left + (entry.color != RED)


@pytest.mark.parametrize("clean", [False, True], ids=["old content", "zeros"])
def test_free_sectors_are_filled_before_the_file_grows_if_they_hold_nothing(clean):
    source = SHAPES["free-sectors"].but(clean=clean).build()
    result = sign(source, identity("rsa3072"), url=LONG_URL)
    assert prepare(source).facts["unused_bytes"] == 9 * 512
    before, after = CompoundFile(BytesView(source)), CompoundFile(BytesView(result))
    grown = len(sign(SHAPES["version-3"].build(), identity("rsa3072"), url=LONG_URL)) - len(source) + 9 * 512
    assert len(result) == len(source) + grown - (9 * 512 if clean else 0)
    assert after.owned.count(0) == (0 if clean else 9)
    free = [sector for sector, byte in enumerate(before.owned) if not byte]
    assert clean or [after.sector(sector) for sector in free] == [b"\xcc" * 512] * 9


def test_nothing_is_left_of_what_was_replaced():
    large = sign(SHAPES["version-3"].build(), identity("rsa3072"), url=LONG_URL, extended=True)
    small = sign(large, existing="replace")
    assert f"/{EXTENDED}" not in streams_of(small)
    assert b"a" * 40 not in small
    assert len(small) < len(large)
    assert CompoundFile(BytesView(small)).owned.count(0) == 0


def test_a_signature_within_the_file_is_overwritten_when_it_moves():
    tree = some_tree() | {SIGNATURE: b"old" * 3000, EXTENDED: b"stale" * 8}
    source = Cfb(tree, scatter=3).build()
    result = sign(source, existing="replace")
    assert b"oldold" not in result
    assert b"stalestale" not in result
    assert stripped(result) == MsiReader().stripped(BytesView(source))


def test_a_stale_extended_stream_without_a_signature_goes():
    source = Cfb(some_tree() | {EXTENDED: b"stale" * 8}).build()
    assert f"/{EXTENDED}" not in streams_of(sign(source))
    renewed = sign(source, extended=True)
    assert len(streams_of(renewed)[f"/{EXTENDED}"]) == 32
    assert len(read(renewed).signatures) == 1


def test_zeros_behind_the_last_sector_are_dropped_and_anything_else_is_refused():
    source = SHAPES["version-3"].build()
    result = sign(source + bytes(5000))
    assert read(result).warnings == ()
    assert stripped(result) == stripped(source)
    for behind in (b"x", bytes(512) + b"PK\3\4", bytes(5000) + b"\n"):
        with pytest.raises(FormatError) as refusal:
            prepare(source + behind)
        assert refusal.value.code == "data-behind-content"


def test_sectors_behind_the_content_that_only_the_fat_knows_are_refused():
    """Else an archive at the end of the file would be taken along."""
    source = SHAPES["version-3"].build()
    sectors = len(source) // 512 - 1
    for mark in (b"\xfe\xff\xff\xff", (sectors + 1).to_bytes(4, "little")):
        bent = source[: 512 + 4 * sectors] + mark + source[516 + 4 * sectors :]
        with pytest.raises(FormatError) as refusal:
            prepare(bent + bytes(1024))
        assert refusal.value.code == "data-behind-content"


def test_lost_sectors_within_the_file_are_left_alone_and_told():
    source = SHAPES["free-sectors"].build()
    free = next(s for s in range(128) if source[512 + 4 * s : 516 + 4 * s] == b"\xff" * 4)
    bent = source[: 512 + 4 * free] + b"\xfe\xff\xff\xff" + source[516 + 4 * free :]
    result = sign(bent, identity("rsa3072"), url=LONG_URL)
    assert result[512 * (free + 1) : 512 * (free + 2)] == b"\xcc" * 512
    assert len(read(result).signatures) == 1
    assert "belong to nothing" in read(result).warnings[0]


def _with_word(content: bytes, offset: int, word: int) -> bytes:
    return content[:offset] + word.to_bytes(4, "little") + content[offset + 4 :]


def test_a_sector_of_the_difat_that_nobody_needs_is_refused_and_read():
    """The next sector of the FAT would have to be listed in it, or in front of it."""
    source = SHAPES["version-3"].build()
    last = len(source) // 512 - 1
    bent = _with_word(source + b"\xff" * 508 + b"\xfe\xff\xff\xff", 512 + 4 * last, 0xFFFFFFFC)
    bent = _with_word(_with_word(bent, 68, last), 72, 1)
    assert stripped(bent) == stripped(source)
    with pytest.raises(FormatError) as refusal:
        prepare(bent)
    assert refusal.value.code == "cfb-header"


@pytest.mark.parametrize("small", [b"x" * 100, b""], ids=["old signature", "empty one"])
def test_a_mini_stream_that_goes_on_behind_its_table_is_signed(small):
    """Writers make it longer than what is in use."""
    tree = {"Only": bytes(5000), "small": b"y" * 100, SIGNATURE: small}
    source = Cfb(tree).build()
    place = (int.from_bytes(source[48:52], "little") + 1) * 512  # the root's entry
    mini = int.from_bytes(source[place + 116 : place + 120], "little")
    sectors = len(source) // 512 - 1
    bent = _with_word(source, 512 + 4 * mini, sectors) + bytes(512 * 20)
    for sector in range(sectors, sectors + 20):
        bent = _with_word(bent, 512 + 4 * sector, sector + 1 if sector < sectors + 19 else 0xFFFFFFFE)
    bent = _with_word(bent, place + 120, 512 * 21)
    expected = MsiReader().stripped(BytesView(bent))
    for url in (None, LONG_URL):
        result = sign(bent, identity("rsa3072"), url=url, existing="replace", extended=True)
        assert len(read(result).signatures) == 1
        assert stripped(result) == expected


def test_a_directory_that_cannot_grow_is_refused_before_a_key_is_used():
    rows = Cfb({f"{number:05}": b"" for number in range((1 << 15) - 1)}, version=4).build()
    with pytest.raises(FormatError) as refusal:
        prepare(rows)
    assert refusal.value.code == "too-large"


@pytest.mark.parametrize(("tree", "code"), [
    ({SIGNATURE: b"x" * (2 << 20) + b"x"}, "too-large"),
    ({EXTENDED: b"x" * (64 << 10) + b"x"}, "too-large"),
])  # fmt: skip
def test_streams_of_a_signature_that_are_far_too_large_are_refused(tree, code):
    with pytest.raises(FormatError) as refusal:
        prepare(Cfb({"a": b"b", **tree}).build(), existing="replace")
    assert refusal.value.code == code


@pytest.mark.parametrize("version", [3, 4])
def test_a_scattered_signature_is_replaced_or_refused_and_never_half(version):
    tree = {"Huge": bytes(24 << 20), SIGNATURE: b"x" * (1 << 20)}
    source = Cfb(tree, version=version, scatter=4).build()
    if version == 3:  # a sector of the FAT for every 128 sectors: too many to be kept at hand
        with pytest.raises(FormatError) as refusal:
            prepare(source, existing="replace")
        assert refusal.value.code == "too-fragmented"
        return
    result = sign(source, existing="replace")
    assert read(result).stripped_sha256 == MsiReader().stripped(BytesView(source))
    assert b"xxxxxxxx" not in result


def test_a_patch_carries_little_more_than_the_signature():
    source = Cfb(some_tree() | {"Huge": bytes(16 << 20)}).build()
    for options in ({}, {"url": LONG_URL, "extended": True}):
        patch = sign_view(BytesView(source), identity("rsa3072"), **options)
        assert patch.inserted < 16 << 10
        assert len(prepare(source).model_dump_json()) < 64 << 10


def test_the_state_stays_below_its_limit_with_the_largest_signature_kept():
    source = Cfb(some_tree() | {"Huge": bytes(8 << 20)}, gaps=900, mini_gaps=4).build()
    prepared = prepare(source)
    assert len(prepared.model_dump_json()) + (512 << 10) * 4 // 3 < MAX_PREPARED
    patch = MsiFormat().embed(prepared, [_padded_envelope(1 << 20)])
    file = CompoundFile(Patched(BytesView(source), patch))
    assert file.child(file.root, SIGNATURE.encode("utf-16-le")).size == 1 << 20


def _padded_envelope(size: int) -> bytes:
    """SignedData with nothing true inside, ``size`` bytes long."""
    oid = bytes.fromhex("06092a864886f70d010702")
    inner = b"\x04\x83" + (size - 21 - 5).to_bytes(3, "big") + bytes(size - 21 - 5)
    body = oid + b"\xa0\x83" + len(inner).to_bytes(3, "big") + inner
    whole = b"\x30\x83" + len(body).to_bytes(3, "big") + body
    assert len(whole) == size
    return whole


def test_a_file_of_2_gib_is_refused_before_it_is_read():
    with pytest.raises(FormatError) as refusal:
        MsiFormat().prepare(SizedView(wixl_installer(), 0x7FFFFF00), (), MsiOptions())
    assert refusal.value.code == "too-large"


def _paths(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, one in inner for found in _paths(one, (*path, key)))]


@given(st.randoms(use_true_random=False), st.one_of(st.none(), st.integers(-1, 1 << 33), st.text(max_size=4),
                                                     st.just([]), st.just({})), st.sampled_from([0, 4000]))  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_a_state_that_was_tampered_with_is_a_format_error_or_a_patch_that_fits(chosen: random.Random, value, padding):
    source = SHAPES["free-sectors"].build()
    prepared = prepare(source, extended=True)
    state = json.loads(json.dumps(prepared.state))
    *path, last = chosen.choice([path for path in _paths(state) if path])
    target = state
    for key in path:
        target = target[key]
    target[last] = value
    envelope = _padded_envelope((1 << 16) + padding) if padding else envelope_for(prepared)
    try:
        patch = MsiFormat().embed(prepared.model_copy(update={"state": state}), [envelope])
    except FormatError:
        return
    assert Patched(BytesView(source), patch).size == patch.result_size
    assert patch.result_size < len(source) + (1 << 20)


def test_memory_hardly_grows_with_the_file(tmp_path):
    small, large = tmp_path / "small", tmp_path / "large"
    for path, size in ((small, 8 << 20), (large, 128 << 20)):
        with path.open("wb") as file:
            Cfb(some_tree() | {"Huge": Repeated(bytes(1 << 16), size)}).write_to(file)
    assert growth_kib(small, large, "signwright.formats.msi", "MsiFormat()", "MsiOptions()") < 8 << 10
