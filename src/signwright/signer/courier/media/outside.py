# SPDX-License-Identifier: Apache-2.0
"""The courier outside a vault: between the hub and media.

What the hub gave it stays leased, over restarts, until a medium brings the answer. What a witness answered is kept, so
that a bundle that is imported twice asks nothing twice.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.errors import ConflictError, MalformedError, SignwrightError, UnavailableError
from signwright.model.framing import Frame, decode_frame
from signwright.model.operation import Many, Sha256Text, Strict
from signwright.signer.courier.errands import Relay
from signwright.signer.courier.hub import Carried, CarriedJob, CarriedPolicy, Hub, Work
from signwright.signer.courier.media import index
from signwright.signer.courier.media.door import Tell
from signwright.signer.courier.media.pack import packed, read_bundle, write_bundle
from signwright.signer.courier.media.store import MediaStore, log_path
from signwright.signer.courier.settings import MediaSettings
from signwright.signer.courier.standing import WORDS
from signwright.statements.dsse import parse_envelope
from signwright.statements.models import Request, parse_statement
from signwright.statements.parse import validate_model

_log = structlog.get_logger("signwright.courier")

BEAT_SECONDS = 5.0
#: Jobs in one answer of the hub; files of the log in one call, and bytes beyond which nothing is added to it.
_POLL, _FILES, _FILES_BYTES = 64, 64, 8 << 20
_STATE = "outside.json"


class KeptJob(Strict):
    """A request that the hub leased to us."""

    id: str
    fence: int | None
    lease_seconds: int
    row: index.Job

    @property
    def carried(self) -> CarriedJob:
        """As far as the hub wants to hear of it again."""
        return CarriedJob(self.id, self.fence, self.lease_seconds, b"", (), ())


class OutsideState(Strict):
    """``held``: requests that the vault has; ``published``: leaves whose files the hub has."""

    jobs: Many[KeptJob] = ()
    answers: Many[index.Answer] = ()
    held: Many[Sha256Text] = ()
    published: int = 0
    serial: int = 0
    signer: index.SignerState | None = None


@dataclass(slots=True)
class _Found:
    """What the hub had to give besides jobs."""

    policies: dict[str, CarriedPolicy] = field(default_factory=dict)
    words: tuple[tuple[str, bytes], ...] = ()
    events: dict[str, object] | None = None


class Outside:
    """``key``: signs what goes into the vault; ``relay``: knows the addresses of witnesses."""

    def __init__(
        self, media: MediaSettings, store: MediaStore, hub: Hub, *, relay: Relay, key: Ed25519PrivateKey
    ) -> None:
        self._media, self._store, self._hub, self._relay, self._key = media, store, hub, relay, key
        state = store.load(_STATE, OutsideState) or OutsideState()
        self._state = state
        self._jobs = {job.row.request: job for job in state.jobs}

    async def run(self) -> None:
        """Keep the leases until cancelled."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            jobs = list(self._jobs.values())
            if not jobs:
                continue
            try:
                lost = await self._hub.progress({job.carried: "carried" for job in jobs})
            except SignwrightError as problem:
                _log.warning("hub", reason=problem.message)
                continue
            for job in jobs:
                if job.id in lost and self._jobs.get(job.row.request) is job:
                    del self._jobs[job.row.request]

    # ── out to the vault ────────────────────────────────────────────────────────────────────────────────────────

    async def give_out(self, descriptor: int | None, tell: Tell) -> dict[str, object]:
        """``export``: everything that the hub has for the signer, and what witnesses answered."""
        tell("asking the hub", 0, 0)
        found = await self._ask_hub()
        notes, rows, held = [], [], set(self._state.held)
        for job in [job for job in self._jobs.values() if job.row.request not in held][: index.MOST_JOBS]:
            try:
                await self._bring_artifacts(job.row, tell)
                rows.append(job.row)
            except SignwrightError as problem:
                notes.append(f"request {job.id} is left out: {problem.message}")
        told = self._told(found) | {"jobs": tuple(rows), "answers": self._state.answers}
        told |= {"open": tuple(sorted(self._jobs)), "published": self._state.published}
        made = validate_model(index.OutsideIndex, told)
        manifest = await asyncio.to_thread(packed, self._store, "outside", made, total=self._media.total_bytes)
        size = await asyncio.to_thread(write_bundle, descriptor, self._store, manifest, key=self._key, tell=tell)
        self._keep()
        return {**self._summary(), "bytes": size, "new_requests": len(rows), "answers": len(made.answers)} | {
            "notes": notes
        }

    def _told(self, found: _Found) -> dict[str, object]:
        """Members of the index about what the hub sends along; what it must not be is found out when that is made."""
        words = [word for word in dict.fromkeys(found.words) if word[0] in WORDS]
        return {
            "policies": tuple(self._policy(policy) for policy in found.policies.values()),
            "words": tuple({"kind": kind, "envelope": self._store.put(content)} for kind, content in words),
            "events": found.events,
        }

    async def _ask_hub(self) -> _Found:
        """Everything: the policy in force, one that waits, all words, all requests."""
        found, carried = _Found(), Carried()
        carried.signer = self._state.signer.model_dump() if self._state.signer else None
        for _ in range(2 + index.MOST_JOBS // _POLL):
            work = await self._hub.poll(most=_POLL, wait=0, carried=carried)
            self._take_jobs(work)
            found.words = work.words.words if work.words is not None else found.words
            found.events = work.events_head or found.events
            if work.policy is not None and work.policy.sha256 not in found.policies:
                found.policies[work.policy.sha256] = work.policy
                carried.policy_sha256 = work.policy.sha256  # then one that waits, if there is one
            elif not work.jobs:
                break
        self._save()
        return found

    def _take_jobs(self, work: Work) -> None:
        for job in work.jobs:
            try:
                row = self._row(job)
            except SignwrightError as problem:
                _log.warning("job", job=job.id, reason=problem.message)
                continue
            self._jobs[row.request] = KeptJob(id=job.id, fence=job.fence, lease_seconds=job.lease_seconds, row=row)

    def _row(self, job: CarriedJob) -> index.Job:
        """Its blobs are kept; raises what is wrong with a job that nobody could carry."""
        statement = parse_statement(parse_envelope(job.request), Request)
        if len(statement.subjects) != len(statement.predicate.artifacts):
            raise MalformedError("a request with other subjects than artifacts", code="bad-request")
        by_content = statement.predicate.mode == "artifact"
        told = {
            "request": self._store.put(job.request),
            "approvals": tuple(dict.fromkeys(map(self._store.put, job.approvals))),
            "evidence": tuple(dict.fromkeys(map(self._store.put, job.evidence))),
            "artifacts": tuple(dict.fromkeys(s.digest.sha256 for s in statement.subjects)) if by_content else (),
        }
        return validate_model(index.Job, told)

    async def _bring_artifacts(self, row: index.Job, tell: Tell) -> None:
        statement = parse_statement(parse_envelope(self._store.read(row.request, "request")), Request)
        sizes = {
            subject.digest.sha256: artifact.size
            for subject, artifact in zip(statement.subjects, statement.predicate.artifacts, strict=True)
        }
        for sha256 in row.artifacts:
            if not self._store.has(sha256):
                tell("fetching artifacts", 0, 0)
                async with self._hub.artifact(sha256) as blocks:
                    await self._store.fill(sha256, sizes[sha256], blocks)

    def _policy(self, policy: CarriedPolicy) -> index.PolicySet:
        documents = tuple(dict.fromkeys(map(self._store.put, policy.documents.values())))
        told = {"root": self._store.put(policy.root), "policy": self._store.put(policy.policy)}
        return validate_model(index.PolicySet, {**told, "documents": documents})

    # ── in from the vault ───────────────────────────────────────────────────────────────────────────────────────

    async def take_in(self, descriptor: int | None, tell: Tell) -> dict[str, object]:
        """``import``: the log to the hub, questions to witnesses, results to the hub."""
        landed = await asyncio.to_thread(read_bundle, descriptor, self._store, self._media, tell=tell)
        brought = landed.index
        assert isinstance(brought, index.VaultIndex)
        newer = landed.manifest.serial >= self._state.serial
        notes = [] if newer else ["an older bundle than one before: what it says of the vault's state is not taken"]
        if newer:
            tell("publishing the log", 0, 0)
            await self._publish(brought.log)
        tell("asking witnesses", 0, 0)
        answers = await self._ask_witnesses(brought.questions, notes)
        tell("handing in results", 0, 0)
        done = await self._hand_in(brought.results, notes)
        state: dict[str, object] = {"answers": answers}
        if newer:
            state |= {
                "published": brought.complete,
                "held": tuple(row.request for row in brought.held),
                "signer": brought.signer,
                "serial": landed.manifest.serial,
            }
        self._state = self._state.model_copy(update=state)
        self._keep()
        held = {row.request: row.state for row in brought.held}
        return {
            **self._summary(),
            "results": done,
            "answered": len([a for a in answers if a.question in {q.question for q in brought.questions}]),
            "vault": held,
            "notes": notes,
        }

    async def _publish(self, files: tuple[index.LogFile, ...]) -> None:
        """In the order of the bundle: tiles first, the checkpoint last."""
        paths: list[str] = []
        contents: list[bytes] = []
        for file in files:
            paths.append(log_path(file))
            contents.append(self._store.read(file.content, "log"))
            if len(paths) == _FILES or sum(map(len, contents)) > _FILES_BYTES or file is files[-1]:
                await self._hub.publish(paths, contents)
                paths, contents = [], []

    async def _ask_witnesses(self, questions: tuple[index.Question, ...], notes: list[str]) -> tuple[index.Answer, ...]:
        """Answers to all of them, as far as there are some; those to other questions are needed no more."""
        known = {(answer.witness, answer.question): answer for answer in self._state.answers}
        answers = []
        for question in questions:
            answer = known.get((question.witness, question.question))
            if answer is None or question.kind == "latest":
                try:
                    answer = await self._ask(question)
                except SignwrightError as problem:
                    notes.append(f"witness {question.witness}: {problem.message}; import again to ask again")
                    continue
            answers.append(answer)
        return tuple(answers)

    async def _ask(self, question: index.Question) -> index.Answer:
        body = self._store.read(question.question, "question")
        message: dict[str, object] = {"witness": question.witness}
        if question.kind == "latest":
            frame = await self._relay.latest(Frame({**message, "origin": body.decode("ascii", "replace")}))
        else:
            frame = await self._relay.witness(Frame(message, (body,)))
        status = frame.message["status"]
        if status not in {200, 404, 409}:
            raise UnavailableError(f"it answered {status}", code="witness-refused")
        return index.Answer(
            witness=question.witness,
            question=question.question,
            status=status,
            answer=self._store.put(frame.parts[0]),
        )

    async def _hand_in(self, results: tuple[index.Result, ...], notes: list[str]) -> dict[str, str]:
        """To the hub; what became of each, by the hub's name for the request."""
        done = {}
        missing = [row for row in results if row.request not in self._jobs]
        if missing:
            await self._ask_hub()  # leases that ran out while we were down are taken up again
        for row in results:
            job = self._jobs.get(row.request)
            if job is None:
                continue  # the hub has it already, or gave it up
            try:
                frame = decode_frame(self._store.read(row.result, "result"))
                await self._deliver(job, frame)
                done[job.id] = str(frame.message.get("outcome"))
            except ConflictError as problem:
                notes.append(f"result of {job.id}: {problem.message}")
            except SignwrightError as problem:
                notes.append(
                    f"result of {job.id}: {problem.message}; import again, or export and let it be brought anew"
                )
                continue
            self._jobs.pop(row.request, None)
        return done

    async def _deliver(self, job: KeptJob, frame: Frame) -> None:
        try:
            await self._hub.result(job.carried, frame)
        except ConflictError:
            await self._ask_hub()
            again = self._jobs.get(job.row.request)
            if again is None or again.fence == job.fence:
                raise
            await self._hub.result(again.carried, frame)

    # ── what is kept ────────────────────────────────────────────────────────────────────────────────────────────

    def _keep(self) -> None:
        """Write down what has to outlive us, and drop blobs that nothing needs."""
        self._save()
        needed = index.OutsideIndex(jobs=tuple(job.row for job in self._jobs.values()), answers=self._state.answers)
        self._store.keep_only({sha256 for _, sha256 in needed.named()})

    def _save(self) -> None:
        self._state = self._state.model_copy(update={"jobs": tuple(self._jobs.values())})
        self._store.save(_STATE, self._state)

    def _summary(self) -> dict[str, object]:
        signer = self._state.signer
        return {
            "side": "outside",
            "requests": {job.id: _where(job, set(self._state.held)) for job in self._jobs.values()},
            "policy_version": signer.policy_version if signer else None,
            "waiting_policy": signer.waiting_policy if signer else None,
            "published": self._state.published,
        }

    async def status(self, _descriptor: int | None, _tell: Tell) -> dict[str, object]:
        """What is here, without a medium."""
        return {**self._summary(), "answers": len(self._state.answers), "notes": []}


def _where(job: KeptJob, held: set[str]) -> str:
    return "in the vault" if job.row.request in held else "waits for a medium"
