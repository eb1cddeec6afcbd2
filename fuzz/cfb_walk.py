# SPDX-License-Identifier: Apache-2.0
"""The walk through compound files on any bytes. Only its two documented errors may come out, within its limits."""

from __future__ import annotations

from signwright.containers.base import ArchiveLimits
from signwright.containers.cfb_archive import CfbContainer
from signwright.errors import FormatError, LimitError
from signwright.model.view import BytesView

LIMITS = ArchiveLimits(members=1000, total=4 << 20)


def one_input(data: bytes) -> None:
    view, container = BytesView(data), CfbContainer()
    place = container.claims(view)
    if place is None:
        return
    try:
        archive = container.open(view, place, LIMITS)
    except (FormatError, LimitError):
        return
    last = 0
    for start, end in archive.covered:
        assert last <= start < end <= len(data)
        last = end
    for member in archive.members:
        assert sum(map(len, archive.read(member))) == member.size <= LIMITS.total
