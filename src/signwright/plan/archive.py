# SPDX-License-Identifier: Apache-2.0
"""Sign members of a zip archive: each by its own format, and the archive written around them.

Members that do not change keep every byte. One that does keeps its packing, its place, and what its headers say of
times and rights; a stored one is changed in place, a deflated one is packed anew, in memory.

Innermost first: what has nothing to be signed inside is signed in the first wave, by direct operations, and an archive
that is signed itself (a JAR, a package) in the wave after the last one of its members, by an operation that is derived:
its digest follows from their signatures.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from signwright.containers.zip import Member, ZipArchive
from signwright.errors import FormatError, LimitError, MalformedError
from signwright.formats.base import MAX_BESIDE_PARTS, Format, Prepared, PreparedMember
from signwright.formats.msix_package import BLOCK_MAP, MANIFEST
from signwright.formats.registry import format_named
from signwright.formats.state import bad_state, patch_of, read_state
from signwright.formats.zip import ZipFormat
from signwright.formats.zip_patch import MAX_MOVED_DIRECTORY, Edit, open_zip, read_directory, zip_plan, zip_splices
from signwright.model.operation import MAX_WAVES, DerivedOperation, Name, Operation, Parameter, Planned, Strict
from signwright.model.patch import Patch, Patched
from signwright.model.view import View, Window, sha256_of
from signwright.plan.beside import beside_problems
from signwright.plan.choice import choose, refuse, rule_number
from signwright.plan.contents import (
    MAX_DEPTH,
    MAX_UNPACKED,
    NEVER_UNPACKED,
    NOT_LISTED,
    NOWHERE,
    Room,
    content_problems,
    unpacked,
)
from signwright.plan.package import MSIX, PackagePacking, Packing, PlainPacking, crc_of
from signwright.plan.paths import MAX_PATH, below, shown
from signwright.plan.signed import Standing, standing
from signwright.policy.documents import Inside, MemberRule
from signwright.policy.metadata import metadata_problems
from signwright.readers.members import kind_of

#: Members of one archive that can be signed at once.
MAX_SIGNED = 64
#: Packed bytes of deflated members that are packed anew, together: they travel in the patch.
MAX_REPACKED = 24 << 20
_DEFLATED, _HEAD = 8, 8
#: Where a record of the directory has the file's mode, for programs that are not of Windows.
_MODE = 40

Placed = TypeVar("Placed", bound=Planned)
#: Prepare a member: (its content, its rule, its format, options of that, how deep it is).
PrepareMember = Callable[[View, MemberRule, Format, dict[str, Any], int], Prepared]
#: Prepare a member in a later wave: (its content, its rule, its format, paths in it, "" for itself).
PrepareAgain = Callable[[View, MemberRule, Format, Sequence[str]], Prepared]
#: The patch for a member that was prepared, from its envelopes.
EmbedMember = Callable[[View, Prepared, Sequence[bytes]], Patch]


class SignedMember(Strict):
    """State of one member: ``prepared`` without what travels beside it, of which ``contents`` and ``tables`` are how
    many parts it has.
    """

    name: str = Field(min_length=1, max_length=MAX_PATH)
    format: Name
    prepared: dict[str, Any]
    contents: int = Field(ge=0, le=MAX_BESIDE_PARTS)
    tables: int = Field(ge=0, le=MAX_BESIDE_PARTS)


class ArchiveState(Strict):
    """State of an archive: its members that are signed, in the order of its directory. ``kind``: its own format."""

    kind: Name
    members: list[SignedMember] = Field(min_length=1, max_length=MAX_SIGNED)


@dataclass(slots=True)
class _Seen:
    """What has been found so far. ``prepared``: name, format and what was prepared of each member to be signed."""

    prepared: list[tuple[str, str, Prepared]]
    problems: list[str]
    verified: int = 0


def prepare_archive(
    view: View, inside: Inside, *, prepare: PrepareMember, room: Room, depth: int = 0, around: Prepared | None = None
) -> Prepared:
    """Every operation of every member that is to be signed. Raises `FormatError` with all problems at once, each with
    the path of its member. ``room``: of the whole artifact; ``around``: the archive as its own format prepared it,
    where it is to be signed itself: after its members, and as it is where no member is to be signed.
    """
    if depth >= MAX_DEPTH:
        raise FormatError(f"archives in more than {MAX_DEPTH} others", code="archive-depth")
    archive = open_zip(view)
    members = [member for member in archive.members if not member.is_folder]
    folders = [member.name for member in archive.members if member.is_folder]
    are_files = around is None or around.format not in NEVER_UNPACKED
    choice = choose(inside, [member.name for member in members], folders, are_files=are_files)
    seen = _Seen([], [*choice.problems, *beside_problems(view, archive, inside)])
    for member, rule in zip(members, choice.rules, strict=True):
        if rule is not None and (rule.action != "keep" or rule.members):
            try:
                _look(view, archive, member, rule=rule, seen=seen, prepare=prepare, room=room, depth=depth)
            except (FormatError, LimitError) as problem:
                seen.problems.append(f"{shown(member.name)}: {problem.message.removesuffix(NOWHERE)}")
    if not seen.prepared and not seen.problems:
        if around is not None:
            return around
        seen.problems.append("no member is to be signed")
    is_package = around is not None and around.format == MSIX
    if not is_package and {BLOCK_MAP, MANIFEST} <= {member.name for member in members}:
        seen.problems.append(f"{BLOCK_MAP}: a package, whose block map would not hold any more; sign it as {MSIX}")
    _check_room(archive, seen, room)
    return _together(view, seen, around.format if around else ZipFormat.name, counted=len(members), around=around)


def prepare_members_again(
    view: View, inside: Inside, paths: Collection[str], kind: str, *, prepare: PrepareAgain, room: Room
) -> Prepared:
    """The operations of the members at ``paths``, which are signed themselves and whose own members were signed in
    earlier waves. Nothing else is looked at: all of it was before the first wave. ``kind``: the archive's own format.
    Raises `FormatError`.
    """
    archive = open_zip(view)
    seen, left = _Seen([], []), set(paths)
    for member in archive.members:
        here = {path for path in left if path == member.name or path.startswith(f"{member.name}/")}
        if not here:
            continue
        number = rule_number(inside, member.name)
        if number is None or inside.members[number].action != "sign":
            raise FormatError(f"{shown(member.name)}: no rule has it signed", code="derived")
        rule = inside.members[number]
        within = [path[len(member.name) + 1 :] for path in sorted(here)]
        chosen = _format(rule)
        one = prepare(_content(view, archive, member), rule, chosen, within)
        seen.prepared.append((member.name, chosen.name, one))
        room.repacked += member.packed if member.method == _DEFLATED else 0
        left -= here
    if left or not seen.prepared:
        raise FormatError(f"no member {shown(min(left, default=''))}", code="derived")
    _check_room(archive, seen, room)
    return _together(view, seen, kind, counted=len(archive.members))


def _check_room(archive: ZipArchive, seen: _Seen, room: Room) -> None:
    """Refuse what was found, with what goes beyond the limits."""
    if len(seen.prepared) > MAX_SIGNED:
        seen.problems.append(f"{len(seen.prepared)} members to be signed, at most {MAX_SIGNED}")
    if archive.directory.size > MAX_MOVED_DIRECTORY:
        seen.problems.append(f"a directory of {archive.directory.size} bytes, at most {MAX_MOVED_DIRECTORY}")
    if room.repacked > MAX_REPACKED:
        seen.problems.append(
            f"{room.repacked} packed bytes of members to be signed, at most {MAX_REPACKED}: store them"
        )
    refuse(seen.problems)


def embed_archive(view: View, prepared: Prepared, envelopes: Sequence[bytes], *, embed: EmbedMember) -> Patch:
    """``view``: what was prepared. The patch of the whole archive, not sealed. Raises `FormatError`."""
    if view.size != prepared.source_size or len(envelopes) != len(prepared.operations):
        raise bad_state("of another file, or with another number of envelopes")
    archive = open_zip(view)
    is_package = read_state(prepared, ArchiveState, ZipFormat.name).kind == MSIX
    packing: Packing = PackagePacking(view) if is_package else PlainPacking()
    there = {member.name: member for member in archive.members}
    changed: list[Member] = []
    edits: list[Edit] = []
    left = list(envelopes)
    for name, one in _members(prepared):
        if name not in there:
            raise bad_state(f"no member {name[:60]!r}")
        member = there[name]
        content = _content(view, archive, member)
        count = len(one.operations)
        patch = embed(content, one, left[:count])
        del left[:count]
        edits += _edits(view, member, content, patch, packing)
        changed.append(member)
    if left or len({member.entry for member in changed}) != len(changed):
        raise bad_state("not one member for each of its envelopes")
    for member, edit in packing.rest():
        changed.append(member)
        edits.append(edit)
    plan = zip_plan(view, archive, changed)
    is_wide = archive.directory.end64 is not None
    splices = zip_splices(plan, edits, directory=read_directory(view, plan), zip64=is_wide or not is_package)
    return patch_of(prepared.source_sha256, prepared.source_size, splices)


def _look(
    view: View,
    archive: ZipArchive,
    member: Member,
    *,
    rule: MemberRule,
    seen: _Seen,
    prepare: PrepareMember,
    room: Room,
    depth: int,
) -> None:
    """One member that is to be signed, verified or looked into."""
    if member.method != 0:
        room.take(member.size)
    content = _content(view, archive, member)
    if member.method == 0 and crc_of(content) != member.crc:
        raise FormatError("its checksum differs from the directory", offset=member.header, code="zip-checksum")
    if rule.action != "keep" and stat.S_ISLNK(int.from_bytes(view.read(member.entry + _MODE, 2), "little")):
        raise FormatError("a symbolic link, which is no file of its own", offset=member.entry, code="zip-link")
    if rule.action == "sign":
        chosen = _format(rule)
        _check_kind(member.name, content, rule)
        one = _to_be_signed(content, rule, chosen, prepare, depth)
        if one is not None:
            seen.problems += [str(reason) for reason in metadata_problems(rule, member.name, one.facts)]
            seen.prepared.append((member.name, chosen.name, one))
            room.repacked += member.packed if member.method == _DEFLATED else 0
            return
        seen.verified += 1
    elif rule.action == "verify":
        found, words = standing(content, rule)
        if found is not Standing.LISTED:
            raise FormatError(f"{words}; {NOT_LISTED}", code="not-listed")
        seen.verified += 1
    if rule.members:
        seen.problems += [
            below(member.name, problem) for problem in content_problems(content, rule, room, rule.format, depth + 1)
        ]


def _to_be_signed(
    content: View, rule: MemberRule, chosen: Format, prepare: PrepareMember, depth: int
) -> Prepared | None:
    """None for what a listed signer has signed, which stays as it is. Only what is signed is read for its signers."""
    options: dict[str, Any] = dict(rule.options)
    if "existing" in options:
        raise FormatError("what becomes of old signatures is no option of a member", code="bad-options")
    try:
        one = prepare(content, rule, chosen, options, depth + 1)
    except FormatError as problem:
        if problem.code != "already-signed":
            raise
        found, words = standing(content, rule)
        if found is Standing.LISTED:
            return None
        if rule.existing == "refuse":
            raise FormatError(
                f"{words}; wanted no signature, or one by a listed signer", code="already-signed"
            ) from None
        one = prepare(content, rule, chosen, {**options, "existing": rule.existing}, depth + 1)
    return one


def _check_kind(name: str, content: View, rule: MemberRule) -> None:
    """The result is read by other code, which must take the member for what it was signed as."""
    read_as = kind_of(name, lambda: content.read(0, min(content.size, _HEAD)))
    if read_as != rule.format:
        raise FormatError(
            f"to be signed as {rule.format}, and by its name and first bytes it is read as {read_as or 'nothing'}",
            code="other-kind",
        )


def _format(rule: MemberRule) -> Format:
    """What a member is to be signed as; raises `FormatError` for none that signs within a file."""
    chosen = format_named(rule.format or "")
    if chosen.detached_suffix:
        raise FormatError(f"format {chosen.name} does not sign within the file", code="detached")
    return chosen


def _content(view: View, archive: ZipArchive, member: Member) -> View:
    """The member's bytes; of a stored one the checksum is still to be compared."""
    if member.encrypted or member.method not in (0, _DEFLATED):
        raise FormatError(f"encrypted, or packed by method {member.method}", offset=member.header, code="zip-method")
    if member.method == 0:
        if member.packed != member.size:
            raise FormatError("stored, and of two sizes", offset=member.header, code="zip-size")
        return Window(view, member.start, member.size)
    if member.size > MAX_UNPACKED:
        raise FormatError(
            f"{member.size} bytes unpacked, at most {MAX_UNPACKED} of a packed member are looked into: store it",
            offset=member.header,
            code="too-large",
        )
    return unpacked(archive, member)


