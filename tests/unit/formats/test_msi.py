# SPDX-License-Identifier: Apache-2.0
"""The MSI writer: what it signs, what it refuses, and what it leaves alone."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from signwright.containers.cfb import BLACK, NO_ENTRY, RED, STORAGE, CompoundFile, Entry
from signwright.errors import FormatError
from signwright.formats.base import MAX_PREPARED, FormatOptions, Prepared
from signwright.formats.msi import MsiFormat, MsiOptions
from signwright.model.patch import Patched, sealed
from signwright.model.view import BytesView
from signwright.readers.base import Reading
from signwright.readers.msi import MsiReader
from tests.support.cfb_builder import Cfb, Repeated, Tree
from tests.support.msi_builder import (
    EXTENDED,
    FOLDER,
    SHAPES,
    SIGNATURE,
    filled,
    sign,
    sign_view,
    some_tree,
    wixl_installer,
)
from tests.support.msi_vectors import BROKEN
from tests.support.signed_files import envelope_of, identity

READER = MsiReader()
#: Makes a signature larger than 4,096 bytes, which then stands in sectors of its own.
LONG_URL = "https://example.org/" + "a" * 2000


def prepare(content: bytes, **options: object) -> Prepared:
    return MsiFormat().prepare(BytesView(content), (), MsiOptions(**options))


def read(content: bytes) -> Reading:
    return READER.read(BytesView(content))


def stripped(content: bytes) -> str:
    return read(content).stripped_sha256


def envelope_for(prepared: Prepared, signer=None) -> bytes:
    (operation,) = prepared.operations
    return envelope_of(operation, signer or identity())


def streams_of(content: bytes) -> dict[str, bytes]:
    """Path to content of every stream; the directory's order is checked on the way."""
    file = CompoundFile(BytesView(content))

    def walk(storage: Entry, path: str) -> dict[str, bytes]:
        file.check_order(storage)
        found = {}
        for entry in file.children(storage):
            inner = f"{path}/{entry.text}"
            found |= walk(entry, inner) if entry.kind == STORAGE else {inner: file.read(entry, 1 << 30)}
        return found

    return walk(file.root, "")


def digest_by_the_book(tree: Tree, clsid: bytes, storage_clsid: bytes, running: hashlib._Hash) -> None:
    """Content of streams in the order of their names' bytes, storages in their place, classes behind the content."""
    for name in sorted(tree, key=lambda name: name.encode("utf-16-le")):
        inside = tree[name]
        if isinstance(inside, dict):
            digest_by_the_book(inside, storage_clsid, storage_clsid, running)
        else:
            running.update(inside)  # type: ignore[arg-type]
    running.update(clsid)


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("shape", ["version-3", "version-4", "patch"])
def test_the_operation_carries_the_digest_of_streams_in_order(shape, algorithm):
    one = SHAPES[shape]
    prepared = prepare(one.build(), digest=algorithm)
    (operation,) = prepared.operations
    running = hashlib.new(algorithm)
    digest_by_the_book(one.tree, one.clsid, one.storage_clsid, running)
    assert operation.digest == f"{algorithm}:{running.hexdigest()}"
    assert operation.template == "authenticode-msi"
    assert prepared.source_sha256 == hashlib.sha256(one.build()).hexdigest()
    assert prepared.source_size == len(one.build())


