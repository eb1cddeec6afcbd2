# SPDX-License-Identifier: Apache-2.0
"""The cabinet walker on any bytes. Only its two documented errors may come out, within its limits."""

from __future__ import annotations

from signwright.containers.base import ArchiveLimits, Place
from signwright.containers.cab import CabContainer
from signwright.errors import FormatError, LimitError
from signwright.model.view import BytesView

LIMITS = ArchiveLimits(members=1000, total=4 << 20)


def one_input(data: bytes) -> None:
    """Open every cabinet that ``data`` is or holds, and unpack its files."""
    view, cab = BytesView(data), CabContainer()
    claimed = cab.claims(view)
    for place in [*([claimed] if claimed else []), *cab.places(view, 0, len(data))[:10]]:
        _walk(view, place)


def _walk(view: BytesView, place: Place) -> None:
    try:
        archive = CabContainer().open(view, place, LIMITS)
    except (FormatError, LimitError):
        return
    last = place.mark
    for start, end in archive.covered:
        assert last <= start < end <= place.end
        last = end
    for member in archive.members[:50]:
        try:
            unpacked = sum(map(len, archive.read(member)))
        except (FormatError, LimitError):
            continue
        assert unpacked == member.size <= LIMITS.total
