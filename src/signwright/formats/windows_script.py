# SPDX-License-Identifier: Apache-2.0
"""Scripts of the Windows Script Host: VBScript, JScript, and Windows script files (WSF)."""

from __future__ import annotations

import re

from signwright.errors import FormatError
from signwright.formats.script import ScriptFormat
from signwright.formats.script_block import Style
from signwright.formats.script_family import HOST_ROOTS, Family, ScriptOptions, end_of_file, end_text
from signwright.formats.script_text import TextEncoding, is_xml, xml_root
from signwright.formats.wsf_markup import check_place
from signwright.model.view import View

_WIDTH = 44
_LAST_JOB = re.compile(r"</job>\s*(?:</package>\s*)?\Z", re.ASCII)
_ALL = frozenset({TextEncoding.ASCII, TextEncoding.UTF8_BOM, TextEncoding.UTF16_LE})
#: To VBScript the mark of UTF-8 is an invalid character.
_VBSCRIPT_READS = _ALL - {TextEncoding.UTF8_BOM}


class VbScriptOptions(ScriptOptions):
    """Options of `VBSCRIPT`."""


class JScriptOptions(ScriptOptions):
    """Options of `JSCRIPT`."""


class WsfOptions(ScriptOptions):
    """Options of `WSF`."""


def _is_code(head: str) -> bool:
    return not is_xml(head)


def _code_style(head: str, options: ScriptOptions) -> str:
    del options
    if is_xml(head):
        raise FormatError("XML where a script of the Windows Script Host was wanted", code="bad-style")
    return "line"


def _xml_style(head: str, options: ScriptOptions) -> str:
    del options
    if xml_root(head) not in HOST_ROOTS:
        raise FormatError("no Windows script file: wanted XML with job or package outermost", code="bad-wsf")
    return "xml"


def _before_last_job_ends(view: View, encoding: TextEncoding) -> int:
    """Before the end tag of the last job, behind which nothing but the end of the package may stand. What stands before
    it shows that it is one (`check_place`).
    """
    found = _LAST_JOB.search(end_text(view, encoding, view.size))
    if found is None:
        raise FormatError("no </job> at the end of the file", offset=view.size, code="bad-wsf")
    return view.size - len(found.group()) * encoding.unit


def _line_family(name: str, title: str, extension: str, comment: str, options: type[ScriptOptions]) -> Family:
    prefix = f"{comment} SIG {comment} "
    return Family(
        name=name,
        title=title,
        file_names=(f"*.{extension}",),
        options=options,
        verifiers=(),
        styles={"line": Style(f"{prefix}Begin signature block", f"{prefix}End signature block", prefix, "", _WIDTH)},
        signature=re.compile(rf"[\r\n]{comment}sig{comment}(?:begin|end)signatureblock"),
        accepted=_VBSCRIPT_READS if name == "vbscript" else _ALL,
        target=TextEncoding.UTF16_LE,
        digests_mark=False,
        style_of=_code_style,
        belongs=_is_code,
        place_of=end_of_file,
    )


VBSCRIPT = ScriptFormat(_line_family("vbscript", "VBScript (Windows Script Host)", "vbs", "''", VbScriptOptions))
JSCRIPT = ScriptFormat(_line_family("jscript", "JScript (Windows Script Host)", "js", "//", JScriptOptions))
WSF = ScriptFormat(
    Family(
        name="wsf",
        title="Windows script file (WSF)",
        file_names=("*.wsf",),
        options=WsfOptions,
        verifiers=(),
        styles={"xml": Style("<signature>", "</signature>", "** SIG ** ", "", _WIDTH)},
        signature=re.compile(r"</?signature\b", re.IGNORECASE),
        accepted=_ALL,
        target=TextEncoding.UTF8_BOM,
        digests_mark=False,
        style_of=_xml_style,
        belongs=lambda head: xml_root(head) in HOST_ROOTS,
        place_of=_before_last_job_ends,
        # `check_place` knows its markup; in a script, `a < signature` is no tag.
        folds=False,
        check_place=check_place,
    )
)
