# SPDX-License-Identifier: Apache-2.0
"""What hub, gate and clients ask of a freshness statement before they keep it as the newest."""

from __future__ import annotations

from datetime import datetime

from signwright.errors import DeniedError
from signwright.model.times import parse_time
from signwright.policy.facts import VerifiedFreshness
from signwright.policy.rules.freshness import SKEW


def check_not_ahead(freshness: VerifiedFreshness, *, now: datetime) -> None:
    """Raises `DeniedError` for one from the future: kept, its number would be above all that can be made now."""
    created = freshness.statement.predicate.created
    if parse_time(created) > now + SKEW:
        raise DeniedError(f"freshness of {created}, which is ahead of our clock", code="freshness-ahead")
