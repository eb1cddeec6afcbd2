# SPDX-License-Identifier: Apache-2.0
"""The catalog writer: what it signs, what it refuses, and what it leaves alone."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from signwright.envelopes import der
from signwright.errors import FormatError
from signwright.formats.base import FormatOptions, Prepared
from signwright.formats.catalog import MAX_SIZE, CatalogFormat, CatalogOptions
from signwright.model.patch import Patched, sealed
from signwright.model.view import BytesView
from signwright.readers.catalog import CatalogReader
from tests.support.catalog_builder import SHA1_SHAPES, SHAPES, Cat, Member, many_members, sign
from tests.support.catalog_vectors import BROKEN, FOLDER
from tests.support.pki import default_pki
from tests.support.signed_files import identity, sign_view

READER = CatalogReader()
PLAIN = Cat().build()


def prepare(content: bytes, **options: object) -> Prepared:
    return CatalogFormat().prepare(BytesView(content), (), CatalogOptions(**options))


def removed(content: bytes) -> bytes:
    view = BytesView(content)
    result = Patched(view, sealed(view, CatalogFormat().remove(view)))
    return result.read(0, result.size)


def octets(cat: Cat) -> bytes:
    return der.read_one(cat.list(), der.SEQUENCE).content


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_the_operation_is_over_the_list_without_tag_and_length_which_goes_along(algorithm: str) -> None:
    prepared = prepare(PLAIN, digest=algorithm, description="d", url="https://example.org/")
    (operation,) = prepared.operations
    assert prepared.contents == (octets(Cat()),)
    assert operation.digest == f"{algorithm}:{hashlib.new(algorithm, octets(Cat())).hexdigest()}"
    assert operation.template == "authenticode-catalog"
    assert operation.parameters == {"description": "d", "url": "https://example.org/"}
    assert (prepared.source_sha256, prepared.source_size) == (hashlib.sha256(PLAIN).hexdigest(), len(PLAIN))


@pytest.mark.parametrize("shape", [*SHAPES, *SHA1_SHAPES])
def test_a_signed_catalog_reads_back_strips_to_its_source_and_gives_it_back(shape: str) -> None:
    source = {**SHAPES, **SHA1_SHAPES}[shape].build()
    result = sign(source, sha1=shape in SHA1_SHAPES)
    reading = READER.read(BytesView(result))
    (found,) = reading.signatures
    assert reading.stripped_sha256 == READER.read(BytesView(source)).stripped_sha256
    assert str(found.content_digest) == prepare(source, sha1=True).operations[0].digest
    assert found.signer_certificate == identity().certificate
    assert removed(result) == source


@pytest.mark.parametrize("shape", [*SHAPES, *SHA1_SHAPES])
def test_the_good_vector_on_disk_is_what_the_builder_makes(shape: str) -> None:
    content = (FOLDER / "good" / f"{shape}.cat").read_bytes()
    assert content == {**SHAPES, **SHA1_SHAPES}[shape].build()
    assert CatalogFormat().recognizes(BytesView(content))


def test_the_signed_vector_on_disk_is_read() -> None:
    (found,) = READER.read(BytesView((FOLDER / "good" / "signed.cat").read_bytes())).signatures
    assert found.notes["description"] == "Example"


@pytest.mark.parametrize("defect", BROKEN)
def test_a_broken_file_is_refused_with_its_code(defect: str) -> None:
    content, code = BROKEN[defect]
    assert (FOLDER / "broken" / f"{defect}.cat").read_bytes() == content
    with pytest.raises(FormatError) as refusal:
        prepare(content)
    assert refusal.value.code == code


def test_the_list_keeps_its_bytes_and_the_patch_does_not_carry_it() -> None:
    source = many_members().build()
    patch = sign_view(CatalogFormat(), BytesView(source))
    assert patch.inserted < 4096 < len(source)
    assert many_members().list() in sign(source)


def test_a_catalog_of_many_members_is_signed_and_read() -> None:
    source = many_members(20_000).build()
    prepared = prepare(source)
    assert prepared.facts["members"] == 20_000
    (found,) = READER.read(BytesView(sign(source))).signatures
    assert found.notes["members"] == "20000"
    assert found.notes["more_members"] == "19980"


def test_a_catalog_above_the_limit_is_refused_unread() -> None:
    class Large(BytesView):
        size = MAX_SIZE + 1

        def __init__(self) -> None:
            pass

    with pytest.raises(FormatError) as refusal:
        CatalogFormat().prepare(Large(), (), CatalogOptions())
    assert refusal.value.code == "too-large"


def test_facts_say_what_the_catalog_vouches_for() -> None:
    cat = Cat(values=(("OS", "_v100_X64,_v100_ARM64"), ("HWID2", r"pci\ven_1"), ("HWID1", r"usb\vid_1&pid_2")))
    assert prepare(cat.build()).facts == {
        "catalog_version": 2,
        "members": 3,
        "sha1_members": 1,
        "files": "a.inf, b.dll",
        "os": "_v100_ARM64, _v100_X64",
        "os_attributes": "2:10.0",
        "hardware_ids": r"pci\ven_1, usb\vid_1&pid_2",
        "signed_before": False,
    }


def test_facts_are_bounded_and_cannot_steer_a_terminal() -> None:
    rows = [Member(bytes([n]), values=(("File", f"{n:03}-" + "x" * 90),)) for n in range(60)]
    many = prepare(Cat(members=rows).build()).facts["files"]
    assert isinstance(many, str)
    assert len(many) < 1100
    assert many.endswith("more")
    evil = prepare(Cat(members=(Member(values=(("File", "a\x1b[2J\u202eb"),)),)).build()).facts["files"]
    assert evil == r"'a\x1b[2J\u202eb'"


def test_a_signed_catalog_is_refused_unless_its_signature_is_to_be_replaced() -> None:
    once = sign(PLAIN, identity("rsa2048"))
    with pytest.raises(FormatError) as refusal:
        prepare(once)
    assert refusal.value.code == "already-signed"
    again = sign(once, identity("p256"), existing="replace")
    (found,) = READER.read(BytesView(again)).signatures
    assert found.signer_certificate == identity("p256").certificate
    assert prepare(once, existing="replace").facts["signed_before"] is True
    assert removed(again) == PLAIN


def test_signing_twice_with_one_key_gives_the_same_bytes() -> None:
    signer = identity("rsa2048")
    once = sign(PLAIN, signer)
    assert sign(PLAIN, signer) == once == sign(once, signer, existing="replace")


def test_an_old_signature_that_does_not_hold_is_replaced() -> None:
    once = bytearray(sign(PLAIN, identity("rsa2048")))
    once[-1] ^= 1
    again = sign(bytes(once), identity("p256"), existing="replace")
    assert len(READER.read(BytesView(again)).signatures) == 1
    assert READER.stripped(BytesView(bytes(once))) == READER.stripped(BytesView(again))


def test_certificates_without_a_signer_are_no_signature() -> None:
    source = Cat(certificates=identity().chain).build()
    assert removed(sign(source)) == PLAIN
    with pytest.raises(FormatError) as refusal:
        removed(source)
    assert refusal.value.code == "not-signed"


@pytest.mark.parametrize(
    "options",
    [{"existing": "append"}, {"sha1": "yes"}, {"sha1": 1}, {"digest": "sha1"}, {"description": "a\x1b[31m"}, {"x": 1}],
    ids=["append", "text", "number", "weak-digest", "escape", "unknown"],
)
def test_an_option_that_is_not_sound_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CatalogOptions(**options)


def test_options_of_another_format_are_refused() -> None:
    with pytest.raises(FormatError, match="wanted CatalogOptions"):
        CatalogFormat().prepare(BytesView(PLAIN), (), FormatOptions())


@pytest.mark.parametrize(
    "content",
    [b"", b"\x30", PLAIN[:60], b"MZ" + PLAIN, Cat(content_type="1.2.840.113549.1.7.1").build(), b"\x30" + b"\0" * 300],
    ids=["empty", "one-byte", "cut", "a-program", "data", "zeros"],
)
def test_what_is_no_catalog_is_not_recognized(content: bytes) -> None:
    assert not CatalogFormat().recognizes(BytesView(content))
    assert not READER.recognizes(BytesView(content))


@pytest.mark.parametrize(
    "change",
    [
        {"format": "cab"},
        {"source_size": 10},
        {"state": {}},
        {"state": {"start": 50, "end": 40, "list_sha256": "0" * 64}},
        {"state": {"start": -1, "end": 40, "list_sha256": "0" * 64}},
        {"state": {"start": "1", "end": 40, "list_sha256": "0" * 64}},
        {"state": {"start": 1, "end": 40, "list_sha256": "0"}},
    ],
    ids=["format", "size", "empty", "order", "negative", "text", "digest"],
)
def test_a_state_that_does_not_hold_is_refused(change: dict[str, object]) -> None:
    prepared = prepare(PLAIN).model_copy(update=change)
    with pytest.raises(FormatError):
        CatalogFormat().embed(prepared, [sign(PLAIN)])


def test_an_envelope_around_another_list_is_refused() -> None:
    for envelope in (sign(Cat(members=(Member(b"x"),)).build()), b"", b"\x30\x00"):
        with pytest.raises(FormatError) as refusal:
            CatalogFormat().embed(prepare(PLAIN), [envelope])
        assert refusal.value.code == "bad-envelope"
    for envelopes in ([], [sign(PLAIN)] * 2):
        with pytest.raises(FormatError):
            CatalogFormat().embed(prepare(PLAIN), envelopes)


def test_an_envelope_too_large_is_refused() -> None:
    large = Cat(certificates=[der.sequence(bytes(1 << 20))]).build()
    with pytest.raises(FormatError) as refusal:
        CatalogFormat().embed(prepare(PLAIN), [large])
    assert refusal.value.code == "too-large"


@given(
    contents=st.lists(st.binary(max_size=40), min_size=1, max_size=6, unique=True),
    names=st.lists(st.text(max_size=20), max_size=3),
    version=st.sampled_from([1, 2]),
)
@settings(max_examples=40, deadline=None)
def test_any_catalog_is_signed_read_and_given_back(contents: list[bytes], names: list[str], version: int) -> None:
    # Lone surrogates cannot be written in UTF-16 by the builder.
    rows = tuple(("File", name.encode("utf-16-le", "ignore").decode("utf-16-le")) for name in names)
    source = Cat(members=[Member(c, values=rows) for c in contents], version=version).build()
    once = sign(source, default_pki().code_signing("rsa2048"))
    reading = READER.read(BytesView(once))
    assert len(reading.signatures) == 1
    assert reading.stripped_sha256 == READER.stripped(BytesView(source))
    assert READER.read(BytesView(once)) == reading
    assert removed(once) == source
    assert sign(once, default_pki().code_signing("rsa2048"), existing="replace") == once


@given(content=st.binary(max_size=300), at=st.integers(0, len(PLAIN)), length=st.integers(0, 40))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_prepared_or_refused(content: bytes, at: int, length: int) -> None:
    for changed in (content, PLAIN[:at] + content + PLAIN[at + length :]):
        try:
            prepare(changed, sha1=True, existing="replace")
        except FormatError:
            continue
