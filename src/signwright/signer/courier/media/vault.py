# SPDX-License-Identifier: Apache-2.0
"""The courier inside the vault: a medium in the hub's place.

It keeps the gate's questions open while somebody carries them out and the answers in, and hands over what a medium
brought, in the order that counts: policy, keepers' words, requests. It decides nothing and holds no key but its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.errors import SignwrightError, UnavailableError
from signwright.signer.courier.gate import GateLink
from signwright.signer.courier.hub import CarriedPolicy, CarriedWords
from signwright.signer.courier.media import index
from signwright.signer.courier.media.door import Tell
from signwright.signer.courier.media.inside import InsideErrands
from signwright.signer.courier.media.jobs import Jobs
from signwright.signer.courier.media.pack import packed, read_bundle, write_bundle
from signwright.signer.courier.media.questions import Questions
from signwright.signer.courier.media.store import Landed, MediaStore
from signwright.signer.courier.rounds import BackOff
from signwright.signer.courier.settings import CourierSettings, MediaSettings
from signwright.signer.courier.standing import Standing
from signwright.statements.dsse import parse_envelope, statement_digest
from signwright.statements.models import PolicyIndex, parse_statement
from signwright.statements.parse import validate_model

_log = structlog.get_logger("signwright.courier")

#: Between two looks at what is still to be handed to the gate.
TEND_SECONDS = 5.0
#: The gate is left alone when nothing was heard of it for so long; nobody waits longer than the second for that.
QUIET_SECONDS, SETTLE_SECONDS = 2.5, 1800.0


class Vault:
    """``key``: signs what leaves; ``quiet``: seconds without a word of the gate after which it is at rest."""

    def __init__(
        self,
        settings: CourierSettings,
        media: MediaSettings,
        store: MediaStore,
        *,
        key: Ed25519PrivateKey,
        quiet: float = QUIET_SECONDS,
    ) -> None:
        self._quiet = quiet
        self._settings, self._media, self._store, self._key = settings, media, store, key
        self.questions = Questions()
        self.jobs = Jobs(store, stirred=self._stir)
        self._link: GateLink | None = None
        self._standing: Standing | None = None
        self._policies: list[CarriedPolicy] = []
        self._words: CarriedWords | None = None
        self._events: dict[str, object] | None = None
        self._published = self._serial = 0
        self._wake = asyncio.Event()
        self._stirred = 0.0

    # ── the gate ────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self, errands: InsideErrands, *, on_ready: Callable[[], None]) -> None:
        """Until cancelled. ``on_ready``: called once, when the gate is connected."""
        back_off, announced = BackOff(), False
        while True:
            try:
                link = await GateLink.connect(self._settings.gate, errand=errands.run, progress=self.jobs.progress)
            except UnavailableError as problem:
                _log.warning("gate", reason=problem.message)
                await back_off.wait()
                continue
            back_off.reset()
            if not announced:
                on_ready()
                announced = True
            await self._serve(link)
            await back_off.wait()

    def open_link(self) -> GateLink:
        """Raises `UnavailableError` when no gate is there."""
        if self._link is None:
            raise UnavailableError("the gate is not connected", code="no-gate")
        return self._link

    async def _serve(self, link: GateLink) -> None:
        self._link, self._standing = link, Standing(link)
        reading = asyncio.create_task(link.run())
        tending = asyncio.create_task(self._tend(link, self._standing))
        self._wake.set()
        try:
            await asyncio.wait({reading, tending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._link = self._standing = None
            self.questions.forget()
            await self.jobs.pause()
            for task in (reading, tending):
                task.cancel()
            for outcome in await asyncio.gather(reading, tending, return_exceptions=True):
                if isinstance(outcome, SignwrightError):
                    _log.warning("gate", reason=outcome.message)

    async def _tend(self, link: GateLink, standing: Standing) -> None:
        """Hand over what there is; what the gate cannot take yet is offered again."""
        handing: asyncio.Task[None] | None = None
        words: CarriedWords | None = None
        try:
            while True:
                with contextlib.suppress(UnavailableError):
                    if handing is not None and handing.done():
                        done, handing = handing, None
                        done.result()
                    if handing is None and self._policies:
                        handing = asyncio.create_task(self._hand_policies(standing))
                        await asyncio.sleep(0)  # it begins before words that may speak of that policy
                    if self._words is not words and self._words is not None:
                        offered = self._words
                        await standing.hand_on(offered)
                        words = offered
                    await self._tell_events(link)
                    await standing.look()
                    # A policy that waits for cosignatures ends the approvals that were given under the one before.
                    if (handing is None or handing.done()) and not self._policies and _in_force(standing):
                        self.jobs.begin(link)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TEND_SECONDS):
                        await self._wake.wait()
                self._wake.clear()
        finally:
            if handing is not None:
                handing.cancel()
                await asyncio.gather(handing, return_exceptions=True)

    async def _hand_policies(self, standing: Standing) -> None:
        offered = list(self._policies)
        for policy in offered:
            await standing.hand_over(policy)
        self._policies = [policy for policy in self._policies if policy not in offered]
        self._wake.set()

    async def _tell_events(self, link: GateLink) -> None:
        events, self._events = self._events, None
        if events is not None:
            await link.call(link.number(), {"type": "hub-events", **events})

    def _stir(self) -> None:
        self._stirred = asyncio.get_running_loop().time()

    stir = _stir

    async def _settle(self, errands: InsideErrands, tell: Tell) -> bool:
        """Wait until the gate has done what it can with what it has; False when that takes too long."""
        loop = asyncio.get_running_loop()
        end = loop.time() + SETTLE_SECONDS
        self._stir()
        while (now := loop.time()) < end:
            self.open_link()
            if now - self._stirred > self._quiet and not errands.busy and not self.jobs.busy:
                return True
            tell("the gate is at work", 0, 0)
            await asyncio.sleep(0.1)
        return False

    # ── the medium ──────────────────────────────────────────────────────────────────────────────────────────────

    async def take_in(self, descriptor: int | None, tell: Tell, errands: InsideErrands) -> dict[str, object]:
        """``import``: a bundle from outside."""
        self.open_link()
        landed = await asyncio.to_thread(read_bundle, descriptor, self._store, self._media, tell=tell)
        assert isinstance(landed.index, index.OutsideIndex)
        try:
            notes = self._take(landed, landed.index)
        finally:
            self._clean()
        self._wake.set()
        if not await self._settle(errands, tell):
            notes.append("the gate is still at work")
        return {**self._summary(), "new_requests": len(landed.index.jobs), "notes": notes}

    def _take(self, landed: Landed, brought: index.OutsideIndex) -> list[str]:
        notes = []
        policies = [self._policy(row) for row in brought.policies]
        words = tuple((word.kind, self._store.read(word.envelope, word.kind)) for word in brought.words)
        answers = [(row, self._store.read(row.answer, "answer")) for row in brought.answers]
        if landed.manifest.serial >= self._serial:
            self._serial = landed.manifest.serial
            self._published, self._policies = brought.published, policies
            self._words = CarriedWords(None, words)
            self._events = brought.events.model_dump() if brought.events else None
            dropped = self.jobs.keep_only(set(brought.open))
            if dropped:
                notes.append(f"{dropped} requests are over outside")
        else:
            notes.append("an older bundle than one before: only its requests and answers were taken")
        notes += self.jobs.add(brought.jobs)
        heard = sum(self.questions.answer(r.witness, r.question, (r.status, body)) for r, body in answers)
        if brought.answers:
            notes.append(f"{heard} of {len(answers)} answers of witnesses were still wanted")
        unknown = len(set(brought.open) - self.jobs.known)
        if unknown:
            notes.append(f"{unknown} requests are thought to be here and are not: export, and they are brought again")
        return notes

    def _policy(self, row: index.PolicySet) -> CarriedPolicy:
        """Names of documents are those of the policy itself; one that does not come along is the gate's to miss."""
        envelope = self._store.read(row.policy, "policy")
        parsed = parse_envelope(envelope)
        listed = parse_statement(parsed, PolicyIndex).predicate.documents
        there = set(row.documents)
        documents = {
            name: self._store.read(ref.sha256, "document") for name, ref in listed.items() if ref.sha256 in there
        }
        root = self._store.read(row.root, "policy-root")
        return CarriedPolicy(root, envelope, documents, statement_digest("policy", parsed))

    async def give_out(self, descriptor: int | None, tell: Tell, errands: InsideErrands) -> dict[str, object]:
        """``export``: questions, results and the log, for outside."""
        notes = [] if await self._settle(errands, tell) else ["the gate is still at work"]
        if self._standing is not None:
            with contextlib.suppress(UnavailableError):
                await self._standing.ask()
        results, over = self.jobs.results()
        files, complete = self._store.log_files(self._published, most=index.MOST_FILES)
        told: dict[str, object] = {"questions": tuple(self._questions()), "results": results}
        told["held"] = self.jobs.held(over)
        told |= {"log": tuple(files), "complete": complete, "signer": self._signer()}
        made = validate_model(index.VaultIndex, told)
        manifest = await asyncio.to_thread(packed, self._store, "vault", made, total=self._media.total_bytes)
        size = await asyncio.to_thread(write_bundle, descriptor, self._store, manifest, key=self._key, tell=tell)
        self.jobs.drop(over)
        answer = {**self._summary(), "bytes": size, "results": len(results), "log_files": len(made.log), "notes": notes}
        self._clean()
        return answer

    def _questions(self) -> list[index.Question]:
        rows = [_question("cosign", witness, self._store.put(one.body)) for witness, one in self.questions.waiting()]
        rows += [
            _question("latest", witness, self._store.put(origin.encode()))
            for witness, origin in self.questions.unheard()
        ]
        return rows

    def _signer(self) -> index.SignerState | None:
        said = self._standing.carried.signer if self._standing is not None else None
        return validate_model(index.SignerState, said) if said is not None else None

    def _summary(self) -> dict[str, object]:
        signer = self._signer()
        return {
            "side": "vault",
            "requests": self.jobs.states(),
            "questions": [f"{kind} {witness}" for kind, witness in self._asked()],
            "policy_version": signer.policy_version if signer else None,
            "waiting_policy": signer.waiting_policy if signer else None,
            "policy_on_its_way": bool(self._policies),
        }

    def _asked(self) -> list[tuple[str, str]]:
        rows = [("cosign", witness) for witness, _ in self.questions.waiting()]
        return rows + [("latest", witness) for witness, _ in self.questions.unheard()]

    async def status(self, _descriptor: int | None, _tell: Tell) -> dict[str, object]:
        """What is here, without a medium."""
        return {**self._summary(), "gate": self._link is not None, "notes": []}

    def _clean(self) -> None:
        self._store.keep_only(self.jobs.blobs)


def _question(kind: str, witness: str, sha256: str) -> index.Question:
    return validate_model(index.Question, {"kind": kind, "witness": witness, "question": sha256})


def _in_force(standing: Standing) -> bool:
    signer = standing.carried.signer
    return signer is not None and bool(signer["policy_version"])
