# SPDX-License-Identifier: Apache-2.0
"""The cabinet writer: what it signs, what it refuses, and what it leaves alone."""

from __future__ import annotations

import base64
import hashlib
import json
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from signwright.containers.cab import CabArchive
from signwright.errors import FormatError
from signwright.formats.base import FormatOptions, Prepared
from signwright.formats.cab import MAX_KEPT, CabFormat, CabOptions
from signwright.formats.cab_head import LIMIT, MAX_FOLDERS
from signwright.model.patch import Patched, sealed
from signwright.model.view import BLOCK, BytesView, FileView, Head
from signwright.readers.cab import CabReader
from tests.support.cab_builder import MSZIP, SHAPES, STORED, Cab, Folder, sign, sign_view, signature_reserve
from tests.support.cab_vectors import BROKEN, FOLDER
from tests.support.large_files import SizedView, growth_kib
from tests.support.signed_files import envelope_of, identity

READER = CabReader()


def prepare(content: bytes, **options: object) -> Prepared:
    return CabFormat().prepare(BytesView(content), (), CabOptions(**options))


def stripped(content: bytes) -> str:
    return READER.read(BytesView(content)).stripped_sha256


def number(content: bytes, offset: int) -> int:
    return int.from_bytes(content[offset : offset + 4], "little")


def digest_by_the_book(unsigned: Cab, algorithm: str = "sha256") -> str:
    """The cabinet built with the reserve of a signature, hashed without reserved1 and that reserve."""
    content = unsigned.but(reserves=(signature_reserve(), 0, 0)).build()
    return hashlib.new(algorithm, content[:4] + content[8:36] + content[40:42] + content[60:]).hexdigest()


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_operation_carries_the_digest_of_the_cabinet_as_it_will_stand_in_the_signed_file(shape, algorithm):
    content = SHAPES[shape].build()
    prepared = prepare(content, digest=algorithm)
    (operation,) = prepared.operations
    assert operation.digest == f"{algorithm}:{digest_by_the_book(SHAPES[shape], algorithm)}"
    assert operation.template == "authenticode-cab"
    assert prepared.source_sha256 == hashlib.sha256(content).hexdigest()
    assert prepared.source_size == len(content)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_signed_file_reads_back_and_strips_to_its_source(shape):
    source = SHAPES[shape].build()
    reading = READER.read(BytesView(sign(source)))
    (found,) = reading.signatures
    assert reading.warnings == ()
    assert reading.stripped_sha256 == stripped(source)
    assert str(found.content_digest) == prepare(source).operations[0].digest
    assert found.signer_certificate == identity().certificate


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


def test_the_reserve_names_the_signature_behind_the_cabinet():
    result = sign(SHAPES["mszip"].build(), identity("rsa2048"))
    size = number(result, 8)
    assert result[36:44] == bytes.fromhex("1400000000001000")
    assert (number(result, 44), number(result, 48)) == (size, len(result) - size)
    assert result[52:60] == bytes(8)
    assert number(result, 48) % 8 == 0
    assert result[size] == 0x30


@pytest.mark.parametrize("shape", SHAPES)
def test_every_offset_moves_by_what_the_reserve_takes_and_the_files_stay(shape):
    source = SHAPES[shape].build()
    result = sign(source, identity("rsa2048"))
    plain = SHAPES[shape].but(reserves=(signature_reserve(), 0, 0)).build()
    size = len(plain)
    assert number(result, 8) == size
    assert result[: 36 + 8] == plain[: 36 + 8]
    assert result[60:size] == plain[60:]
    archive = CabArchive(Head(BytesView(result), size))
    before = CabArchive(BytesView(source))
    if all(folder.method in (STORED, MSZIP) for folder in SHAPES[shape].folders):
        for one, other in zip(archive.members, before.members, strict=True):
            assert b"".join(archive.read(one)) == b"".join(before.read(other))


def test_only_the_head_and_the_end_change():
    cab = SHAPES["several-blocks"]
    source = cab.build()
    patch = sign_view(BytesView(source))
    assert [(s.offset, s.remove) for s in patch.splices] == [(8, 44 - 8), (len(source), 0)]
    assert patch.inserted < 4096


def test_a_patch_of_many_folders_is_not_larger_than_what_is_new_and_changed():
    source = Cab(folders=(Folder(files=(("a", b"a"),), method=STORED),) * MAX_FOLDERS).build()
    patch = sign_view(BytesView(source), identity("rsa2048"))
    changed = 24 + 4 + 4 + 2 + 4 * MAX_FOLDERS + len(patch.splices[-1].insert)
    assert len(patch.encode()) <= changed + (64 << 10)
    result = Patched(BytesView(source), patch)
    assert stripped(result.read(0, result.size)) == stripped(source)


