# SPDX-License-Identifier: Apache-2.0
"""The MSI reader: what holds, what does not, and which bytes no signature covers."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signwright.containers.cfb import STREAM, CompoundFile
from signwright.errors import FormatError, VerificationError
from signwright.formats.authenticode import nest
from signwright.formats.msi import MsiFormat, MsiOptions
from signwright.model.view import BytesView
from signwright.readers import cms
from signwright.readers.base import Reading
from signwright.readers.msi import MsiReader
from tests.support.cfb_builder import Cfb, Tree
from tests.support.msi_builder import EXTENDED, FOLDER, SHAPES, SIGNATURE, filled, sign, some_tree, wixl_installer
from tests.support.msi_vectors import BROKEN, fat
from tests.support.signed_files import envelope_of, identity

_SMALL: Tree = {"Large": bytes(range(256)) * 17, "small": b"content", "sub": {"inner": b"1234"}}


def read(content: bytes) -> Reading:
    return MsiReader().read(BytesView(content))


def envelope_for(tree: Tree, **options: object) -> bytes:
    prepared = MsiFormat().prepare(BytesView(Cfb(tree).build()), (), MsiOptions(**options))
    return envelope_of(prepared.operations[0], identity())


@cache
def signed() -> bytes:
    return sign(Cfb(_SMALL).build(), description="x", url="https://example.org/")


@pytest.mark.parametrize(
    ("name", "places", "source"),
    [
        ("signed", ["1"], "version-3"),
        ("signed-extended", ["1"], "version-3"),
        ("signed-nested", ["1", "1.1"], "version-3"),
        ("signed-by-osslsigncode", ["1"], None),  # it puts streams into other sectors
        ("signed-by-osslsigncode-extended", ["1"], None),
    ],
)
def test_a_stored_signature_still_holds_and_strips_to_its_source(name, places, source):
    reading = read((FOLDER / "good" / f"{name}.bin").read_bytes())
    assert [found.notes["place"] for found in reading.signatures] == places
    assert reading.warnings == ()
    assert {found.purpose for found in reading.signatures} == {"authenticode"}
    if source is not None:
        assert reading.stripped_sha256 == read((FOLDER / "good" / f"{source}.bin").read_bytes()).stripped_sha256


@pytest.mark.parametrize("defect", BROKEN)
def test_no_signature_is_ever_found_in_a_broken_file(defect):
    try:
        reading = read(BROKEN[defect][0])
    except (FormatError, VerificationError):
        return
    assert reading.signatures == ()


@pytest.mark.parametrize("defect", [name for name, (_, code) in BROKEN.items() if code.startswith("cfb-")])
def test_a_file_that_contradicts_itself_is_not_read(defect):
    with pytest.raises(FormatError):
        read(BROKEN[defect][0])


@pytest.mark.parametrize("shape", SHAPES)
def test_an_unsigned_file_is_read_without_signatures(shape):
    reading = read(SHAPES[shape].build())
    assert reading.signatures == ()
    assert bool(reading.warnings) is (shape == "free-sectors")


@pytest.mark.parametrize(("tables", "version"), [(109, 3), (110, 3), (236, 3), (237, 3), (2, 4)])
def test_tables_of_any_length_are_followed(tables, version):
    assert read(filled(tables, version).build()).warnings == ()


def test_the_strip_digest_knows_the_tree_and_where_it_lies():
    plain = read(SHAPES["version-3"].build()).stripped_sha256
    assert read(SHAPES["tree-all-black"].build()).stripped_sha256 == plain
    assert read(SHAPES["last-sector-cut"].build()).stripped_sha256 == read(SHAPES["version-4"].build()).stripped_sha256
    others = [
        *(SHAPES[shape] for shape in ("version-4", "scattered", "free-sectors", "mini-stream-gaps")),
        SHAPES["version-3"].but(clean=True),
        SHAPES["patch"],
        SHAPES["times-and-states"],
        Cfb(some_tree() | {"more": b""}),
        Cfb(some_tree() | {"small": b"x"}),
        Cfb(some_tree(), storage_clsid=bytes(16)),
        Cfb({**some_tree(), "storage": {"one": b"inne", "other": b"r" + bytes(5000)}}),
    ]
    assert len({plain, *(read(one.build()).stripped_sha256 for one in others)}) == len(others) + 1


def test_only_an_installer_is_recognised():
    reader = MsiReader()
    assert all(reader.recognizes(BytesView(one.build())) for one in SHAPES.values())
    others = (b"", b"MZ" + bytes(600), BROKEN["word-document"][0], BROKEN["magic-only"][0])
    assert not any(reader.recognizes(BytesView(content)) for content in others)


def test_content_beside_an_installer_is_refused():
    with pytest.raises(FormatError, match="inside"):
        MsiReader().read(BytesView(signed()), BytesView(b"content"))


def test_the_notes_show_description_and_url():
    (found,) = read(signed()).signatures
    assert found.notes == {
        "place": "1",
        "covers": "contents of streams",
        "description": "x",
        "url": "https://example.org/",
    }


def _covered(content: bytes) -> list[int]:
    """Offsets of bytes that the signature of ``content`` covers: streams but its own, and classes."""
    file = CompoundFile(BytesView(content))
    found: list[int] = []
    for entry in file.entries:
        if entry.kind == STREAM and entry.text != SIGNATURE:
            found += [at for offset, length in file.pieces(entry) for at in range(offset, offset + length)]
        elif entry.kind not in {0, STREAM}:
            found += range(file.entry_offset(entry.index) + 80, file.entry_offset(entry.index) + 96)
    return found


def test_every_flipped_covered_byte_is_refused():
    for at in _covered(signed()):
        bent = bytearray(signed())
        bent[at] ^= 0x20
        with pytest.raises((FormatError, VerificationError)):
            read(bytes(bent))


def test_every_flipped_byte_of_the_signature_is_refused_but_for_certificates_and_versions():
    file = CompoundFile(BytesView(signed()))
    entry = file.child(file.root, SIGNATURE.encode("utf-16-le"))
    assert entry is not None
    content = file.read(entry, 1 << 20)
    certificates = b"".join(sorted(cms.parse(content).certificates))
    start = content.index(certificates)
    versions = {
        content.index(b"\x02\x01\x01\x31") + 2,
        content.index(b"\x02\x01\x01\x30", start + len(certificates)) + 2,
    }
    places = [at for offset, length in file.pieces(entry) for at in range(offset, offset + length)]
    for number, at in enumerate(places):
        bent = bytearray(signed())
        bent[at] ^= 0x02
        try:
            read(bytes(bent))
        except (FormatError, VerificationError):
            continue
        assert number in versions or start <= number < start + len(certificates)


def test_with_the_extended_stream_every_name_size_and_time_counts():
    content = sign(Cfb(_SMALL, times=(1, 2)).build(), extended=True)
    file = CompoundFile(BytesView(content))
    for entry in file.entries:
        if entry.kind == 0 or entry.text == SIGNATURE or entry.text == EXTENDED:
            continue
        offset = file.entry_offset(entry.index)
        fields = [96, *([100, 108] if entry.index else []), *([0] if entry.index else [])]
        for at in fields:
            bent = bytearray(content)
            bent[offset + at] ^= 0x01
            with pytest.raises((FormatError, VerificationError)):
                read(bytes(bent))


def test_no_truncation_of_a_signed_file_holds():
    file = CompoundFile(BytesView(signed()))
    end = max(sum(piece) for entry in file.entries if entry.kind == STREAM for piece in file.pieces(entry))
    for length in [*range(0, end, 64), end - 1]:
        with pytest.raises((FormatError, VerificationError)):
            read(signed()[:length])


@given(st.integers(0, len(SHAPES["only-mini-stream"].build()) + 6000), st.binary(min_size=1, max_size=8))
@settings(deadline=None)
def test_junk_never_gives_another_error(at, junk):
    content = signed()
    try:
        read(content[:at] + junk + content[at + len(junk) :])
    except (FormatError, VerificationError):
        pass


@given(st.binary(max_size=700))
def test_any_bytes_give_a_format_error_at_worst(content):
    for candidate in (content, wixl_installer()[:8] + content, wixl_installer()[:512] + content):
        MsiReader().recognizes(BytesView(candidate))
        try:
            read(candidate)
        except FormatError:
            pass


@pytest.mark.parametrize("behind", [b"\0", b"PK\3\4 an archive", bytes(512), bytes(513)])
def test_anything_behind_the_last_sector_is_refused_in_a_signed_file(behind):
    with pytest.raises(FormatError) as failure:
        read(signed() + behind)
    assert failure.value.code == "data-after-signature"
    assert "behind the last sector" in read(SHAPES["version-3"].build() + behind).warnings[0]


def test_a_free_sector_at_the_end_of_a_signed_file_is_refused():
    """The FAT may reach it or not: Windows refuses both."""
    content = signed()
    sectors = len(content) // 512 - 1
    assert content[fat(sectors) : fat(sectors) + 4] == b"\xff" * 4
    with pytest.raises(FormatError) as failure:
        read(content + b" " * 512)
    assert failure.value.code == "data-after-signature"


def test_words_of_the_mini_fat_behind_the_mini_stream_do_not_matter():
    """Another signing program leaves one."""
    content = Cfb({"small": b"x" * 100, "Large": bytes(5000)}).build()
    place = (int.from_bytes(content[60:64], "little") + 1) * 512 + 4 * 50
    bent = content[:place] + b"\xfe\xff\xff\xff" + content[place + 4 :]
    assert read(bent).stripped_sha256 == read(content).stripped_sha256
    assert len(read(sign(bent)).signatures) == 1


def test_a_signature_of_another_file_is_refused():
    other = envelope_for({**_SMALL, "small": b"Content"})
    with pytest.raises(VerificationError) as failure:
        read(Cfb(_SMALL | {SIGNATURE: other}).build())
    assert failure.value.code == "digest-mismatch"


def test_a_nested_signature_of_another_file_is_refused():
    bent = nest(envelope_for(_SMALL), envelope_for({**_SMALL, "small": b"Content"}))
    with pytest.raises(VerificationError, match=r"signature 1\.1"):
        read(Cfb(_SMALL | {SIGNATURE: bent}).build())


def test_the_strip_digest_is_there_also_when_a_signature_does_not_hold():
    bent = Cfb(_SMALL | {SIGNATURE: b"none at all" * 500}).build()
    with pytest.raises(FormatError):
        read(bent)
    assert MsiReader().stripped(BytesView(bent)) == read(Cfb(_SMALL).build()).stripped_sha256


@pytest.mark.parametrize("behind", [b"\0", b"smuggled"])
def test_bytes_behind_the_signature_in_its_stream_are_refused(behind):
    with pytest.raises(FormatError):
        read(Cfb(_SMALL | {SIGNATURE: envelope_for(_SMALL) + behind}).build())


@pytest.mark.parametrize("stale", [bytes(32), bytes(20), bytes(48), b"", bytes(64)])
def test_an_extended_stream_that_does_not_hold_is_refused(stale):
    with pytest.raises(VerificationError):
        read(Cfb(_SMALL | {SIGNATURE: envelope_for(_SMALL), EXTENDED: stale}).build())


def test_an_extended_stream_of_another_digest_is_refused():
    """Windows would take it as it is; others compute it in the digest of the signature."""
    content = sign(Cfb(_SMALL).build(), extended=True)
    file = CompoundFile(BytesView(content))
    entry = file.child(file.root, EXTENDED.encode("utf-16-le"))
    assert entry is not None
    tree = _SMALL | {SIGNATURE: envelope_for(_SMALL, digest="sha384"), EXTENDED: file.read(entry, 64)}
    with pytest.raises(VerificationError) as failure:
        read(Cfb(tree).build())
    assert failure.value.code == "bad-extended"


def test_an_extended_stream_without_a_signature_is_a_warning():
    assert "without a signature" in read(Cfb(_SMALL | {EXTENDED: bytes(32)}).build()).warnings[0]


def test_a_signature_of_another_kind_of_file_is_refused():
    prepared = MsiFormat().prepare(BytesView(Cfb(_SMALL).build()), (), MsiOptions())
    alien = prepared.operations[0].model_copy(update={"template": "authenticode-cab"})
    with pytest.raises(VerificationError) as failure:
        read(Cfb(_SMALL | {SIGNATURE: envelope_of(alien, identity())}).build())
    assert failure.value.code == "wrong-kind"
