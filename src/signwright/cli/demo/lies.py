# SPDX-License-Identifier: Apache-2.0
"""What a hub can try that was taken over: all that it ever had in its hands, and people who help it without knowing.

Machines and people keep working with it: the build server signs requests, approvers sign approvals. What it cannot do
is sign for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.cli.demo.lying_hub import Job, LyingHub, Told
from signwright.client.credentials import MachineCredential, load_credentials
from signwright.client.ssh_keys import PersonKey, load_person_key
from signwright.client.submit import Order, prepare_request
from signwright.client.trust import TrustFile, load_trust
from signwright.errors import SignwrightError
from signwright.model.base64text import strict_base64
from signwright.model.digest import sha256_hex
from signwright.model.times import format_time
from signwright.policy.policy import Policy, open_policy
from signwright.statements.bundle import ReceiptBundle, open_envelope
from signwright.statements.dsse import PAYLOAD_TYPE, Envelope, EnvelopeSignature, pae
from signwright.statements.keys import ssh_namespace
from signwright.statements.models import Approval, Engine, Request, ScanEvidence, SeenCheckpoint, parse_statement
from signwright.statements.ssh_signing import sign_sshsig
from signwright.statements.writing import sign_ed25519, statement_payload


@dataclass(frozen=True, slots=True)
class Loot:
    """What lies before the attacker. ``program``: a file that was released, ``verdict`` the scanner's true word on it,
    ``bundle`` its receipt, ``checkpoint`` the newest cosigned note; people and credentials are the trial home's.
    """

    trust: TrustFile
    policy: Policy
    credentials: tuple[MachineCredential, ...]
    people: Mapping[str, PersonKey]
    program: Path
    verdict: Envelope
    bundle: ReceiptBundle
    checkpoint: bytes

    @property
    def content(self) -> bytes:
        return self.program.read_bytes()

    @property
    def sha256(self) -> str:
        return sha256_hex(self.content)

    def envelopes(self, name: str) -> list[Envelope]:
        """``request``, ``approvals`` or ``evidence`` of the released request."""
        assert self.bundle.authorisation is not None
        found = getattr(self.bundle.authorisation, name)
        return [open_envelope(text) for text in ([found] if isinstance(found, str) else found)]

    @property
    def seen(self) -> SeenCheckpoint:
        found = self.trust.log_trust.verify(self.checkpoint).checkpoint
        return SeenCheckpoint(origin=found.origin, size=found.size, root=found.root.hex())

    def request(self, signing_policy: str = "release") -> Envelope:
        """The build server asks for the program once more, honestly."""
        order = Order("default", signing_policy)
        return prepare_request(
            [self.program], order, policy=self.policy, credentials=self.credentials, now=datetime.now(UTC)
        ).envelope

    def approval(self, request: Envelope, person: str, **changes: Any) -> Envelope:
        """``person`` says yes to ``request`` with their own key."""
        return self.people[person].sign_statement(self.approval_payload(request, person, **changes), "approval")

    def approval_payload(self, request: Envelope, person: str, **changes: Any) -> bytes:
        statement, now = parse_statement(request, Request), datetime.now(UTC)
        values: dict[str, Any] = {
            "decision": "approve",
            "person": person,
            "project": statement.predicate.project,
            "signing_policy": statement.predicate.signing_policy,
            "policy_sha256": self.policy.sha256,
            "checkpoint": self.seen,
            "artifacts_rehashed": True,
            "created": format_time(now),
            "expires": format_time(now + timedelta(hours=24)),
        }
        subjects = [("request", statement.digest), *((s.name, s.digest.sha256) for s in statement.subjects)]
        return statement_payload(Approval(**(values | changes)), subjects)

    def approved(self, request: Envelope) -> list[Envelope]:
        """Everybody says yes."""
        return [self.approval(request, person) for person in sorted(self.people)]

    def job(
        self,
        request: Envelope,
        approvals: Sequence[Envelope] = (),
        evidence: Sequence[Envelope] | None = None,
        *,
        content: bytes | None = None,
        **says: object,
    ) -> Job:
        """``evidence``: the true verdict unless told otherwise; ``content``: what is served as the program."""
        return Job(
            request=request.encode(),
            approvals=[envelope.encode() for envelope in approvals],
            evidence=[e.encode() for e in ([self.verdict] if evidence is None else evidence)],
            artifacts={self.sha256: self.content if content is None else content},
            says=says,
        )


def loot_of(home: Path, *, program: Path, receipt: Path, checkpoint: bytes) -> Loot:
    """Gather it from a trial home and the receipt of a finished release of ``program``."""
    trust = load_trust(home / "trust.json")
    bundle = ReceiptBundle.decode(receipt.read_bytes())
    held = bundle.authorisation
    assert held is not None
    documents = {name: strict_base64(content) for name, content in held.documents.items()}
    policy = open_policy(
        open_envelope(held.policy_root),
        open_envelope(held.policy),
        documents,
        pinned_root_sha256=trust.policy_root_sha256,
    )
    sha256 = sha256_hex(program.read_bytes())
    verdicts = [open_envelope(text) for text in held.evidence]
    verdict = next(e for e in verdicts if parse_statement(e, ScanEvidence).subjects[0].digest.sha256 == sha256)
    people = people_of(home)
    credentials = load_credentials(home / "credentials" / "ci.json")
    return Loot(trust, policy, credentials, people, program, verdict, bundle, checkpoint)


def people_of(home: Path) -> dict[str, PersonKey]:
    """The approvers of a trial home, whose keys lie there."""
    files = (home / "people").glob("*.pub")
    return {file.stem: load_person_key(file.with_suffix(""), lambda _: "") for file in files}


@dataclass(frozen=True, slots=True)
class Lie:
    """``wanted``: outcome and code of the gate's answer; ``tell`` makes the job."""

    name: str
    wanted: str
    tell: Callable[[Loot], Job]


