# SPDX-License-Identifier: Apache-2.0
"""How a process that trusts nobody follows the log: with its own memory of it, its own clock, and what people saw."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from signwright.errors import DeniedError, VerificationError
from signwright.model.base64text import strict_base64
from signwright.model.operation import Many, Sha256Text, Strict
from signwright.model.times import format_time
from signwright.policy.policy import Policy
from signwright.transparency.checkpoint import Checkpoint
from signwright.transparency.merkle import verify_consistency
from signwright.transparency.proof import TlogProof

#: Where media are carried by people, cosignatures may be as old as the policy says; everywhere else these minutes.
ONLINE_MINUTES = 5
AIR_GAP_PROFILE = 3


class LogMemory(Protocol):
    """What a process remembers of the log; none of it ever goes back."""

    def log(self) -> tuple[int, bytes]:
        """Size and root of the newest checkpoint ever accepted; (0, empty) before the first."""
        ...

    def clock(self) -> int:
        """The newest time ever accepted, in seconds since the epoch; 0 before the first."""
        ...


class Consistency(Strict):
    """A consistency proof from an older tree to the one in question. ``hashes``: base64."""

    size: int
    root: Sha256Text
    hashes: Many[str]


def window(policy: Policy) -> timedelta:
    """How far log, witnesses and this process may disagree about the time."""
    return timedelta(minutes=policy.services.quorum.window_minutes)


def check_profile(policy: Policy, profile: int) -> None:
    """What only the smallest or the air-gapped set-up may do; raises `DeniedError`."""
    hours, minutes = policy.organisation.freshness_hours, policy.services.quorum.window_minutes
    if profile > 0 and hours > 24:
        raise DeniedError(f"freshness_hours {hours} in profile {profile}; at most 24 there", code="profile-freshness")
    if profile != AIR_GAP_PROFILE and minutes > ONLINE_MINUTES:
        raise DeniedError(
            f"window_minutes {minutes} in profile {profile}; at most {ONLINE_MINUTES} there", code="profile-window"
        )


def witnessed_now(
    policy: Policy, memory: LogMemory, note: bytes, *, said: datetime | None = None, now: datetime
) -> tuple[Checkpoint, datetime]:
    """(checkpoint, its cosigned time) of a signed note that a quorum cosigned just now. ``said``: another time that
    must agree. Raises `DeniedError` and `VerificationError`.
    """
    if memory.clock() > int((now + window(policy)).timestamp()):
        raise DeniedError(f"clock {format_time(now)} is behind what was signed before: it was set back", code="clock")
    witnessed = policy.log_trust.verify(note, latest=now + window(policy))
    median = witnessed.cosigned.median_time
    if median is None or any(abs(time - median) > window(policy) for time in (said or now, now)):
        found = f"leaf time {said}, cosigned {median}, clock {now}"
        raise DeniedError(f"{found}; wanted within {window(policy)} of each other", code="wrong-time")
    return witnessed.checkpoint, median


def logged_leaf(
    policy: Policy,
    leaf: bytes,
    proof: bytes,
    *,
    memory: LogMemory,
    said: datetime,
    now: datetime,
    seen: set[tuple[int, str]] | frozenset[tuple[int, str]] = frozenset(),
    consistency: Sequence[Consistency] = (),
) -> tuple[int, Checkpoint, datetime]:
    """(index, checkpoint, newest time) of a leaf that stands, just now, in a witnessed log that continues every log
    known.

    ``said``: the leaf's own time; ``seen``: (size, hex root) of trees that others have seen. Raises `DeniedError` and
    `VerificationError`.
    """
    parsed = TlogProof.parse(proof)
    checkpoint, median = witnessed_now(policy, memory, parsed.checkpoint, said=said, now=now)
    parsed.check(leaf, checkpoint)
    size, root = memory.log()
    known = {*seen, (size, root.hex())} if size else seen
    for older_size, older_root in sorted(known):
        _continues(consistency, older_size, bytes.fromhex(older_root), checkpoint=checkpoint)
    return parsed.index, checkpoint, max(said, median)


def _continues(rows: Sequence[Consistency], size: int, root: bytes, *, checkpoint: Checkpoint) -> None:
    if size > checkpoint.size:
        raise DeniedError(
            f"the log has {checkpoint.size} leaves; {size} were seen before: it was taken back", code="log-rollback"
        )
    if (size, root) == (checkpoint.size, checkpoint.root):
        return
    row = next((c for c in rows if (c.size, c.root) == (size, root.hex())), None)
    path = [strict_base64(h) for h in row.hashes] if row else []
    try:
        verify_consistency(size, root, new_size=checkpoint.size, new_root=checkpoint.root, path=path)
    except VerificationError as problem:
        raise DeniedError(
            f"the log does not continue the one of {size} leaves: {problem}", code="log-fork"
        ) from problem
