# SPDX-License-Identifier: Apache-2.0
"""PowerShell: which comments a block is written in."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from signwright.errors import FormatError
from signwright.formats.powershell import POWERSHELL, PowerShellOptions
from signwright.formats.powershell_mof import begins_as_mof, is_only_mof
from signwright.model.view import BytesView
from signwright.readers import script_mof
from signwright.readers.scripts import POWERSHELL as READER
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
        (b"/*\r\n@TargetNode='localhost'\r\n*/ instance of X {};", "c"),
        (b"#pragmatic comment", "hash"),
        (b"class X { [string] $Name; }", "hash"),
        (b"class X { Name() { } }", "hash"),
        (b"[CmdletBinding()] param ()", "hash"),
        (b"instances of x", "hash"),
        (b"/bin/ls", "hash"),
        (b"  <# help #>", "hash"),
        (b"\r\n <a/>", "xml"),
        (b"[CmdletBinding()]", "hash"),
    ],
)
def test_the_first_words_decide(head, style):
    assert style_of(head + b"\r\n") == style


MOF = [
    b"class X { };",
    b"instance of X\r\n{ a = 1; };",
    b'// MOF\r\n#pragma namespace("\\\\.\\root")\r\n#PRAGMA include ("b.mof")\r\nInstance of X as $Y {};',
    b'/** MOF **/ [Description("a ] \\" b"), Key] class /* x */ X : Y // z\r\n { [Key] uint32 Id = 1; };',
    b"class X { Y ref Z; };",
    b"class X { string Names [ 3 ]; };",
    b"class X { string Names[]; };",
    b"class X { boolean Does([in] string a); };",
    b"class X { string ref; };",
]
#: PowerShell runs them, or some part of them.
NO_MOF = [
    b"#pragma once\r\nWrite-Host hi",
    b"//server/share/tool.exe",
    b"/* x */",
    b"/*\r\n@TargetNode='localhost'\r\n*/ Write-Host hi",
    b"instance of X",
    b'#pragma namespace("x")',
    b"// " + b"x" * 5000 + b"\r\ninstance of X { };",
]


@pytest.mark.parametrize("source", MOF)
def test_a_mof_that_could_be_powershell_is_named(source):
    with pytest.raises(FormatError) as refusal:
        style_of(source + b"\r\n")
    assert refusal.value.code == "ambiguous-style"
    assert "--option style=c" in str(refusal.value.hint)
    assert "--option style=hash" in str(refusal.value.hint)
    signed = sign("powershell", source, style="c")
    assert b"\r\n/* SIG # Begin signature block */\r\n/* MII" in signed
    assert style_of(source, "hash") == "hash"
    (found,) = READER.read(BytesView(signed)).signatures
    assert found.family == "cms"
    assert READER.read(BytesView(sign("powershell", source, style="hash"))).signatures


@pytest.mark.parametrize("source", NO_MOF)
def test_powershell_is_never_signed_in_comments_of_mof(source):
    with pytest.raises(FormatError) as refusal:
        style_of(source)
    assert refusal.value.code == "ambiguous-style"
    with pytest.raises(FormatError) as refusal:
        style_of(source, "c")
    assert refusal.value.code == "bad-style"
    assert READER.read(BytesView(sign("powershell", source, style="hash"))).signatures


def test_a_configuration_is_never_signed_in_comments_of_powershell():
    with pytest.raises(FormatError) as refusal:
        style_of(GOOD["powershell"]["mof"], "hash")
    assert refusal.value.code == "bad-style"


_MOF_WORDS = ["class", "instance", "of", "as", "$a", "X", "ref", "string", "UINT8", ":", "{", "}", "[", "]", "(", ")"]
_MOF_WORDS += [
    ";",
    "=",
    '"',
    '"]"',
    "/*",
    "*/",
    "//",
    "\r\n",
    " ",
    " ",
    " ",
    "#pragma a(b)",
    "3",
    "\\",
    "@TargetNode='",
]


@given(st.sampled_from(["", "class X {", "[", "instance of X ", "class X { string ", "/*\r\n@TargetNode='"]), st.data())
@settings(max_examples=1500)
def test_writer_and_reader_know_the_same_mof(start, data):
    text = start + "".join(data.draw(st.lists(st.sampled_from(_MOF_WORDS), max_size=9)))
    if begins_as_mof(text):
        assert script_mof.begins(text)
    assert is_only_mof(text) <= script_mof.is_compiled(text)


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
