# SPDX-License-Identifier: Apache-2.0
"""PowerShell: which comments a block is written in."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from signwright.errors import FormatError
from signwright.formats.powershell import POWERSHELL, PowerShellOptions
from signwright.model.view import BytesView
from tests.support.script_vectors import GOOD, sign


def style_of(content: bytes, style: str = "auto") -> object:
    return POWERSHELL.prepare(BytesView(content), (), PowerShellOptions(style=style)).facts["style"]


@pytest.mark.parametrize(
    ("name", "style"),
    [
        ("plain", "hash"),
        ("comment-help", "hash"),
        ("manifest", "hash"),
        ("xml", "xml"),
        ("xml-utf8-mark", "xml"),
        ("xml-utf16", "xml"),
        ("console", "xml"),
        ("mof", "c"),
    ],
)
def test_the_text_itself_shows_its_comments(name, style):
    assert style_of(GOOD["powershell"][name]) == style


@pytest.mark.parametrize(
    ("head", "style"),
    [
        (b'#pragma namespace("x")', "c"),
        (b"\r\n  // MOF", "c"),
        (b"Instance of X {};", "c"),
        (b"#pragmatic comment", "hash"),
        (b"  <# help #>", "hash"),
        (b"\r\n <a/>", "xml"),
        (b"[CmdletBinding()]", "hash"),
    ],
)
def test_the_first_words_decide(head, style):
    assert style_of(head + b"\r\n") == style


def test_a_mof_that_does_not_begin_like_one_is_named():
    source = b"class X { };\r\n"
    assert style_of(source) == "hash"
    assert style_of(source, "c") == "c"
    assert b"\r\n/* SIG # Begin signature block */\r\n/* MII" in sign("powershell", source, style="c")


@pytest.mark.parametrize(("content", "style"), [(b"Write-Host 1", "xml"), (b"<a/>", "hash"), (b"<a/>", "c")])
def test_comments_of_another_language_are_refused(content, style):
    with pytest.raises(FormatError) as refusal:
        style_of(content, style)
    assert refusal.value.code == "bad-style"


def test_text_that_hides_its_language_behind_white_space_is_refused():
    for content in (b"\r\n" * 3000 + b"<a/>", b"\xff\xfe" + (" " * 3000 + "<a/>").encode("utf-16-le")):
        with pytest.raises(FormatError) as refusal:
            style_of(content)
        assert refusal.value.code == "bad-style"
    assert style_of(b"\r\n" * 2000 + b"<a/>") == "xml"


def test_an_unknown_style_is_refused():
    with pytest.raises(ValidationError):
        PowerShellOptions(style="vb")


def test_lines_are_those_of_windows():
    signed = sign("powershell", b"Write-Host 1\r\n")
    lines = signed.split(b"\r\n")
    assert lines[:3] == [b"Write-Host 1", b"", b"# SIG # Begin signature block"]
    assert lines[-2:] == [b"# SIG # End signature block", b""]
    assert {len(line) for line in lines[3:-3]} == {66}
    assert b"\r\n<!-- SIG # Begin signature block -->\r\n<!-- MII" in sign("powershell", b"<a/>")
