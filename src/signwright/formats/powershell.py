# SPDX-License-Identifier: Apache-2.0
"""PowerShell: scripts, modules and manifests, XML files of formats and types, console files, and MOF documents."""

from __future__ import annotations

import re
from enum import StrEnum

from pydantic import Field

from signwright.errors import FormatError
from signwright.formats.script import ScriptFormat
from signwright.formats.script_block import Style
from signwright.formats.script_family import HOST_ROOTS, Family, ScriptOptions, end_of_file
from signwright.formats.script_text import TextEncoding, is_xml, xml_root

_MOF = re.compile(r"\s*(/\*|//|#pragma\b|instance\s+of\b)", re.IGNORECASE)


class CommentStyle(StrEnum):
    """Comments of PowerShell, of XML and of MOF. ``auto`` takes the one that the text itself shows."""

    AUTO = "auto"
    HASH = "hash"
    XML = "xml"
    C = "c"


class PowerShellOptions(ScriptOptions):
    """Options of `POWERSHELL`; ``style`` is for MOF documents that do not begin like one."""

    style: CommentStyle = Field(default=CommentStyle.AUTO, strict=False)


def _style(opening: str, closing: str) -> Style:
    begin, end = (f"{opening}SIG # {word} signature block{closing}" for word in ("Begin", "End"))
    return Style(begin, end, opening, closing, 64)


def _style_of(head: str, options: ScriptOptions) -> str:
    wished = options.style if isinstance(options, PowerShellOptions) else CommentStyle.AUTO
    shown = CommentStyle.XML if is_xml(head) else CommentStyle.C if _MOF.match(head) else CommentStyle.HASH
    if wished is CommentStyle.AUTO:
        return shown.value
    if CommentStyle.XML in (wished, shown) and wished is not shown:
        raise FormatError(f"style {wished} for text that is written in style {shown}", code="bad-style")
    return wished.value


POWERSHELL = ScriptFormat(
    Family(
        name="powershell",
        title="PowerShell script, module, XML or MOF file",
        file_names=("*.ps1", "*.psm1", "*.psd1", "*.ps1xml", "*.psc1", "*.cdxml", "*.mof"),
        options=PowerShellOptions,
        verifiers=("osslsigncode",),
        styles={"hash": _style("# ", ""), "xml": _style("<!-- ", " -->"), "c": _style("/* ", " */")},
        signature=re.compile(r"[\r\n](?:# |<!-- |/\* )SIG # (?:Begin|End) signature block", re.IGNORECASE),
        accepted=frozenset({TextEncoding.ASCII, TextEncoding.UTF8_BOM, TextEncoding.UTF16_LE}),
        target=TextEncoding.UTF8_BOM,
        digests_mark=True,
        style_of=_style_of,
        belongs=lambda head: xml_root(head) not in HOST_ROOTS,
        place_of=end_of_file,
    )
)
