# SPDX-License-Identifier: Apache-2.0
"""The hub's events as a hash chain: whoever edits, removes or reorders one breaks every hash after it.

The newest hash and the count go to the transparency log hourly, so that the end cannot be cut off or rewritten either.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from signwright.errors import VerificationError

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class Event:
    """``number`` counts from 1; ``details``: canonical JSON text; ``sha256``: over the hash before and the content."""

    number: int
    time: int
    kind: str
    who: str
    request_id: str | None
    details: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends."""

    count: int
    sha256: str


EMPTY = Head(0, GENESIS)


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode


def canonical(value: object) -> str:
    """JSON with sorted names and no spaces."""
    return _encode(value)


def chained(head: Head, *, time: int, kind: str, who: str, request_id: str | None, details: str) -> Event:
    """The event that follows ``head``."""
    number = head.count + 1
    content = canonical([number, time, kind, who, request_id, details])
    sha256 = hashlib.sha256(bytes.fromhex(head.sha256) + content.encode()).hexdigest()
    return Event(number, time, kind, who, request_id, details, sha256)


def verify_events(events: Iterable[Event], *, expected: Head | None = None) -> Head:
    """Recount a chain from its first event; raises `VerificationError` at the first that does not fit.

    ``expected``: a head that was published; the chain must contain it, so a shortened or rewritten one is found.
    """
    head, seen = EMPTY, expected is None or expected == EMPTY
    for event in events:
        wanted = chained(
            head,
            time=event.time,
            kind=event.kind,
            who=event.who,
            request_id=event.request_id,
            details=event.details,
        )
        if event != wanted:
            raise VerificationError(
                f"event {wanted.number} does not follow from those before it", code="broken-event-chain"
            )
        head = Head(event.number, event.sha256)
        seen = seen or head == expected
    if not seen:
        raise VerificationError("the published head is not in this chain", code="broken-event-chain")
    return head
