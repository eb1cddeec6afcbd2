# SPDX-License-Identifier: Apache-2.0
"""From signature values to results: timestamp, envelope, embed in a fresh worker, read by a stranger, receipt."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from signwright.envelopes.base import SignerContext
from signwright.envelopes.templates import template_named
from signwright.errors import VerificationError
from signwright.formats.registry import FORMATS
from signwright.model.digest import sha256_hex
from signwright.model.operation import Operation, Planned
from signwright.model.patch import Patch, Patched
from signwright.model.times import format_time, parse_time
from signwright.model.view import FileView
from signwright.policy.policy import spki_sha256
from signwright.policy.rules.approvals import people_who
from signwright.readers.base import FoundSignature
from signwright.readers.raw import MAX_VALUE, RawReader
from signwright.signer.gate.derive import Derived, signed_members
from signwright.signer.gate.outcome import SignedArtifact
from signwright.signer.gate.policy import GateKeys
from signwright.signer.gate.timestamps import Stamp, Timestamps
from signwright.signer.gate.verify import Case
from signwright.signer.worker.client import ResultReading, Workers
from signwright.statements.receipt import Receipt
from signwright.statements.writing import sign_ed25519, statement_payload
from signwright.transparency.cosignature import Cosigned
from signwright.transparency.leaf import IntentLeaf

Where = Literal["outside", "local", "none"]


@dataclass(frozen=True, slots=True)
class Enveloped:
    """One operation with its value: ``envelope`` is what goes into the file or back to the client."""

    operation: Operation
    value: bytes
    stamp: Stamp | None
    envelope: bytes


@dataclass(frozen=True, slots=True)
class Checked:
    """A result that a stranger has read; ``patch``: with those of earlier waves, from the artifact as it came."""

    patch: Patch
    content_sha256: str


@dataclass(slots=True)
class Stage:
    """An artifact on its way through the waves. ``found``: as it was derived for the newest one in which something of
    it is signed; ``rows``: all its operations so far, ``checked``: the result. In digest mode there are rows alone.
    """

    found: Derived | None = None
    rows: list[Enveloped] = field(default_factory=list)
    checked: Checked | None = None

    def signed(self) -> SignedArtifact:
        """What is delivered, without receipt."""
        envelopes = tuple(one.envelope for one in self.rows)
        if self.checked is None:
            return SignedArtifact(b"", None, envelopes, None)
        return SignedArtifact(b"", self.checked.patch.encode(), envelopes, self.checked.patch.result_sha256)


class Delivery:
    """``now``: aware UTC; ``profile``: of the settings."""

    def __init__(
        self, timestamps: Timestamps, workers: Workers, *, keys: GateKeys, profile: int, now: Callable[[], datetime]
    ) -> None:
        self._timestamps = timestamps
        self._workers = workers
        self._keys = keys
        self._profile = profile
        self._now = now

    async def envelopes(
        self,
        case: Case,
        leaf: IntentLeaf,
        operations: Sequence[tuple[int, Operation]],
        *,
        contents: Sequence[bytes],
        values: Sequence[bytes],
    ) -> list[tuple[int, Enveloped]]:
        """Each operation with its envelope; raises `TimestampError` and `VerificationError`. ``contents``: those that
        must be seen, in order.
        """
        if len(operations) != len(values):
            raise VerificationError(f"{len(values)} signatures; {len(operations)} were ordered", code="wrong-signature")
        context = SignerContext(
            case.opened.chain_of(case.rule), base64.b64decode(case.key.public_key), parse_time(leaf.signing_time)
        )
        stamps = await asyncio.gather(*(self._stamp(case, o, v) for (_, o), v in zip(operations, values, strict=True)))
        rows: list[tuple[int, Enveloped]] = []
        left = list(contents)
        for (index, operation), value, stamp in zip(operations, values, stamps, strict=True):
            token = stamp.token if stamp else None
            template = template_named(operation.template)
            content = left.pop(0) if template.check_content is not None else b""
            envelope = template.envelope(operation, context, value, token, content)
            rows.append((index, Enveloped(operation, value, stamp, envelope)))
        return rows

    def check_authorities(self, case: Case) -> None:
        """Before the key is used: somebody can stamp, where a timestamp is required."""
        artifacts = case.job.statement.predicate.artifacts
        if any(self._is_stamped(case, one) for a in artifacts for one in (*a.operations, *a.derived)):
            self._timestamps.check_someone_answers(case.opened, outside_only=self._outside_only(case))

    def _is_stamped(self, case: Case, operation: Planned) -> bool:
        return case.rule.timestamp == "required" and template_named(operation.template).timestamped

    def _outside_only(self, case: Case) -> bool:
        """A release takes a local token only under the exception that says so."""
        request = case.job.statement.predicate
        current = case.opened.policy.exceptions_for(request.project, request.signing_policy, self._now())
        return case.rule.kind == "release" and "local-timestamp" not in current

    async def _stamp(self, case: Case, operation: Operation, value: bytes) -> Stamp | None:
        if not self._is_stamped(case, operation):
            return None
        return await self._timestamps.stamp(case.opened, value, outside_only=self._outside_only(case))

    async def embed_and_check(self, case: Case, found: Derived, enveloped: Sequence[Enveloped]) -> Checked:
        """Patch by one worker, reading by another; raises `FormatError`, and `VerificationError` when they disagree."""
        descriptor = found.artifact.read_only()
        try:
            envelopes = [one.envelope for one in enveloped]
            patch = await asyncio.to_thread(
                self._workers.embed, descriptor, prepared=found.prepared, envelopes=envelopes, patch=found.patch
            )
            reading = await asyncio.to_thread(self._read, case, descriptor, found, patch)
        finally:
            os.close(descriptor)
        _check_result(case, found, patch=patch, reading=reading, enveloped=enveloped)
        return Checked(patch, reading.result.stripped_sha256)

    def _read(self, case: Case, descriptor: int, found: Derived, patch: Patch) -> ResultReading:
        chosen = FORMATS[found.prepared.format]
        if case.key.family == "raw":
            return _read_raw(found, patch, public_key=base64.b64decode(case.key.public_key))
        detached = bool(chosen.detached_suffix)
        signed = signed_members(found.prepared)
        return self._workers.read_result(descriptor, reader=chosen.name, patch=patch, detached=detached, signed=signed)

    def receipt(
        self, case: Case, index: int, *, stage: Stage, waves: Sequence[tuple[int, IntentLeaf, Cosigned]]
    ) -> SignedArtifact:
        """Artifact ``index`` with its signed receipt. ``waves``: index and leaf of each intent, and who cosigned it."""
        policy, rule, key, result = case.opened.policy, case.rule, case.key, stage.signed()
        request = case.job.statement
        subject, artifact = request.subjects[index], request.predicate.artifacts[index]
        chain = case.opened.chain_of(rule)
        envelopes = tuple(hashlib.sha256(e).hexdigest() for e in result.envelopes)
        leaf = waves[-1][1]
        receipt = Receipt(
            request=request.digest,
            artifact=index,
            source_sha256=subject.digest.sha256,
            content_sha256=stage.checked.content_sha256 if stage.checked else None,
            envelopes_sha256=envelopes,
            patch_sha256=hashlib.sha256(result.patch).hexdigest() if result.patch is not None else None,
            format=artifact.format,
            mode=request.predicate.mode,
            project=request.predicate.project,
            signing_policy=request.predicate.signing_policy,
            kind=rule.kind,
            trial=policy.root.trial,
            grade=_grade(case),
            key=spki_sha256(key),
            certificate=hashlib.sha256(chain[0]).hexdigest() if chain else None,
            key_protection=key.protection,
            policy_sha256=policy.sha256,
            policy_version=policy.version,
            people=tuple(sorted(people_who("approve", policy, rule, case.facts))),
            exceptions=leaf.exceptions,
            intents=tuple(intent for intent, *_ in waves),
            log_origin=policy.services.log.origin,
            profile=self._profile,
            sandbox=leaf.sandbox,
            witnesses_outside=min(cosigned.outside for *_, cosigned in waves),
            witnesses_local=min(cosigned.local for *_, cosigned in waves),
            timestamp=where_stamped(stage.rows),
            content_seen=leaf.content_seen,
            derived=bool(artifact.derived),
            created=format_time(self._now()),
        )
        about = result.result_sha256 or envelopes[0]
        signed = sign_ed25519(statement_payload(receipt, [(subject.name, about)]), self._keys.receipt).encode()
        return replace(result, receipt=signed)


def _read_raw(found: Derived, patch: Patch, *, public_key: bytes) -> ResultReading:
    """A bare value has no structure that a parser could stumble over; its reader needs the key and runs here."""
    content = FileView(found.artifact.file)
    result = Patched(content, patch)
    if result.size > MAX_VALUE:
        raise VerificationError(f"a raw signature of {result.size} bytes", code="result-mismatch")
    reading = RawReader(public_key).read(result, content)
    return ResultReading(sha256_hex(result.read(0, result.size)), result.size, reading)


def where_stamped(rows: Sequence[Enveloped]) -> Where:
    """The weakest of all tokens, which is what may be said about the whole."""
    stamps = [one.stamp for one in rows]
    if any(stamp is None for stamp in stamps):
        return "none"
    return "local" if any(stamp is not None and stamp.where == "local" for stamp in stamps) else "outside"


def _grade(case: Case) -> Literal["test", "release", "automated"]:
    if case.rule.kind == "test":
        return "test"
    return "release" if case.rule.approvals.required else "automated"


def _check_result(
    case: Case, found: Derived, *, patch: Patch, reading: ResultReading, enveloped: Sequence[Enveloped]
) -> None:
    """What the stranger found is what was made, in the approved content; raises `VerificationError`."""
    if (reading.sha256, reading.size) != (patch.result_sha256, patch.result_size):
        raise VerificationError("the result that was read is not the one that was written", code="result-mismatch")
    if reading.result.stripped_sha256 != found.before.stripped_sha256:
        raise VerificationError("without its signature the result is not the approved content", code="strip-test")
    signatures = {_placed(signature): signature for signature in reading.result.signatures}
    for one in enveloped:
        signature = signatures.get((one.operation.inner_path, one.value))
        if signature is None:
            raise VerificationError("the reader does not find the new signature", code="result-mismatch")
        _check_signature(case, one, signature)
    # Signatures are outside of every strip test: one that was to stay and is gone would not be missed there.
    wanted = Counter([*((one.operation.inner_path, one.value) for one in enveloped), *found.before.kept])
    there = Counter(map(_placed, reading.result.signatures))
    if there != wanted:
        what = "a signature that nobody ordered" if there - wanted else "no longer a signature that was to stay"
        raise VerificationError(f"the reader finds {what}", code="result-mismatch")
    if reading.result.kept_sha256 != found.before.members_sha256:
        raise VerificationError("a member that was to stay as it is has changed", code="kept-members")


def _placed(signature: FoundSignature) -> tuple[str, bytes]:
    """The same value may stand in two members: the same file twice, signed by an RSA key."""
    return signature.inner_path, signature.signature_value


def _check_signature(case: Case, one: Enveloped, signature: FoundSignature) -> None:
    chain = case.opened.chain_of(case.rule)
    token = one.stamp.token if one.stamp else None
    same = {
        "digest": signature.content_digest == one.operation.content_digest,
        "key": signature.public_key == base64.b64decode(case.key.public_key),
        "certificate": signature.signer_certificate == (chain[0] if chain else None),
        "timestamp token": signature.timestamp_token == token,
    }
    wrong = [name for name, right in same.items() if not right]
    if wrong:
        raise VerificationError(f"the reader finds another {', '.join(wrong)} than was signed", code="result-mismatch")
