# SPDX-License-Identifier: Apache-2.0
"""What keepers say besides the policy: freshness, halt, resume. Verified, kept, logged, handed to the keyholder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

from signwright.errors import ConflictError, DeniedError, SignwrightError
from signwright.model.times import format_time
from signwright.policy.facts import VerifiedFreshness, verified_freshness
from signwright.policy.halting import check_flood, halting_keys
from signwright.policy.incoming import check_not_ahead
from signwright.policy.policy import Policy
from signwright.policy.rules.reason import Reason
from signwright.policy.succession import has_ended, opened_halt, opened_resume
from signwright.signer.gate.keyholder import KeyholderClient
from signwright.signer.gate.log import Log
from signwright.signer.gate.policy import PolicyHolder
from signwright.signer.gate.state import State, StoredWord, Write, add_word, end_halt, fill_word
from signwright.statements.dsse import Envelope, parse_envelope
from signwright.transparency.intent import fold_digests
from signwright.transparency.leaf import FreshnessLeaf, HaltLeaf, Leaf, ResumeLeaf


class KeepersWords:
    """``freshness``: the newest statement and its wire form, None before the first under this policy's roots."""

    def __init__(
        self,
        state: State,
        policies: PolicyHolder,
        *,
        log: Log,
        keyholder: KeyholderClient,
        now: Callable[[], datetime],
    ) -> None:
        self._state, self._policies, self._log, self._keyholder, self._now = state, policies, log, keyholder, now
        self._taking = asyncio.Lock()
        self._recording = asyncio.Lock()
        self._halts = {word.sha256: (word.number, word.resumed_at) for word in state.words("halt")}
        #: Halts that stand in state and log; one that failed on its way there stops us all the same.
        self._recorded = set(self._halts)
        self._halted_by = {word.sha256: halting_keys(word.content) for word in state.words("halt")}
        stored = state.words("freshness")
        self._freshness: tuple[Envelope, bytes] | None = None
        self.number, self._newest = (stored[-1].number, stored[-1].sha256) if stored else (0, "")
        # A state rebuilt from the log knows the newest statement by its leaf: the very same one is wanted again.
        self._missing = stored[-1].sha256 if stored and not stored[-1].content else None
        if stored and not self._missing:
            self._freshness = parse_envelope(stored[-1].content), stored[-1].content

    def freshness(self) -> tuple[Envelope, bytes] | None:
        """The newest one, parsed and as it came. Whether it still holds is a question of each decision."""
        return self._freshness

    def revoked(self) -> frozenset[str]:
        """What the newest freshness statement revokes; nothing when a new root no longer knows its signers."""
        verified = self._verified_freshness(self._policies.in_force.policy)
        return verified.revoked if verified else frozenset()

    def _verified_freshness(self, policy: Policy) -> VerifiedFreshness | None:
        if self._freshness is None:
            return None
        try:
            return verified_freshness(policy, self._freshness[0])
        except SignwrightError:
            return None

    def halts(self) -> list[str]:
        """Digests of the halts that are not over."""
        version = self._policies.in_force.policy.version
        return [digest for digest, (under, resumed) in self._halts.items() if not has_ended(under, resumed, version)]

    async def take_freshness(self, content: bytes) -> dict[str, object]:
        """Accept a newer one; the one we have is accepted again silently. Raises `SignwrightError`."""
        async with self._taking:
            envelope = parse_envelope(content)
            verified = verified_freshness(self._policies.in_force.policy, envelope)
            check_not_ahead(verified, now=self._now())
            statement, said = verified.statement, verified.statement.predicate
            if said.number < self.number:
                raise ConflictError(
                    f"freshness number {said.number}; number {self.number} was accepted before", code="freshness-old"
                )
            if said.number > self.number:
                word = StoredWord(statement.digest, "freshness", said.number, None, content)
                leaf = FreshnessLeaf(
                    statement=statement.digest,
                    number=said.number,
                    minimum_policy_version=said.minimum_policy_version,
                    revoked=len(said.revoked_credentials) + len(said.revoked_people),
                    time=format_time(self._now()),
                )
                await self._append(leaf, (add_word(word),))
                self.number, self._freshness, self._missing = said.number, (envelope, content), None
                self._newest = statement.digest
            elif statement.digest == self._missing:
                await self._log.record((fill_word(statement.digest, content),))
                self._freshness, self._missing = (envelope, content), None
            elif statement.digest != self._newest:
                raise ConflictError(
                    f"another freshness statement of number {said.number} was accepted", code="freshness-fork"
                )
            return {"ok": True, "number": self.number}

    async def take_halt(self, content: bytes) -> dict[str, object]:
        """Nothing is signed from here on. The keyholder is told before anything else is done."""
        policy = self._policies.in_force.policy
        digest = opened_halt(policy, parse_envelope(content)).digest
        if digest not in self._halts:
            unanswered = [one for one in self.halts() if self._halts[one][1] is None]
            check_flood(policy, content, (self._halted_by.get(one, frozenset()) for one in unanswered))
            self._halts[digest], self._halted_by[digest] = (policy.version, None), halting_keys(content)
        if digest not in self._recorded:
            await self._keyholder.word("halt", content)
            async with self._recording:
                await self._record_halt(digest, content)
        return {"ok": True, "halts": self.halts()}

    async def _record_halt(self, digest: str, content: bytes) -> None:
        if digest in self._recorded:
            return
        under, resumed = self._halts[digest]
        word = StoredWord(digest, "halt", under, resumed, content)
        leaf = HaltLeaf(statement=digest, policy_version=under, time=format_time(self._now()))
        await self._append(leaf, (add_word(word),))
        self._recorded.add(digest)

    async def take_resume(self, content: bytes) -> dict[str, object]:
        """The halts that it names end when the policy that it names is in force."""
        async with self._taking:
            statement = opened_resume(self._policies.in_force.policy, parse_envelope(content))
            said = statement.predicate
            known = {word.sha256: word.content for word in self._state.words("resume")}
            if known.get(statement.digest) == b"":  # rebuilt from the log: its wire form is here again
                await self._log.record((fill_word(statement.digest, content),))
            if statement.digest not in known:
                word = StoredWord(statement.digest, "resume", said.policy_version, None, content)
                _, (halts,) = fold_digests(said.halts)
                leaf = ResumeLeaf(
                    statement=statement.digest,
                    halts=halts,
                    policy_version=said.policy_version,
                    time=format_time(self._now()),
                )
                ended = [end_halt(digest, said.policy_version) for digest in said.halts]
                await self._append(leaf, (add_word(word), *ended))
                for digest in said.halts:
                    self._recorded.add(digest)
                    self._halts[digest] = (self._halts.get(digest, (0, None))[0], said.policy_version)
            await self._keyholder.word("resume", content)
            return {"ok": True, "halts": self.halts()}

    async def _append(self, leaf: Leaf, writes: Sequence[Write]) -> None:
        await self._log.append(leaf.encode(), lambda _: writes)

    async def hand_on(self) -> None:
        """After a start: the keyholder hears again what it may have missed, each halt's end before the halt.

        One that forgot both has the newest policy by now, and would take the halt for one that came under it.
        """
        for kind in ("resume", "halt"):
            for word in self._state.words(kind):
                if word.content:
                    await self._keyholder.word(kind, word.content)

    def reasons(self) -> list[Reason]:
        """Why nothing may be signed now, or nothing."""
        wanted = "a resume by the policy keepers, and a newer policy"
        return [Reason("halted", "await", f"halt {halt[:16]}…", wanted, "policy keepers") for halt in self.halts()]

    def check_may_sign(self) -> None:
        """Raises `DeniedError` while signing is halted."""
        for reason in self.reasons():
            raise DeniedError(str(reason), code="halted")
