# SPDX-License-Identifier: Apache-2.0
"""An artifact configuration drawn from a sample: what can be signed is, what is signed has its signer listed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from signwright.containers.base import Archive
from signwright.errors import FormatError, LimitError, VerificationError
from signwright.formats.base import Format
from signwright.formats.registry import FORMATS
from signwright.formats.zip import ZipFormat
from signwright.model.digest import sha256_hex
from signwright.model.view import View
from signwright.plan.contents import MAX_DEPTH, opened, unpacked
from signwright.plan.package import MSIX, is_bundle
from signwright.plan.signing import SIGNED_ARCHIVES
from signwright.policy.documents import ArtifactRule, MemberRule
from signwright.readers.registry import READERS

Action = Literal["sign", "verify", "keep"]


@dataclass(frozen=True, slots=True)
class Treatment:
    """What a rule for one member would say besides its path. ``signers``: of the certificates found in it."""

    action: Action
    format: str | None = None
    signers: tuple[str, ...] = ()
    members: tuple[MemberRule, ...] = ()


def rule_from(view: View, name: str) -> ArtifactRule:
    """The rule for an artifact like this one: files of the same ending, and for an archive every member of it.

    Raises `FormatError` for what nobody can sign.
    """
    chosen = _format_of(view, name)
    if chosen is None:
        raise FormatError(f"{name}: of no format that is signed inside", code="unknown-content")
    ending = _ending(name)
    pattern = f"*{ending}" if ending else name
    if chosen.name != ZipFormat.name:
        return ArtifactRule(name=pattern, format=chosen.name, members=_before_it(view, chosen, 0))
    members = _member_rules(view, 0)
    if not any(rule.action == "sign" for rule in members):
        raise FormatError(f"{name}: no member that can be signed, or all are signed", code="no-members")
    return ArtifactRule(name=pattern, format=chosen.name, members=members)


def _member_rules(view: View, depth: int) -> tuple[MemberRule, ...]:
    try:
        archive = opened(view)
        found = {m.name: _treatment(archive, m, depth) for m in archive.members if not m.is_folder}
    except LimitError as problem:
        raise FormatError(problem.message, code=problem.code) from problem
    return tuple(_rules(found))


def _before_it(view: View, chosen: Format, depth: int) -> tuple[MemberRule, ...]:
    """Rules for the members of what is signed itself; none where no member is to be signed before it."""
    if chosen.name not in SIGNED_ARCHIVES or depth >= MAX_DEPTH or (chosen.name == MSIX and is_bundle(view)):
        return ()
    rules = _member_rules(view, depth)
    return rules if any(rule.action == "sign" for rule in rules) else ()


def _treatment(archive: Archive, member: object, depth: int) -> Treatment:
    name = str(getattr(member, "name"))  # noqa: B009 - members of containers are of many types
    try:
        view = unpacked(archive, member)
    except FormatError as problem:
        if problem.code != "too-large":
            raise
        return Treatment("keep")
    chosen = _format_of(view, name)
    if chosen is None:
        return Treatment("keep")
    if chosen.name == ZipFormat.name:
        inner = _member_rules(view, depth + 1) if depth + 1 < MAX_DEPTH else ()
        wanted = any(rule.action == "sign" for rule in inner)
        return Treatment("sign", chosen.name, members=inner) if wanted else Treatment("keep")
    try:
        signatures = READERS[chosen.name].read(view).signatures
    except (FormatError, VerificationError):
        signatures = ()
    signers = {sha256_hex(one.signer_certificate) for one in signatures if one.signer_certificate}
    if signers:
        return Treatment("verify", chosen.name, tuple(sorted(signers)))
    return Treatment("sign", chosen.name, members=_before_it(view, chosen, depth + 1))


def _format_of(view: View, name: str) -> Format | None:
    """By content; scripts, which are text like any other, by their names."""
    lower = name.rpartition("/")[2].lower()
    for one in FORMATS.values():
        is_named = any(fnmatchcase(lower, pattern) for pattern in one.file_names)
        if one.name in _BY_NAME and is_named:
            return one
        if one.name not in _TEXTS and not one.detached_suffix and one.recognizes(view):
            return one
    return None


#: Formats of text. Scripts of web pages end in .js as well: those are never taken for scripts of Windows.
_TEXTS = frozenset({"powershell", "vbscript", "wsf", "jscript"})
_BY_NAME = _TEXTS - {"jscript"}


def _ending(name: str) -> str:
    last = name.rpartition("/")[2]
    return last[last.rindex(".") :] if "." in last[1:] else ""


def _rules(found: dict[str, Treatment]) -> Iterator[MemberRule]:
    """One rule for each ending all of whose members are treated alike, else one for each member; what is to be kept
    comes last.
    """
    by_ending: dict[str, list[str]] = defaultdict(list)
    for name in found:
        by_ending[_ending(name)].append(name)
    rules: list[tuple[str, Treatment, int]] = []
    for ending, names in sorted(by_ending.items()):
        alike = all(found[name] == found[names[0]] for name in names)
        if ending and alike and not set(ending) & set("[]*?"):
            rules.append((f"**/*{ending}", found[names[0]], len(names)))
        else:
            rules += [(_literal(name), found[name], 1) for name in names]
    order: Sequence[Action] = ("verify", "sign", "keep")
    for path, one, count in sorted(rules, key=lambda row: (order.index(row[1].action), row[0])):
        rule = MemberRule(path=path, action=one.action, format=one.format, signers=one.signers, members=one.members)
        yield rule if one.action == "keep" else rule.model_copy(update={"min": count, "max": count})


def _literal(name: str) -> str:
    """A pattern that names this path alone."""
    return "".join(f"[{c}]" if c in "[*?" else c for c in name)
