# SPDX-License-Identifier: Apache-2.0
"""The reader of scripts: what holds, what does not, and which text a signature must never be found in."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signwright.envelopes import der
from signwright.errors import FormatError, VerificationError
from signwright.formats.authenticode import nest
from signwright.formats.script_text import TextEncoding
from signwright.model.view import BytesView
from signwright.readers import authenticode, cms
from signwright.readers.base import Reading
from signwright.readers.script import MAX_LINES, MAX_SIZE
from tests.support.large_files import SizedView
from tests.support.pe_builder import PE32
from tests.support.script_vectors import BROKEN, CONVERTED, FAMILIES, FOLDER, GOOD, sample_of, sign
from tests.support.signed_files import envelope_of, identity

SIGNED = sorted((p.parts[-3], p.stem) for p in FOLDER.glob("*/good/signed-*.bin") if p.parts[-3] in FAMILIES)
EACH_BROKEN = [(family, name) for family, sources in BROKEN.items() for name in sources]
EACH_CONVERTED = [(family, name) for family, sources in CONVERTED.items() for name in sources]


def read(family: str, content: bytes) -> Reading:
    return FAMILIES[family][1].read(BytesView(content))


@cache
def signed(family: str) -> bytes:
    return sign(family, sample_of(family), description="x", url="https://example.org/")


def envelope(family: str, source: bytes | None = None) -> bytes:
    """A good signature of the family's sample, or of another source."""
    one = FAMILIES[family][0]
    prepared = one.prepare(BytesView(source or sample_of(family)), (), one.options())
    return envelope_of(prepared.operations[0], identity("rsa2048"))


def with_envelope(family: str, content: bytes, source: bytes | None = None) -> bytes:
    """The sample with any bytes where the signature stands."""
    source = source or sample_of(family)
    style = next(iter(FAMILIES[family][0]._family.styles.values()))
    block = style.write(content, TextEncoding.ASCII)
    at = source.rindex(b"</job>") if family == "wsf" else len(source)
    return source[:at] + block + source[at:]


@pytest.mark.parametrize(("family", "name"), SIGNED)
def test_a_stored_signature_still_holds(family, name):
    reading = read(family, (FOLDER / family / "good" / f"{name}.bin").read_bytes())
    (found,) = reading.signatures
    source = "plain" if name.startswith("signed-by-") else name.removeprefix("signed-")
    assert reading.warnings == ()
    assert reading.stripped_sha256 == hashlib.sha256(GOOD[family][source]).hexdigest()
    assert (found.format, found.family, found.purpose) == (family, "cms", "authenticode")


def test_the_stored_signatures_are_those_of_every_kind_and_of_another_tool():
    assert {family for family, _ in SIGNED} == set(FAMILIES)
    assert ("powershell", "signed-by-osslsigncode") in SIGNED
    assert {family for family, name in SIGNED if name == "signed-by-jsign"} == set(FAMILIES)


@pytest.mark.parametrize(("family", "defect"), EACH_BROKEN)
def test_no_signature_is_ever_found_in_a_broken_script(family, defect):
    try:
        reading = read(family, BROKEN[family][defect][0])
    except (FormatError, VerificationError):
        return
    assert reading.signatures == ()


@pytest.mark.parametrize("family", FAMILIES)
def test_an_unsigned_script_is_read_without_signatures(family):
    source = sample_of(family)
    assert read(family, source) == Reading(family, (), hashlib.sha256(source).hexdigest(), ())


@pytest.mark.parametrize(("family", "name"), EACH_CONVERTED)
def test_an_unsigned_script_that_windows_could_read_differently_has_warnings(family, name):
    source, target = CONVERTED[family][name]
    assert read(family, source).warnings
    assert read(family, source).stripped_sha256 == hashlib.sha256(target).hexdigest()


