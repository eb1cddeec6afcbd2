# SPDX-License-Identifier: Apache-2.0
"""Scripts, good and broken, in ``testvectors/powershell``, ``vbscript``, ``jscript`` and ``wsf``.

``python -m tests.support.script_vectors`` writes them. A signed file cannot be made twice (keys are thrown away): it is
written only when it is not there. ``signed-by-jsign`` was made with jsign 7.1, which no distribution has, and our key.
"""

from __future__ import annotations

import base64
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE
from pathlib import Path

from signwright.formats.powershell import POWERSHELL
from signwright.formats.script import ScriptFormat
from signwright.formats.windows_script import JSCRIPT, VBSCRIPT, WSF
from signwright.readers.script import ScriptReader
from signwright.readers.scripts import JSCRIPT as JSCRIPT_READER
from signwright.readers.scripts import POWERSHELL as POWERSHELL_READER
from signwright.readers.scripts import VBSCRIPT as VBSCRIPT_READER
from signwright.readers.scripts import WSF as WSF_READER
from tests.support import signed_files
from tests.support.osslsigncode import OF_VECTORS, signed_by_it

FOLDER = Path(__file__).parents[2] / "testvectors"
FAMILIES: dict[str, tuple[ScriptFormat, ScriptReader]] = {
    "powershell": (POWERSHELL, POWERSHELL_READER),
    "vbscript": (VBSCRIPT, VBSCRIPT_READER),
    "jscript": (JSCRIPT, JSCRIPT_READER),
    "wsf": (WSF, WSF_READER),
}
#: Name endings by which others choose the comments of a PowerShell file; without one here it is ``ps1``.
ENDINGS = {"xml": "ps1xml", "xml-utf8-mark": "ps1xml", "xml-utf16": "ps1xml", "console": "psc1", "mof": "mof"}
ENDINGS |= {"cdxml": "cdxml", "manifest": "psd1", "module": "psm1"}

_GREETING = 'Write-Host "Hello"\r\n'
_XML = '<?xml version="1.0" encoding="utf-8"?>\r\n<Configuration>\r\n  <ViewDefinitions/>\r\n</Configuration>\r\n'
_VB = 'MsgBox "Hello"\r\n'
_JS = 'WScript.Echo("Hello");\r\n'
_JOB = (
    '<?xml version="1.0"?>\r\n<job id="one">\r\n'
    '  <script language="VBScript"><![CDATA[\r\n    WScript.Echo "Hello"\r\n  ]]></script>\r\n</job>\r\n'
)
_PACKAGE = "<package>\r\n" + _JOB.partition("\r\n")[2] + '<job id="two">\r\n  </job>\r\n</package>\r\n'
#: Every element that the documentation of script files names; a script without CDATA section, as plain text.
_ALL_ELEMENTS = (
    '<!-- tools -->\r\n<?job error="true" debug="false" ?>\r\n<package>\r\n<comment>x > 1</comment>\r\n<job id=one>\r\n'
    '<?job debug="true"?>\r\n<runtime>\r\n<description>Does it &amp; ends</description>\r\n'
    '<named name=\'server\' helpstring="it\'s here"\r\n  type="string" required />\r\n'
    '<unnamed name="x" many=1/><usage><![CDATA[a > b]]></usage><example>Example: x.wsf</example>\r\n</runtime>\r\n'
    '<object id="fso" progid="Scripting.FileSystemObject"/><reference object="ADODB.Connection" />\r\n'
    '<resource id="text">Hello</resource>\r\n<script language="JScript" src="a.js"/>\r\n'
    '<script language="JScript">\r\n<!--\r\nfor (i = 0; i<3 && "</job>" != "<b>"; i++) f();\r\n// -->\r\n</script >\r\n'
    '<script><![CDATA[ x = "<!-- </job>" ]]></script>\r\n'
    "<!-- </job> <script> --->\r\n</job>\r\n</package>\r\n"
)


def _marked(text: str) -> bytes:
    return BOM_UTF8 + text.encode()


def _wide(text: str) -> bytes:
    return BOM_UTF16_LE + text.encode("utf-16-le")


def _wide_big(text: str) -> bytes:
    return BOM_UTF16_BE + text.encode("utf-16-be")