def _together(view: View, seen: _Seen, kind: str, *, counted: int, around: Prepared | None = None) -> Prepared:
    operations: list[Operation] = []
    later: list[DerivedOperation] = []
    rows: list[SignedMember] = []
    listed: list[PreparedMember] = []
    beside = sum(len(one.contents) + len(one.tables) for *_, one in seen.prepared)
    if beside > MAX_BESIDE_PARTS:
        raise FormatError(
            f"members to be signed that need {beside} parts beside what is prepared, at most {MAX_BESIDE_PARTS}",
            code="too-large",
            hint="fewer members of kinds that are archives themselves",
        )
    for name, form, one in seen.prepared:
        operations += (_placed(name, operation) for operation in one.operations)
        later += (_placed(name, operation) for operation in one.later)
        listed += (m.model_copy(update={"path": below(name, m.path)}) for m in one.members)
        if not all(operation.inner_path for operation in (*one.operations, *one.later)):
            listed.append(PreparedMember(path=name, format=form, facts=one.facts))
        counts = {"contents": len(one.contents), "tables": len(one.tables)}
        rows.append(SignedMember(name=name, format=one.format, prepared=one.model_dump(mode="json"), **counts))
    signed, verified = len(rows), seen.verified
    facts: dict[str, Parameter] = {"members": counted, "signed": signed, "verified": verified}
    facts["kept"] = counted - signed - verified
    if around is not None:
        wave = 1 + max((operation.wave for operation in later), default=0)
        later += (following(operation, wave) for operation in around.operations)
        facts |= around.facts
    return Prepared(
        format=ZipFormat.name,
        source_sha256=sha256_of(view),
        source_size=view.size,
        operations=tuple(operations),
        later=tuple(later),
        facts=facts,
        members=tuple(listed),
        state=ArchiveState(kind=kind, members=rows).model_dump(mode="json"),
    ).beside(
        contents=[part for *_, one in seen.prepared for part in one.contents],
        tables=[part for *_, one in seen.prepared for part in one.tables],
    )