def test_the_extended_digest_has_names_sizes_times_and_states_first():
    one = Cfb({"b": b"12", "a": {"c": b"3"}}, times=(7, 8), state=9, storage_clsid=b"s" * 16)
    times = (7).to_bytes(8, "little") + (8).to_bytes(8, "little")
    state = (9).to_bytes(4, "little")
    head = one.clsid + state
    head += "a".encode("utf-16-le") + b"s" * 16 + state + times
    head += "c".encode("utf-16-le") + (1).to_bytes(4, "little") + state + times
    head += "b".encode("utf-16-le") + (2).to_bytes(4, "little") + state + times
    prefix = hashlib.sha256(head).digest()
    expected = hashlib.sha256(prefix + b"3" + b"s" * 16 + b"12" + one.clsid).hexdigest()
    assert prepare(one.build(), extended="yes").operations[0].digest == f"sha256:{expected}"
    assert streams_of(sign(one.build(), extended="yes"))[f"/{EXTENDED}"] == prefix


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("url", [None, LONG_URL])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_signed_file_reads_back_and_every_other_stream_is_as_it_was(shape, url, extended):
    source = SHAPES[shape].build()
    result = sign(source, identity("rsa2048"), url=url, extended=extended)
    reading = read(result)
    (found,) = reading.signatures
    assert reading.stripped_sha256 == stripped(source)
    assert str(found.content_digest) == prepare(source, extended=extended).operations[0].digest
    streams = streams_of(result)
    assert streams.pop(f"/{SIGNATURE}") == found.envelope
    assert (streams.pop(f"/{EXTENDED}", None) is not None) is extended
    assert streams == streams_of(source)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_good_vector_on_disk_is_what_the_builder_makes(shape):
    assert (FOLDER / "good" / f"{shape}.bin").read_bytes() == SHAPES[shape].build()


@pytest.mark.parametrize("defect", BROKEN)
def test_a_broken_file_is_refused_with_its_code(defect):
    content, code = BROKEN[defect]
    assert (FOLDER / "broken" / f"{defect}.bin").read_bytes() == content
    with pytest.raises(FormatError) as refusal:
        prepare(content, existing="append")
    assert refusal.value.code == code


@pytest.mark.parametrize(("tables", "version"), [(1, 3), (2, 3), (109, 3), (110, 3), (236, 3), (1, 4), (2, 4)])
def test_tables_grow_where_they_are_full(tables, version):
    """109 sectors of the FAT stand in the header, 127 more in each sector of the DIFAT."""
    source = filled(tables, version).build()
    result = sign(source, identity("rsa2048"), url=LONG_URL, extended=True)
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


def test_a_file_with_free_room_is_filled_before_it_grows():
    source = SHAPES["free-sectors"].build()
    result = sign(source, identity("rsa2048"), url=LONG_URL)
    assert len(result) < len(source) + len(sign(SHAPES["version-3"].build(), identity("rsa2048"), url=LONG_URL))
    assert prepare(source).facts["unused_bytes"] == 9 * 512
    assert CompoundFile(BytesView(result)).owned.count(0) <= 1


def test_nothing_is_left_of_what_was_replaced():
    large = sign(SHAPES["version-3"].build(), identity("rsa2048"), url=LONG_URL, extended=True)
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
    assert stripped(result) == stripped(Cfb(some_tree()).build())


def test_a_stale_extended_stream_without_a_signature_goes():
    source = Cfb(some_tree() | {EXTENDED: b"stale" * 8}).build()
    assert f"/{EXTENDED}" not in streams_of(sign(source))
    renewed = sign(source, extended=True)
    assert len(streams_of(renewed)[f"/{EXTENDED}"]) == 32
    assert len(read(renewed).signatures) == 1


@pytest.mark.parametrize("shape", ["version-3", "version-4", "tree-all-black", "scattered"])
def test_replacing_gives_the_same_content_and_one_signature(shape):
    source, rsa = SHAPES[shape].build(), identity("rsa2048")
    once = sign(source, rsa, extended=True)
    again = sign(once, existing="replace")
    reading = read(again)
    assert len(reading.signatures) == 1
    assert reading.signatures[0].signer_certificate == identity().certificate
    assert reading.stripped_sha256 == stripped(source) == stripped(once)
    assert sign(again, rsa, existing="replace", extended=True) == sign(
        sign(again, rsa, existing="replace", extended=True), rsa, existing="replace", extended=True
    )


