# SPDX-License-Identifier: Apache-2.0
"""The difference between two policies in words: who gains or loses what. For people to read before they sign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from signwright.policy.weakening import (
    ABSENT,
    DOCUMENT,
    ELIGIBLE,
    LIMIT,
    ORDER,
    Difference,
    Documents,
    Effect,
    amount,
    differences,
)

_MARKS = {"weaker": "WEAKER", "stronger": "stronger", "other": "changed"}


@dataclass(frozen=True, slots=True)
class Change:
    """``where``: the document and the field; ``text``: words without full stop."""

    where: str
    text: str
    effect: Effect

    def __str__(self) -> str:
        return f"{_MARKS[self.effect]:<8} {self.where}: {self.text}"


def changes(old: Documents, new: Documents) -> list[Change]:
    """Every difference between two sets of documents (``organisation``, ``people``, …, ``projects/<name>``)."""
    found = [Change(one.where, _text(one), one.effect) for one in differences(old, new)]
    return sorted(found, key=lambda change: (list(_MARKS).index(change.effect), change.where))


def _text(one: Difference) -> str:
    if one.words == DOCUMENT:
        return "new document" if one.old is ABSENT else "document removed"
    if one.words in (ELIGIBLE, ORDER) and isinstance(one.old, list) and isinstance(one.new, list):
        return _eligible(one.old, one.new) if one.words == ELIGIBLE else f"{ORDER}: {', '.join(one.new)}"
    from_to = f"from {_shown(one.old)} to {_shown(one.new)}"
    if one.words in ("", LIMIT):
        return f"{from_to} {one.words}".strip()
    return _of_known(one, from_to)


def _eligible(old: Sequence[str], new: Sequence[str]) -> str:
    who = ", ".join([*old, *new])
    return f"only group {who} may approve" if new else f"anybody enrolled may approve, not only group {who}"


def _of_known(one: Difference, from_to: str) -> str:
    """Of a field for which there are words."""
    old, new, is_entry = one.old, one.new, one.where.endswith("]")
    if amount(old) == amount(new) or (is_entry and ABSENT not in (old, new)):
        return f"{one.words}: {from_to}"
    if isinstance(old, int) and isinstance(new, int) and not isinstance(old, bool):
        return f"{one.words}: from {old} to {new}"
    grown = amount(new) > amount(old)
    there = new if grown else old
    named = is_entry and isinstance(there, str)  # the words name it already
    shown = "" if named or isinstance(new, bool) or isinstance(old, bool) else f" ({_shown(there)})"
    return f"{one.words}{shown}" if grown else f"no longer: {one.words}{shown}"


def _shown(value: object) -> str:
    if value is ABSENT:
        return "nothing"
    if value is None:
        return "no value"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(member)}" for name, member in value.items() if member not in (None, [], {}))
    if isinstance(value, list):
        return "/".join(_shown(member) for member in value)
    text = str(value)
    return text if len(text) <= 60 else f"{text[:24]}…{text[-12:]}"