def test_more_folders_than_that_are_refused():
    with pytest.raises(FormatError) as refusal:
        prepare(Cab(folders=(Folder(files=(("a", b"a"),), method=STORED),) * (MAX_FOLDERS + 1)).build())
    assert refusal.value.code == "too-large"


@pytest.mark.parametrize("existing", ["refuse", "replace", "append"])
@pytest.mark.parametrize("shape", ["reserve-of-20-zeros", "reserve-for-a-signature", "reserve-of-6144-zeros"])
def test_room_that_was_reserved_for_a_signature_is_no_signature(shape, existing):
    result = sign(SHAPES[shape].build(), identity("rsa2048"), existing=existing)
    plain = sign(SHAPES["mszip"].build(), identity("rsa2048"))
    assert result == plain


def test_each_cabinet_of_a_set_is_signed_on_its_own_and_its_number_and_names_are_covered():
    first, second = SHAPES["first-of-a-set"], SHAPES["second-of-a-set"]
    assert prepare(second.build()).facts["is_part_of_set"] is True
    assert prepare(second.build()).facts["cabinet_number"] == 1
    digests = {
        prepare(cab.build()).operations[0].digest
        for cab in (
            first,
            second,
            second.but(index=2),
            second.but(set_id=2),
            second.but(previous=("disk1.cab", "disk 1")),
            second.but(previous=("disk2.cab", "Disk 1")),
            second.but(previous=("disk1.ca", "bDisk 1")),
            second.but(previous=None, following=("disk1.cab", "Disk 1")),
        )
    }
    assert len(digests) == 8


def test_options_reach_the_signature():
    result = sign(SHAPES["mszip"].build(), description="Größe ✓", url="https://example.org/a?b=c")
    (found,) = READER.read(BytesView(result)).signatures
    assert found.notes["description"] == "Größe ✓"
    assert found.notes["url"] == "https://example.org/a?b=c"


@pytest.mark.parametrize("options", [{"digest": "sha1"}, {"existing": "keep"}, {"reserve": 20}, {"url": "file:///x"}])
def test_an_option_that_is_not_sound_is_refused(options):
    with pytest.raises(ValidationError):
        CabOptions(**options)


def test_options_of_another_format_are_refused():
    with pytest.raises(FormatError, match="wanted CabOptions"):
        CabFormat().prepare(BytesView(SHAPES["mszip"].build()), (), FormatOptions())


def test_a_signed_file_is_refused_by_default():
    with pytest.raises(FormatError) as refusal:
        prepare(sign(SHAPES["mszip"].build()))
    assert refusal.value.code == "already-signed"


@pytest.mark.parametrize("shape", ["mszip", "two-folders", "second-of-a-set", "reserve-of-6144-zeros"])
def test_replacing_gives_the_same_content_and_one_signature(shape):
    source, rsa = SHAPES[shape].build(), identity("rsa2048")  # whose signatures, unlike ECDSA's, all have one length
    once = sign(source, rsa)
    again = sign(once, existing="replace")
    reading = READER.read(BytesView(again))
    assert len(reading.signatures) == 1
    assert reading.signatures[0].signer_certificate == identity().certificate
    assert reading.stripped_sha256 == stripped(source) == stripped(once)
    assert sign(again, rsa, existing="replace") == once


def test_appending_nests_and_leaves_the_first_signature_as_it_was():
    source = SHAPES["two-folders"].build()
    once = sign(source, description="first")
    thrice = sign(sign(once, existing="append", digest="sha512"), identity("rsa2048"), existing="append")
    before, after = READER.read(BytesView(once)), READER.read(BytesView(thrice))
    assert [s.notes["place"] for s in after.signatures] == ["1", "1.1", "1.2"]
    assert after.signatures[0].signature_value == before.signatures[0].signature_value
    assert {s.content_digest.algorithm for s in after.signatures} == {"sha256", "sha512"}
    assert after.stripped_sha256 == stripped(source)


@pytest.mark.parametrize("tool", ["signed-by-osslsigncode", "signed-by-jsign-second-of-a-set"])
def test_a_signature_of_another_tool_is_kept(tool):
    other = (FOLDER / "good" / f"{tool}.bin").read_bytes()
    reading = READER.read(BytesView(sign(other, existing="append")))
    assert [s.notes["place"] for s in reading.signatures] == ["1", "1.1"]


def test_an_existing_signature_that_is_too_large_to_keep_is_refused_before_it_is_read():
    size = MAX_KEPT + 1
    source = Cab(
        reserves=(signature_reserve(len(SHAPES["mszip"].build()) + 24, size), 0, 0), behind=bytes(size)
    ).build()
    with pytest.raises(FormatError) as refusal:
        prepare(source, existing="append")
    assert refusal.value.code == "too-large"
    assert READER.read(BytesView(sign(source, existing="replace"))).signatures


