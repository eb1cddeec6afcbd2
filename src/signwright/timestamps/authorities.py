# SPDX-License-Identifier: Apache-2.0
"""Which timestamp authority to ask next: a ranked list, a breaker for each, one deadline for all. No I/O, no clock.

`Authorities` remembers, between stamps, who failed lately; a `Round` is one stamp. `obtain` drives a round with what
the caller passes in: a way to ask, clocks and randomness.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from signwright.errors import ConfigurationError, SignwrightError, TimestampError
from signwright.model.digest import Digest
from signwright.timestamps.query import timestamp_query
from signwright.timestamps.reply import token_of_reply
from signwright.timestamps.token import TimestampInfo, verify_token

#: Asks authority ``name``: (name, query DER, seconds left) to reply bytes. Raises any `SignwrightError` when it cannot.
Ask = Callable[[str, bytes, float], bytes]


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds, and failures in a row. ``deadline`` bounds a whole round, ``attempt`` one authority in it."""

    deadline: float = 30.0
    attempt: float = 10.0
    failures: int = 3
    cool_down: float = 60.0

    def __post_init__(self) -> None:
        if min(self.deadline, self.attempt, self.failures, self.cool_down) <= 0:
            raise ConfigurationError("timestamp deadlines and limits must be positive", code="bad-patience")


@dataclass(frozen=True, slots=True)
class Attempt:
    """Ask ``name`` now, for at most ``seconds``."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an authority gave nothing. ``code``: of the error, or ``timestamp-breaker-open``, ``timestamp-deadline``."""

    name: str
    code: str
    message: str


@dataclass(slots=True)
class _Breaker:
    failures: int = 0
    closed_at: float | None = None  # when it may be asked again; None: at any time


class Authorities:
    """A ranked list of names with a breaker each.

    ``now`` in its methods is a monotonic clock in seconds. Not for several threads at once: the caller takes turns.
    """

    def __init__(self, names: Sequence[str], *, patience: Patience | None = None) -> None:
        if not names or len(set(names)) != len(names):
            raise ConfigurationError(
                "timestamp authorities: wanted at least one name, each once", code="bad-authorities"
            )
        self.names = tuple(names)
        self.patience = patience or Patience()
        self._breakers = {name: _Breaker() for name in names}

    def begin(self, now: float) -> Round:
        return Round(self, deadline=now + self.patience.deadline)

    def is_open(self, name: str, now: float) -> bool:
        """Whether ``name`` is left alone for now. After the cool-down one attempt is let through."""
        closed_at = self._breakers[name].closed_at
        return closed_at is not None and now < closed_at

    def seconds_until_closed(self, name: str, now: float) -> float:
        return max(0.0, (self._breakers[name].closed_at or now) - now)

    def succeeded(self, name: str) -> None:
        self._breakers[name] = _Breaker()

    def failed(self, name: str, now: float) -> None:
        breaker = self._breakers[name]
        breaker.failures += 1
        if breaker.failures >= self.patience.failures:
            breaker.closed_at = now + self.patience.cool_down


@dataclass(slots=True)
class Round:
    """One stamp: each authority at most once, best first, until one succeeds or the time is over.

    ``anyway``: also those that failed lately, for a value that would be lost without a timestamp.
    """

    authorities: Authorities
    deadline: float
    anyway: bool = False
    failures: list[Failure] = field(default_factory=list)
    _next: int = 0

    def next_attempt(self, now: float) -> Attempt | None:
        """Whom to ask, or None when nobody is left; ``failures`` then says why for each."""
        while self._next < len(self.authorities.names):
            name = self.authorities.names[self._next]
            self._next += 1
            left = self.deadline - now
            if left <= 0:
                self.failures.append(Failure(name, "timestamp-deadline", "not asked: the time was over"))
            elif not self.anyway and self.authorities.is_open(name, now):
                wait = self.authorities.seconds_until_closed(name, now)
                why = f"not asked: it failed {self.authorities.patience.failures} times, next try in {wait:.0f} s"
                self.failures.append(Failure(name, "timestamp-breaker-open", why))
            else:
                return Attempt(name, min(left, self.authorities.patience.attempt))
        return None

    def failed(self, name: str, problem: SignwrightError, *, now: float) -> None:
        self.failures.append(Failure(name, problem.code, problem.message))
        self.authorities.failed(name, now)

    def succeeded(self, name: str) -> None:
        self.authorities.succeeded(name)

    def error(self) -> TimestampError:
        """The error that names every authority and its cause."""
        causes = "; ".join(f"{f.name}: {f.message} ({f.code})" for f in self.failures)
        return TimestampError(
            f"no timestamp authority gave an acceptable token: {causes}",
            details={"authorities": [{"name": f.name, "code": f.code, "message": f.message} for f in self.failures]},
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a token has to satisfy. ``anchors``: pinned DER certificates; ``tolerance``: of clocks, both ways."""

    anchors: Sequence[bytes]
    policy_oid: str | None = None
    tolerance: timedelta = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Obtained:
    """A verified token, what it says and who gave it. ``earlier_failures`` belong into the audit log."""

    timestamp_token: bytes
    info: TimestampInfo
    name: str
    earlier_failures: tuple[Failure, ...]


def obtain(
    imprint: Digest,
    *,
    authorities: Authorities,
    wanted: Wanted,
    ask: Ask,
    now: Callable[[], datetime],
    monotonic: Callable[[], float],
    random_bytes: Callable[[int], bytes],
) -> Obtained:
    """A token about ``imprint`` from the first authority whose token passes every check.

    ``now``: aware UTC; ``monotonic``: seconds; ``random_bytes``: as `secrets.token_bytes`. A token that does not hold
    counts as its authority's failure. Raises `TimestampError` (``no-timestamp``) naming each and its cause.
    """
    if not wanted.anchors:
        raise ConfigurationError("no timestamp authority is trusted: the list of anchors is empty", code="no-anchors")
    current = authorities.begin(monotonic())
    while (attempt := current.next_attempt(monotonic())) is not None:
        nonce = int.from_bytes(random_bytes(8), "big")
        query = timestamp_query(imprint, nonce, policy_oid=wanted.policy_oid)
        asked_at = now()
        try:
            timestamp_token = token_of_reply(ask(attempt.name, query, attempt.seconds))
            info = verify_token(
                timestamp_token,
                imprint=imprint,
                nonce=nonce,
                anchors=wanted.anchors,
                not_before=asked_at - wanted.tolerance,
                not_after=now() + wanted.tolerance,
                required_policy_oid=wanted.policy_oid,
            )
        except SignwrightError as problem:
            current.failed(attempt.name, problem, now=monotonic())
            continue
        current.succeeded(attempt.name)
        return Obtained(timestamp_token, info, attempt.name, tuple(current.failures))
    raise current.error()
