# SPDX-License-Identifier: Apache-2.0
"""A small organisation for tests: real keys, a real signed policy, people who can sign. Nothing here is a mock."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signwright.model.operation import Operation, Strict
from signwright.model.times import format_time
from signwright.policy import documents as d
from signwright.policy.policy import Policy, open_policy
from signwright.policy.write import draft_policy, draft_root
from signwright.statements.dsse import PAYLOAD_TYPE, Envelope, EnvelopeSignature, pae, statement_digest
from signwright.statements.keys import key_id_of, ssh_namespace
from signwright.statements.models import (
    Approval,
    Engine,
    Finding,
    Freshness,
    PolicyRoot,
    Request,
    RequestedArtifact,
    Role,
    ScanEvidence,
    SeenCheckpoint,
)
from signwright.statements.ssh_signing import sign_sshsig
from signwright.statements.sshsig import ED25519, SshPublicKey
from signwright.statements.writing import public_text, sign_ed25519, statement_payload
from signwright.transparency.note import COSIGNATURE_V1, VerifierKey
from signwright.transparency.note import ED25519 as NOTE_ED25519

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
ORIGIN = "signwright.test/log"


def ssh_line(key: Ed25519PrivateKey) -> str:
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    blob = b"".join(len(p).to_bytes(4, "big") + p for p in (ED25519.encode(), raw))
    return f"{ED25519} {base64.b64encode(blob).decode()}"


def sign_ssh(payload: bytes, key: Ed25519PrivateKey, name: str) -> Envelope:
    value = sign_sshsig(key, namespace=ssh_namespace(name), message=pae(PAYLOAD_TYPE, payload))
    keyid = SshPublicKey.parse(ssh_line(key)).fingerprint
    return Envelope(payload, (EnvelopeSignature(keyid, "sshsig", value),))


def key_id(key: Ed25519PrivateKey) -> str:
    return key_id_of(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


@dataclass
class World:
    """Change a document with `with_documents`, then open the policy again: versions go up by themselves."""

    now: datetime = NOW
    trial: bool = True
    keeper: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    #: Who may halt beside the keeper.
    panic: tuple[Ed25519PrivateKey, ...] = ()
    people: dict[str, Ed25519PrivateKey] = field(
        default_factory=lambda: {n: Ed25519PrivateKey.generate() for n in ("alice", "bob", "carol")}
    )
    test_credential: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    release_credential: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    scanner: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    gate: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    receipts: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    #: Keys of the log and of its one local witness ``w1``.
    log_private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    witness_private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    witnesses: tuple[d.Witness, ...] = ()
    authorities: tuple[d.TimestampAuthority, ...] = (
        d.TimestampAuthority(name="builtin", anchors=("AAAA",), outside=False),
    )
    keys: dict[str, d.Key] = field(default_factory=dict)
    version: int = 0
    overrides: dict[str, Strict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        raw = self.witness_private.public_key().public_bytes_raw()
        key = str(VerifierKey("w1", COSIGNATURE_V1, raw))
        self.log_key = str(VerifierKey(ORIGIN, NOTE_ED25519, self.log_private.public_key().public_bytes_raw()))
        self.witnesses = self.witnesses or (d.Witness(name="w1", key=key, operator="this host", outside=False),)

    def default_key(self, kind: d.Kind, family: str = "cms") -> d.Key:
        """A key entry that no key store backs; tests of signing put real ones into ``keys``."""
        spki = hashlib.sha256(f"{kind}{family}".encode()).digest()
        return d.Key(
            kind=kind,
            family=family,  # type: ignore[arg-type]
            purposes=("authenticode", "jar", "file") if family == "cms" else ("raw",),
            public_key=base64.b64encode(spki).decode(),
            chain=("AAAA",) if family == "cms" else (),
            protection="software",
        )

    def signing_policies(self) -> dict[str, d.SigningPolicy]:
        options = {n: d.OptionRule(any=True) for n in ("description", "url", "digest", "existing", "page_hashes")}
        test, release = (key_id(c) for c in (self.test_credential, self.release_credential))
        both = {
            "kind": "test",
            "submitters": (test,),
            "modes": ("artifact", "digest"),
            "scan": d.ScanRule(required=False),
            "options": options,
        }
        approved = {
            "kind": "release",
            "key": "release",
            "submitters": (release,),
            "approvals": d.Approvals(required=2, eligible=("release",)),
            "options": options,
        }
        rows: dict[str, dict[str, Any]] = {
            "test": {**both, "key": "test", "artifact_configuration": "programs"},
            "release": {**approved, "artifact_configuration": "programs"},
            "test-file": {**both, "key": "test", "artifact_configuration": "files"},
            "release-file": {**approved, "artifact_configuration": "files"},
            "test-raw": {**both, "key": "test-raw", "artifact_configuration": "raw", "timestamp": "none"},
        }
        return {name: d.SigningPolicy(**row) for name, row in rows.items()}

    def services(self) -> d.Services:
        return d.Services(
            log=d.LogIdentity(origin=ORIGIN, key=self.log_key),
            witnesses=self.witnesses,
            quorum=d.Quorum(outside=0, local=1),
            timestamp_authorities=self.authorities,
            scanners=(d.Scanner(name="scanner", public_key=public_text(self.scanner)),),
            gate_key=public_text(self.gate),
            receipt_keys=(public_text(self.receipts),),
        )

    def project(self) -> d.Project:
        rules = {n: d.ArtifactRule(name="*", format=n) for n in ("pe", "jar", "catalog", "cms", "raw")}
        return d.Project(
            artifact_configurations={
                "programs": d.ArtifactConfiguration(rules=(rules["pe"], rules["jar"], rules["catalog"])),
                "files": d.ArtifactConfiguration(rules=(rules["cms"],)),
                "raw": d.ArtifactConfiguration(rules=(rules["raw"],)),
            },
            signing_policies=self.signing_policies(),
        )

    def documents(self) -> dict[str, Strict]:
        kinds: tuple[d.Kind, ...] = ("test", "release")
        keys = {**{n: self.default_key(n) for n in kinds}, "test-raw": self.default_key("test", "raw"), **self.keys}
        expires = format_time(self.now + timedelta(days=30))
        exceptions = tuple(
            d.NamedException(name=n, scope="*", owner="carol", reason="tests run on one host", expires=expires)
            for n in ("local-witness", "local-timestamp")
        )
        people = {
            name: d.Person(groups=("release", "qa") if name == "carol" else ("release",), keys=(ssh_line(key),))
            for name, key in self.people.items()
        }
        machines = {"test": self.test_credential, "release": self.release_credential}
        credentials = {
            key_id(machines[kind]): d.Credential(
                public_key=public_text(machines[kind]), kind=kind, description=f"CI, {kind}"
            )
            for kind in kinds
        }
        found: dict[str, Strict] = {
            "organisation": d.Organisation(name="Example", exceptions=exceptions),
            "services": self.services(),
            "people": d.People(people=people),
            "credentials": d.Credentials(credentials=credentials),
            "keys": d.Keys(keys=keys),
            "projects/default": self.project(),
        }
        return {**found, **self.overrides}

    def with_documents(self, **changes: Strict) -> World:
        """``projects_default`` stands for ``projects/default``."""
        self.overrides.update({name.replace("projects_", "projects/"): doc for name, doc in changes.items()})
        return self

    def root_envelope(self) -> Envelope:
        role = Role(threshold=1, keys=(ssh_line(self.keeper),))
        root = PolicyRoot(
            version=1,
            organisation="Example",
            trial=self.trial,
            root=role,
            policy=role,
            freshness=role,
            panic=Role(threshold=1, keys=(*role.keys, *map(ssh_line, self.panic))),
            created=format_time(self.now - timedelta(days=1)),
            expires=format_time(self.now + timedelta(days=365)),
        )
        self.root = root
        return sign_ssh(draft_root(root), self.keeper, "policy-root")

    def policy_parts(
        self, *, created: datetime | None = None, expires: datetime | None = None
    ) -> tuple[Envelope, Envelope, dict[str, bytes], str]:
        """(root envelope, policy envelope, documents, root digest) of the next version."""
        root_envelope = self.root_envelope()
        root_sha256 = statement_digest("policy-root", root_envelope)
        self.version += 1
        draft = draft_policy(
            self.documents(),
            root=self.root,
            root_sha256=root_sha256,
            version=self.version,
            created=created or self.now - timedelta(hours=1),
            expires=expires or self.now + timedelta(days=30),
        )
        return root_envelope, sign_ssh(draft.payload, self.keeper, "policy"), draft.documents, root_sha256

    def policy(self, **times: datetime) -> Policy:
        root, index, documents, digest = self.policy_parts(**times)
        return open_policy(root, index, documents, pinned_root_sha256=digest)

    def freshness(self, number: int = 1, *, key: Ed25519PrivateKey | None = None, **changes: Any) -> Envelope:
        """Nothing is revoked, as of an hour ago; signed by the keeper."""
        root_sha256 = changes.pop("root_sha256", None) or statement_digest("policy-root", self.root_envelope())
        values: dict[str, Any] = {
            "number": number,
            "minimum_policy_version": 1,
            "created": format_time(self.now - timedelta(hours=1)),
            "expires": format_time(self.now + timedelta(hours=23)),
        }
        payload = statement_payload(Freshness(**(values | changes)), [("policy-root", root_sha256)])
        return sign_ssh(payload, key or self.keeper, "freshness")

    def operation(
        self, content: bytes = b"artifact", template: str = "authenticode-pe", **parameters: Any
    ) -> Operation:
        return Operation(
            template=template, digest="sha256:" + hashlib.sha256(content).hexdigest(), parameters=parameters
        )

    def request(
        self,
        signing_policy: str = "release",
        *,
        files: Mapping[str, bytes] | None = None,
        artifacts: Sequence[RequestedArtifact] | None = None,
        key: Ed25519PrivateKey | None = None,
        format_name: str | None = None,
        **changes: Any,
    ) -> Envelope:
        """Signed by the credential of the policy's kind; ``artifacts`` gives real operations, else one per file."""
        files = files if files is not None else {"setup.exe": b"artifact"}
        kind = format_name or {"test-raw": "raw", "test-file": "cms", "release-file": "cms"}.get(signing_policy, "pe")
        template = {"pe": "authenticode-pe", "cms": "cms-detached", "raw": "raw"}[kind]
        artifacts = artifacts or [
            RequestedArtifact(size=len(c), format=kind, operations=(self.operation(c, template),))
            for c in files.values()
        ]
        values: dict[str, Any] = {
            "project": "default",
            "signing_policy": signing_policy,
            "mode": "artifact",
            "artifacts": tuple(artifacts),
            "nonce": secrets.token_hex(16),
            "created": format_time(self.now),
            "expires": format_time(self.now + timedelta(hours=12)),
        }
        payload = statement_payload(
            Request(**(values | changes)), [(n, hashlib.sha256(c).hexdigest()) for n, c in files.items()]
        )
        release = signing_policy.startswith("release")
        return sign_ed25519(payload, key or (self.release_credential if release else self.test_credential))

    def approval(
        self,
        request: Envelope,
        person: str,
        *,
        policy: Policy,
        checkpoint: SeenCheckpoint | None = None,
        key: Ed25519PrivateKey | None = None,
        **changes: Any,
    ) -> Envelope:
        from signwright.statements.models import parse_statement

        statement = parse_statement(request, Request)
        values: dict[str, Any] = {
            "decision": "approve",
            "person": person,
            "project": statement.predicate.project,
            "signing_policy": statement.predicate.signing_policy,
            "policy_sha256": policy.sha256,
            "checkpoint": checkpoint or SeenCheckpoint(origin=ORIGIN, size=1, root="00" * 32),
            "artifacts_rehashed": True,
            "created": format_time(self.now),
            "expires": format_time(self.now + timedelta(hours=24)),
        }
        subjects = [("request", statement.digest), *((s.name, s.digest.sha256) for s in statement.subjects)]
        payload = statement_payload(Approval(**(values | changes)), subjects)
        return sign_ssh(payload, key or self.people[person], "approval")

    def scan(
        self, content: bytes, verdict: str = "clean", *, key: Ed25519PrivateKey | None = None, **changes: Any
    ) -> Envelope:
        values: dict[str, Any] = {
            "verdict": verdict,
            "engines": (Engine(name="yara-x", version="1", definitions="test"),),
            "findings": (Finding(path="setup.exe", rule="EICAR", engine="yara-x"),) if verdict == "infected" else (),
            "members": 0,
            "sandbox": "landlock7+seccomp",
            "created": format_time(self.now),
        }
        payload = statement_payload(
            ScanEvidence(**(values | changes)), [("artifact", hashlib.sha256(content).hexdigest())]
        )
        return sign_ed25519(payload, key or self.scanner)