def test_the_largest_state_stays_within_its_limit():
    one = sign(Cab(folders=(Folder(files=(("a", b"a"),), method=STORED),) * MAX_FOLDERS).build())
    prepared = prepare(one, existing="append")
    kept = base64.b64encode(bytes(MAX_KEPT)).decode()
    bent = prepared.model_copy(update={"state": {**prepared.state, "kept": kept}})
    assert len(bent.model_dump_json()) < 1 << 20


@pytest.mark.parametrize("size", [LIMIT, LIMIT - (1 << 20), (1 << 32) - 1])
def test_a_cabinet_that_would_reach_2_gib_is_refused_before_it_is_read(size):
    with pytest.raises(FormatError) as refusal:
        CabFormat().prepare(SizedView(Cab(size=size).build(), size), (), CabOptions())
    assert refusal.value.code == "too-large"


def test_an_envelope_that_is_not_cms_is_not_embedded():
    prepared = prepare(SHAPES["mszip"].build())
    good = envelope_of(prepared.operations[0], identity())
    for envelopes in ([], [good, good], [b""], [b"\x30\x00"], [good[:-1]], [good + b"\0"], [b"\x30" * (1 << 21)]):
        with pytest.raises(FormatError):
            CabFormat().embed(prepared, envelopes)


def test_an_appended_signature_that_grows_beyond_two_gib_is_refused():
    prepared = prepare(SHAPES["mszip"].build())
    head = bytearray(base64.b64decode(prepared.state["head"]))
    end = LIMIT - 100
    head[8:12] = struct.pack("<I", end - prepared.state["content_start"] + len(head))
    bent = {**prepared.state, "content_end": end, "head": base64.b64encode(bytes(head)).decode()}
    with pytest.raises(FormatError) as refusal:
        CabFormat().embed(
            prepared.model_copy(update={"state": bent, "source_size": end}),
            [envelope_of(prepared.operations[0], identity())],
        )
    assert refusal.value.code == "too-large"


@given(
    st.dictionaries(
        st.sampled_from(["head", "content_start", "content_end", "kept", "more"]),
        st.one_of(
            st.integers(-1, 1 << 33),
            st.text(max_size=4),
            st.binary(max_size=90).map(lambda raw: base64.b64encode(raw).decode()),
        ),
        min_size=1,
    )
)
@example({"content_start": 454})  # behind the end
def test_a_state_that_was_tampered_with_is_a_format_error_or_a_patch_that_fits(changes):
    source = SHAPES["mszip"].build()
    prepared = prepare(source)
    envelope = envelope_of(prepared.operations[0], identity())
    bent = prepared.model_copy(update={"state": {**prepared.state, **changes}})
    try:
        patch = CabFormat().embed(bent, [envelope])
    except FormatError:
        return
    assert Patched(BytesView(source), patch).size == patch.result_size


def test_a_state_of_another_format_is_refused():
    prepared = prepare(SHAPES["mszip"].build())
    envelope = envelope_of(prepared.operations[0], identity())
    with pytest.raises(FormatError) as refusal:
        CabFormat().embed(prepared.model_copy(update={"format": "pe"}), [envelope])
    assert refusal.value.code == "bad-state"
    assert json.loads(prepared.model_dump_json())["state"]["kept"] == ""


def test_every_truncation_is_refused():
    source = SHAPES["two-folders"].build()
    for length in range(len(source)):
        with pytest.raises(FormatError):
            prepare(source[:length])


@given(st.sampled_from(sorted(SHAPES)), st.integers(0, 200), st.binary(min_size=1, max_size=12))
def test_bent_headers_give_a_format_error_or_a_signature_that_holds(shape, at, junk):
    content = SHAPES[shape].build()
    content = content[:at] + junk + content[at + len(junk) :]
    try:
        result = sign(content, existing="replace")
    except FormatError:
        return
    assert len(READER.read(BytesView(result)).signatures) == 1
    assert stripped(result) == stripped(content)


@given(st.binary(max_size=300))
def test_any_bytes_give_a_format_error_at_worst(content):
    for candidate in (content, b"MSCF" + content, SHAPES["mszip"].build()[:36] + content):
        CabFormat().recognizes(BytesView(candidate))
        try:
            prepare(candidate, existing="append")
        except FormatError:
            pass


_NAMES = st.tuples(st.text("abc.", min_size=0, max_size=9), st.text("xyz ", max_size=9))