def forged_decision(loot: Loot) -> Job:
    """Nobody approved; the hub says that it is decided, and writes the approvals itself."""
    request, forger = loot.request(), Ed25519PrivateKey.generate()
    forged = []
    for person in sorted(loot.people):
        payload = loot.approval_payload(request, person)
        value = sign_sshsig(forger, namespace=ssh_namespace("approval"), message=pae(PAYLOAD_TYPE, payload))
        hint = loot.people[person].public.fingerprint
        forged.append(Envelope(payload, (EnvelopeSignature(hint, "sshsig", value),)))
    return loot.job(request, forged, decision="allow", state="authorized", approved=True)


def one_person_twice(loot: Loot) -> Job:
    request, person = loot.request(), min(loot.people)
    words = [loot.approval(request, person), loot.approval(request, person, comment="and once more")]
    return loot.job(request, words)


def swapped_artifact(loot: Loot) -> Job:
    request = loot.request()
    swapped = bytearray(loot.content)
    swapped[-1] ^= 0xFF
    return loot.job(request, loot.approved(request), content=bytes(swapped))


def edited_request(loot: Loot) -> Job:
    """The approved digest is replaced by another one; the signatures stay."""
    request = loot.request()
    payload = request.payload.replace(loot.sha256.encode(), b"66" * 32)
    return loot.job(replace(request, payload=payload), loot.approved(request))


def forged_verdict(loot: Loot) -> Job:
    request = loot.request()
    engine = Engine(name="yara-x", version="1", definitions="none at all")
    verdict = ScanEvidence(
        verdict="clean", engines=(engine,), members=0, sandbox="required", created=format_time(datetime.now(UTC))
    )
    payload = statement_payload(verdict, [("artifact", loot.sha256)])
    return loot.job(request, loot.approved(request), [sign_ed25519(payload, Ed25519PrivateKey.generate())])


def honest_request(loot: Loot) -> Job:
    """Nothing wrong with it: what is missing is told by the lie around it."""
    request = loot.request()
    return loot.job(request, loot.approved(request))


def replayed_request(loot: Loot) -> Job:
    """The released request as it was, with every approval and verdict."""
    request = loot.envelopes("request")[0]
    return loot.job(request, loot.envelopes("approvals"), loot.envelopes("evidence"))


#: Answered by the gate alone; the others need more than a hub.
LIES = (
    Lie("forged decision", "waiting/approvals", forged_decision),
    Lie("one person approving twice", "waiting/approvals", one_person_twice),
    Lie("swapped artifact", "failed/artifact-mismatch", swapped_artifact),
    Lie("edited request", "denied/submitter", edited_request),
    Lie("forged scan verdict", "waiting/scan", forged_verdict),
)


def told(hub: LyingHub, job: Job) -> tuple[str, Told]:
    """What the gate said: ``outcome/code``, and all of it."""
    answer = hub.tell(job)
    return f"{answer.outcome}/{answer.code}".rstrip("/"), answer


def same_result(told: Told, bundle: ReceiptBundle) -> bool:
    """The gate's answer brings the receipt that there was before, and so the same log entry and signature."""
    return any(_bundle(part) == bundle for part in told.frame.parts if part.lstrip().startswith(b"{"))


def _bundle(part: bytes) -> ReceiptBundle | None:
    try:
        return ReceiptBundle.decode(part)
    except SignwrightError:  # a part that is no receipt is not the one
        return None