def test_appending_nests_and_leaves_the_first_signature_as_it_was():
    source = SHAPES["version-3"].build()
    once = sign(source, description="first")
    thrice = sign(sign(once, existing="append", digest="sha512"), identity("rsa2048"), existing="append")
    before, after = read(once), read(thrice)
    assert [one.notes["place"] for one in after.signatures] == ["1", "1.1", "1.2"]
    assert after.signatures[0].signature_value == before.signatures[0].signature_value
    assert {one.content_digest.algorithm for one in after.signatures} == {"sha256", "sha512"}
    assert after.stripped_sha256 == stripped(source)


def test_appending_keeps_the_extended_stream_that_the_first_signature_was_made_with():
    once = sign(SHAPES["version-4"].build(), extended=True)
    twice = sign(once, existing="append")
    assert streams_of(twice)[f"/{EXTENDED}"] == streams_of(once)[f"/{EXTENDED}"]
    assert len(read(twice).signatures) == 2
    with pytest.raises(FormatError) as refusal:
        prepare(once, existing="append", digest="sha384")
    assert refusal.value.code == "bad-extended"
    with pytest.raises(FormatError) as refusal:
        prepare(sign(SHAPES["version-4"].build()), existing="append", extended=True)
    assert refusal.value.code == "bad-options"


@pytest.mark.parametrize("name", ["signed-by-osslsigncode", "signed-by-osslsigncode-extended"])
def test_a_signature_of_another_tool_is_kept_or_replaced(name):
    other = (FOLDER / "good" / f"{name}.bin").read_bytes()
    reading = read(sign(other, existing="append"))
    assert [one.notes["place"] for one in reading.signatures] == ["1", "1.1"]
    assert reading.signatures[0].notes["description"] == "by another tool"
    assert len(read(sign(other, existing="replace")).signatures) == 1


def test_a_signed_file_is_refused_by_default():
    with pytest.raises(FormatError) as refusal:
        prepare(sign(wixl_installer()))
    assert refusal.value.code == "already-signed"


def test_zeros_behind_the_last_sector_are_dropped_and_anything_else_is_refused():
    source = SHAPES["version-3"].build()
    result = sign(source + bytes(5000))
    assert read(result).warnings == ()
    assert stripped(result) == stripped(source)
    for behind in (b"x", bytes(512) + b"PK\3\4", bytes(5000) + b"\n"):
        with pytest.raises(FormatError) as refusal:
            prepare(source + behind)
        assert refusal.value.code == "data-behind-content"


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_removing_leaves_the_content_without_signature(shape, extended):
    source = SHAPES[shape].build()
    view = BytesView(sign(source, identity("rsa2048"), url=LONG_URL, extended=extended))
    patch = sealed(view, MsiFormat().remove(view))
    left = Patched(view, patch).read(0, patch.result_size)
    assert read(left).signatures == ()
    assert stripped(left) == stripped(source)
    assert streams_of(left) == streams_of(source)
    assert b"a" * 40 not in left
    with pytest.raises(FormatError) as refusal:
        MsiFormat().remove(BytesView(left))
    assert refusal.value.code == "not-signed"


def test_a_patch_carries_little_more_than_the_signature():
    source = Cfb(some_tree() | {"Huge": bytes(16 << 20)}).build()
    for options in ({}, {"url": LONG_URL, "extended": True}):
        patch = sign_view(BytesView(source), identity("rsa2048"), **options)
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


class _Sized(BytesView):
    """The bytes of a file of which only the beginning is there."""

    def __init__(self, content: bytes, size: int) -> None:
        super().__init__(content)
        self.size = size


def test_a_file_of_2_gib_is_refused_before_it_is_read():
    with pytest.raises(FormatError) as refusal:
        MsiFormat().prepare(_Sized(wixl_installer(), 0x7FFFFF00), (), MsiOptions())
    assert refusal.value.code == "too-large"


