# SPDX-License-Identifier: Apache-2.0
"""Times as they stand in statements: RFC 3339, UTC, whole seconds, ``2026-11-21T09:30:00Z``."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

from signwright.errors import MalformedError

_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


@lru_cache(maxsize=1024)
def parse_time(text: str) -> datetime:
    """RFC 3339 in the one form above to an aware datetime; raises `MalformedError` (offsets and fractions are
    refused).
    """
    if not _FORM.fullmatch(text):
        raise MalformedError(f"not a time: {text[:40]!r}; wanted the form 2026-11-21T09:30:00Z", code="bad-time")
    try:
        return datetime.fromisoformat(text)  # thirty times as fast as strptime; the form was checked above
    except ValueError as problem:
        raise MalformedError(f"not a time: {text!r}", code="bad-time") from problem


def format_time(moment: datetime) -> str:
    """An aware datetime, fractions cut off, as the form above."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment.astimezone(UTC).isoformat()[:19] + "Z"
