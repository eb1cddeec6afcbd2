# SPDX-License-Identifier: Apache-2.0
"""PowerShell: scripts, modules and manifests, XML files of formats and types, console files, and MOF documents."""

from __future__ import annotations

import re
from enum import StrEnum

from pydantic import Field

from signwright.errors import FormatError
from signwright.formats.powershell_mof import begins_as_mof, could_be_mof, is_only_mof
from signwright.formats.script import ScriptFormat
from signwright.formats.script_block import Style
from signwright.formats.script_family import HOST_ROOTS, Family, ScriptOptions, end_of_file
from signwright.formats.script_text import TextEncoding, is_xml, xml_root


class CommentStyle(StrEnum):
    """Comments of PowerShell, of XML and of MOF. ``auto`` takes the one that the text itself shows for certain."""

    AUTO = "auto"
    HASH = "hash"
    XML = "xml"
    C = "c"


class PowerShellOptions(ScriptOptions):
    """Options of `POWERSHELL`; ``style`` is for text that could be MOF and could be PowerShell."""

    style: CommentStyle = Field(default=CommentStyle.AUTO, strict=False)


def _style(opening: str, closing: str) -> Style:
    begin, end = (f"{opening}SIG # {word} signature block{closing}" for word in ("Begin", "End"))
    return Style(begin, end, opening, closing, 64)


def _style_of(head: str, options: ScriptOptions) -> str:
    wished = options.style if isinstance(options, PowerShellOptions) else CommentStyle.AUTO
    possible = _possible_styles(head)
    if wished is not CommentStyle.AUTO:
        if wished not in possible:
            raise FormatError(f"style {wished} for text that does not begin like text of that style", code="bad-style")
        return wished.value
    if len(possible) > 1 or (CommentStyle.HASH in possible and could_be_mof(head)):
        raise FormatError(
            "text that begins as a MOF document could, and a PowerShell script too",
            code="ambiguous-style",
            hint="say what it is: --option style=hash for PowerShell, --option style=c for MOF",
        )
    return possible[0].value


def _possible_styles(head: str) -> tuple[CommentStyle, ...]:
    if is_xml(head):
        return (CommentStyle.XML,)
    if is_only_mof(head):
        return (CommentStyle.C,)
    return (CommentStyle.HASH, CommentStyle.C) if begins_as_mof(head) else (CommentStyle.HASH,)


POWERSHELL = ScriptFormat(
    Family(
        name="powershell",
        title="PowerShell script, module, XML or MOF file",
        file_names=("*.ps1", "*.psm1", "*.psd1", "*.ps1xml", "*.psc1", "*.cdxml", "*.mof"),
        options=PowerShellOptions,
        verifiers=("osslsigncode",),
        styles={"hash": _style("# ", ""), "xml": _style("<!-- ", " -->"), "c": _style("/* ", " */")},
        signature=re.compile(r"[\r\n](?:#|<!--|/\*)sig#(?:begin|end)signatureblock"),
        accepted=frozenset({TextEncoding.ASCII, TextEncoding.UTF8_BOM, TextEncoding.UTF16_LE}),
        target=TextEncoding.UTF8_BOM,
        digests_mark=True,
        style_of=_style_of,
        belongs=lambda head: xml_root(head) not in HOST_ROOTS,
        place_of=end_of_file,
    )
)
