# SPDX-License-Identifier: Apache-2.0
"""The story of one request in the gate: verify, derive, log, sign, deliver. One wave of direct operations.

After the intent is in the log, whatever happens leaves a result leaf: *signed*, *failed* (the key was not used, or what
it signed was not delivered) or *unknown* (nobody can say). A result leaf rides with the next group of the log: it is
durable before the answer, in the same transaction as the stored result, and is cosigned with the next round.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime

from signwright.errors import DeniedError, SignwrightError
from signwright.model.times import format_time
from signwright.policy.intent import intent_leaf, requested_operations
from signwright.policy.policy import spki_sha256
from signwright.signer.gate import deliver, outcome
from signwright.signer.gate.counters import UsageCounters
from signwright.signer.gate.deliver import Checked, Delivery, Enveloped
from signwright.signer.gate.deny import DenyBook
from signwright.signer.gate.derive import Derived, derived
from signwright.signer.gate.errands import Errands
from signwright.signer.gate.keyholder import KeyholderClient, OrderParts, OutcomeUnknownError, Signed
from signwright.signer.gate.log import Log
from signwright.signer.gate.outcome import Finished, Outcome, SignedArtifact
from signwright.signer.gate.policy import GateKeys, PolicyHolder
from signwright.signer.gate.settings import Limits
from signwright.signer.gate.state import OpenIntent, State, Usage, Write, add_intent, add_result, close_intent
from signwright.signer.gate.verify import Case, Job, Verifier, check_digest_mode
from signwright.signer.gate.words import KeepersWords
from signwright.signer.worker.client import Workers
from signwright.statements.keys import sign_ed25519
from signwright.statements.models import Order, statement_payload
from signwright.transparency.leaf import IntentLeaf, ResultLeaf, fold_digests

MAX_ATTEMPTS = 3
WAVE = 0
#: Stands for the sandbox where no content was read.
NO_WORKER = "not-used"

#: Told the state that a request has reached: verifying, deriving, logging, signing, timestamping, checking.
Progress = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything the story needs; put together in `signwright.signer.gate.bootstrap`."""

    state: State
    log: Log
    policies: PolicyHolder
    keyholder: KeyholderClient
    errands: Errands
    workers: Workers
    verifier: Verifier
    delivery: Delivery
    words: KeepersWords
    counters: UsageCounters
    denials: DenyBook
    keys: GateKeys
    limits: Limits
    profile: int
    now: Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Logged:
    """An intent that is durable in the log. ``leaf_bytes``: exactly as logged."""

    index: int
    leaf: IntentLeaf
    leaf_bytes: bytes
    operations: bytes


