# SPDX-License-Identifier: Apache-2.0
"""How MOF documents begin (DMTF DSP0004, Managed Object Format), and what of that PowerShell could read as its own."""

from __future__ import annotations

import re

_SPACE = r"(?:\s|/\*(?:[^*]|\*(?!/))*+\*/|//[^\r\n]*+)"
_PRAGMA = r"#pragma\s++\w++\s*+\([^()\r\n]*+\)"
_QUALIFIERS = rf"(?:\[(?:[^\]\"/]|\"(?:[^\"\\]|\\.)*+\")*+\]{_SPACE}*+)?+"
_TYPE = rf"(?:boolean|string|char16|[us]int(?:8|16|32|64)|real(?:32|64)|datetime|\w++{_SPACE}++ref)"
#: A class of PowerShell writes types in brackets, so that this is none.
_MEMBER = rf"{_QUALIFIERS}{_TYPE}{_SPACE}++\w++{_SPACE}*+(?:\[\s*+\d*+\s*+\]{_SPACE}*+)?+[;=(]"
_INSTANCE = rf"instance{_SPACE}++of{_SPACE}++\w++(?:{_SPACE}++as{_SPACE}++\$\w++)?+{_SPACE}*+\{{"
_CLASS = rf"class{_SPACE}++\w++{_SPACE}*+(?::{_SPACE}*+\w++{_SPACE}*+)?+\{{{_SPACE}*+(?:\}}{_SPACE}*+;|{_MEMBER})"
_DOCUMENT = re.compile(
    rf"(?:{_SPACE}|{_PRAGMA})*+{_QUALIFIERS}(?:{_INSTANCE}|{_CLASS})", re.IGNORECASE | re.ASCII | re.DOTALL
)
_FIRST_WORDS = re.compile(r"\s*(/\*|//|#pragma\b|instance\s+of\b)", re.IGNORECASE)
#: What the compiler of configurations writes. Its second line is a syntax error in PowerShell (SplattingNotPermitted).
_CONFIGURATION = re.compile(r"\s*/\*(?:\r\n|\n|\r)@TargetNode='")


def begins_as_mof(head: str) -> bool:
    """Whether ``head`` (the beginning of the text) holds, behind comments and pragmas, the beginning of an instance or
    of a class as only MOF writes it.
    """
    return _DOCUMENT.match(head) is not None


def is_only_mof(head: str) -> bool:
    """Whether in addition PowerShell would refuse to run the text, whatever follows."""
    return begins_as_mof(head) and _CONFIGURATION.match(head) is not None


def could_be_mof(head: str) -> bool:
    """Whether a document of MOF could begin so, and a script too: ``//server/share/tool.exe`` is a command."""
    return begins_as_mof(head) or _FIRST_WORDS.match(head) is not None