#: Family → name → source that is signed as it is.
GOOD: dict[str, dict[str, bytes]] = {
    "powershell": {
        "plain": _GREETING.encode(),
        "no-final-newline": b"Write-Host 1",
        "one-character": b"1",
        "blank-lines": b"\r\n\r\nWrite-Host 1\r\n\r\n\r\n",
        "utf8-mark": _marked('Write-Host "Grüße ✓ \U0001f600"\r\n'),
        "utf8-mark-ascii": _marked(_GREETING),
        "utf16-mark": _wide('Write-Host "Grüße ✓ \U0001f600"\r\n'),
        "comment-help": b"<#\r\n.SYNOPSIS\r\n  Greets.\r\n#>\r\nWrite-Host 1\r\n",
        "signature-in-a-line": b"if ($text -match '^# SIG # Begin signature block') { 'signed' }\r\n",
        "manifest": b"@{\r\n  ModuleVersion = '1.0'\r\n}\r\n",
        "signature-words-alone": b"# SIG\r\n# Begin signature block\r\n# SIG #\r\n# SIGBegin signature block\r\n",
        "module": b"function Get-It { 1 }\r\nExport-ModuleMember Get-It\r\n",
        "long-line": b"$x = '" + b"x" * 70_000 + b"'\r\n",
        "xml": _XML.encode(),
        "xml-utf8-mark": _marked(_XML.replace("View", "Ansicht-ä-")),
        "xml-utf16": _wide(_XML.replace("utf-8", "utf-16").replace("View", "Ansicht-ä-")),
        "console": b'<PSConsoleFile ConsoleSchemaVersion="1.0"/>\r\n',
        "cdxml": b'<PowerShellMetadata xmlns="http://schemas.microsoft.com/cmdlets-over-objects/2009/11"/>\r\n',
        "mof": b"/*\r\n@TargetNode='localhost'\r\n*/\r\ninstance of OMI_ConfigurationDocument\r\n{\r\n};\r\n",
    },
    "vbscript": {
        "plain": _VB.encode(),
        "no-final-newline": b"MsgBox 1",
        "utf16-mark": _wide('MsgBox "Grüße \U0001f600"\r\n'),
        "signature-in-a-line": b"x = \"'' SIG '' Begin signature block\"\r\n",
    },
    "jscript": {
        "plain": _JS.encode(),
        "no-final-newline": b"var x = 1",
        "utf8-mark": _marked('WScript.Echo("Grüße");\r\n'),
        "utf16-mark": _wide('WScript.Echo("Grüße");\r\n'),
    },
    "wsf": {
        "plain": _JOB.encode(),
        "package": _PACKAGE.encode(),
        "indented-end": _JOB.replace("</job>", "    </job>").encode(),
        "end-on-one-line": b"<package><job></job></package>",
        "utf8-mark": _marked(_JOB.replace("Hello", "Grüße")),
        "utf16-mark": _wide(_JOB.replace("Hello", "Grüße")),
        "all-elements": _ALL_ELEMENTS.encode(),
    },
}

#: Family → name → source that only a conversion makes fit, and the text (with its mark) that the conversion makes.
CONVERTED: dict[str, dict[str, tuple[bytes, bytes]]] = {
    "powershell": {
        "lf": (b"a\nb\n", b"a\r\nb\r\n"),
        "cr": (b"a\rb\r", b"a\r\nb\r\n"),
        "mixed": (b"a\r\nb\nc\rd\r\r\ne", b"a\r\nb\r\nc\r\nd\r\n\r\ne"),
        "utf8-without-mark": ("'ä'\r\n".encode(), _marked("'ä'\r\n")),
        "utf8-without-mark-lf": ("'ä'\n".encode(), _marked("'ä'\r\n")),
        "utf8-mark-lf": (_marked("1\n"), _marked("1\r\n")),
        "utf16-lf": (_wide("'ä'\n"), _wide("'ä'\r\n")),
        "utf16-big-endian": (_wide_big("'ä \U0001f600'\r\n"), _marked("'ä \U0001f600'\r\n")),
        "here-string-lf": (b"@'\nline\n'@\n", b"@'\r\nline\r\n'@\r\n"),
    },
    "vbscript": {
        "lf": (b"MsgBox 1\n", b"MsgBox 1\r\n"),
        "utf8-mark": (_marked("MsgBox 1\r\n"), _wide("MsgBox 1\r\n")),
        "utf8-without-mark": ('MsgBox "ä"\r\n'.encode(), _wide('MsgBox "ä"\r\n')),
    },
    "jscript": {
        "lf": (b"f();\n", b"f();\r\n"),
        "utf8-without-mark": ("f('ä');\r\n".encode(), _wide("f('ä');\r\n")),
        "utf8-mark-lf": (_marked("f('ä');\n"), _marked("f('ä');\r\n")),
    },
    "wsf": {
        "lf": (b"<job>\n</job>\n", b"<job>\r\n</job>\r\n"),
        "lf-in-the-end": (b"<job>\r\n</job>\n", b"<job>\r\n</job>\r\n"),
        "utf8-without-mark": ("<job><!-- ä --></job>\r\n".encode(), _marked("<job><!-- ä --></job>\r\n")),
    },
}

