# SPDX-License-Identifier: Apache-2.0
"""Whether text is a MOF document, token by token (DMTF DSP0004, Managed Object Format, annex A), as far as is sure.

A signature in comments of C is one for MOF alone: to PowerShell such a file is unsigned, and its comments are commands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_SKIPPED = re.compile(r"(?:[ \t\r\n\f\v]|//[^\r\n]*+|/\*.*?\*/)++", re.DOTALL)
_TOKEN = re.compile(
    r'#pragma\s++\w++\s*+\([^()\r\n]*+\)|\$?+\w++|"(?:\\.|[^"\\])*+"|.', re.ASCII | re.DOTALL | re.IGNORECASE
)
_TYPES = {"boolean", "string", "char16", "real32", "real64", "datetime"}
_TYPES |= {f"{sign}int{bits}" for sign in "su" for bits in (8, 16, 32, 64)}
_COMPILED = re.compile(r"/\*(\r\n?|\n)@TargetNode='")


def begins(head: str) -> bool:
    """Whether ``head``, the beginning of a text, is MOF up to its first instance, or up to the first member of its
    first class.
    """
    tokens = [token for token in _tokens(head) if token]
    while tokens and tokens[0].startswith("#pragma"):
        del tokens[0]
    tokens = _behind_qualifiers(tokens)
    if tokens[:2] == ["instance", "of"]:
        return _is_instance(tokens[2:])
    return tokens[:1] == ["class"] and _is_class(tokens[1:])


def is_compiled(head: str) -> bool:
    """Whether it is the MOF of a compiled configuration, at whose second line PowerShell stops with a syntax error."""
    return _COMPILED.match(head.lstrip()) is not None and begins(head)


def _tokens(head: str) -> Iterator[str]:
    """In small letters, without space and comments; a comment that does not end gives a slash."""
    at = 0
    while at < len(head):
        if (skipped := _SKIPPED.match(head, at)) is not None:
            at = skipped.end()
        elif (token := _TOKEN.match(head, at)) is not None:
            at = token.end()
            yield token.group().lower()


def _behind_qualifiers(tokens: list[str]) -> list[str]:
    return tokens[tokens.index("]") + 1 :] if tokens[:1] == ["["] and "]" in tokens else tokens


def _is_name(token: str) -> bool:
    return re.fullmatch(r"\w+", token, re.ASCII) is not None


def _is_instance(tokens: list[str]) -> bool:
    if tokens[1:2] == ["as"] and tokens[2:3] and tokens[2].startswith("$") and len(tokens[2]) > 1:
        tokens = [tokens[0], *tokens[3:]]
    return tokens[1:2] == ["{"] and _is_name(tokens[0])


def _is_class(tokens: list[str]) -> bool:
    if tokens[1:2] == [":"] and tokens[2:3] and _is_name(tokens[2]):
        tokens = [tokens[0], *tokens[3:]]
    if tokens[1:2] != ["{"] or not _is_name(tokens[0]):
        return False
    if tokens[2:4] == ["}", ";"]:
        return True
    member = _behind_qualifiers(tokens[2:])
    if member[1:2] == ["ref"] and member[2:3] and _is_name(member[0]) and _is_name(member[2]):
        member = ["string", *member[2:]]
    if len(member) > 2 and member[2] == "[" and "]" in member[3:5]:
        length = member[3 : member.index("]", 3)]
        member = member[:2] + member[4 + len(length) :] if not length or re.fullmatch("[0-9]+", length[0]) else []
    return len(member) > 2 and member[0] in _TYPES and _is_name(member[1]) and member[2] in (";", "=", "(")
