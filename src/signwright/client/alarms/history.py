# SPDX-License-Identifier: Apache-2.0
"""What the monitor remembers of the leaves that it has seen, so that each is looked at once.

It is plain data that a strict reader takes back. What can matter no more is forgotten: a request lives for a week at
most, so two weeks later nobody can use it again.
"""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field

from signwright.client.alarms.base import Limits
from signwright.model.operation import MAX_WAVES
from signwright.model.times import format_time, parse_time
from signwright.policy.succession import has_ended
from signwright.transparency.leaf import (
    MAX_LISTED,
    CustodianLeaf,
    DenyLeaf,
    EpochLeaf,
    FreshnessLeaf,
    GenesisLeaf,
    HaltLeaf,
    IntentLeaf,
    KeyOperationLeaf,
    Leaf,
    PolicyLeaf,
    ResultLeaf,
    ResumeLeaf,
    StartLeaf,
    fold_digests,
)

REMEMBERED = timedelta(days=14)
DAY = timedelta(hours=24)
#: Signing times lie so far, at most, from when the log says that something happened.
SLACK = timedelta(minutes=5)
#: Stands where a request's wave stands, in what is remembered of a use.
KEY_OPERATION = "key-operation"
#: How often, in leaves, the old is forgotten.
_SWEEP = 4096
#: Nonces of so many starts are remembered.
_NONCES = 256
#: How a result leaf lists none, the second time where the signatures beside them are folded.
_NO_RESULTS: tuple[tuple[str, ...], ...] = ((), fold_digests(["00"] * (MAX_LISTED + 1), [])[1][1])


