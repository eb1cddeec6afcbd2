# SPDX-License-Identifier: Apache-2.0
"""One form of a time, read and written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from signwright.errors import MalformedError
from signwright.model.times import format_time, parse_time

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def test_time_is_read_and_written_in_utc() -> None:
    assert parse_time("2026-11-21T12:00:00Z") == NOON
    assert format_time(NOON.astimezone(timezone(timedelta(hours=5))) + timedelta(microseconds=9)) == (
        "2026-11-21T12:00:00Z"
    )


def test_time_without_a_zone_is_not_written() -> None:
    with pytest.raises(ValueError, match="without a zone"):
        format_time(NOON.replace(tzinfo=None))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-21",
        "2026-11-21T12:00:00",
        "2026-11-21T12:00:00+00:00",
        "2026-11-21T12:00:00.0Z",
        "2026-11-21 12:00:00Z",
        "2026-11-21T12:00:00Z\n",
        "2026-13-21T12:00:00Z",
        "2026-02-30T12:00:00Z",
        "2026-11-21T24:00:01Z",
        "0000-11-21T12:00:00Z",
    ],
)
def test_any_other_form_is_refused(text: str) -> None:
    with pytest.raises(MalformedError) as refused:
        parse_time(text)
    assert refused.value.code == "bad-time"
