# SPDX-License-Identifier: Apache-2.0
"""The story of one request in the gate: verify, derive, log, sign, deliver.

Operations whose digests follow from signatures come in waves after the direct ones, each with an intent of its own.
After an intent is in the log, whatever happens leaves a result leaf: *signed*, *failed* (the key was not used, or what
it signed was not delivered) or *unknown* (nobody can say). A result leaf rides with the next group of the log: it is
durable before the answer, in the same transaction as the stored result, and is cosigned with the next round.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from signwright.errors import DeniedError, SignwrightError
from signwright.model.operation import Operation, operation_list
from signwright.model.times import format_time
from signwright.policy.following import AIR_GAP_PROFILE
from signwright.policy.intent import intent_leaf, wave_operations
from signwright.policy.policy import spki_sha256
from signwright.signer.gate import deliver, outcome
from signwright.signer.gate.counters import UsageCounters
from signwright.signer.gate.custodian import WAITING, Custodian
from signwright.signer.gate.deliver import Delivery, Stage
from signwright.signer.gate.deny import DenyBook
from signwright.signer.gate.derive import Derived, check_room, derived, derived_again
from signwright.signer.gate.errands import Errands
from signwright.signer.gate.keyholder import KeyholderClient, OrderParts, OutcomeUnknownError, Signed
from signwright.signer.gate.log import Log
from signwright.signer.gate.outcome import Finished, Outcome, SignedWave
from signwright.signer.gate.policy import GateKeys, PolicyHolder
from signwright.signer.gate.settings import Limits
from signwright.signer.gate.state import OpenIntent, State, Usage, Write, add_intent, add_result, close_intent
from signwright.signer.gate.verify import Case, Job, Verifier, check_digest_mode
from signwright.signer.gate.words import KeepersWords
from signwright.signer.worker.client import Workers
from signwright.statements.models import Order
from signwright.statements.writing import sign_ed25519, statement_payload
from signwright.transparency.cosignature import Cosigned
from signwright.transparency.leaf import IntentLeaf, ResultLeaf, fold_digests

MAX_ATTEMPTS = 3
#: Stands for the sandbox where no content was read.
NO_WORKER = "not-used"

#: Told the state that a request has reached: verifying, deriving, custodian, logging, signing, timestamping, checking.
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
    custodian: Custodian
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


@dataclass(slots=True)
class Run:
    """One attempt on its way. ``last``: number of the last wave; ``stages``: one for each artifact."""

    attempt: int
    last: int
    stages: list[Stage]
    waves: list[SignedWave] = field(default_factory=list)
    receipts: list[tuple[int, IntentLeaf, Cosigned]] = field(default_factory=list)


@dataclass(slots=True)
class _Work:
    """The work on one request, and all who wait for it: a courier that came back joins what it had asked before."""

    listeners: list[Progress]
    state: str = ""
    task: asyncio.Task[Outcome] = field(init=False)

    async def tell(self, state: str) -> None:
        self.state = state
        for listener in list(self.listeners):
            await self._say(listener)

    async def join(self, listener: Progress) -> None:
        """Hear everything from now on, and what is true already."""
        self.listeners.append(listener)
        if self.state:
            await self._say(listener)

    async def _say(self, listener: Progress) -> None:
        try:
            await listener(self.state)
        except OSError:  # whoever asked has gone; the work goes on, and is there when they come back
            self.listeners.remove(listener)


class Cycle:
    """Requests at work by digest: the same request that comes twice is one piece of work with one answer."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._running: dict[str, _Work] = {}

    async def sign(self, job: Job, progress: Progress) -> Outcome:
        """The outcome; never raises a `SignwrightError`."""
        work = self._running.get(job.digest)
        if work is None:
            work = _Work([partial(self._parts.custodian.heard, job.digest), progress])
            work.task = asyncio.create_task(self._answer(job, work.tell))
            self._running[job.digest] = work
            work.task.add_done_callback(lambda _: self._running.pop(job.digest, None))
        else:
            await work.join(progress)
        return await asyncio.shield(work.task)

    def handed_out(self, job: Job) -> None:
        """The courier was given the outcome."""
        self._parts.custodian.handed_out(job.digest)

    async def _answer(self, job: Job, progress: Progress) -> Outcome:
        parts = self._parts
        try:
            stored = parts.state.result(job.digest)
            if stored is not None:
                return self._signed(Finished.decode(stored[1]))
            parts.custodian.check_not_denied(job.digest)
            found = await self._authorised(job, progress)
        except SignwrightError as problem:
            found = outcome.failed(problem)
        finally:
            parts.custodian.forget(job.digest)
        if found.outcome == "denied":
            parts.denials.denied(job.digest, [found.code, *(row.get("rule", "") for row in found.reasons)])
        parts.custodian.ended(job.digest, found)
        return found

    def _signed(self, finished: Finished) -> Outcome:
        return Outcome("signed", finished=finished, bundles=tuple(finished.bundles(self._parts.policies)))

    async def _authorised(self, job: Job, progress: Progress) -> Outcome:
        """Decide, and go on when the decision is to allow. After a custodian's confirmation everything is decided
        again, and so it is when a newer policy came, or what was confirmed is not how it is any more.
        """
        custodian = self._parts.custodian
        while True:
            await progress("verifying")
            case = self._gathered(job)
            if job.statement.predicate.mode == "digest" and not custodian.wanted(case):
                end = await self._waves(case, [], progress)
            else:
                end = self._refusal(case) or custodian.no_room(case) or await self._with_content(case, progress)
            if end is not None:
                return end

    async def _with_content(self, case: Case, progress: Progress) -> Outcome | None:
        """None when it has to be decided again."""
        custodian = self._parts.custodian
        async with self._content(case, progress) as found:
            if custodian.holds(case):
                return await self._waves(case, found, progress)
        # While somebody is waited for, no artifact is kept.
        await progress(WAITING)
        return await custodian.ask(case, self._look)

    def _gathered(self, job: Job) -> Case:
        case = self._parts.verifier.gather(job, self._parts.policies.in_force)
        self._check_attempts(job)
        return case

    def _look(self, job: Job) -> Case | Outcome:
        """What would be signed now, or why it would not."""
        case = self._gathered(job)
        return self._refusal(case) or case

    @asynccontextmanager
    async def _content(self, case: Case, progress: Progress) -> AsyncIterator[list[Derived]]:
        """Every artifact with what was derived from it; none in digest mode, where nobody here sees the content."""
        parts = self._parts
        parts.verifier.check_approvers_log(case)
        if case.job.statement.predicate.mode == "digest":
            check_digest_mode(case.job.statement)
            yield []
            return
        await progress("deriving")
        async with derived(case, errands=parts.errands, workers=parts.workers, limits=parts.limits) as found:
            yield found

    def _refusal(self, case: Case, *, wave: int = 0) -> Outcome | None:
        """None when the request may be signed now."""
        decision = self._parts.verifier.decide(case, wave=wave)
        halted = self._parts.words.reasons()
        if halted:
            return outcome.refused(halted, case.facts.ignored, "waiting")
        if decision.outcome == "allow":
            return None
        if decision.outcome == "deny":
            return outcome.refused([*decision.of("deny"), *decision.of("await")], case.facts.ignored, "denied")
        return outcome.refused(decision.reasons, case.facts.ignored, "waiting")

    def _check_attempts(self, job: Job) -> None:
        if self._parts.state.last_attempt(job.digest, last=last_wave(job)) >= MAX_ATTEMPTS:
            raise DeniedError(
                f"{MAX_ATTEMPTS} attempts were made on this request", code="attempts-used", hint="send a new request"
            )

    async def _waves(self, case: Case, found: Sequence[Derived], progress: Progress) -> Outcome | None:
        """Everything before the first intent, then wave after wave. None when it has to be decided again."""
        await progress("logging")
        if self._parts.profile == AIR_GAP_PROFILE:
            # People carry cosignatures: those of start and intent are one trip.
            await self._parts.keyholder.begin(self._parts.log, now=self._parts.now)
        if self._is_over(case):
            return None
        # The decision that counts: nobody else can use up a quota between it and the intent.
        refusal = self._refusal(case)
        if refusal is not None:
            return refusal
        if not found:
            self._parts.verifier.check_approvers_log(case)
            check_digest_mode(case.job.statement)
        self._parts.delivery.check_authorities(case)
        if not self._parts.keyholder.started and self._parts.profile != AIR_GAP_PROFILE:
            await self._parts.policies.start_keyholder(self._parts.log, self._parts.keyholder)
            if self._is_over(case) or self._refusal(case) is not None:
                return None  # that took a while
        self._parts.custodian.use_up(case)
        artifacts, last = case.job.statement.predicate.artifacts, last_wave(case.job)
        run = Run(
            attempt=self._parts.state.last_attempt(case.job.digest, last=last) + 1,
            last=last,
            stages=[Stage(one) for one in found] or [Stage() for _ in artifacts],
        )
        end: Outcome | None = None
        for wave in range(run.last + 1):
            if wave:
                await progress("deriving")
                run.stages = await self._derived_again(case, run.stages, wave)
                if case.opened is not self._parts.policies.in_force:
                    return None
                # As it was, and as it is: somebody may have been revoked since.
                now = self._parts.verifier.gather(case.job, case.opened)
                refusal = self._refusal(case, wave=wave) or self._refusal(now, wave=wave)
                if refusal is not None:
                    return refusal
            end = await self._wave(case, run, wave, progress)
            if end is not None:
                break
        return end

    async def _derived_again(self, case: Case, stages: Sequence[Stage], wave: int) -> list[Stage]:
        """The stages with what was derived for this wave. One in which nothing is signed stays as it is."""
        workers, artifacts = self._parts.workers, case.job.statement.predicate.artifacts
        again: list[Stage] = []
        contents: list[bytes] = []
        for index, stage in enumerate(stages):
            derived = stage.found
            if any(one.wave == wave for one in artifacts[index].derived):
                if derived is None or stage.checked is None:
                    raise DeniedError("nothing follows from signatures that nobody embedded here", code="derived")
                derived = await derived_again(
                    case, wave, index, artifact=derived.artifact, patch=stage.checked.patch, workers=workers
                )
                contents += derived.prepared.contents
            again.append(replace(stage, found=derived))
        check_room(contents)
        return again

    async def _wave(self, case: Case, run: Run, wave: int, progress: Progress) -> Outcome | None:
        """Log the intent, have it cosigned and signed, deliver; whatever goes wrong after the intent is logged as
        well. None when there is another wave to come.
        """
        operations = _operations(case, run.stages, wave)
        logged = await self._intent(case, operations, wave=wave, run=run)
        signed: Signed | None = None
        finished: Finished | None = None
        try:
            signed = await self._order(case, _contents(run.stages, operations), logged, progress=progress)
            where = await self._deliver(case, run, logged, operations, signed=signed, progress=progress)
            run.waves.append(SignedWave(logged.index, logged.leaf_bytes, signed.proof, logged.operations))
            run.receipts.append((logged.index, logged.leaf, signed.witnessed.cosigned))
            finished = self._finished(case, run) if wave == run.last else None
        except SignwrightError as problem:
            ending = "unknown" if isinstance(problem, OutcomeUnknownError) else "failed"
            await self._result(logged, ending, values=signed.values if signed else ())
            return outcome.failed(problem)
        # Results of the request as a whole: what a wave leaves behind that others follow is handed to nobody.
        done = [stage.checked for stage in run.stages if stage.checked is not None] if finished else []
        digests = [checked.patch.result_sha256 for checked in done]
        writes = (add_result(case.job.digest, finished.policy_version, finished.encode()),) if finished else ()
        await self._result(logged, "signed", values=signed.values, digests=digests, where=where, writes=writes)
        return self._signed(finished) if finished else None

    def _is_over(self, case: Case) -> bool:
        """A newer policy came into force on the way, or what a custodian confirmed is not how it is any more."""
        if case.opened is not self._parts.policies.in_force:
            return True
        if not self._parts.custodian.wanted(case):
            return False
        found = self._look(case.job)
        return isinstance(found, Outcome) or not self._parts.custodian.holds(found)

    async def _intent(self, case: Case, operations: Sequence[tuple[int, Operation]], *, wave: int, run: Run) -> Logged:
        """Append the intent; usage is counted from here on. Raises `DeniedError` for what the request does not name."""
        parts, job = self._parts, case.job
        now = parts.now().replace(microsecond=0)
        written = operation_list(operations)
        wave_operations(job.statement.predicate, wave, written)
        is_read = any(stage.found is not None for stage in run.stages)
        leaf = intent_leaf(
            case.opened.policy,
            case.facts,
            operations=written,
            wave=wave,
            attempt=run.attempt,
            profile=parts.profile,
            sandbox=parts.workers.pool.sandbox.replace("+", "-") if is_read else NO_WORKER,
            signing_time=now,
        )
        usage = Usage(spki_sha256(case.key), job.address, len(operations), int(now.timestamp()))
        parts.counters.add(usage)
        content = leaf.encode()

        def writes(index: int) -> Sequence[Write]:
            return (add_intent(OpenIntent(index, job.digest, wave, leaf.attempt), usage),)

        index = await parts.log.append(content, writes)
        return Logged(index, leaf, content, written)

    async def _order(self, case: Case, contents: Sequence[bytes], logged: Logged, *, progress: Progress) -> Signed:
        """One order for the whole wave, sent once."""
        parts = self._parts
        await parts.log.cosigned(logged.index)
        await parts.policies.start_keyholder(parts.log, parts.keyholder)
        await progress("signing")
        order = Order(
            request=case.job.digest,
            wave=logged.leaf.wave,
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
            contents=tuple(contents),
            seen=tuple((seen.size, bytes.fromhex(seen.root)) for seen in checkpoints),
        )
        return await parts.keyholder.order(parts.log, logged.index, attached)

    async def _deliver(
        self,
        case: Case,
        run: Run,
        logged: Logged,
        operations: Sequence[tuple[int, Operation]],
        *,
        signed: Signed,
        progress: Progress,
    ) -> deliver.Where:
        """Envelopes and results of all artifacts, or none."""
        delivery = self._parts.delivery
        await progress("timestamping")
        contents = _contents(run.stages, operations)
        rows = await delivery.envelopes(case, logged.leaf, operations, contents=contents, values=signed.values)
        await progress("checking")
        for index, stage in enumerate(run.stages):
            ours = [one for at, one in rows if at == index]
            if stage.found is not None and ours:
                stage.checked = await delivery.embed_and_check(case, stage.found, ours)
            stage.rows += ours
        return deliver.where_stamped([one for _, one in rows])

    def _finished(self, case: Case, run: Run) -> Finished:
        """After the last wave: everything with its receipts."""
        delivery = self._parts.delivery
        artifacts = (delivery.receipt(case, n, stage=one, waves=run.receipts) for n, one in enumerate(run.stages))
        return Finished(
            policy_version=case.opened.policy.version,
            waves=tuple(run.waves),
            request=case.job.request_bytes,
            approvals=case.approvals,
            evidence=case.evidence,
            artifacts=tuple(artifacts),
        )

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


def last_wave(job: Job) -> int:
    """Number of the last wave that the request names."""
    artifacts = job.statement.predicate.artifacts
    return max((one.wave for artifact in artifacts for one in artifact.derived), default=0)


def _operations(case: Case, stages: Sequence[Stage], wave: int) -> list[tuple[int, Operation]]:
    """What is signed in a wave, each with the index of its artifact: in later ones as it was derived."""
    artifacts = case.job.statement.predicate.artifacts
    if wave == 0:
        return [(index, one) for index, artifact in enumerate(artifacts) for one in artifact.operations]
    return [
        (index, one)
        for index, stage in enumerate(stages)
        if stage.found is not None and any(planned.wave == wave for planned in artifacts[index].derived)
        for one in stage.found.prepared.operations
    ]


def _contents(stages: Sequence[Stage], operations: Sequence[tuple[int, Operation]]) -> list[bytes]:
    """Contents that must be seen, in the order of the operations."""
    touched = {index for index, _ in operations}
    found = (stage.found for index, stage in enumerate(stages) if index in touched)
    return [content for one in found if one is not None for content in one.prepared.contents]