_CMS = base64.b64encode(bytes.fromhex("300d06092a864886f70d010702a000"))  # SignedData with nothing inside
_LINES = b"\r\n# SIG # Begin signature block\r\n# " + _CMS + b"\r\n# SIG # End signature block\r\n"
_VB_LINES = b"\r\n'' SIG '' Begin signature block\r\n'' SIG '' " + _CMS + b"\r\n'' SIG '' End signature block\r\n"
_JS_LINES = _VB_LINES.replace(b"''", b"//")
_WSF_LINES = b"\r\n<signature>\r\n** SIG ** " + _CMS + b"\r\n</signature>\r\n"
_G = _GREETING.encode()

#: Family → defect → (content, code of the error with which signing refuses it, also where it may convert and replace).
BROKEN: dict[str, dict[str, tuple[bytes, str]]] = {
    "powershell": {
        "empty": (b"", "empty"),
        "only-a-mark": (BOM_UTF8, "empty"),
        "only-a-block": (_LINES, "empty"),
        "utf32-little": (BOM_UTF32_LE + "x\r\n".encode("utf-32-le"), "encoding"),
        "utf32-big": (BOM_UTF32_BE + "x\r\n".encode("utf-32-be"), "encoding"),
        "utf16-without-mark": (_GREETING.encode("utf-16-le"), "bad-character"),
        "utf16-half-a-character": (_wide(_GREETING) + b"\r", "encoding"),
        "utf16-lone-surrogate": (BOM_UTF16_LE + b"\x00\xd8x\0", "encoding"),
        "utf16-swapped-mark-inside": (_wide("x\ufffe"), "bad-character"),
        "code-page-1252": (b"'\xe4'\r\n", "encoding"),
        "overlong-utf8": (BOM_UTF8 + b"\xc0\xaf\r\n", "encoding"),
        "truncated-utf8": (BOM_UTF8 + b"x\xe2\x82", "encoding"),
        "two-marks": (BOM_UTF8 + BOM_UTF8 + _G, "bad-character"),
        "nul": (b"Write-Host 1\0\r\n", "bad-character"),
        "control-z": (b"1\r\n\x1a\r\nRemove-Item *\r\n", "bad-character"),
        "block-in-the-middle": (_G + _LINES + _G, "signature-in-text"),
        "block-at-the-start": (_LINES.lstrip() + _G, "signature-in-text"),
        "block-with-lf": ((_G + _LINES).replace(b"\r\n", b"\n"), "signature-in-text"),
        "block-with-lf-alone": (_G + _LINES.replace(b"\r\n", b"\n"), "signature-in-text"),
        "block-without-final-newline": ((_G + _LINES)[:-2], "signature-in-text"),
        "line-behind-the-block": (_G + _LINES + b"\r\n", "signature-in-text"),
        "two-blocks": (_G + _LINES + _LINES, "signature-in-text"),
        "block-of-another-language-inside": (
            _G + b"/* SIG # Begin signature block */\r\n" + _LINES,
            "signature-in-text",
        ),
        "block-in-a-here-string": (b"@'" + _LINES + b"'@\r\n", "signature-in-text"),
        "begin-alone": (_G + b"# SIG # Begin signature block\r\n", "signature-in-text"),
        "end-alone": (_G + b"# SIG # End signature block\r\n", "bad-signature-block"),
        "end-alone-lower-case": (_G + b"# sig # end signature block\r\n", "signature-in-text"),
        "marker-without-space": (_G + b"#SIG # Begin signature block\r\n", "signature-in-text"),
        "marker-without-any-space": (_G + b"#SIG#Endsignatureblock\r\n", "signature-in-text"),
        "marker-indented": (_G + b" \t # SIG # Begin signature block\r\n" + _G, "signature-in-text"),
        "marker-on-the-first-line": (b"  # sig # begin signature block\r\n" + _G, "signature-in-text"),
        "marker-with-tabs": (_G + b"#\tSIG\t#\tBegin\tsignature\tblock  \r\n", "signature-in-text"),
        "marker-with-other-spaces": (
            _marked(_GREETING + "#\u00a0SIG\u2003#\u3000Begin signature block\r\n"),
            "signature-in-text",
        ),
        "marker-with-space-in-words": (_G + b"# S I G # E n d signature block\r\n", "signature-in-text"),
        "marker-of-xml-without-space": (_XML.encode() + b"<!--SIG # Begin signature block-->\r\n", "signature-in-text"),
        "marker-of-mof-without-space": (_G + b"/*SIG# END SIGNATURE BLOCK*/\r\n", "signature-in-text"),
        "block-indented": (_G + _LINES.replace(b"\r\n#", b"\r\n #"), "signature-in-text"),
        "block-with-code-before-its-end": (
            _G + _LINES.replace(b"# SIG # End", b"Remove-Item * # SIG # End"),
            "signature-in-text",
        ),
        "block-in-capitals": (_G + _LINES.replace(b"nature block", b"NATURE BLOCK"), "signature-in-text"),
        "block-that-begins-indented": (_G + _LINES.replace(b"\r\n# SIG # B", b"\r\n # SIG # B"), "bad-signature-block"),
        "block-with-code": (_G + _LINES.replace(_CMS, _CMS + b"\r\nRemove-Item *"), "bad-signature-block"),
        "block-not-base64": (_G + _LINES.replace(_CMS, b"#" + _CMS), "bad-signature-block"),
        "block-empty": (_G + _LINES.replace(b"# " + _CMS + b"\r\n", b""), "bad-signature-block"),
        "xml-declares-code-page": (_marked('<?xml version="1.0" encoding="windows-1252"?>\r\n<a>ä</a>'), "encoding"),
        "xml-declares-utf7": (b'<?xml version="1.0" encoding="utf-7"?>\r\n<a/>', "encoding"),
        "xml-declares-utf16-in-ascii": (b'<?xml version="1.0" encoding="utf-16"?>\r\n<a/>', "encoding"),
        "xml-declaration-endless": (b"<?xml " + b" " * 5000 + b"?><a/>", "encoding"),
    },
    "vbscript": {
        "xml": (b"<job></job>", "bad-style"),
        "marker-indented": (_VB.encode() + b"  '' SIG '' Begin signature block\r\n", "signature-in-text"),
        "marker-without-space": (b"''SIG''end signature block\r\n" + _VB.encode(), "signature-in-text"),
        "block-in-capitals": (_VB.encode() + _VB_LINES.replace(b"SIG", b"sig"), "signature-in-text"),
        "block-in-the-middle": (_VB.encode() + _VB_LINES + _VB.encode(), "signature-in-text"),
        "two-blocks": (_VB.encode() + _VB_LINES + _VB_LINES, "signature-in-text"),
        "block-with-lf": ((_VB.encode() + _VB_LINES).replace(b"\r\n", b"\n"), "signature-in-text"),
        "block-without-mark-of-comment": (
            _VB.encode() + _VB_LINES.replace(b"'' SIG '' " + _CMS, _CMS),
            "bad-signature-block",
        ),
    },
    "jscript": {
        "xml": (b"<job></job>", "bad-style"),
        "marker-indented": (_JS.encode() + b"  // SIG // Begin signature block\r\n", "signature-in-text"),
        "marker-without-space": (b"//SIG//end signature block\r\n" + _JS.encode(), "signature-in-text"),
        "block-in-capitals": (_JS.encode() + _JS_LINES.replace(b"SIG", b"sig"), "signature-in-text"),
        "block-in-the-middle": (_JS.encode() + _JS_LINES + _JS.encode(), "signature-in-text"),
        "two-blocks": (_JS.encode() + _JS_LINES + _JS_LINES, "signature-in-text"),
    },
    "wsf": {
        "no-job": (b"<package></package>\r\n", "bad-wsf"),
        "text-behind-the-job": (b"<job></job>\r\nmore", "bad-wsf"),
        "comment-behind-the-job": (b"<job></job><!-- -->", "bad-wsf"),
        "job-in-a-comment": (b"<job><!-- </job>\r\n-->", "bad-wsf"),
        "another-root": (b"<jobs><job></job>", "bad-wsf"),
        "signature-with-code-before-its-end": (
            b"<job>" + _WSF_LINES.replace(b"</sig", b"x</sig") + b"</job>",
            "signature-in-text",
        ),
        "job-ends-in-an-open-comment": (_JOB.encode() + b"<!-- </job>", "bad-wsf"),
        "job-ends-in-an-open-cdata": (b'<job><script><![CDATA[\r\nx = "</job>', "bad-wsf"),
        "job-ends-in-an-open-script": (b"<job>\r\n<script>\r\n'</job>", "bad-wsf"),
        "job-ends-in-a-script-in-capitals": (b"<job>\r\n<SCRIPT>\r\n'</job>", "bad-wsf"),
        "job-ends-in-an-instruction": (b"<job>\r\n<?x </job>", "bad-wsf"),
        "job-ends-in-a-value": (b'<job><object id="</job>', "bad-wsf"),
        "job-ends-in-a-value-after-a-tag-end": (b'<job><object id="></job>', "bad-wsf"),
        "job-ends-in-an-element": (b"<job><runtime></job>", "bad-wsf"),
        "job-ends-twice": (b"<job></job>\r\n</job>", "bad-wsf"),
        "jobs-without-package": (b"<job></job>\r\n<job></job>", "bad-wsf"),
        "job-in-another-element": (b"<package><x><job></job></package>", "bad-wsf"),
        "package-without-end": (b"<package><job></job>", "bad-wsf"),
        "package-without-start": (b"<job></job></package>", "bad-wsf"),
        "root-in-a-comment": (b"<!-- <job> --><other></job>", "bad-wsf"),
        "script-ends-in-cdata": (b'<job><script><![CDATA[x = "</script>"]]></script></job>', "bad-wsf"),
        "script-ends-in-a-comment": (b"<job><script><!-- </script> --></script></job>", "bad-wsf"),
        "script-begins-in-cdata": (b"<job><resource><![CDATA[<script>]]></resource></job>", "bad-wsf"),
        "comment-that-some-end-at-once": (b"<job><!--> </job> --></job>", "bad-wsf"),
        "text-outside": (b"<job></job>x</job>", "bad-wsf"),
        "document-type": (b'<!DOCTYPE job [<!ENTITY x "">]><job></job>', "bad-wsf"),
        "two-signatures": (b"<job>" + _WSF_LINES + _WSF_LINES + b"</job>", "signature-in-text"),
        "signature-behind-the-job": (b"<job></job>" + _WSF_LINES, "bad-wsf"),
        "signature-of-the-first-job": (
            b"<package><job>" + _WSF_LINES + b"</job><job></job></package>",
            "signature-in-text",
        ),
        "signature-with-attribute": (b'<job><signature x="1"/></job>', "signature-in-text"),
        "xml-declares-code-page": (
            _marked('<?xml version="1.0" encoding="windows-1252"?>\r\n<job><!-- ä --></job>'),
            "encoding",
        ),
    },
}


