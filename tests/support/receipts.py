# SPDX-License-Identifier: Apache-2.0
"""Signed files with complete receipts, made of real parts as the gate makes them, every part replaceable."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.client.raw import ReceiptKeyReader
from signwright.client.trust import TrustFile
from signwright.client.verify import Check, Evidence, verify
from signwright.envelopes.base import SignerContext
from signwright.envelopes.templates import template_named
from signwright.formats.pe import PeFormat, PeOptions
from signwright.model.digest import Digest, sha256_hex
from signwright.model.operation import Operation
from signwright.model.patch import Patched
from signwright.model.times import format_time
from signwright.model.view import BytesView
from signwright.policy import documents as d
from signwright.policy.facts import gather
from signwright.policy.intent import intent_leaf, requested_operations
from signwright.policy.policy import Policy, open_policy, spki_sha256
from signwright.readers.detached import CmsReader
from signwright.readers.pe import PeReader
from signwright.statements.bundle import Authorisation, LoggedLeaf, ReceiptBundle, Wave, blob, envelope_blob
from signwright.statements.dsse import Envelope
from signwright.statements.models import Request, RequestedArtifact, parse_statement
from signwright.statements.receipt import Receipt
from signwright.statements.writing import sign_ed25519, statement_payload
from signwright.timestamps.issue import Issuer, Query, issue_token
from signwright.transparency.proof import TlogProof
from tests.support.pe_builder import SHAPES
from tests.support.pki import Identity, Pki, default_pki, private_key, public_bytes
from tests.support.signing import MemoryLog
from tests.support.world import World

SOURCES = {"pe": SHAPES["odd-end"].build(), "cms": b"a text file\n", "raw": b"firmware image"}
POLICIES = {"pe": "release", "cms": "release-file", "raw": "test-raw"}
TEMPLATES = {"pe": "authenticode-pe", "cms": "cms-detached", "raw": "raw"}


@dataclass(frozen=True)
class Made:
    """A signed file (``view``: its bytes), what it speaks about when it is detached, and its complete receipt."""

    kind: str
    view: bytes
    content: bytes | None
    bundle: ReceiptBundle | None
    receipt: Receipt

    def but(self, **changes: Any) -> Made:
        return replace(self, **changes)

    def with_bundle(self, **changes: Any) -> Made:
        assert self.bundle is not None
        return self.but(bundle=self.bundle.model_copy(update=changes))

    def with_authorisation(self, **changes: Any) -> Made:
        assert self.bundle is not None
        assert self.bundle.authorisation is not None
        return self.with_bundle(authorisation=self.bundle.authorisation.model_copy(update=changes))

    def checks(self, trust: TrustFile, *, at: datetime, crls: Sequence[bytes] = ()) -> list[Check]:
        readers: dict[str, Any] = {"pe": PeReader(), "cms": CmsReader(), "raw": ReceiptKeyReader(self.bundle)}
        content = None if self.content is None else BytesView(self.content)
        evidence = Evidence(BytesView(self.view), content, readers[self.kind].read, self.bundle, tuple(crls))
        return verify(evidence, trust, at=at)


def failures(checks: Sequence[Check]) -> dict[str, str]:
    """Name of each failed check → its code."""
    return {check.name: check.code for check in checks if check.ok is False}


@dataclass
class SignedWorld:
    """An organisation with certificates, log, witness and timestamp authority. ``pki``: of code and time stamps."""

    pki: Pki = field(default_factory=default_pki)
    trial: bool = True

    def __post_init__(self) -> None:
        root = base64.b64encode(self.pki.root).decode()
        authority = d.TimestampAuthority(name="builtin", anchors=(root,), outside=False)
        self.world = World(trial=self.trial, authorities=(authority,))
        self.identity: Identity = self.pki.code_signing("p256")
        self.test_identity: Identity = self.pki.code_signing("p384", "Example Test")
        self.raw_key = private_key("p256", "raw")
        release, raw = self.world.default_key("release"), self.world.default_key("test", "raw")
        public, chain = self.identity.public_key, tuple(base64.b64encode(c).decode() for c in self.identity.chain)
        protection = "software" if self.trial else "claimed"
        self.world.keys = {
            "release": release.model_copy(
                update={"public_key": base64.b64encode(public).decode(), "chain": chain, "protection": protection}
            ),
            "test-raw": raw.model_copy(update={"public_key": base64.b64encode(public_bytes(self.raw_key)).decode()}),
        }
        test, chain = self.test_identity, tuple(base64.b64encode(c).decode() for c in self.test_identity.chain)
        self.world.keys["test"] = self.world.default_key("test").model_copy(
            update={"public_key": base64.b64encode(test.public_key).decode(), "chain": chain}
        )
        self.load()
        self.log = MemoryLog(self.world)
        self.log.append(b"genesis", b"policy")

    def load(self) -> None:
        """The next version of the policy."""
        self.parts = self.world.policy_parts()
        self.policy: Policy = open_policy(*self.parts[:3], pinned_root_sha256=self.parts[3])

    @property
    def now(self) -> datetime:
        return self.world.now

    def trust(self, **changes: Any) -> TrustFile:
        services = self.policy.services
        values: dict[str, Any] = {
            "organisation": "Example",
            "trial": self.trial,
            "policy_root_sha256": self.parts[3],
            "log": services.log,
            "witnesses": services.witnesses,
            "quorum": services.quorum,
            "receipt_keys": services.receipt_keys,
            "code_signing_roots": (base64.b64encode(self.pki.root).decode(),),
            "timestamp_authorities": services.timestamp_authorities,
        }
        return TrustFile(**(values | changes))

    def stamp(self, value: bytes, *, at: datetime | None = None) -> bytes:
        tsa = self.pki.timestamping()
        issuer = Issuer(tsa.key, tsa.chain, "1.2.3.4")  # type: ignore[arg-type]
        query = Query(Digest.of(value), None, True, None)
        return issue_token(query, issuer=issuer, now=at or self.now, serial=1)

    def request(self, kind: str, source: bytes, mode: str = "artifact") -> Envelope:
        """Digest mode goes to the test policy."""
        artifact = RequestedArtifact(size=len(source), format=kind, operations=self.operations(kind, source))
        policy = POLICIES[kind] if mode == "artifact" else "test"
        return self.world.request(policy, mode=mode, files={f"file.{kind}": source}, artifacts=[artifact])

    def operations(self, kind: str, source: bytes) -> tuple[Operation, ...]:
        if kind == "pe":
            return tuple(PeFormat().prepare(BytesView(source), self.identity.chain, PeOptions()).operations)
        return (Operation(template=TEMPLATES[kind], digest=str(Digest.of(source))),)

    def make(
        self,
        kind: str = "pe",
        source: bytes | None = None,
        *,
        people: Sequence[str] = ("alice", "bob"),
        operations: bytes | None = None,
        signer: Identity | None = None,
        stamped_value: bytes | None = None,
        stamped_at: datetime | None = None,
        receipt_key: Ed25519PrivateKey | None = None,
        receipt_changes: dict[str, Any] | None = None,
        leaf_changes: dict[str, Any] | None = None,
        witnesses: Sequence[Any] | None = None,
        signed_source: bytes | None = None,
        mode: str = "artifact",
    ) -> Made:
        """Every keyword puts another part where an honest gate has its own."""
        source = SOURCES[kind] if source is None else source
        request, automatic = self.request(kind, source, mode), kind == "raw" or mode == "digest"
        approvals = [self.world.approval(request, p, policy=self.policy, checkpoint=self.log.seen) for p in people]
        approvals = [] if automatic else approvals
        fresh = self.world.freshness(root_sha256=self.parts[3])
        evidence = [] if automatic else [self.world.scan(source), fresh]
        facts = gather(self.policy, request, approvals=approvals, evidence=evidence, now=self.now)
        statement = parse_statement(request, Request)
        listed = requested_operations(statement.predicate) if operations is None else operations
        leaf = intent_leaf(
            self.policy, facts, operations=listed, wave=0, attempt=1, profile=0, sandbox="none", signing_time=self.now
        ).model_copy(update=leaf_changes or {})
        index = self.log.append(leaf.encode())
        note = self.log.note(self.now, witnesses=witnesses)
        proof = TlogProof(index, tuple(self.log.tree().inclusion(index)), note)
        view, content, envelope = self.sign(
            kind,
            signed_source or source,
            signer=signer or (self.test_identity if mode == "digest" else None),
            stamped_value=stamped_value,
            stamped_at=stamped_at,
        )
        key = self.policy.keys.keys["test" if mode == "digest" else "test-raw" if kind == "raw" else "release"]
        said = self._receipt(statement, leaf, index, envelope=envelope, key=key, kind=kind, source=source)
        said = said.model_copy(update=receipt_changes or {})
        about = sha256_hex(view if mode == "artifact" else envelope)
        payload = statement_payload(said, [(f"file.{kind}", about)])
        wave = Wave(intent=LoggedLeaf(leaf=blob(leaf.encode()), proof=blob(proof.encode())), operations=blob(listed))
        bundle = ReceiptBundle(
            receipt=envelope_blob(sign_ed25519(payload, receipt_key or self.world.receipts)),
            waves=(wave,),
            authorisation=self.authorisation(request, approvals, evidence),
        )
        return Made(kind, view, content, bundle, said)

    def authorisation(
        self, request: Envelope, approvals: Sequence[Envelope], evidence: Sequence[Envelope]
    ) -> Authorisation:
        return Authorisation(
            request=envelope_blob(request),
            approvals=tuple(map(envelope_blob, approvals)),
            evidence=tuple(map(envelope_blob, evidence)),
            policy_root=envelope_blob(self.parts[0]),
            policy=envelope_blob(self.parts[1]),
            documents={name: blob(content) for name, content in self.parts[2].items()},
        )

    def sign(
        self,
        kind: str,
        source: bytes,
        *,
        signer: Identity | None = None,
        stamped_value: bytes | None = None,
        stamped_at: datetime | None = None,
    ) -> tuple[bytes, bytes | None, bytes]:
        """(signed file, content it speaks about, envelope)."""
        signer = signer or (Identity(self.raw_key, ()) if kind == "raw" else self.identity)
        context = SignerContext(signer.chain, signer.public_key, self.now)
        template, (operation,) = template_named(TEMPLATES[kind]), self.operations(kind, source)
        value = signer.sign(template.to_be_signed(operation, context))
        timestamp_token = self.stamp(stamped_value or value, at=stamped_at) if template.timestamped else None
        envelope = template.envelope(operation, context, value, timestamp_token)
        if kind != "pe":
            return envelope, source, envelope
        view = BytesView(source)
        result = Patched(view, PeFormat().embed(PeFormat().prepare(view, signer.chain, PeOptions()), [envelope]))
        return result.read(0, result.size), None, envelope

    def _receipt(
        self, statement: Any, leaf: Any, index: int, *, envelope: bytes, key: d.Key, kind: str, source: bytes
    ) -> Receipt:
        request, chain = statement.predicate, [base64.b64decode(c) for c in key.chain]
        stripped = PeReader().read(BytesView(source)).stripped_sha256 if kind == "pe" else sha256_hex(source)
        return Receipt(
            request=statement.digest,
            artifact=0,
            source_sha256=statement.subjects[0].digest.sha256,
            content_sha256=stripped if request.mode == "artifact" else None,
            envelopes_sha256=(sha256_hex(envelope),),
            patch_sha256=None,
            format=kind,
            mode=request.mode,
            project=request.project,
            signing_policy=request.signing_policy,
            kind=leaf.kind,
            trial=leaf.trial,
            grade=leaf.kind,
            key=spki_sha256(key),
            certificate=hashlib.sha256(chain[0]).hexdigest() if chain else None,
            key_protection=leaf.key_protection,
            policy_sha256=self.policy.sha256,
            policy_version=self.policy.version,
            people=("alice", "bob") if leaf.kind == "release" else (),
            exceptions=leaf.exceptions,
            intents=(index,),
            log_origin=self.policy.services.log.origin,
            profile=leaf.profile,
            sandbox=leaf.sandbox,
            witnesses_outside=0,
            witnesses_local=1,
            timestamp="none" if kind == "raw" else "local",
            content_seen=leaf.content_seen,
            derived=leaf.derived,
            created=format_time(self.now),
        )