@pytest.mark.parametrize("options", [{"extended": "perhaps"}, {"digest": "sha1"}, {"page_hashes": True}])
def test_an_option_that_is_not_sound_is_refused(options):
    with pytest.raises(ValidationError):
        MsiOptions(**options)


def test_options_of_another_format_are_refused():
    with pytest.raises(FormatError, match="wanted MsiOptions"):
        MsiFormat().prepare(BytesView(wixl_installer()), (), FormatOptions())


def test_an_envelope_that_is_not_cms_is_not_embedded():
    prepared = prepare(wixl_installer())
    good = envelope_for(prepared)
    for envelopes in ([], [good, good], [b""], [b"\x30\x00"], [good[:-1]], [good + b"\0"], [b"\x30" * (1 << 21)]):
        with pytest.raises(FormatError):
            MsiFormat().embed(prepared, envelopes)


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


@given(st.integers(0, 14335), st.binary(min_size=1, max_size=12))
@settings(deadline=None)
def test_bent_files_give_a_format_error_or_a_signature_that_holds(at, junk):
    content = (FOLDER / "broken" / "data-behind.bin").read_bytes()[:-512]
    content = content[:at] + junk + content[at + len(junk) :]
    try:
        result = sign(content, existing="replace")
    except FormatError:
        return
    assert len(read(result).signatures) == 1
    assert stripped(result) == stripped(content)


@given(st.binary(max_size=700))
def test_any_bytes_give_a_format_error_at_worst(content):
    for candidate in (content, wixl_installer()[:8] + content, wixl_installer()[:512] + content):
        MsiFormat().recognizes(BytesView(candidate))
        try:
            prepare(candidate, existing="append")
        except FormatError:
            pass


@given(st.lists(st.tuples(st.text(st.characters(min_codepoint=0x3800, max_codepoint=0x4840), min_size=1, max_size=31),
                          st.integers(0, 9000)), max_size=12, unique_by=lambda pair: pair[0]),
       st.booleans(), st.integers(0, 5), st.booleans())  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_any_streams_survive_being_signed_twice_and_unsigned(streams, wide, gaps, extended):
    tree: Tree = {name: bytes([number % 251]) * size for number, (name, size) in enumerate(streams)}
    source = Cfb(tree, version=4 if wide else 3, gaps=gaps, mini_gaps=gaps, scatter=None if gaps else 5).build()
    once = sign(source, extended=extended)
    twice = sign(once, existing="append")
    assert stripped(source) == stripped(once) == stripped(twice)
    assert len(read(twice).signatures) == 2
    patch = MsiFormat().remove(BytesView(twice))
    left = Patched(BytesView(twice), patch).read(0, patch.result_size)
    assert streams_of(left) == streams_of(source)


_MEMORY_PROBE = """
import resource, sys
from signwright.formats.msi import MsiFormat, MsiOptions
from signwright.model.view import FileView
with open(sys.argv[1], "rb") as file:
    MsiFormat().prepare(FileView(file), (), MsiOptions())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def _peak_kib(path: Path) -> int:
    done = subprocess.run([sys.executable, "-c", _MEMORY_PROBE, path], check=True, capture_output=True, text=True)
    return int(done.stdout)


def test_memory_hardly_grows_with_the_file(tmp_path):
    small, large = tmp_path / "small", tmp_path / "large"
    for path, size in ((small, 8 << 20), (large, 128 << 20)):
        with path.open("wb") as file:
            Cfb(some_tree() | {"Huge": Repeated(bytes(1 << 16), size)}).write_to(file)
    assert _peak_kib(large) - _peak_kib(small) < 8 << 10


def test_recognition_is_by_content():
    others = (b"", b"MZ" + bytes(600), BROKEN["word-document"][0], BROKEN["magic-only"][0], BROKEN["zip"][0])
    assert not any(MsiFormat().recognizes(BytesView(content)) for content in others)
    assert all(MsiFormat().recognizes(BytesView(one.build())) for one in SHAPES.values())