class Cycle:
    """Requests at work by digest: the same request that comes twice is one piece of work with one answer."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._running: dict[str, asyncio.Task[Outcome]] = {}

    async def sign(self, job: Job, progress: Progress) -> Outcome:
        """The outcome; never raises a `SignwrightError`."""
        task = self._running.get(job.digest)
        if task is None:
            task = asyncio.create_task(self._answer(job, progress))
            self._running[job.digest] = task
            task.add_done_callback(lambda _: self._running.pop(job.digest, None))
        return await asyncio.shield(task)

    async def _answer(self, job: Job, progress: Progress) -> Outcome:
        parts = self._parts
        try:
            stored = parts.state.result(job.digest)
            if stored is not None:
                return self._signed(Finished.decode(stored[1]))
            found = await self._authorised(job, progress)
        except SignwrightError as problem:
            found = outcome.failed(problem)
        if found.outcome == "denied":
            parts.denials.denied(job.digest, [found.code, *(row.get("rule", "") for row in found.reasons)])
        return found

    def _signed(self, finished: Finished) -> Outcome:
        return Outcome("signed", finished=finished, bundles=tuple(finished.bundles(self._parts.policies)))

    async def _authorised(self, job: Job, progress: Progress) -> Outcome:
        """Decide, and go on when the decision is to allow."""
        await progress("verifying")
        case = self._parts.verifier.gather(job, self._parts.policies.in_force)
        self._check_attempts(job)
        if job.statement.predicate.mode == "digest":
            return await self._wave(case, [], progress)
        refusal = self._refusal(case)
        if refusal is not None:
            return refusal
        self._parts.verifier.check_approvers_log(case)
        await progress("deriving")
        async with AsyncExitStack() as stack:
            work = derived(case, errands=self._parts.errands, workers=self._parts.workers, limits=self._parts.limits)
            return await self._wave(case, await stack.enter_async_context(work), progress)

    def _refusal(self, case: Case) -> Outcome | None:
        """None when the request may be signed now."""
        decision = self._parts.verifier.decide(case)
        halted = self._parts.words.reasons()
        if halted:
            return outcome.refused(halted, case.facts.ignored, "waiting")
        if decision.outcome == "allow":
            return None
        if decision.outcome == "deny":
            return outcome.refused([*decision.of("deny"), *decision.of("await")], case.facts.ignored, "denied")
        return outcome.refused(decision.reasons, case.facts.ignored, "waiting")

    def _check_attempts(self, job: Job) -> None:
        if self._parts.state.last_attempt(job.digest) >= MAX_ATTEMPTS:
            raise DeniedError(
                f"{MAX_ATTEMPTS} attempts were made on this request", code="attempts-used", hint="send a new request"
            )

    async def _wave(self, case: Case, found: Sequence[Derived], progress: Progress) -> Outcome:
        """Log the intent, have it cosigned and signed, deliver; whatever goes wrong after the intent is logged as
        well.
        """
        await progress("logging")
        if case.opened is not self._parts.policies.in_force:
            return await self._again(case.job, progress)
        # The decision that counts: nobody else can use up a quota between it and the intent.
        refusal = self._refusal(case)
        if refusal is not None:
            return refusal
        if not found:
            self._parts.verifier.check_approvers_log(case)
            check_digest_mode(case.job.statement)
        self._parts.delivery.check_authorities(case)
        await self._parts.keyholder.start(self._parts.log, now=self._parts.now)
        logged = await self._intent(case, sandbox=self._sandbox(found))
        signed: Signed | None = None
        try:
            signed = await self._order(case, logged, progress)
            finished, where = await self._deliver(case, found, logged, signed=signed, progress=progress)
        except SignwrightError as problem:
            ending = "unknown" if isinstance(problem, OutcomeUnknownError) else "failed"
            await self._result(logged, ending, values=signed.values if signed else ())
            return outcome.failed(problem)
        digests = [one.result_sha256 for one in finished.artifacts if one.result_sha256 is not None]
        writes = (add_result(case.job.digest, finished.policy_version, finished.encode()),)
        await self._result(logged, "signed", values=signed.values, digests=digests, where=where, writes=writes)
        return self._signed(finished)

    async def _again(self, job: Job, progress: Progress) -> Outcome:
        """A newer policy came into force on the way: the request is decided again from the start."""
        return await self._authorised(job, progress)

    def _sandbox(self, found: Sequence[Derived]) -> str:
        return self._parts.workers.pool.sandbox.replace("+", "-") if found else NO_WORKER

    async def _intent(self, case: Case, *, sandbox: str) -> Logged:
        """Append the intent; usage is counted from here on."""
        parts, job = self._parts, case.job
        now = parts.now().replace(microsecond=0)
        operations = requested_operations(job.statement.predicate)
        leaf = intent_leaf(
            case.opened.policy,
            case.facts,
            operations=operations,
            wave=WAVE,
            attempt=parts.state.last_attempt(job.digest) + 1,
            profile=parts.profile,
            sandbox=sandbox,
            signing_time=now,
        )
        count = sum(len(a.operations) for a in job.statement.predicate.artifacts)
        usage = Usage(spki_sha256(case.key), job.address, count, int(now.timestamp()))
        parts.counters.add(usage)
        content = leaf.encode()

        def writes(index: int) -> Sequence[Write]:
            return (add_intent(OpenIntent(index, job.digest, WAVE, leaf.attempt), usage),)

        index = await parts.log.append(content, writes)
        return Logged(index, leaf, content, operations)

    async def _order(self, case: Case, logged: Logged, progress: Progress) -> Signed:
        """One order for the whole wave, sent once."""
        parts = self._parts
        await parts.log.cosigned(logged.index)
        await progress("signing")
        order = Order(
            request=case.job.digest,
            wave=WAVE,
            attempt=logged.leaf.attempt,
            policy_sha256=case.opened.policy.sha256,
            operations_sha256=logged.leaf.operations_sha256,
            leaf_sha256=hashlib.sha256(logged.leaf_bytes).hexdigest(),
            leaf_index=logged.index,
            created=format_time(parts.now()),
        )
        envelope = sign_ed25519(statement_payload(order, [("request", case.job.digest)]), parts.keys.order)
        checkpoints = [approval.statement.predicate.checkpoint for approval in case.facts.approvals]
        attached = OrderParts(
            order=envelope.encode(),
            request=case.job.request_bytes,
            operations=logged.operations,
            leaf=logged.leaf_bytes,
            approvals=case.approvals,
            evidence=case.evidence,
            seen=tuple((seen.size, bytes.fromhex(seen.root)) for seen in checkpoints),
        )
        return await parts.keyholder.order(parts.log, logged.index, attached)

    async def _deliver(
        self, case: Case, found: Sequence[Derived], logged: Logged, *, signed: Signed, progress: Progress
    ) -> tuple[Finished, deliver.Where]:
        """Envelopes, results and receipts of all artifacts, or none."""
        delivery = self._parts.delivery
        await progress("timestamping")
        rows = await delivery.envelopes(case, logged.leaf, signed.values)
        where = deliver.where_stamped(rows)
        await progress("checking")
        checked = [Checked(None, None, None) for _ in rows]
        if found:
            checked = [await delivery.embed_and_check(case, one, row) for one, row in zip(found, rows, strict=True)]
        artifacts = []
        for index, (row, result) in enumerate(zip(rows, checked, strict=True)):
            bare = SignedArtifact(b"", result.patch, _envelopes(row), result.result_sha256)
            receipt = delivery.receipt(
                case,
                index,
                leaf=logged.leaf,
                intent=logged.index,
                signed=signed,
                result=bare,
                where=where,
                content_sha256=result.content_sha256,
            )
            artifacts.append(replace(bare, receipt=receipt))
        finished = Finished(
            policy_version=case.opened.policy.version,
            intent=logged.index,
            leaf=logged.leaf_bytes,
            proof=signed.proof,
            operations=logged.operations,
            request=case.job.request_bytes,
            approvals=case.approvals,
            evidence=case.evidence,
            artifacts=tuple(artifacts),
        )
        return finished, where

    async def _result(
        self,
        logged: Logged,
        ending: str,
        *,
        values: Sequence[bytes] = (),
        digests: Sequence[str] = (),
        where: deliver.Where = "none",
        writes: Sequence[Write] = (),
    ) -> None:
        """The result leaf, in one transaction with the intent's outcome and ``writes``."""
        intent = OpenIntent(logged.index, logged.leaf.request, logged.leaf.wave, logged.leaf.attempt)
        signatures = [hashlib.sha256(value).hexdigest() for value in values]
        leaf = result_leaf(intent, ending, now=self._parts.now(), signatures=signatures, digests=digests, where=where)
        await self._parts.log.append(leaf.encode(), lambda _: (close_intent(logged.index, ending), *writes))