class _Plain(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class LoggedPolicy(_Plain):
    """``in_force``: when its delay is over, at the earliest; None when it counts from its leaf on."""

    sha256: str
    in_force: str | None = None


class OpenIntent(_Plain):
    """An intent, or an operation of a key that is no release. ``late``: logged under a policy that was no longer the
    one in force; ``halted``: while signing was halted.
    """

    leaf: IntentLeaf | KeyOperationLeaf
    late: bool = False
    halted: bool = False

    @property
    def about(self) -> tuple[str, int, int]:
        """Request (or statement), wave and attempt, as the result has to name them."""
        if isinstance(self.leaf, IntentLeaf):
            return self.leaf.request, self.leaf.wave, self.leaf.attempt
        return self.leaf.statement, 0, self.leaf.attempt

    @property
    def use(self) -> str:
        """What may be signed once, and tried three times."""
        request, wave, _ = self.about
        return f"{request}/{wave}" if isinstance(self.leaf, IntentLeaf) else f"{request}/{KEY_OPERATION}"

    @property
    def time(self) -> str:
        return self.leaf.signing_time if isinstance(self.leaf, IntentLeaf) else self.leaf.time


class Use(_Plain):
    """Of a request and wave. ``signed``: index of the intent that signed it; ``release``: of that kind; ``done``: the
    request was signed with it, and no other wave follows.
    """

    attempt: int
    time: str
    signed: int | None = None
    release: bool = False
    done: bool = True


class Count(_Plain):
    time: str
    number: int


class Halted(_Plain):
    """``under``: policy version in force when the halt arrived; ``resumed``: version that its resume names."""

    under: int
    resumed: int | None = None


class History(_Plain):
    """Dictionaries are by ``str(index)`` (open, unknown), ``str(version)`` (policies), `OpenIntent.use` (uses), hex
    SHA-256 of the key (operations) and of the statement (halts). ``live``: weaker policies have to wait.
    ``confirmed``: requests that a custodian confirmed and no intent has used yet, with the time; ``confirmed_kinds``:
    of those that were used.
    """

    size: int = 0
    version: int = 0
    root_version: int = 0
    live: bool = False
    policies: dict[str, LoggedPolicy] = Field(default_factory=dict)
    open: dict[str, OpenIntent] = Field(default_factory=dict)
    unknown: dict[str, OpenIntent] = Field(default_factory=dict)
    uses: dict[str, Use] = Field(default_factory=dict)
    operations: dict[str, list[Count]] = Field(default_factory=dict)
    denials: list[Count] = Field(default_factory=list)
    halts: dict[str, Halted] = Field(default_factory=dict)
    start: int | None = None
    nonces: dict[str, int] = Field(default_factory=dict)
    freshness: int | None = None
    confirmed: dict[str, str] = Field(default_factory=dict)
    confirmed_kinds: list[str] = Field(default_factory=list)
    last_time: str | None = None
    last_beat: str | None = None
    signed: int = 0

    def add(self, index: int, leaf: Leaf, *, limits: Limits) -> None:
        """Remember a leaf, after all rules have looked at it."""
        self.size = index + 1
        if isinstance(leaf, PolicyLeaf):
            self._policy(leaf)
        elif isinstance(leaf, IntentLeaf | KeyOperationLeaf):
            self._intent(index, leaf)
        elif isinstance(leaf, ResultLeaf):
            self._result(leaf)
        elif isinstance(leaf, DenyLeaf):
            tally(self.denials, leaf.time, leaf.count, window=limits.denial_window)
        elif isinstance(leaf, HaltLeaf):
            self.halts.setdefault(leaf.statement, Halted(under=leaf.policy_version))
        elif isinstance(leaf, ResumeLeaf):
            for name in self.ended_by(leaf):
                self.halts[name].resumed = leaf.policy_version
        elif isinstance(leaf, StartLeaf):
            self.start = max(leaf.number, self.start or 0)
            self.nonces = dict([*self.nonces.items(), (leaf.nonce, leaf.number)][-_NONCES:])
        elif isinstance(leaf, CustodianLeaf):
            self.confirmed.update(dict.fromkeys(leaf.requests, leaf.time))
        elif isinstance(leaf, FreshnessLeaf):
            self.freshness = max(leaf.number, self.freshness or 0)
        self._clock(leaf)
        if index % _SWEEP == _SWEEP - 1:
            self._forget()

    def signed_requests(self) -> dict[str, Use]:
        """Digests of the requests that were signed in the time that is remembered; the oldest first."""
        rows = ((name.partition("/"), use) for name, use in self.uses.items() if use.signed is not None and use.done)
        return {request: use for (request, _, what), use in rows if what != KEY_OPERATION}

    def done_by(self, intent: OpenIntent) -> int | None:
        """Index of the intent that signed all of the same: of a request its last wave, whichever that was."""
        names = [intent.use]
        if isinstance(intent.leaf, IntentLeaf):
            names = [f"{intent.leaf.request}/{wave}" for wave in range(MAX_WAVES)]
        found = (self.uses[name] for name in names if name in self.uses)
        return next((use.signed for use in found if use.signed is not None and use.done), None)

    def intent_of(self, leaf: ResultLeaf) -> OpenIntent | None:
        """The intent that a result may speak about: an open one, or one whose outcome was unknown and is now known."""
        found = self.open.get(str(leaf.intent))
        return found if found or leaf.outcome == "unknown" else self.unknown.get(str(leaf.intent))

    def ended_by(self, leaf: ResumeLeaf) -> list[str]:
        """The halts in the log that a resume names. A list that was folded stands for more than a leaf lists."""
        folded = len(leaf.halts) == 1 and leaf.halts[0] not in self.halts and len(self.halts) > MAX_LISTED
        return list(self.halts) if folded else [name for name in leaf.halts if name in self.halts]

    def halted_at(self, time: str) -> list[str]:
        """The halts that are not over at ``time``: each needs a resume, and its newer policy in force."""
        version = self.version_at(time)
        return [name for name, halt in self.halts.items() if not has_ended(halt.under, halt.resumed, version)]

    def version_at(self, time: str) -> int:
        """The newest policy version that was logged, and whose delay, if any, was over at ``time``."""
        in_force = (int(v) for v, policy in self.policies.items() if policy.in_force is None or policy.in_force <= time)
        return max(in_force, default=0)

    def is_late(self, leaf: IntentLeaf) -> bool:
        """A newer policy than the intent's was logged before, and its delay, if any, was surely over."""
        moment = format_time(parse_time(leaf.signing_time) - 2 * SLACK)
        newer = (p for version, p in self.policies.items() if int(version) > leaf.policy_version)
        return any(policy.in_force is None or policy.in_force <= moment for policy in newer)

    def _policy(self, leaf: PolicyLeaf) -> None:
        self.version = max(self.version, leaf.policy_version)
        self.root_version = max(self.root_version, leaf.root_version)
        if leaf.delay_hours:  # what is weaker in the organisation's own document may be that it is live no more
            self.live = "organisation" not in leaf.weakening
        in_force = format_time(parse_time(leaf.time) + timedelta(hours=leaf.delay_hours)) if leaf.delay_hours else None
        self.policies.setdefault(str(leaf.policy_version), LoggedPolicy(sha256=leaf.policy_sha256, in_force=in_force))

    def _intent(self, index: int, leaf: IntentLeaf | KeyOperationLeaf) -> None:
        late = isinstance(leaf, IntentLeaf) and self.is_late(leaf)
        time = time_text(leaf) or ""
        intent = OpenIntent(leaf=leaf, late=late, halted=bool(self.halts and self.halted_at(time)))
        before = self.uses.get(intent.use)
        attempt = max(leaf.attempt, before.attempt if before else 0)
        signed = before.signed if before and before.done else None  # a wave that nothing followed came to nothing
        release = isinstance(leaf, IntentLeaf) and leaf.kind == "release"
        self.uses[intent.use] = Use(attempt=attempt, time=intent.time, signed=signed, release=release)
        self.open[str(index)] = intent
        # One confirmation is for one intent.
        if isinstance(leaf, IntentLeaf) and self.confirmed.pop(leaf.request, None) is not None:
            self.confirmed_kinds = sorted({*self.confirmed_kinds, leaf.kind})

    def _result(self, leaf: ResultLeaf) -> None:
        """A stray result changes nothing; one that belongs to another request still closes the intent it names."""
        found = self.intent_of(leaf)
        if found is None:
            return
        is_first = self.open.pop(str(leaf.intent), None) is not None
        self.unknown.pop(str(leaf.intent), None)
        if leaf.outcome == "unknown":
            self.unknown[str(leaf.intent)] = found
        if is_first or leaf.outcome == "signed":
            # By the minute: so a day of a busy key is a short list.
            minute = f"{leaf.time[:16]}:00Z"
            tally(self.operations.setdefault(found.leaf.key, []), minute, operations_of(leaf), window=DAY)
        if leaf.outcome == "signed":
            done = _is_done(found, leaf)
            self.signed += done and isinstance(found.leaf, IntentLeaf)  # a certification request has no receipt
            use = self.uses.get(found.use) or Use(attempt=leaf.attempt, time=leaf.time)
            self.uses[found.use] = use.model_copy(update={"signed": leaf.intent, "done": done})

    def _clock(self, leaf: Leaf) -> None:
        text = time_text(leaf)
        if text is None:
            return
        # The one written form of a time sorts as the times do.
        self.last_time = max(self.last_time or text, text)
        # A log that was born a minute ago is alive: its first heartbeat is due an hour later.
        if isinstance(leaf, EpochLeaf | GenesisLeaf):
            self.last_beat = max(self.last_beat or text, text)

    def _forget(self) -> None:
        if self.last_time is None:
            return
        newest = parse_time(self.last_time)
        oldest = format_time(newest - REMEMBERED)
        self.uses = {name: use for name, use in self.uses.items() if use.time >= oldest}
        self.unknown = {index: intent for index, intent in self.unknown.items() if intent.time >= oldest}
        self.confirmed = {request: time for request, time in self.confirmed.items() if time >= oldest}
        yesterday = format_time(newest - DAY)
        self.operations = {k: counts for k, counts in self.operations.items() if counts[-1].time >= yesterday}


def _is_done(intent: OpenIntent, leaf: ResultLeaf) -> bool:
    """Whether a wave that was signed is a request's last one: before it there are no results. In digest mode the gate
    has none, and one wave is all.
    """
    mode = intent.leaf.mode if isinstance(intent.leaf, IntentLeaf) else "digest"
    return mode == "digest" or leaf.result_sha256 not in _NO_RESULTS


def time_text(leaf: Leaf) -> str | None:
    """The time that a leaf names, in its written form."""
    found: str | None = getattr(leaf, "time", None) or getattr(leaf, "signing_time", None)
    return found


def total(counts: list[Count], time: str, *, window: timedelta) -> int:
    """Sum of those that are no older than ``window`` at ``time``."""
    first = format_time(parse_time(time) - window)
    return sum(count.number for count in counts if count.time >= first)


def tally(counts: list[Count], time: str, number: int, *, window: timedelta) -> None:
    """Add to the list, one entry for each time, and drop what is older than ``window``."""
    first = format_time(parse_time(time) - window)
    while counts and counts[0].time < first:
        del counts[0]
    if counts and counts[-1].time == time:
        counts[-1].number += number
    else:
        counts.append(Count(time=time, number=number))


def operations_of(leaf: ResultLeaf) -> int:
    """How often at least the key was used: a list that was folded had more entries than a leaf lists."""
    if leaf.outcome != "signed":
        return 1
    return len(leaf.signature_sha256) if leaf.listed else MAX_LISTED + 1
