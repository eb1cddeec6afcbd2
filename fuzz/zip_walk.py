# SPDX-License-Identifier: Apache-2.0
"""Fuzz target: the zip walker on any bytes. Only its two documented errors may come out, within its limits."""

from __future__ import annotations

from signwright.containers.base import ArchiveLimits
from signwright.containers.zip import ZipArchive, looks_like_zip
from signwright.errors import FormatError, LimitError
from signwright.model.view import BytesView

LIMITS = ArchiveLimits(members=1000, total=4 << 20)


def one_input(data: bytes) -> None:
    """Walk ``data`` and unpack every member."""
    view = BytesView(data)
    looks_like_zip(view)
    try:
        archive = ZipArchive(view, LIMITS)
    except (FormatError, LimitError):
        return
    for member in archive.members[:50]:
        try:
            unpacked = sum(map(len, archive.read(member)))
        except (FormatError, LimitError):
            continue
        assert unpacked == member.size <= LIMITS.total