def result_leaf(
    intent: OpenIntent,
    ending: str,
    *,
    now: datetime,
    signatures: Sequence[str] = (),
    digests: Sequence[str] = (),
    where: deliver.Where = "none",
) -> ResultLeaf:
    """What the log says about an intent afterwards. ``signatures``, ``digests``: hex."""
    listed, (folded_signatures, folded_digests) = fold_digests(signatures, digests)
    return ResultLeaf(
        intent=intent.leaf_index,
        request=intent.request,
        wave=intent.wave,
        attempt=intent.attempt,
        outcome=ending,  # type: ignore[arg-type]
        listed=listed,
        signature_sha256=folded_signatures,
        result_sha256=folded_digests,
        timestamps=where,
        time=format_time(now),
    )


async def close_unfinished(state: State, log: Log, *, now: datetime) -> int:
    """After a crash: every intent without a result gets one that says *unknown*. How many there were."""
    unfinished = state.open_intents()
    for intent in unfinished:
        leaf = result_leaf(intent, "unknown", now=now).encode()
        await log.append(leaf, lambda _, index=intent.leaf_index: (close_intent(index, "unknown"),))  # type: ignore[misc]
    return len(unfinished)


def _envelopes(row: Sequence[Enveloped]) -> tuple[bytes, ...]:
    return tuple(one.envelope for one in row)
