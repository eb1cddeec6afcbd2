# SPDX-License-Identifier: Apache-2.0
"""The MSI writer: what it signs, what it refuses, and what it leaves alone."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from signwright.errors import FormatError
from signwright.formats.base import FormatOptions, Prepared
from signwright.formats.msi import MsiFormat, MsiOptions
from signwright.model.patch import Patched, sealed
from signwright.model.view import BytesView
from tests.support.cfb_builder import Cfb, Tree
from tests.support.msi_builder import (
    EXTENDED,
    FOLDER,
    LONG_URL,
    SHAPES,
    SIGNATURE,
    prepare,
    read,
    sign,
    streams_of,
    stripped,
    wixl_installer,
)
from tests.support.msi_vectors import BROKEN
from tests.support.signed_files import envelope_of, identity


def envelope_for(prepared: Prepared, signer=None) -> bytes:
    (operation,) = prepared.operations
    return envelope_of(operation, signer or identity())


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
    assert prepare(one.build(), extended=True).operations[0].digest == f"sha256:{expected}"
    assert streams_of(sign(one.build(), extended=True))[f"/{EXTENDED}"] == prefix


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("url", [None, LONG_URL])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_signed_file_reads_back_and_every_other_stream_is_as_it_was(shape, url, extended):
    source = SHAPES[shape].build()
    result = sign(source, identity("rsa3072"), url=url, extended=extended)
    reading = read(result)
    (found,) = reading.signatures
    assert (len(found.envelope) >= 4096) is (url is not None)
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


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_removing_leaves_the_content_without_signature(shape, extended):
    source = SHAPES[shape].build()
    view = BytesView(sign(source, identity("rsa3072"), url=LONG_URL, extended=extended))
    patch = sealed(view, MsiFormat().remove(view))
    left = Patched(view, patch).read(0, patch.result_size)
    assert read(left).signatures == ()
    assert stripped(left) == stripped(source)
    assert streams_of(left) == streams_of(source)
    assert b"a" * 40 not in left
    with pytest.raises(FormatError) as refusal:
        MsiFormat().remove(BytesView(left))
    assert refusal.value.code == "not-signed"


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


def test_recognition_is_by_content():
    others = (b"", b"MZ" + bytes(600), BROKEN["word-document"][0], BROKEN["magic-only"][0], BROKEN["zip"][0])
    assert not any(MsiFormat().recognizes(BytesView(content)) for content in others)
    assert all(MsiFormat().recognizes(BytesView(one.build())) for one in SHAPES.values())
