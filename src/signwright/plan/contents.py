# SPDX-License-Identifier: Apache-2.0
"""Members of containers in which nothing is signed: listed, verified, and refused where they had to be signed before.

Once something in an installer, a cabinet or a bundle changes, its checksums, its index and its own digests do as well:
what is to be signed in there is signed before it is packed.
"""

from __future__ import annotations

import io
from typing import Any

from signwright.containers.base import Archive, ArchiveLimits
from signwright.containers.cab import CabArchive
from signwright.containers.cfb_archive import CfbArchive
from signwright.containers.registry import CONTAINERS, claimed
from signwright.containers.zip import ZipArchive
from signwright.errors import FormatError, LimitError
from signwright.model.view import FileView, View
from signwright.plan.beside import beside_problems
from signwright.plan.choice import choose, refuse
from signwright.plan.paths import below, shown
from signwright.plan.signed import Standing, standing
from signwright.policy.documents import Inside, MemberRule

#: Unpacked bytes of a packed member that is looked into.
MAX_UNPACKED = 64 << 20
#: Unpacked bytes of all members that are looked into, in all containers of a file: so many times its size, and a floor.
RATIO, RATIO_FLOOR = 100, 128 << 20
#: Containers within containers.
MAX_DEPTH = 4
#: Formats whose members are read where they stand: in a JAR, classes may differ in case alone.
NEVER_UNPACKED = frozenset({"jar", "msi"})
#: What errors say that are about no place in the file.
NOWHERE = " (at offset 0)"


class Room:
    """How much may still be unpacked of one file of ``size`` bytes, whichever of its containers it is in; ``repacked``:
    packed bytes of members that will be packed anew.
    """

    def __init__(self, size: int) -> None:
        self.repacked = 0
        self._left = max(RATIO_FLOOR, RATIO * size)

    def take(self, size: int) -> None:
        """Raises `FormatError` (``archive-ratio``)."""
        self._left -= size
        if self._left < 0:
            raise FormatError("members unpack to far more bytes than the file has", code="archive-ratio")


def check_contents(view: View, inside: Inside, room: Room, form: str | None, depth: int = 0) -> None:
    """Raise `FormatError` with every member that is not as ``inside`` wants it, each with its path. ``form``: name of
    the container's format, where a rule says so; ``depth``: how many containers are around this one.
    """
    refuse(content_problems(view, inside, room, form, depth))


def content_problems(view: View, inside: Inside, room: Room, form: str | None, depth: int) -> list[str]:
    """The same as words. Raises `FormatError` for no container."""
    look = _Look(room)
    look.container(view, inside, "", form, depth)
    return look.problems


class _Look:
    """One look into a container. ``problems``: in words, each with its path."""

    def __init__(self, room: Room) -> None:
        self.problems: list[str] = []
        self._room = room

    def container(self, view: View, inside: Inside, path: str, form: str | None, depth: int) -> None:
        if depth >= MAX_DEPTH:
            raise FormatError(f"containers in more than {MAX_DEPTH} others", code="archive-depth")
        archive = opened(view)
        members = [(member, _names(archive, member)) for member in archive.members if not member.is_folder]
        folders = [member.name.replace("\\", "/") for member in archive.members if member.is_folder]
        names = [name for _, all_of_it in members for name in all_of_it]
        are_files = form not in NEVER_UNPACKED and not isinstance(archive, CfbArchive)
        choice = choose(inside, names, folders, are_files=are_files)
        self.problems += [below(path, problem) for problem in choice.problems]
        if isinstance(archive, ZipArchive):
            self.problems += [below(path, problem) for problem in beside_problems(view, archive, inside)]
        rules = iter(choice.rules)
        for member, all_of_it in members:
            chosen = [(below(path, name), next(rules)) for name in all_of_it]
            wanted = [(name, r) for name, r in chosen if r is not None and (r.action != "keep" or r.members)]
            if not wanted:
                continue
            try:
                content = unpacked(archive, member, self._room)
                for name, rule in wanted:
                    self._member(content, rule, name, depth)
            except (FormatError, LimitError) as problem:
                self.problems.append(f"{shown(wanted[0][0])}: {problem.message.removesuffix(NOWHERE)}")

    def _member(self, view: View, rule: MemberRule, path: str, depth: int) -> None:
        if rule.action != "keep":
            found, words = standing(view, rule)
            if found is not Standing.LISTED:
                wanted = "must be signed before packing" if rule.action == "sign" else NOT_LISTED
                self.problems.append(f"{shown(path)}: {words}; {wanted}")
        if rule.members:
            self.container(view, rule, path, rule.format, depth + 1)


def unpacked(archive: Archive, member: Any, room: Room | None = None) -> View:
    """A member in memory, without the second copy that joining pieces would make. ``room``: what it is taken from, None
    where that is done already. Raises `FormatError` (``too-large``, ``archive-ratio``).
    """
    content = io.BytesIO()
    for piece in archive.read(member):
        if room is not None:
            room.take(len(piece))
        if content.tell() + len(piece) > MAX_UNPACKED:
            raise FormatError(f"more than {MAX_UNPACKED} bytes to be looked into", code="too-large")
        content.write(piece)
    return FileView(content)


def _names(archive: Archive, member: Any) -> list[str]:
    """Cabinets have backslashes between folders, and may list the same bytes under several names."""
    names = archive.names(member) if isinstance(archive, CabArchive) else [str(member.name)]
    return names if isinstance(archive, CfbArchive) else [name.replace("\\", "/") for name in names]


#: What is wrong where a signature had to be there.
NOT_LISTED = "wanted a signature by a listed signer"


def opened(view: View) -> Archive:
    """The one container that ``view`` is. Raises `FormatError`."""
    places = claimed(view)
    if len(places) > 1:
        raise FormatError(f"several containers in one: {', '.join(place.kind for place in places)}", code="polyglot")
    for place in places:
        try:
            return CONTAINERS[place.kind].open(view, place, ArchiveLimits())
        except LimitError as problem:
            raise FormatError(problem.message, code=problem.code) from problem
    raise FormatError("its members cannot be listed: no container that is read", code="no-container")