def _placed(name: str, operation: Placed) -> Placed:
    """The same with the path as it is from the archive that has ``name``."""
    path = below(name, operation.inner_path)
    if len(path) > MAX_PATH:
        raise FormatError(f"a path of {len(path)} characters, at most {MAX_PATH}", code="too-large")
    return operation.model_copy(update={"inner_path": path})


def following(operation: Operation, wave: int) -> DerivedOperation:
    """What may be said of an operation before the signatures that its digest follows from."""
    if wave >= MAX_WAVES:
        raise FormatError(f"signatures of {wave} others, one within another; at most {MAX_WAVES - 1}", code="too-deep")
    told = operation.model_dump(exclude={"digest"})
    return DerivedOperation.model_validate({**told, "wave": wave, "algorithm": operation.content_digest.algorithm})


def _members(prepared: Prepared) -> Iterator[tuple[str, Prepared]]:
    """The members as they were prepared, each with what belongs beside it. It all came back from another process."""
    contents, tables = list(prepared.contents), list(prepared.tables)
    for row in read_state(prepared, ArchiveState, ZipFormat.name).members:
        try:
            one = Prepared.model_validate(row.prepared)
        except (ValidationError, MalformedError):
            raise bad_state("a member's") from None
        if one.format != row.format or row.contents > len(contents) or row.tables > len(tables):
            raise bad_state("not what belongs to a member")
        yield row.name, one.beside(contents=contents[: row.contents], tables=tables[: row.tables])
        del contents[: row.contents], tables[: row.tables]
    if contents or tables:
        raise bad_state("more beside it than its members have")


def _edits(view: View, member: Member, content: View, patch: Patch, packing: Packing) -> Iterator[Edit]:
    """What changes in the archive when ``patch`` is applied to one member's ``content``."""
    if patch.source_size != content.size:
        raise bad_state("a patch for another member")
    local = view.read(member.header, member.start - member.header)
    entry = view.read(member.entry, member.entry_size)
    change = packing.changed(member, Patched(content, patch), local, entry)
    if member.method == _DEFLATED:
        yield Edit(member.header, member.end - member.header, member.entry, member.entry_size, (change,))
        return
    yield Edit(member.header, len(local), member.entry, member.entry_size, (change,))
    for splice in patch.splices:
        yield Edit(member.start + splice.offset, splice.remove, member.entry, 0, data=splice.insert)
    described = member.end - member.start - member.packed
    if described:
        yield Edit(member.start + member.packed, described, member.entry, 0)