@pytest.mark.parametrize(("family", "name"), EACH_CONVERTED)
def test_a_signature_over_such_text_is_an_error_even_where_its_digest_holds(family, name):
    """What other tools sign as it is: every one of them calls it valid, and Windows may not."""
    source = CONVERTED[family][name][0]
    if source[:2] == b"\xfe\xff" or source[:2] == b"\xff\xfe":
        return  # with_envelope writes ASCII
    content = with_envelope(family, _over(family, source), source)
    with pytest.raises(VerificationError) as refusal:
        read(family, content)
    assert refusal.value.code == "ambiguous-text"
    assert FAMILIES[family][1].stripped(BytesView(content)) == read(family, source).stripped_sha256
    assert read(family, sign(family, content, existing="replace", convert=True)).signatures


def _over(family: str, source: bytes) -> bytes:
    """An envelope over the text as it stands, as tools without a policy make it."""
    text = source.decode("utf-8-sig" if family != "powershell" else "utf-8")
    place = len(text.rpartition("</job>")[0] if family == "wsf" else text)
    tail = b"" if family == "powershell" else place.to_bytes(4, "little")
    digest = hashlib.sha256(text.encode("utf-16-le") + tail).hexdigest()
    one = FAMILIES[family][0]
    operation = one.prepare(BytesView(sample_of(family)), (), one.options()).operations[0]
    return envelope_of(operation.model_copy(update={"digest": f"sha256:{digest}"}), identity("rsa2048"))


def test_the_way_other_tools_sign_is_the_way_this_one_reads():
    """The helper above makes a signature that holds where the text is not in doubt."""
    for family in FAMILIES:
        source = sample_of(family)
        assert read(family, with_envelope(family, _over(family, source), source)).signatures


@pytest.mark.parametrize(
    "defect", [d for d, (c, code) in BROKEN["wsf"].items() if code == "bad-wsf" and b"</job>" in c]
)
def test_a_signature_that_holds_does_not_count_where_no_job_ends(defect):
    source = BROKEN["wsf"][defect][0]
    with pytest.raises(FormatError) as refusal:
        read("wsf", with_envelope("wsf", _over("wsf", source), source))
    assert refusal.value.code == "bad-wsf"


_MARKUP = [
    "<job>",
    "</job>",
    "<package>",
    "</package>",
    "<script>",
    "</script>",
    "<SCRIPT ",
    "</Script",
    "<x a='",
    "<x/>",
]
_MARKUP += [
    "<!--",
    "-->",
    "-",
    "<![CDATA[",
    "]]>",
    "]",
    "<?",
    "?>",
    "<",
    ">",
    "/>",
    '"',
    "'",
    "=",
    " ",
    "a",
    "\r\n",
    "&",
]


@given(st.sampled_from(["<job>", "<package><job>"]), st.lists(st.sampled_from(_MARKUP), max_size=12))
@settings(max_examples=1500)
def test_what_is_signed_and_what_is_read_is_the_same_set_of_script_files(root, parts):
    end = "</job></package>" if "package" in root else "</job>"
    content = (root + "".join(parts) + end).encode()
    one, reader = FAMILIES["wsf"]
    try:
        one.prepare(BytesView(content), (), one.options())
    except FormatError as refusal:
        if refusal.code == "bad-wsf":
            with pytest.raises(FormatError, match=r"Windows script file|clear"):
                reader.read(BytesView(content))
        return
    assert reader.read(BytesView(content)).warnings == ()