def sign(family: str, source: bytes, **options: object) -> bytes:
    """The signed script, with the key that tests of formats share."""
    return signed_files.sign(FAMILIES[family][0], source, signed_files.identity("rsa2048"), **options)


def sample_of(family: str) -> bytes:
    """A small genuine unsigned script."""
    return GOOD[family]["plain"]


def write() -> None:
    """Write every file; signed ones only when absent."""
    for family in FAMILIES:
        for name in ("good", "broken"):
            (FOLDER / family / name).mkdir(parents=True, exist_ok=True)
        for name, content in GOOD[family].items():
            (FOLDER / family / "good" / f"{name}.bin").write_bytes(content)
        for name, (content, _) in BROKEN[family].items():
            (FOLDER / family / "broken" / f"{name}.bin").write_bytes(content)
        for name, source in GOOD[family].items():
            path = FOLDER / family / "good" / f"signed-{name}.bin"
            if name in ("plain", "utf16-mark", "utf8-mark", "xml", "mof") and not path.exists():
                path.write_bytes(sign(family, source, description="a description", url="https://example.org/"))
    path = FOLDER / "powershell" / "good" / "signed-by-osslsigncode.bin"
    if not path.exists():
        path.write_bytes(signed_by_it(GOOD["powershell"]["plain"], *OF_VECTORS, ending="ps1"))


if __name__ == "__main__":
    write()
