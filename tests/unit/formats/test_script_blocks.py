# SPDX-License-Identifier: Apache-2.0
"""Blocks in scripts: what is one, what only looks like one, and that writer and reader agree on it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signwright.errors import FormatError
from signwright.formats.base import Prepared
from signwright.formats.script_text import PIECE, TextEncoding
from signwright.model.view import BytesView
from tests.support.script_vectors import FAMILIES, sample_of


def prepare(family: str, content: bytes, **options: object) -> Prepared:
    one = FAMILIES[family][0]
    return one.prepare(BytesView(content), (), one.options(**options))


def with_content(family: str, content: bytes) -> bytes:
    """The sample with any bytes, in base64, where the signature stands."""
    source = sample_of(family)
    block = next(iter(FAMILIES[family][0]._family.styles.values())).write(content, TextEncoding.ASCII)
    at = source.rindex(b"</job>") if family == "wsf" else len(source)
    return source[:at] + block + source[at:]


#: Base64 that is no signature: text of a person, data, CMS of another kind, CMS that is not DER or does not end.
NO_SIGNATURES = [
    bytes(3),
    b"Hello, World",
    bytes.fromhex("300d06092a864886f70d010701a000"),
    bytes.fromhex("308006092a864886f70d010702a0000000"),
    bytes.fromhex("300d06092a864886f70d010702a00000"),
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("content", NO_SIGNATURES)
def test_a_block_that_is_no_signature_is_not_removed(family, content):
    with pytest.raises(FormatError, match=f"{len(content)} bytes and no signature") as refusal:
        FAMILIES[family][0].remove(BytesView(with_content(family, content)))
    assert refusal.value.code == "not-signed"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("content", NO_SIGNATURES)
def test_a_block_that_is_no_signature_is_not_replaced(family, content):
    with pytest.raises(FormatError, match=f"{len(content)} bytes and no signature") as refusal:
        prepare(family, with_content(family, content), existing="replace")
    assert refusal.value.code == "bad-signature-block"
    assert "by hand" in str(refusal.value.hint)


#: SignedData with nothing inside, in base64, in ways in which only some readers take it, and the line that is to blame.
OTHER_BASE64 = {
    "other-bits-at-the-end": (["MA0GCSqGSIb3DQEHAqAB"[:-4], "oAB="], 3),
    "space": (["MA0GCSqG SIb3DQEHAqAA"], 2),
    "empty-line": (["MA0GCSqGSIb3", "", "DQEHAqAA"], 3),
    "padding-in-the-middle": (["MA0GCSqGSIb3DQEHAqA=", "MA0GCSqGSIb3DQEHAqA="], 2),
    "other-bits-before-padding-alone": (["MA0GCSqGSIb3DQEHAqB", "="], 3),
    "too-much-padding": (["MA0GCSqGSIb3DQEHAqA==="], 2),
    "no-padding": (["MA0GCSqG", "SIb3DQEHAqA"], 3),
    "letters-for-urls": (["MA0GCSqGSIb3", "-_EHAqAA"], 3),
    "long-line": (["A" * 204], 2),
    "not-ascii": (["MA0GCSqG\u00e4SIb3"], 2),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("way", OTHER_BASE64)
def test_what_the_reader_does_not_take_for_a_block_is_not_replaced(family, way):
    lines, number = OTHER_BASE64[way]
    style = next(iter(FAMILIES[family][0]._family.styles.values()))
    block = "\r\n".join(("", style.begin, *(style.opening + line + style.closing for line in lines), style.end, ""))
    source = sample_of(family).decode()
    at = source.rindex("</job>") if family == "wsf" else len(source)
    content = ("\ufeff" + source[:at] + block + source[at:]).encode("utf-16-le")
    with pytest.raises(FormatError):
        FAMILIES[family][1].read(BytesView(content))
    for refusing in (
        lambda: prepare(family, content, existing="replace", convert=True),
        lambda: FAMILIES[family][0].remove(BytesView(content)),
    ):
        with pytest.raises(FormatError, match=rf"\(its line {number}\)") as refusal:
            refusing()
        assert refusal.value.code == "bad-signature-block"
        offset = (
            len(("\ufeff" + source[:at] + "\r\n" + "\r\n".join(block.split("\r\n")[1:number])).encode("utf-16-le")) + 4
        )
        assert refusal.value.offset == offset


_BLOCK_PARTS = [
    "MA0GCSqGSIb3DQEHAqAA",
    "MA0G",
    "A",
    "=",
    "==",
    "AA==",
    "AB==",
    "\r\n",
    "# ",
    "\r\n# ",
    " ",
    "\n",
    "-",
    "#",
]


@given(st.lists(st.sampled_from(_BLOCK_PARTS), max_size=8))
@settings(max_examples=500)
def test_writer_and_reader_find_the_same_blocks(parts):
    lines = "# " + "".join(parts) + "\r\n"
    content = f"1\r\n# SIG # Begin signature block\r\n{lines}# SIG # End signature block\r\n".encode()
    codes = []
    for reading in (
        lambda: FAMILIES["powershell"][0].remove(BytesView(content)),
        lambda: FAMILIES["powershell"][1].stripped(BytesView(content)),
    ):
        try:
            reading()
            codes.append("")
        except FormatError as refusal:
            codes.append("" if refusal.code == "not-signed" else refusal.code)
    assert codes[0] == codes[1]


@pytest.mark.parametrize("shift", [0, 1, 31, 64, 65, 200, PIECE])
def test_a_marker_with_very_much_space_in_it_is_seen(shift):
    for marker in (
        b"# SIG %b# Begin signature block",
        b"%b# SIG # Begin signature block",
        b"# SIG # Begin s%bignature block",
    ):
        content = b"1" + b"x" * shift + b"\r\n" + marker % (b" \t" * PIECE) + b"\r\nx\r\n"
        with pytest.raises(FormatError, match="in the middle"):
            prepare("powershell", content)
        with pytest.raises(FormatError, match="should not look"):
            FAMILIES["powershell"][1].read(BytesView(content))
