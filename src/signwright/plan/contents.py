# SPDX-License-Identifier: Apache-2.0
"""Members of containers in which nothing is signed: listed, verified, and refused where they had to be signed before.

Once something in an installer, a cabinet or a package changes, its checksums, its index and its own digests do as well:
what is to be signed in there is signed before it is packed.
"""

from __future__ import annotations

from typing import Any

from signwright.containers.base import Archive, ArchiveLimits
from signwright.containers.registry import CONTAINERS
from signwright.errors import FormatError, LimitError
from signwright.model.view import BytesView, View
from signwright.plan.choice import choose, refuse
from signwright.plan.paths import below
from signwright.plan.signed import Standing, standing
from signwright.policy.documents import Inside, MemberRule

#: Unpacked bytes of a packed member that is looked into, and of all that are.
MAX_UNPACKED, MAX_LOOKED_INTO = 64 << 20, 1 << 30
#: Containers within containers.
MAX_DEPTH = 4
#: What errors say that are about no place in the file.
NOWHERE = " (at offset 0)"


def check_contents(view: View, inside: Inside) -> None:
    """Raise `FormatError` with every member that is not as ``inside`` wants it, each with its path."""
    refuse(content_problems(view, inside, 0))


def content_problems(view: View, inside: Inside, depth: int) -> list[str]:
    """The same as words. ``depth``: how many containers are around this one. Raises `FormatError` for none."""
    look = _Look()
    look.container(view, inside, "", depth)
    return look.problems


class _Look:
    """One look into a container. ``problems``: in words, each with its path."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._total = 0

    def container(self, view: View, inside: Inside, path: str, depth: int) -> None:
        if depth >= MAX_DEPTH:
            raise FormatError(f"containers in more than {MAX_DEPTH} others", code="archive-depth")
        archive = _opened(view)
        members = [member for member in archive.members if not member.is_folder]
        choice = choose(inside, [member.name.replace("\\", "/") for member in members])
        self.problems += [below(path, problem) for problem in choice.problems]
        for member, rule in zip(members, choice.rules, strict=True):
            if rule is not None and (rule.action != "keep" or rule.members):
                where = below(path, member.name)
                try:
                    self._member(self._content(archive, member), rule, where, depth)
                except (FormatError, LimitError) as problem:
                    self.problems.append(f"{where}: {problem.message.removesuffix(NOWHERE)}")

    def _member(self, view: View, rule: MemberRule, path: str, depth: int) -> None:
        if rule.action != "keep":
            found, words = standing(view, rule)
            if found is not Standing.LISTED:
                wanted = "must be signed before packing" if rule.action == "sign" else NOT_LISTED
                self.problems.append(f"{path}: {words}; {wanted}")
        if rule.members:
            self.container(view, rule, path, depth + 1)

    def _content(self, archive: Archive, member: Any) -> View:
        pieces: list[bytes] = []
        size = 0
        for piece in archive.read(member):
            size += len(piece)
            self._total += len(piece)
            if size > MAX_UNPACKED or self._total > MAX_LOOKED_INTO:
                raise FormatError(
                    f"more than {MAX_UNPACKED} bytes, or {MAX_LOOKED_INTO} with others, to be looked into",
                    code="too-large",
                )
            pieces.append(piece)
        return BytesView(b"".join(pieces))


#: What is wrong where a signature had to be there.
NOT_LISTED = "wanted a signature by a listed signer"


def _opened(view: View) -> Archive:
    for container in CONTAINERS.values():
        place = container.claims(view)
        if place is not None:
            try:
                return container.open(view, place, ArchiveLimits())
            except LimitError as problem:
                raise FormatError(problem.message, code=problem.code) from problem
    raise FormatError("its members cannot be listed: no container that is read", code="no-container")
