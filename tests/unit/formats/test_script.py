# SPDX-License-Identifier: Apache-2.0
"""Signed scripts, all four kinds: what is digested, what is refused, what is rewritten, and what never changes."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from signwright.errors import FormatError, VerificationError
from signwright.formats.base import FormatOptions, Prepared
from signwright.formats.script_reading import MAX_CONVERTED, MAX_SCRIPT
from signwright.formats.script_text import PIECE
from signwright.model.patch import Patched, sealed
from signwright.model.view import BytesView
from tests.support.large_files import SizedView, growth_kib
from tests.support.pe_builder import PE32
from tests.support.script_vectors import BROKEN, CONVERTED, FAMILIES, FOLDER, GOOD, sample_of, sign
from tests.support.signed_files import envelope_of, identity, sign_view

EACH_GOOD = [(family, name) for family, sources in GOOD.items() for name in sources]
EACH_BROKEN = [(family, name) for family, sources in BROKEN.items() for name in sources]
EACH_CONVERTED = [(family, name) for family, sources in CONVERTED.items() for name in sources]
MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le"}


def prepare(family: str, content: bytes, **options: object) -> Prepared:
    one = FAMILIES[family][0]
    return one.prepare(BytesView(content), (), one.options(**options))


def stripped(family: str, content: bytes) -> str:
    return FAMILIES[family][1].read(BytesView(content)).stripped_sha256


def removed(family: str, content: bytes) -> bytes:
    view = BytesView(content)
    patch = sealed(view, FAMILIES[family][0].remove(view))
    return Patched(view, patch).read(0, patch.result_size)


def digest_by_the_book(family: str, content: bytes, algorithm: str = "sha256") -> str:
    """The rule in its plainest form, for an unsigned script that needs no conversion."""
    mark, codec = next(((m, c) for m, c in MARKS.items() if content.startswith(m)), (b"", "utf-8"))
    text = content[len(mark) :].decode(codec)
    if family == "powershell":
        return hashlib.new(algorithm, (("\ufeff" if mark else "") + text).encode("utf-16-le")).hexdigest()
    before = text.rpartition("</job>")[0] if family == "wsf" else text
    place = len(before.encode("utf-16-le")) // 2
    return hashlib.new(algorithm, text.encode("utf-16-le") + place.to_bytes(4, "little")).hexdigest()


@pytest.mark.parametrize(("family", "name"), EACH_GOOD)
def test_the_operation_carries_the_digest_of_the_text(family, name):
    content = GOOD[family][name]
    for algorithm in ("sha256", "sha384", "sha512"):
        prepared = prepare(family, content, digest=algorithm)
        (operation,) = prepared.operations
        assert operation.digest == f"{algorithm}:{digest_by_the_book(family, content, algorithm)}"
        assert operation.template == f"authenticode-{family}"
        assert prepared.source_sha256 == hashlib.sha256(content).hexdigest()
        assert prepared.source_size == len(content)
        assert prepared.facts["converted"] is False


@pytest.mark.parametrize(("family", "name"), EACH_GOOD)
def test_a_signed_script_reads_back_and_gives_its_source_back_to_the_byte(family, name):
    source = GOOD[family][name]
    assert (FOLDER / family / "good" / f"{name}.bin").read_bytes() == source
    result = sign(family, source)
    reading = FAMILIES[family][1].read(BytesView(result))
    (found,) = reading.signatures
    assert reading.warnings == ()
    assert reading.stripped_sha256 == stripped(family, source) == hashlib.sha256(source).hexdigest()
    assert found.signer_certificate == identity("rsa2048").certificate
    assert removed(family, result) == source


@pytest.mark.parametrize(("family", "defect"), EACH_BROKEN)
def test_a_broken_script_is_refused_with_its_code(family, defect):
    content, code = BROKEN[family][defect]
    assert (FOLDER / family / "broken" / f"{defect}.bin").read_bytes() == content
    with pytest.raises(FormatError) as refusal:
        prepare(family, content, existing="replace", convert=True)
    assert refusal.value.code == code


@pytest.mark.parametrize(
    ("content", "offset"),
    [
        (b"ab\xe4\r\n", 2),
        (b"\xef\xbb\xbf" + "ä".encode() + b"\xc0\xaf", 5),
        (b"\xef\xbb\xbf" + "ää".encode() + b"\0", 7),
        (b"\xff\xfe" + "ab\0".encode("utf-16-le"), 6),
        (b"\xff\xfe" + "\U0001f600\r\n# SIG # End signature block ".encode("utf-16-le"), 10),
        (b"1\r\n# SIG # Begin signature block\r\n2", 3),
        (b"1\r\n 2 \r\n  #sig# Begin  signature block\r\n2", 8),
        (b"x" * PIECE + b"\r\n\x1a", PIECE + 2),
    ],
)
def test_the_offset_is_that_of_the_fault(content, offset):
    with pytest.raises(FormatError) as refusal:
        prepare("powershell", content)
    assert refusal.value.offset == offset


@pytest.mark.parametrize(("family", "name"), EACH_CONVERTED)
def test_text_that_windows_could_read_differently_is_refused_with_the_fix_named(family, name):
    with pytest.raises(FormatError) as refusal:
        prepare(family, CONVERTED[family][name][0])
    assert refusal.value.code in ("line-endings", "encoding")
    assert "convert: yes" in str(refusal.value.hint)


@pytest.mark.parametrize(("family", "name"), EACH_CONVERTED)
def test_text_is_rewritten_on_request_and_the_signature_is_over_what_stands_in_the_file(family, name):
    source, target = CONVERTED[family][name]
    prepared = prepare(family, source, convert=True)
    assert prepared.facts["converted"] is True
    assert prepared.source_sha256 == hashlib.sha256(source).hexdigest()
    assert prepared.operations[0].digest == f"sha256:{digest_by_the_book(family, target)}"
    assert prepared.operations == prepare(family, target).operations
    result = sign(family, source, convert=True)
    assert removed(family, result) == target
    reading = FAMILIES[family][1].read(BytesView(result))
    assert reading.stripped_sha256 == stripped(family, source) == hashlib.sha256(target).hexdigest()
    assert reading.warnings == ()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_strip_test_notices_every_change_but_that_of_line_ends_and_mark(family):
    source, target = CONVERTED[family]["utf8-without-mark"]
    same = {stripped(family, content) for content in (source, target, source.replace(b"\r\n", b"\n"))}
    assert len(same) == 1
    text = source.decode()
    for other in (text.replace("ä", "ä\r\n"), text.replace("ä", "å"), text.replace("ä", "a\u0308"), text + "\r\n"):
        assert stripped(family, other.encode()) not in same
    assert stripped(family, text.replace("ä", "ae").encode()) not in same


@pytest.mark.parametrize(("family", "name"), EACH_GOOD)
def test_convert_changes_nothing_where_nothing_is_in_doubt(family, name):
    content = GOOD[family][name]
    assert prepare(family, content, convert=True) == prepare(family, content)


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_block_is_added(family):
    source = sample_of(family)
    one = FAMILIES[family][0]
    patch = sign_view(one, BytesView(source))
    (splice,) = patch.splices
    assert splice.remove == 0
    assert patch.inserted < 4096
    assert re.fullmatch(rb"\r\n.{8,40}\r\n(.{1,80}\r\n)+", splice.insert)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_patch_is_not_larger_than_what_is_new(family):
    source, target = CONVERTED[family]["lf"]
    one = FAMILIES[family][0]
    patch = sign_view(one, BytesView(source), convert=True)
    assert len(patch.encode()) <= len(target) + (64 << 10)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_signed_script_is_refused_or_replaced_and_never_gets_a_second_block(family):
    source = sample_of(family)
    once = sign(family, source)
    with pytest.raises(FormatError) as refusal:
        prepare(family, once)
    assert refusal.value.code == "already-signed"
    again = sign(family, once, existing="replace", description="again")
    (found,) = FAMILIES[family][1].read(BytesView(again)).signatures
    assert found.notes["description"] == "again"
    assert removed(family, again) == source
    assert len(sign(family, again, existing="replace")) == len(once)
    with pytest.raises(ValidationError, match="one signature block"):
        FAMILIES[family][0].options(existing="append")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_signed_script_whose_line_ends_were_lost_is_not_signed_over(family):
    damaged = sign(family, sample_of(family)).replace(b"\r\n", b"\n")
    with pytest.raises(FormatError) as refusal:
        prepare(family, damaged, existing="replace", convert=True)
    assert refusal.value.code == "signature-in-text"


@pytest.mark.parametrize("family", FAMILIES)
def test_options_reach_the_signature(family):
    result = sign(family, sample_of(family), description="Größe ✓", url="https://example.org/a?b=c", digest="sha512")
    (found,) = FAMILIES[family][1].read(BytesView(result)).signatures
    assert found.notes == {"place": "1", "description": "Größe ✓", "url": "https://example.org/a?b=c"}
    assert found.content_digest.algorithm == "sha512"


@pytest.mark.parametrize("family", FAMILIES)
def test_options_of_another_format_are_refused(family):
    with pytest.raises(FormatError, match="wanted"):
        FAMILIES[family][0].prepare(BytesView(sample_of(family)), (), FormatOptions())


@pytest.mark.parametrize("family", FAMILIES)
def test_facts_say_how_the_source_is_written(family):
    assert prepare(family, sample_of(family)).facts["encoding"] == "ascii"
    assert prepare(family, sample_of(family)).facts["line_endings"] == "crlf"
    facts = prepare(family, CONVERTED[family]["utf8-without-mark"][0], convert=True).facts
    assert (facts["encoding"], facts["converted"], facts["signed_before"]) == ("utf-8", True, False)
    facts = prepare(family, sign(family, sample_of(family)), existing="replace").facts
    assert (facts["converted"], facts["signed_before"]) == (False, True)


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_removed_from_an_unsigned_or_doubtful_script(family):
    for content, code in ((sample_of(family), "not-signed"), (sign(family, sample_of(family)) + b"\r\n", "not-signed")):
        if family == "wsf" and content != sample_of(family):
            continue  # white space behind the package is none of the signature's business
        with pytest.raises(FormatError) as refusal:
            FAMILIES[family][0].remove(BytesView(content))
        assert refusal.value.code == code


@pytest.mark.parametrize("family", FAMILIES)
def test_an_envelope_that_is_not_cms_is_not_embedded(family):
    one, prepared = FAMILIES[family][0], prepare(family, sample_of(family))
    good = envelope_of(prepared.operations[0], identity())
    for envelopes in ([], [good, good], [b""], [b"\x30\x00"], [good[:-1]], [good + b"\0"], [b"\x30" * (1 << 21)]):
        with pytest.raises(FormatError):
            one.embed(prepared, envelopes)


@given(
    st.sampled_from(sorted(FAMILIES)),
    st.booleans(),
    st.dictionaries(
        st.sampled_from(["place", "replaced", "encoding", "style", "converted", "converted_place", "more"]),
        st.one_of(st.integers(-1, 1 << 33), st.text(max_size=4), st.none(), st.just("eJwDAAAAAAE=")),
    ),
)
@settings(max_examples=60)
def test_a_state_that_was_tampered_with_is_a_format_error_or_a_patch_that_fits(family, rewritten, changes):
    source = CONVERTED[family]["lf"][rewritten is False]
    prepared = prepare(family, source, convert=rewritten)
    envelope = envelope_of(prepared.operations[0], identity())
    bent = prepared.model_copy(update={"state": {**prepared.state, **changes}})
    try:
        patch = FAMILIES[family][0].embed(bent, [envelope])
    except FormatError:
        return
    assert Patched(BytesView(source), patch).size == patch.result_size


_TEXT = st.text(st.sampled_from("ab #<>/'\r\n\ufeffä\U0001f600\t"), max_size=60)


@given(st.sampled_from(["powershell", "vbscript", "jscript"]), _TEXT, st.sampled_from(["utf-8", *MARKS.values(), ""]))
@settings(max_examples=300)
def test_any_text_is_refused_or_signed_so_that_it_holds(family, text, mark):
    source = text.encode() if not mark else {c: m for m, c in MARKS.items()}[mark] + text.encode(mark)
    for options in ({}, {"convert": True}):
        try:
            result = sign(family, source, **options)
        except FormatError:
            continue
        reading = FAMILIES[family][1].read(BytesView(result))
        assert len(reading.signatures) == 1
        assert reading.warnings == ()
        assert reading.stripped_sha256 == stripped(family, source)
        again = sign(family, result, existing="replace", **options)
        assert len(again) == len(result)
        left = removed(family, result)
        assert stripped(family, left) == stripped(family, source)
        assert options or left == source


@given(st.sampled_from(sorted(FAMILIES)), st.binary(max_size=200), st.binary(max_size=40))
@settings(max_examples=200)
def test_any_bytes_give_a_format_error_at_worst(family, content, tail):
    one, reader = FAMILIES[family]
    for candidate in (content, sign_tail(family) + content, content + sign_tail(family), content + b"</job>" + tail):
        one.recognizes(BytesView(candidate))
        reader.recognizes(BytesView(candidate))
        try:
            prepare(family, candidate, existing="replace", convert=True)
        except FormatError:
            pass


def sign_tail(family: str) -> bytes:
    return (FOLDER / family / "good" / "signed-plain.bin").read_bytes()[-200:]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_truncation_of_a_signed_script_is_refused_or_unsigned(family):
    signed, reader = sign(family, sample_of(family)), FAMILIES[family][1]
    for length in range(len(signed)):
        try:
            assert reader.read(BytesView(signed[:length])).signatures == ()
        except (FormatError, VerificationError):
            continue


def test_pieces_and_their_borders_do_not_change_the_digest():
    lines = b"".join(b"# line %d with some words in it\r\n" % n for n in range(3 * PIECE // 30))
    for shift in (0, 1, 2, 3):
        content = b"\xef\xbb\xbf" + b"x" * shift + "ä\U0001f600\r\n".encode() * 7 + lines
        prepared = prepare("powershell", content)
        assert prepared.operations[0].digest == f"sha256:{digest_by_the_book('powershell', content)}"
        rewritten = prepare("powershell", content.replace(b"\r\n", b"\n"), convert=True)
        assert rewritten.operations == prepared.operations


def test_a_line_end_or_a_marker_across_two_pieces_is_seen():
    for shift in range(-34, 3):
        lead = b"#" * (PIECE - 2 + shift)
        assert prepare("powershell", lead + b"\r\nx\r\n").facts["line_endings"] == "crlf"
        with pytest.raises(FormatError, match="in the middle"):
            prepare("powershell", lead + b"\r\n# SIG # Begin signature block\r\nx\r\n")


class _Letters(SizedView):
    def read(self, offset: int, length: int) -> bytes:
        return super().read(0, 0) + b"x" * length


def test_limits_are_checked_before_anything_is_read():
    with pytest.raises(FormatError) as refusal:
        FAMILIES["powershell"][0].prepare(_Letters(b"x", MAX_SCRIPT + 1), (), FAMILIES["powershell"][0].options())
    assert refusal.value.code == "too-large"


@pytest.mark.parametrize("text", [b"x" * (MAX_CONVERTED + 1), b"x" * (MAX_CONVERTED - 1) + b"\nxx"])
def test_text_that_is_too_large_to_be_rewritten_is_refused(text):
    with pytest.raises(FormatError) as refusal:
        prepare("powershell", text + b"\n", convert=True)
    assert refusal.value.code == "too-large"
    assert prepare("powershell", text.replace(b"\n", b""), convert=True).facts["converted"] is False


def test_text_that_does_not_fit_into_what_is_prepared_is_refused():
    noise = hashlib.shake_256(b"noise").hexdigest(900_000)
    with pytest.raises(FormatError) as refusal:
        prepare("powershell", b"# " + noise.encode() + b"\n", convert=True)
    assert refusal.value.code == "too-large"
    assert (
        len(prepare("powershell", b"# " + noise[:900_000].encode() + b"\n", convert=True).model_dump_json()) < 1 << 20
    )


def test_memory_does_not_grow_with_the_script(tmp_path):
    small, large = tmp_path / "small", tmp_path / "large"
    for path, mebibytes in ((small, 8), (large, 48)):
        path.write_bytes(b"\xef\xbb\xbf" + "Write-Host 'ä ✓'\r\n".encode() * ((mebibytes << 20) // 22))
    assert growth_kib(small, large, "signwright.formats.powershell", "POWERSHELL", "POWERSHELL.options()") < 8 << 10


def test_only_text_that_can_be_of_the_kind_is_recognised():
    for family, (one, _) in FAMILIES.items():
        assert all(one.recognizes(BytesView(content)) for content in GOOD[family].values())
        binary = (b"", PE32.build(), b"PK\3\4\x14\0\0\0", b"MSCF\0\0\0\0", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(8))
        assert not any(one.recognizes(BytesView(content)) for content in binary)
    wsf, powershell = GOOD["wsf"]["plain"], GOOD["powershell"]["plain"]
    assert [name for name, (one, _) in FAMILIES.items() if one.recognizes(BytesView(wsf))] == ["wsf"]
    assert not FAMILIES["wsf"][0].recognizes(BytesView(powershell))
    assert not FAMILIES["vbscript"][0].recognizes(BytesView(GOOD["powershell"]["xml"]))