@pytest.mark.parametrize(
    "part", ["<x " * 3, '<x a="b" ', "<!-- -", "<x   a", "<![CDATA[]", "</x  ", "<script><", "<?x? ", "<!--"]
)
def test_markup_takes_time_that_grows_with_its_size_alone(part):
    """No clock: what took quadratic time would not come to an end here."""
    content = ("<job>" + part * ((1 << 20) // len(part)) + "</job>").encode()
    one, reader = FAMILIES["wsf"]
    for refusing in (
        lambda: one.prepare(BytesView(content), (), one.options()),
        lambda: reader.read(BytesView(content)),
    ):
        with pytest.raises(FormatError):
            refusing()


def test_a_script_file_is_of_limited_size():
    content = b"<job>" + b" " * (4 << 20) + b"</job>"
    one, reader = FAMILIES["wsf"]
    for refusing in (
        lambda: one.prepare(BytesView(content), (), one.options()),
        lambda: reader.read(BytesView(content)),
    ):
        with pytest.raises(FormatError) as refusal:
            refusing()
        assert refusal.value.code == "too-large"


MARKED = [(family, name) for family, name in EACH_BROKEN if "marker-" in name]


@pytest.mark.parametrize(("family", "name"), MARKED)
def test_a_signature_that_holds_does_not_count_beside_what_looks_like_a_block(family, name):
    source = BROKEN[family][name][0]
    block = FAMILIES[family][0]._family.styles[
        "xml" if b"<!" in source else next(iter(FAMILIES[family][0]._family.styles))
    ]
    with pytest.raises(FormatError) as refusal:
        read(family, source + block.write(_over(family, source), TextEncoding.ASCII))
    assert refusal.value.code == "signature-in-text"


@pytest.mark.parametrize("family", FAMILIES)
def test_content_beside_a_script_is_refused(family):
    with pytest.raises(FormatError, match="inside"):
        FAMILIES[family][1].read(BytesView(signed(family)), BytesView(b"content"))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_flipped_byte_is_noticed_except_the_named_ones(family):
    content = signed(family)
    (found,) = read(family, content).signatures
    certificates = b"".join(sorted(found.certificates))
    start = found.envelope.index(certificates)
    named = set(range(start, start + len(certificates)))
    named.add(found.envelope.index(b"\x02\x01\x01\x31") + 2)  # version of SignedData
    named.add(found.envelope.index(b"\x02\x01\x01\x30", start + len(certificates)) + 2)  # version of SignerInfo
    for at in range(len(content)):
        bent = bytearray(content)
        bent[at] ^= 0x02
        try:
            reading = read(family, bytes(bent))
        except (FormatError, VerificationError):
            continue
        if not reading.signatures:
            continue  # the block became something else: nothing is said to hold
        other = reading.signatures[0].envelope
        changed = {n for n, (a, b) in enumerate(zip(found.envelope, other, strict=True)) if a != b}
        assert changed
        assert changed <= named


@pytest.mark.parametrize("family", FAMILIES)
def test_every_inserted_byte_outside_the_block_is_noticed(family):
    content, source = signed(family), sample_of(family)
    before = source.rindex(b"</job>") if family == "wsf" else len(source)
    for at in [*range(before + 1), *range(len(content) - (len(source) - before), len(content) + 1)]:
        for inserted in (b" ", b"\r\n", b"\r", b"\n", b"\xef\xbb\xbf"):
            if inserted == b"\xef\xbb\xbf" and at == 0:
                continue  # a mark is no text: see the test below
            with pytest.raises((FormatError, VerificationError)):
                found = read(family, content[:at] + inserted + content[at:])
                assert found.signatures == (), at
                raise VerificationError("nothing is said to hold")


@pytest.mark.parametrize("family", FAMILIES)
def test_windows_digests_the_text_and_not_how_it_is_written(family):
    """The same characters in another encoding keep the signature, by the rule of Windows; the strip test does not."""
    plain = signed(family)
    wide = b"\xff\xfe" + plain.decode().encode("utf-16-le")
    if family == "powershell":  # which digests the mark as well
        with pytest.raises(VerificationError):
            read(family, wide)
        marked = sign(family, b"\xef\xbb\xbf" + sample_of(family))
        plain, wide = marked, marked.decode().encode("utf-16-le")
    first, second = read(family, plain), read(family, wide)
    assert first.signatures == second.signatures
    assert first.stripped_sha256 != second.stripped_sha256


@given(st.sampled_from(sorted(FAMILIES)), st.integers(0, 2600), st.binary(min_size=1, max_size=8))
def test_junk_never_gives_another_error(family, at, junk):
    content = signed(family)
    try:
        read(family, content[:at] + junk + content[at + len(junk) :])
    except (FormatError, VerificationError):
        pass


@given(st.sampled_from(sorted(FAMILIES)), st.binary(max_size=200), st.sampled_from([b"", b"\xff\xfe", b"\xfe\xff"]))
@settings(max_examples=200)
def test_any_bytes_give_a_format_error_at_worst(family, content, mark):
    for candidate in (mark + content, mark + content + b"</job>", mark + content + signed(family)[-100:]):
        FAMILIES[family][1].recognizes(BytesView(candidate))
        try:
            read(family, candidate)
        except (FormatError, VerificationError):
            pass


@pytest.mark.parametrize("family", FAMILIES)
def test_a_signature_of_another_script_is_refused(family):
    other = sample_of(family).replace(b"Hello", b"Hallo")
    with pytest.raises(VerificationError) as failure:
        read(family, with_envelope(family, envelope(family), other))
    assert failure.value.code == "digest-mismatch"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("other", FAMILIES)
def test_a_signature_of_one_kind_of_script_never_holds_for_another(family, other):
    if family == other:
        return
    with pytest.raises(VerificationError) as failure:
        read(family, with_envelope(family, envelope(other)))
    assert failure.value.code == "wrong-kind"


def test_a_block_in_comments_of_another_language_is_refused():
    xml = FAMILIES["powershell"][0]._family.styles["xml"].write(envelope("powershell"), TextEncoding.ASCII)
    with pytest.raises(VerificationError, match="comments of another language"):
        read("powershell", sample_of("powershell") + xml)


@pytest.mark.parametrize(
    "source", [b"Write-Host 1", b"#pragma once\r\nWrite-Host hi", b"//server/share/tool.exe", b"\r\n"]
)
def test_a_block_in_comments_of_mof_does_not_count_for_a_script(source):
    block = FAMILIES["powershell"][0]._family.styles["c"].write(_over("powershell", source), TextEncoding.ASCII)
    with pytest.raises(VerificationError, match="comments of another language") as refusal:
        read("powershell", source + block)
    assert refusal.value.code == "ambiguous-text"


def test_a_block_in_comments_of_powershell_does_not_count_for_a_configuration():
    source = GOOD["powershell"]["mof"]
    with pytest.raises(VerificationError, match="comments of another language"):
        read("powershell", with_envelope("powershell", _over("powershell", source), source))


@pytest.mark.parametrize("family", FAMILIES)
def test_nested_signatures_are_read_and_must_hold(family):
    good = envelope(family)
    reading = read(family, with_envelope(family, nest(good, good)))
    assert [found.notes["place"] for found in reading.signatures] == ["1", "1.1"]
    alien = envelope(family, sample_of(family).replace(b"Hello", b"Hallo"))
    with pytest.raises(VerificationError, match=r"signature 1\.1"):
        read(family, with_envelope(family, nest(good, alien)))
    deep = good
    for _ in range(authenticode.MAX_DEPTH):
        deep = nest(good, deep)
    with pytest.raises(FormatError, match="deeper"):
        read(family, with_envelope(family, deep))


def _with_sha1_digest(envelope_bytes: bytes) -> bytes:
    """The envelope claims SHA-1 for the script; its own signature no longer holds, which must not matter."""
    signed_data = cms.parse(envelope_bytes)
    assert signed_data.encapsulated is not None
    kind = der.read_all(der.read_one(signed_data.encapsulated, der.SEQUENCE).content)[0].encoded
    digest_info = der.sequence(der.sequence(der.oid("1.3.14.3.2.26"), der.NULL), der.octet_string(bytes(20)))
    outer = der.read_all(der.read_one(envelope_bytes, der.SEQUENCE).content)
    fields = der.read_all(der.read_all(outer[1].content)[0].content)
    inner = der.sequence(der.read_all(fields[2].content)[0].encoded, der.explicit(0, der.sequence(kind, digest_info)))
    body = der.sequence(*(f.encoded for f in fields[:2]), inner, *(f.encoded for f in fields[3:]))
    return der.sequence(outer[0].encoded, der.explicit(0, body))


def test_sha1_beside_a_good_signature_is_a_warning_and_alone_a_failure():
    good = envelope("powershell")
    old = _with_sha1_digest(good)
    with pytest.raises(VerificationError) as failure:
        read("powershell", with_envelope("powershell", old))
    assert failure.value.code == "weak-digest"
    reading = read("powershell", with_envelope("powershell", nest(old, good)))
    assert [found.notes["place"] for found in reading.signatures] == ["1.1"]
    assert any("uses sha1" in warning for warning in reading.warnings)


@pytest.mark.parametrize("content", [b"", b"x", b"\x30\x03\x02\x01\x01"])
def test_a_block_that_holds_no_signature_is_an_error(content):
    with pytest.raises(FormatError):
        read("powershell", with_envelope("powershell", content))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_block_of_very_many_lines_is_refused(family):
    style = next(iter(FAMILIES[family][0]._family.styles.values()))
    content = replace(style, width=4).write(bytes(3 * MAX_LINES), TextEncoding.ASCII)
    content = GOOD["wsf"]["plain"].replace(b"</job>", content + b"</job>") if family == "wsf" else b"x" + content
    with pytest.raises(FormatError, match="lines"):
        read(family, content)
    with pytest.raises(FormatError, match="lines"):
        FAMILIES[family][0].remove(BytesView(content))


@pytest.mark.parametrize("family", FAMILIES)
def test_base64_has_one_form(family):
    padded = next(e for n in range(3) for e in [envelope(family) + bytes(n)] if len(e) % 3 == 1)
    content = with_envelope(family, padded)
    text = base64.b64encode(padded)[-4:]
    bent = bytes([text[0], text[1] + 1]) + text[2:]
    with pytest.raises(FormatError, match="one form"):
        read(family, content.replace(text, bent))


@pytest.mark.parametrize("family", FAMILIES)
def test_only_signed_scripts_of_the_kind_are_recognised(family):
    contents = [signed(each) for each in FAMILIES]
    recognised = [FAMILIES[family][1].recognizes(BytesView(content)) for content in contents]
    assert recognised == [each == family for each in FAMILIES]
    others = (b"", b"MZ", PE32.build(), sample_of(family), b"<signature></signature>")
    assert not any(FAMILIES[family][1].recognizes(BytesView(content)) for content in others)
    assert FAMILIES[family][1].recognizes(BytesView(signed(family).replace(b"\r\n", b"\n")))
    if family != "wsf":
        wide = sign(family, GOOD[family]["utf16-mark"])
        assert FAMILIES[family][1].recognizes(BytesView(wide))


def test_a_script_that_is_too_large_is_refused_before_it_is_read():
    with pytest.raises(FormatError) as refusal:
        FAMILIES["powershell"][1].read(SizedView(b"x", MAX_SIZE + 1))
    assert refusal.value.code == "too-large"


def test_a_description_that_reorders_the_line_is_escaped():
    result = sign("powershell", sample_of("powershell"), description="Größe")
    (found,) = read("powershell", result).signatures
    assert found.notes["description"] == "Größe"
    bent = cms.parse(envelope("powershell")).only_signer
    text = der.explicit(0, der.implicit(0, "a\u202eb".encode("utf-16-be")))
    attributes = {**bent.signed_attributes, "1.3.6.1.4.1.311.2.1.12": der.sequence(text)}
    shown = authenticode.opus_notes(
        cms.Signer(**{**{f: getattr(bent, f) for f in bent.__slots__}, "signed_attributes": attributes})
    )
    assert shown["description"] == "'a\\u202eb'"
