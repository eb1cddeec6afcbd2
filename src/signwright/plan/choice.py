# SPDX-License-Identifier: Apache-2.0
"""Which rule each member of a container is under: a closed world, in which what no rule names is a problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from signwright.errors import FormatError
from signwright.plan.paths import MAX_SEGMENTS, matches, path_problem, same_file, shown
from signwright.policy.documents import Inside, MemberRule
from signwright.readers.member_strip import has_below

_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Choice:
    """One rule, or None, for each name, in their order; ``problems``: in words, each with its path."""

    rules: tuple[MemberRule | None, ...]
    problems: tuple[str, ...]


def choose(inside: Inside, names: Sequence[str], folders: Sequence[str] = (), *, are_files: bool = True) -> Choice:
    """``names``: of all members that are no folders; ``folders``: of those that are, with a slash at their ends;
    ``are_files``: members are unpacked to files of these names. The first rule whose path names a member counts.
    """
    rules: list[MemberRule | None] = []
    problems: list[str] = []
    used: Counter[int] = Counter()
    for name in names:
        if name.count("/") >= MAX_SEGMENTS:
            problems.append(f"{shown(name)}: in {MAX_SEGMENTS} folders or more")
            rules.append(None)
            continue
        number = rule_number(inside, name)
        rules.append(None if number is None else inside.members[number])
        if number is not None:
            used[number] += 1
        elif inside.unlisted == "refuse":
            problems.append(f"{shown(name)}: no rule names it, and unlisted members are refused")
    problems += _name_problems(names, folders) if are_files else ()
    for number, rule in enumerate(inside.members):
        if not rule.min <= used[number] <= rule.max:
            problems.append(f"{rule.path}: {used[number]} members, wanted {rule.min} to {rule.max}")
    return Choice(tuple(rules), tuple(problems))


def _name_problems(names: Sequence[str], folders: Sequence[str]) -> Iterator[str]:
    """Names that lead elsewhere, and those that are one for some file systems, where one member replaces another."""
    keys = [same_file(name) for name in names]
    there = sorted([*keys, *map(same_file, folders)])
    for name in (*names, *(folder.removesuffix("/") for folder in folders)):
        if why := path_problem(name):
            yield f"{shown(name)!r}: {why}"
    seen: set[str] = set()
    for name, key in zip(names, keys, strict=True):
        if key in seen:
            yield f"{shown(name)}: it is there twice, at least where case does not count"
        if has_below(there, f"{key}/"):
            yield f"{shown(name)}: there is a folder of this name as well"
        seen.add(key)


def rule_number(inside: Inside, path: str) -> int | None:
    """Index of the first rule that names ``path``; None where none does."""
    return next((number for number, rule in enumerate(inside.members) if matches(rule.path, path)), None)


def may_replace(inside: Inside, path: str) -> bool:
    """Whether an old signature of the member at ``path``, which may be in an archive within, may give way to a new one.
    Where a path could be read in two ways, both have to say so.
    """
    rules = list(_rules_of(inside, path))
    return bool(rules) and all(rule.existing == "replace" for rule in rules)


def _rules_of(inside: Inside, path: str) -> Iterator[MemberRule]:
    number = rule_number(inside, path)
    if number is not None:
        yield inside.members[number]
    for at, character in enumerate(path):
        if character == "/" and (outer := rule_number(inside, path[:at])) is not None and inside.members[outer].members:
            yield from _rules_of(inside.members[outer], path[at + 1 :])


def refuse(problems: Sequence[str]) -> None:
    """Raise `FormatError` (``members``) with all of them; nothing when there is none."""
    if not problems:
        return
    more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    count = f"{len(problems)} problems: " if len(problems) > 1 else ""
    raise FormatError(f"{count}{'; '.join(problems[:_SHOWN])}{more}", code="members", hint="the artifact configuration")