@given(
    st.lists(
        st.lists(st.tuples(st.text("ab", min_size=1), st.binary(max_size=900)), max_size=3), min_size=1, max_size=4
    ),
    st.one_of(st.none(), _NAMES),
    st.one_of(st.none(), _NAMES),
    st.one_of(st.none(), st.integers(0, 300)),
    st.sampled_from([STORED, MSZIP]),
)
@settings(max_examples=40)
def test_any_folders_names_and_empty_reserves_survive(folders, previous, following, reserve, method):
    files = tuple(Folder(files=(*map(tuple, rows), ("last", b"x")), method=method) for rows in folders)
    reserves = None if reserve is None else (bytes(reserve), 0, 0)
    source = Cab(folders=files, previous=previous, following=following, reserves=reserves).build()
    result = sign(source)
    assert READER.read(BytesView(result)).warnings == ()
    assert stripped(result) == stripped(source)


@given(
    st.sampled_from(sorted(SHAPES)),
    st.lists(
        st.tuples(st.sampled_from(["replace", "append", "remove"]), st.sampled_from(["sha256", "sha384"])), max_size=5
    ),
)
@settings(max_examples=25)
def test_whatever_is_done_to_signatures_the_cabinet_stays(shape, steps):
    content, expected = sign(SHAPES[shape].build()), 1
    for existing, digest in steps:
        if existing != "remove":
            content = sign(content, existing=existing, digest=digest)
            expected = expected + 1 if existing == "append" else 1
        elif expected:
            view = BytesView(content)
            patch = sealed(view, CabFormat().remove(view))
            content, expected = Patched(view, patch).read(0, patch.result_size), 0
    reading = READER.read(BytesView(content))
    assert reading == READER.read(BytesView(content))
    assert len(reading.signatures) == expected
    assert reading.stripped_sha256 == stripped(SHAPES[shape].build())


def _large() -> bytes:
    body = bytes(range(256)) * (5 * BLOCK // 256) + b"odd"
    return Cab(folders=(Folder(files=(("large", body),), method=STORED, checksums=False),)).build()


def test_threads_and_block_borders_do_not_change_the_digest(tmp_path):
    source = _large()
    path = tmp_path / "large"
    path.write_bytes(source)
    with path.open("rb") as file:
        view = FileView(file)
        patch = sealed(view, sign_view(view))
        assert READER.read(Patched(view, patch)).stripped_sha256 == stripped(source)
        prepared = CabFormat().prepare(view, (), CabOptions())
        assert prepared.source_sha256 == hashlib.sha256(source).hexdigest()


def test_a_file_that_shrinks_while_it_is_read_is_a_format_error(tmp_path):
    path = tmp_path / "shrinking"
    path.write_bytes(_large())
    with path.open("r+b") as file:
        view = FileView(file)
        file.truncate(4 * BLOCK)
        with pytest.raises(FormatError, match="shorter"):
            CabFormat().prepare(view, (), CabOptions())


def test_memory_does_not_grow_with_the_file(tmp_path):
    small, large = tmp_path / "small", tmp_path / "large"
    for path, size in ((small, 8 * BLOCK), (large, 128 * BLOCK)):
        path.write_bytes(Cab(size=size).build())
        with path.open("r+b") as file:
            file.truncate(size)
    assert growth_kib(small, large, "signwright.formats.cab", "CabFormat()", "CabOptions()") < 8 << 10


def test_facts_say_what_the_cabinet_is():
    assert prepare(SHAPES["two-folders"].build()).facts == {
        "files": 3,
        "folders": 2,
        "set_id": 1815,
        "cabinet_number": 0,
        "is_part_of_set": False,
        "signed_before": False,
    }
    assert prepare(sign(SHAPES["mszip"].build()), existing="replace").facts["signed_before"] is True


def test_recognition_is_by_content():
    assert not any(CabFormat().recognizes(BytesView(c)) for c in (b"", b"MSCF", b"MZ" + bytes(100), b"PK\3\4" * 30))
    assert all(CabFormat().recognizes(BytesView(cab.build())) for cab in SHAPES.values())


@pytest.mark.parametrize("shape", SHAPES)
def test_removing_leaves_the_content_without_signature_and_without_a_reserve(shape):
    source = SHAPES[shape].build()
    view = BytesView(sign(source))
    patch = sealed(view, CabFormat().remove(view))
    left = Patched(view, patch).read(0, patch.result_size)
    assert left == SHAPES[shape].but(reserves=None).build()
    reading = READER.read(BytesView(left))
    assert reading.signatures == reading.warnings == ()
    assert reading.stripped_sha256 == stripped(source)
    with pytest.raises(FormatError) as refusal:
        CabFormat().remove(BytesView(left))
    assert refusal.value.code == "not-signed"


def test_nothing_is_removed_from_a_file_with_data_behind_its_signature():
    with pytest.raises(FormatError) as refusal:
        CabFormat().remove(BytesView(sign(SHAPES["mszip"].build()) + b"more"))
    assert refusal.value.code == "data-after-signature"
