# SPDX-License-Identifier: Apache-2.0
"""The custodian's queue: requests that the gate has verified wait here until a real person at the signer confirms them.

What is confirmed is the exact list that was shown: request, policy, approvals, evidence. Whatever changes in between
makes another list, which wants another confirmation. The queue is kept in memory alone: after a restart the courier
offers what is open again. `signwright.signer.gate.console` is how the custodian speaks to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from signwright.errors import DeniedError, SignwrightError
from signwright.model.times import format_time
from signwright.policy.policy import Policy
from signwright.policy.rules.reason import Reason
from signwright.signer.gate import outcome
from signwright.signer.gate.log import Log
from signwright.signer.gate.outcome import Outcome
from signwright.signer.gate.settings import GateSettings
from signwright.signer.gate.shown import shown
from signwright.signer.gate.state import StoredWord, add_word
from signwright.signer.gate.verify import Case, Job
from signwright.statements.custodian import GROUP, CustodianStatement, shown_sha256
from signwright.statements.keys import verifying_key
from signwright.transparency.intent import MAX_LISTED
from signwright.transparency.leaf import CustodianLeaf

RULE = "custodian"
WAITING = "custodian"
#: How often what waits is decided again: an approval may have ended, a policy come, somebody have halted.
RECHECK_SECONDS = 5.0
#: Denied requests and ends that are remembered, the newest ones.
REMEMBERED = 4096

#: What the gate makes of a job at this moment: a case that may be signed, or why not.
Look = Callable[[Job], Case | Outcome]
#: Hears the state of a request.
Told = Callable[[str], Awaitable[None]]


@dataclass(slots=True)
class Entry:
    """A request that waits. ``shown``: the bytes of its `ShownRequest`; ``answer``: None for a confirmation."""

    case: Case
    look: Look
    shown: bytes
    since: datetime
    answer: asyncio.Future[Outcome | None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass(frozen=True, slots=True)
class End:
    """What became of a request that a custodian had before them, as the console tells it."""

    state: str
    code: str = ""
    message: str = ""


class Custodian:
    """``now``: aware UTC. All methods belong to the gate's one loop."""

    def __init__(
        self,
        settings: GateSettings,
        log: Log,
        *,
        now: Callable[[], datetime],
        recheck_seconds: float = RECHECK_SECONDS,
    ) -> None:
        self.settings = settings
        self._log = log
        self._now = now
        self.recheck_seconds = recheck_seconds
        self._entries: dict[str, Entry] = {}
        self._confirmed: dict[str, str] = {}
        self._denied: dict[str, Outcome] = {}
        self._followed: dict[str, End] = {}

    def wanted(self, case: Case) -> bool:
        """Whether somebody has to confirm a request of this signing policy. One that does not exist is refused."""
        request = case.job.statement.predicate
        rule = case.opened.policy.signing_policy(request.project, request.signing_policy)
        if self.settings.custodian == "release":
            return rule is not None and rule.kind == "release"
        return rule is not None and self.settings.custodian == "required"

    def holds(self, case: Case) -> bool:
        """Nobody need be asked (any more) about exactly this."""
        return not self.wanted(case) or self._confirmed.get(case.job.digest) == shown_sha256(shown(case))

    def use_up(self, case: Case) -> None:
        """One confirmation serves one intent; raises `DeniedError` when there is none for exactly this."""
        if not self.holds(case):
            raise DeniedError("no custodian has confirmed this request as it is now", code="not-confirmed")
        self._confirmed.pop(case.job.digest, None)

    def forget(self, request: str) -> None:
        """The work on it is over: what was confirmed and not used counts no more."""
        self._confirmed.pop(request, None)

    def check_not_denied(self, request: str) -> None:
        """A request that a custodian denied stays denied, however often it is offered."""
        denied = self._denied.get(request)
        if denied is not None:
            raise DeniedError(denied.message, code=denied.code, details={"reasons": list(denied.reasons)})

    async def ask(self, case: Case, look: Look) -> Outcome | None:
        """Wait for a custodian: None when they confirmed what was last shown, else how the request ends.

        Also ends when the gate would not sign it any more. Raises `SignwrightError`.
        """
        refusal = self.no_room(case)
        if refusal is not None:
            return refusal
        digest = case.job.digest
        entry = Entry(case, look, shown(case), self._now())
        self._entries[digest] = entry
        self._follow(digest, End(WAITING))
        try:
            while True:
                done, _ = await asyncio.wait({entry.answer}, timeout=self.recheck_seconds)
                if done:
                    return entry.answer.result()
                current = self.current(entry)
                if isinstance(current, Outcome):
                    return current
        finally:
            del self._entries[digest]

    def no_room(self, case: Case) -> Outcome | None:
        """The list is for a person to read: it has an end, and no one submitter fills it. None when there is room, or
        none is needed.
        """
        if self.holds(case):
            return None
        mine = sum(entry.case.facts.submitter == case.facts.submitter for entry in self._entries.values())
        most = self.settings.limits.custodian_waiting
        if len(self._entries) < most and mine < max(1, most // 2):
            return None
        found = f"{len(self._entries)} requests wait for the custodian, {mine} of this submitter; at most {most}"
        reason = Reason(RULE, "await", found, "a place in the custodian's list", "custodian")
        return outcome.refused([reason], (), "waiting")

    def current(self, entry: Entry) -> Case | Outcome:
        """Decide about a waiting request again, and show what is true now; raises `SignwrightError`."""
        found = entry.look(entry.case.job)
        if not isinstance(found, Outcome):
            entry.case, entry.shown = found, shown(found)
        return found

    def waiting(self) -> list[Entry]:
        """Those that may still be signed, oldest first, as they are now."""
        rows = []
        for entry in self._entries.values():
            try:
                if not entry.answer.done() and isinstance(self.current(entry), Case):
                    rows.append(entry)
            except SignwrightError:
                continue  # its own wait finds out, and says why
        return sorted(rows, key=lambda entry: entry.since)

    @property
    def count(self) -> int:
        return len(self._entries)

    async def take(self, statement: CustodianStatement, content: bytes, policy: Policy) -> None:
        """A custodian's word whose signature holds: all of it counts, or `DeniedError` names every problem."""
        said = statement.predicate
        found = {entry.case.job.digest: entry for entry in self.waiting()}
        problems = [
            text
            for request, seen in statement.requests
            if (text := _objection(policy, said.person, found.get(request), request, seen=seen, decision=said.decision))
        ]
        if problems:
            raise DeniedError(f"nothing was {_PAST[said.decision]}: " + "; ".join(problems), code="custodian-refused")
        requests = [request for request, _ in statement.requests]
        word = StoredWord(statement.digest, RULE, policy.version, None, content)
        if said.decision == "deny":
            # Before anybody is waited for: a confirmation may be on its way into the log.
            for request in requests:
                why = f"denied by custodian {said.person}: {said.reason}"
                found[request].answer.set_result(self._deny(request, why))
            await self._log.record([add_word(word)])
            return
        await self._append(requests, word)
        for request, seen in statement.requests:
            entry = found[request]
            if not entry.answer.done():  # it may have ended while the leaf was written
                self._confirmed[request] = seen
                self._follow(request, End("confirmed"))
                entry.answer.set_result(None)

    async def _append(self, requests: Sequence[str], word: StoredWord) -> None:
        for at in range(0, len(requests), MAX_LISTED):
            leaf = CustodianLeaf(
                statement=word.sha256,
                requests=tuple(requests[at : at + MAX_LISTED]),
                time=format_time(self._now()),
            )
            await self._log.append(leaf.encode(), lambda _: (add_word(word),))

    def _deny(self, request: str, why: str) -> Outcome:
        reason = Reason(RULE, "deny", why, "a custodian's confirmation", "custodian")
        self._denied[request] = Outcome("denied", "custodian-denied", why, (reason.as_json(),))
        _keep_newest(self._denied)
        return self._denied[request]

    async def heard(self, request: str, state: str) -> None:
        """The cycle says where a request is that a custodian had before them."""
        if request in self._followed:
            self._follow(request, End(state))

    def ended(self, request: str, found: Outcome) -> None:
        if request in self._followed:
            self._follow(request, End(found.outcome, found.code, found.message))

    def handed_out(self, request: str) -> None:
        """The courier has the answer."""
        end = self._followed.get(request)
        if end is not None and end.state == "signed":
            self._follow(request, End("published", end.code, end.message))

    def followed(self, request: str) -> End | None:
        return self._followed.get(request)

    def _follow(self, request: str, end: End) -> None:
        self._followed.pop(request, None)
        self._followed[request] = end
        _keep_newest(self._followed)


_PAST: Mapping[str, str] = {"confirm": "confirmed", "deny": "denied"}


def _keep_newest(rows: dict[str, object] | dict[str, Outcome] | dict[str, End]) -> None:
    while len(rows) > REMEMBERED:
        rows.pop(next(iter(rows)))


def _objection(
    policy: Policy, person: str, entry: Entry | None, request: str, *, seen: str, decision: str
) -> str | None:
    """Why ``person`` cannot say this about a request, in words."""
    if entry is None:
        return f"{request[:16]}… does not wait for a custodian"
    if decision == "deny":
        return None  # a no is good from every custodian, and about whatever waits
    if shown_sha256(entry.shown) != seen:
        return f"{request[:16]}… is not what was shown any more: list it again"
    return conflict(policy, person, entry.case)


def conflict(policy: Policy, person: str, case: Case) -> str | None:
    """Why a custodian may not confirm this very request, in words: they had a hand in it already."""
    name = case.job.digest[:16]
    own = {verifying_key(text).material for text in policy.people.people[person].keys}
    credentials = policy.credentials.credentials
    for key_id in {case.facts.submitter, *case.rule.submitters}:
        credential = credentials.get(key_id or "")
        if credential is None or credential.disabled:
            continue
        if credential.person == person or verifying_key(credential.public_key).material in own:
            verb = "submitted it" if key_id == case.facts.submitter else "may submit under its signing policy"
            return f"{name}…: {person} {verb}; a custodian never submits"
    for approval in case.facts.approvals:
        by = approval.statement.predicate.person
        keys = {verifying_key(text).material for text in policy.people.people[by].keys}
        if by == person or keys & own:
            return f"{name}…: {person} said a word on it as {by}; a custodian confirms what others approved"
    return None


def custodians(policy: Policy, revoked: frozenset[str]) -> dict[str, tuple[str, ...]]:
    """Names and public keys of those who are custodians now."""
    return {
        name: person.keys
        for name, person in policy.people.people.items()
        if GROUP in person.groups and not person.disabled and f"person {name}" not in revoked
    }
