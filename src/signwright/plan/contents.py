# SPDX-License-Identifier: Apache-2.0
"""Members of a container that has a signature of its own: listed, verified, and never signed in place.

Once something in an installer, a cabinet or a package changes, its checksums, its index and its own digests do as well:
what is to be signed in there is signed before it is packed.
"""

from __future__ import annotations

from typing import Any

from signwright.containers.base import Archive, ArchiveLimits
from signwright.containers.registry import CONTAINERS
from signwright.errors import FormatError, LimitError
from signwright.model.view import BytesView, View
from signwright.plan.archive import MAX_UNPACKED
from signwright.plan.choice import choose, refuse
from signwright.plan.signed import Standing, standing
from signwright.policy.documents import Inside, MemberRule

#: Unpacked bytes of all members that are verified.
MAX_VERIFIED = 1 << 30


def check_contents(view: View, inside: Inside) -> None:
    """Raise `FormatError` with every member that is not as ``inside`` wants it, each with its path."""
    archive = _opened(view)
    members = [member for member in archive.members if not member.is_folder]
    choice = choose(inside, [member.name.replace("\\", "/") for member in members])
    problems = list(choice.problems)
    total = 0
    for member, rule in zip(members, choice.rules, strict=True):
        if rule is None or rule.action == "keep":
            continue
        try:
            found, words, size = _standing(archive, member, rule)
        except (FormatError, LimitError) as problem:
            problems.append(f"{member.name}: {problem.message.removesuffix(' (at offset 0)')}")
            continue
        total += size
        if total > MAX_VERIFIED:
            problems.append(f"members to be verified have more than {MAX_VERIFIED} bytes together")
            break
        if found is Standing.LISTED:
            continue
        wanted = "must be signed before packing" if rule.action == "sign" else "wanted a signature by a listed signer"
        problems.append(f"{member.name}: {words}; {wanted}")
    refuse(problems)


def _opened(view: View) -> Archive:
    for container in CONTAINERS.values():
        place = container.claims(view)
        if place is not None:
            try:
                return container.open(view, place, ArchiveLimits())
            except LimitError as problem:
                raise FormatError(problem.message, code=problem.code) from problem
    raise FormatError("its members cannot be listed: no container that is read", code="no-container")


def _standing(archive: Archive, member: Any, rule: MemberRule) -> tuple[Standing, str, int]:
    pieces: list[bytes] = []
    size = 0
    for piece in archive.read(member):
        size += len(piece)
        if size > MAX_UNPACKED:
            raise FormatError(f"more than {MAX_UNPACKED} bytes, at most so many are looked into", code="too-large")
        pieces.append(piece)
    found, words = standing(BytesView(b"".join(pieces)), rule)
    return found, words, size
