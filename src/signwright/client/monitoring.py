# SPDX-License-Identifier: Apache-2.0
"""The whole log read again with suspicion: what rules can be seen in its leaves, and who broke one. Pure.

A monitor sees digests, not requests: whether people really approved is counted by `signwright.client.authorisation`
for every receipt at hand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from signwright.errors import SignwrightError
from signwright.model.times import parse_time
from signwright.transparency.intent import IntentLeaf
from signwright.transparency.leaf import DenyLeaf, EpochLeaf, GenesisLeaf, PolicyLeaf, ResultLeaf, parse_leaf


@dataclass(frozen=True, slots=True)
class Limits:
    """``result_within``: an intent without a result after so long is an alarm; ``heartbeat``: hourly, with slack;
    ``denials`` in ``denial_window``: a burst.
    """

    result_within: timedelta = timedelta(minutes=15)
    heartbeat: timedelta = timedelta(hours=2)
    denials: int = 20
    denial_window: timedelta = timedelta(minutes=10)
    clock: timedelta = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Alarm:
    """``index``: of the leaf, None for the log as a whole; ``code``: stable."""

    code: str
    text: str
    index: int | None = None

    def __str__(self) -> str:
        where = f"leaf {self.index}" if self.index is not None else "log"
        return f"{self.code}: {where}: {self.text}"


@dataclass
class Monitor:
    """Feed leaves in order with `see`, then ask `end`. ``trial``, ``root_sha256``: as the trust file has them."""

    trial: bool
    origin: str
    root_sha256: str
    limits: Limits = Limits()
    alarms: list[Alarm] = field(default_factory=list)
    _open: dict[int, IntentLeaf] = field(default_factory=dict)
    _answered: dict[int, ResultLeaf] = field(default_factory=dict)
    _attempts: dict[tuple[str, int], int] = field(default_factory=dict)
    _signed: dict[tuple[str, int], int] = field(default_factory=dict)
    _versions: dict[int, str] = field(default_factory=dict)
    _version: int = 0
    _root_version: int = 0
    _last_time: datetime | None = None
    _last_beat: datetime | None = None
    _denials: deque[tuple[datetime, int]] = field(default_factory=deque)
    _in_burst: bool = False
    #: Intents under a policy that was no longer the newest in the log: harmless when the keyholder refused them.
    _late: set[int] = field(default_factory=set)

    def see(self, leaves: Iterable[tuple[int, bytes]]) -> None:
        """Look at each leaf; never raises for what stands in one."""
        for index, content in leaves:
            try:
                leaf = parse_leaf(content)
            except SignwrightError as problem:
                self._alarm("bad-leaf", problem.message, index)
                continue
            if (index == 0) != isinstance(leaf, GenesisLeaf):
                self._alarm(
                    "genesis", f"a {leaf.type} leaf at {index}; the first leaf, and no other, is genesis", index
                )
            if isinstance(leaf, GenesisLeaf):
                self._genesis(index, leaf)
            elif isinstance(leaf, PolicyLeaf):
                self._policy(index, leaf)
            elif isinstance(leaf, IntentLeaf):
                self._intent(index, leaf)
            elif isinstance(leaf, ResultLeaf):
                self._result(index, leaf)
            elif isinstance(leaf, DenyLeaf):
                self._deny(index, leaf)
            self._clock(index, leaf)

    def end(self, *, now: datetime) -> list[Alarm]:
        """All alarms, with those about what is missing at ``now`` (aware UTC)."""
        found = list(self.alarms)
        for index, leaf in self._open.items():
            if now - parse_time(leaf.signing_time) > self.limits.result_within:
                text = f"intent of {leaf.signing_time} without a result: was the key used?"
                found.append(Alarm("no-result", text, index))
        if self._last_beat is None or now - self._last_beat > self.limits.heartbeat:
            last = f"last {self._last_beat:%Y-%m-%dT%H:%M:%SZ}" if self._last_beat else "none at all"
            found.append(Alarm("no-heartbeat", f"no sign of life for {self.limits.heartbeat}: {last}"))
        if self._last_time is not None and self._last_time - now > self.limits.clock:
            found.append(Alarm("future", f"the log's time {self._last_time:%Y-%m-%dT%H:%M:%SZ} is ahead of ours"))
        return found

    def _alarm(self, code: str, text: str, index: int) -> None:
        self.alarms.append(Alarm(code, text, index))

    def _genesis(self, index: int, leaf: GenesisLeaf) -> None:
        found, wanted = (leaf.root_sha256, leaf.origin, leaf.trial), (self.root_sha256, self.origin, self.trial)
        if found != wanted:
            self._alarm("genesis", "the log began for another policy root, origin or kind than the trust file's", index)

    def _policy(self, index: int, leaf: PolicyLeaf) -> None:
        if leaf.policy_version <= self._version or leaf.root_version < self._root_version:
            self._alarm("policy-rollback", f"policy version {leaf.policy_version} after {self._version}", index)
        self._version = max(self._version, leaf.policy_version)
        self._root_version = max(self._root_version, leaf.root_version)
        self._versions.setdefault(leaf.policy_version, leaf.policy_sha256)

    def _intent(self, index: int, leaf: IntentLeaf) -> None:
        if self._versions.get(leaf.policy_version) != leaf.policy_sha256:
            self._alarm(
                "unknown-policy", f"intent under policy version {leaf.policy_version} that was not logged", index
            )
        elif leaf.policy_version != self._version:
            self._late.add(index)
        if leaf.trial != self.trial:
            self._alarm("trial", "the intent's trial flag is not the trust file's", index)
        if leaf.kind == "release":
            self._release(index, leaf)
        if leaf.content_seen != (leaf.mode == "artifact"):
            self._alarm("bad-intent", f"{leaf.mode} mode and content_seen {leaf.content_seen}", index)
        use = (leaf.request, leaf.wave)
        if leaf.attempt <= self._attempts.get(use, 0):
            self._alarm("attempt", f"attempt {leaf.attempt} after {self._attempts[use]} of the same request", index)
        if use in self._signed:
            self._alarm("signed-again", f"a new intent for what intent {self._signed[use]} signed", index)
        self._attempts[use] = max(leaf.attempt, self._attempts.get(use, 0))
        self._open[index] = leaf

    def _release(self, index: int, leaf: IntentLeaf) -> None:
        """What a release leans on must be named in its intent."""
        if not leaf.trial and leaf.key_protection == "software":
            self._alarm("software-key", "a release with a software key outside a trial", index)
        if not leaf.approvals:
            self._alarm("no-approval", "a release without any approval", index)
        if leaf.mode == "digest" and "digest-mode" not in leaf.exceptions:
            self._alarm("no-exception", "a release in digest mode without the exception for it", index)
        if not leaf.evidence and not {"no-scan", "digest-mode"} & set(leaf.exceptions):
            self._alarm("no-evidence", "a release without evidence and without an exception for it", index)

    def _result(self, index: int, leaf: ResultLeaf) -> None:
        intent = self._open.pop(leaf.intent, None)
        before = self._answered.get(leaf.intent)
        if intent is None:
            # After a crash an outcome may be unknown first and known later; never the other way round, never twice.
            if before is None or before.outcome != "unknown" or leaf.outcome == "unknown":
                self._alarm("stray-result", f"a result for intent {leaf.intent}, which is not open", index)
                return
        elif (leaf.request, leaf.wave, leaf.attempt) != (intent.request, intent.wave, intent.attempt):
            self._alarm("wrong-result", f"not the result of intent {leaf.intent}", index)
        elif leaf.outcome == "signed":
            if not leaf.signature_sha256:
                self._alarm("wrong-result", "signed, and no signature named", index)
            if intent.kind == "release" and leaf.timestamps == "none" and "no-timestamp" not in intent.exceptions:
                self._alarm("no-timestamp", "a release without a timestamp and without an exception for it", index)
        if leaf.outcome == "signed" and leaf.intent in self._late:
            self._alarm("old-policy", f"intent {leaf.intent} was signed under a policy no longer in force", index)
        if leaf.outcome == "signed":
            self._signed[leaf.request, leaf.wave] = leaf.intent
        self._answered[leaf.intent] = leaf

    def _deny(self, index: int, leaf: DenyLeaf) -> None:
        time = parse_time(leaf.time)
        self._denials.append((time, leaf.count))
        while self._denials and time - self._denials[0][0] > self.limits.denial_window:
            self._denials.popleft()
        count = sum(number for _, number in self._denials)
        if count >= self.limits.denials and not self._in_burst:
            self._alarm("denials", f"{count} refusals within {self.limits.denial_window}: somebody is trying", index)
        self._in_burst = count >= self.limits.denials

    def _clock(self, index: int, leaf: object) -> None:
        """Times go up, give or take; between two heartbeats there is never more than the limit."""
        text = getattr(leaf, "time", None) or getattr(leaf, "signing_time", None)
        if text is None:
            return
        time = parse_time(text)
        if self._last_time is not None and self._last_time - time > self.limits.clock:
            self._alarm("clock", f"time {text} after {self._last_time:%Y-%m-%dT%H:%M:%SZ}", index)
        if self._last_time is None or time > self._last_time:
            self._last_time = time
        # A log that was born a minute ago is alive: its first heartbeat is due an hour later.
        if isinstance(leaf, (EpochLeaf, GenesisLeaf)):
            if self._last_beat is not None and time - self._last_beat > self.limits.heartbeat:
                gap = f"no heartbeat from {self._last_beat:%Y-%m-%dT%H:%M:%SZ} to {text}"
                self._alarm("heartbeat-gap", gap, index)
            self._last_beat = time if self._last_beat is None else max(time, self._last_beat)
