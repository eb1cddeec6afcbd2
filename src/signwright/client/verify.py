# SPDX-License-Identifier: Apache-2.0
"""Verify a signed file offline, from the file, its receipt bundle and a trust file. One `Check` per fact."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from signwright.client.authorisation import WINDOW, LoggedIntent, open_intent, open_operations, recount
from signwright.client.trust import TrustFile
from signwright.envelopes.templates import template_named
from signwright.errors import SignwrightError, VerificationError
from signwright.model.digest import Digest, sha256_hex
from signwright.model.times import parse_time
from signwright.model.view import View, sha256_of
from signwright.readers import chain
from signwright.readers.base import FoundSignature, Reading
from signwright.statements.bundle import ReceiptBundle, open_envelope
from signwright.statements.keys import verify_envelope
from signwright.statements.models import Statement, parse_statement
from signwright.statements.receipt import Receipt
from signwright.timestamps.token import TimestampInfo, imprint_of_token, verify_token

T = TypeVar("T")
#: Signatures that one line names.
_LISTED = 20
_NOT_ABOUT = "this receipt is not about that"


@dataclass(frozen=True, slots=True)
class Check:
    """``ok`` is None for what was not checked, with the reason in ``text``; ``code`` is set when it failed."""

    name: str
    ok: bool | None
    text: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is verified. ``view``: the signed file, or the signature file when ``content`` is what it speaks about.

    ``read``: `signwright.readers.base.Reader.read` of the right reader; ``crls``: DER.
    """

    view: View
    content: View | None
    read: Callable[[View, View | None], Reading]
    bundle: ReceiptBundle | None
    crls: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class _Stamp:
    """A verified timestamp token. ``outside``: as the trust file has its authority."""

    info: TimestampInfo
    outside: bool


@dataclass
class _Story:
    """The checks so far. `step` turns a step's words, or its refusal, into a check and hands its value on."""

    evidence: Evidence
    trust: TrustFile
    at: datetime
    checks: list[Check] = field(default_factory=list)

    def step(self, name: str, work: Callable[[], tuple[T, str]], *, about: str = "") -> T | None:
        """``about``: what the words begin with."""
        try:
            value, text = work()
        except SignwrightError as problem:
            self.checks.append(Check(name, False, f"{about}{problem.message}", problem.code))
            return None
        self.checks.append(Check(name, True, f"{about}{text}"))
        return value


def verify(evidence: Evidence, trust: TrustFile, *, at: datetime) -> list[Check]:
    """Every check that can be made; the file is good when none has ``ok`` False. Raises nothing for bad input."""
    story = _Story(evidence, trust, at)
    reading = story.step("signature", lambda: _reading(evidence))
    signatures = reading.signatures if reading else ()
    if evidence.bundle is None:
        for signature in signatures:
            _signature(story, signature)
        story.checks.append(Check("receipt", None, "none given: who authorised this is not known"))
        return story.checks
    bundle = evidence.bundle
    receipt = story.step("receipt", lambda: _receipt(bundle, trust))
    if receipt is None:
        return story.checks
    said = receipt.predicate
    if reading is not None:
        story.step("file", lambda: _file(evidence, reading, receipt))
    stamps = [_signature(story, s) for s in signatures if sha256_hex(s.envelope) in said.envelopes_sha256]
    for other in (s for s in signatures if sha256_hex(s.envelope) not in said.envelopes_sha256):
        story.checks.append(Check("certificate", None, f"{_about(other)}{_who(other)} signed too; {_NOT_ABOUT}"))
    intents = story.step("log", lambda: _log(bundle, trust, receipt))
    if intents is not None:
        if reading is not None:
            story.step("operation", lambda: _operation(reading, said, intents))
            story.step("conditions", lambda: _told_truly(said, reading, intents=intents, stamps=stamps))
        _authorisation(story, bundle, receipt=receipt, intents=intents)
    return story.checks


def _reading(evidence: Evidence) -> tuple[Reading, str]:
    reading = evidence.read(evidence.view, evidence.content)
    if not reading.signatures:
        raise VerificationError("the file is not signed", code="not-signed")
    listed = [f"{s.purpose} over {s.content_digest.algorithm}{_inside(s)}" for s in reading.signatures]
    more = [f"{len(listed) - _LISTED} more"] if len(listed) > _LISTED else []
    kinds = ", ".join((*listed[:_LISTED], *more))
    warned = f"; {'; '.join(reading.warnings)}" if reading.warnings else ""
    if any(signature.inner_path for signature in reading.signatures):
        warned = f"; members that are not named here are not signed{warned}"
    return reading, f"{len(reading.signatures)} found, digest recomputed, value holds: {kinds}{warned}"


def _inside(signature: FoundSignature) -> str:
    return f" in {signature.inner_path}" if signature.inner_path else ""


def _about(signature: FoundSignature) -> str:
    """What words about this signature begin with: the member that carries it."""
    return f"{signature.inner_path}: " if signature.inner_path else ""


def _signature(story: _Story, signature: FoundSignature) -> _Stamp | None:
    """Timestamp first: it says at which moment the certificate has to be good."""
    stamped: _Stamp | None = None
    about = _about(signature)
    if signature.timestamp_token is not None:
        token = signature.timestamp_token
        stamped = story.step("timestamp", lambda: _timestamp(token, signature, story.trust), about=about)
    else:
        story.checks.append(Check("timestamp", None, f"{about}none in this signature"))
    if signature.signer_certificate is None:
        text = f"{about}none: a raw signature is bound to its key by the receipt alone"
        story.checks.append(Check("certificate", None, text))
        return stamped
    moment = stamped.info.gen_time if stamped else story.at
    story.step("certificate", lambda: _certificate(story, signature, moment), about=about)
    return stamped


def _who(signature: FoundSignature) -> str:
    fingerprint = sha256_hex(signature.signer_certificate or signature.public_key)
    return f"another certificate ({fingerprint[:16]}…)"


def _timestamp(token: bytes, signature: FoundSignature, trust: TrustFile) -> tuple[_Stamp, str]:
    imprint = Digest.of(signature.signature_value, imprint_of_token(token).algorithm)
    refusals = []
    for authority in trust.timestamp_authorities:
        try:
            info = verify_token(
                token,
                imprint=imprint,
                nonce=None,
                anchors=authority.anchor_certificates,
                not_before=None,
                not_after=None,
            )
        except SignwrightError as problem:
            refusals.append(f"{authority.name}: {problem.message}")
            continue
        place = "an outside authority" if authority.outside else "a LOCAL authority"
        return _Stamp(info, authority.outside), f"{info.gen_time:%Y-%m-%dT%H:%M:%SZ} by {authority.name}, {place}"
    raise VerificationError("; ".join(refusals) or "the trust file names no timestamp authority", code="bad-timestamp")


def _certificate(story: _Story, signature: FoundSignature, moment: datetime) -> tuple[None, str]:
    certificate = signature.signer_certificate
    assert certificate is not None
    found = chain.check_code_signing(
        certificate,
        signature.certificates,
        anchors=story.trust.roots,
        at=moment,
        crls=story.evidence.crls,
    )
    looked = "not revoked in the list given" if found.revocation_checked else "revocation NOT looked at"
    return None, f"{found.subject}, chain to a trusted root, good at {moment:%Y-%m-%dT%H:%M:%SZ}, {looked}"


def _receipt(bundle: ReceiptBundle, trust: TrustFile) -> tuple[Statement[Receipt], str]:
    envelope = open_envelope(bundle.receipt)
    if not verify_envelope(envelope, "receipt", list(trust.receipt_keys)):
        raise VerificationError("not signed by a receipt key of the trust file", code="unknown-receipt-key")
    receipt = parse_statement(envelope, Receipt)
    said = receipt.predicate
    if said.trial != trust.trial:
        found, wanted = ("TRIAL", "no trial") if said.trial else ("no trial", "a TRIAL")
        raise VerificationError(f"the receipt is of {found} root, the trust file of {wanted} root", code="trial")
    mark = "TRIAL: proves nothing to anybody else; " if said.trial else ""
    text = f"{mark}{said.project}/{said.signing_policy} ({said.kind}), created {said.created}"
    return receipt, text


def _conditions(said: Receipt) -> str:
    """What this set-up does not give stands on every receipt."""
    return (
        f"profile {said.profile}, key {said.key_protection}, sandbox {said.sandbox}, "
        f"witnesses outside {said.witnesses_outside} / local {said.witnesses_local}, timestamp {said.timestamp}"
        + ("" if said.content_seen else ", content NOT seen by the signer")
        + (", digests DERIVED by the signer from inner signatures" if said.derived else "")
        + (f", exceptions: {', '.join(said.exceptions)}" if said.exceptions else "")
    )


def _file(evidence: Evidence, reading: Reading, receipt: Statement[Receipt]) -> tuple[None, str]:
    said = receipt.predicate
    envelopes = {sha256_hex(s.envelope) for s in reading.signatures}
    if not said.envelopes_sha256 or not set(said.envelopes_sha256) <= envelopes:
        raise VerificationError("the receipt's signature is not in the file", code="wrong-file")
    wanted = receipt.subjects[0].digest.sha256
    if said.mode == "digest" and wanted in said.envelopes_sha256:
        return None, "holds the receipt's signature (digest mode: the signer never had the file itself)"
    found = sha256_of(evidence.view)
    if found != wanted:
        raise VerificationError(f"SHA-256 {found}; the receipt is for {wanted}", code="wrong-file")
    if said.content_sha256 is not None and said.content_sha256 != reading.stripped_sha256:
        raise VerificationError("without its signature the file is not the approved content", code="strip-test")
    content = "what it was with its members signed" if said.derived else "the approved content"
    return None, f"SHA-256 {found[:16]}…, the one of the receipt; without signature {content}"


def _log(bundle: ReceiptBundle, trust: TrustFile, receipt: Statement[Receipt]) -> tuple[list[LoggedIntent], str]:
    said = receipt.predicate
    intents = [open_intent(wave, trust.log_trust) for wave in bundle.waves]
    for number, intent in enumerate(intents):
        leaf = intent.leaf
        found = (leaf.request, leaf.key, leaf.policy_sha256, leaf.kind, leaf.trial, leaf.mode, leaf.wave)
        wanted = (said.request, said.key, said.policy_sha256, said.kind, said.trial, said.mode, number)
        is_other = found != wanted or leaf.derived != (number > 0) or leaf.attempt != intents[0].leaf.attempt
        if is_other or hashlib.sha256(intent.operations).hexdigest() != leaf.operations_sha256:
            raise VerificationError(f"intent {intent.index} is not the one of this receipt", code="wrong-intent")
        conditions = (leaf.profile, leaf.sandbox, leaf.key_protection, leaf.exceptions, leaf.content_seen)
        told = (said.profile, said.sandbox, said.key_protection, said.exceptions, said.content_seen)
        if conditions != told:
            raise VerificationError(f"intent {intent.index} and receipt tell of other conditions", code="wrong-intent")
    if tuple(intent.index for intent in intents) != said.intents:
        raise VerificationError("the receipt names other intents", code="wrong-intent")
    last, (outside, local) = intents[-1].witnessed, _fewest(intents)
    places = f"outside {outside} / local {local}"
    indexes = ", ".join(str(intent.index) for intent in intents)
    return intents, f"intent at {indexes} of {last.checkpoint.origin}, size {last.checkpoint.size}, witnesses {places}"


def _operation(reading: Reading, said: Receipt, intents: Sequence[LoggedIntent]) -> tuple[None, str]:
    """What the signature covers is what the witnessed intent named for this artifact."""
    waves = [[row for row in open_operations(i.operations) if row.artifact == said.artifact] for i in intents]
    rows = [row for wave in waves for row in wave]
    if said.derived != any(waves[1:]):
        raise VerificationError("the receipt and the log differ in what is derived", code="wrong-intent")
    named = {(row.digest, template_named(row.template).purpose, row.inner_path) for row in rows}
    ours = [s for s in reading.signatures if sha256_hex(s.envelope) in said.envelopes_sha256]
    if not ours or {(str(s.content_digest), s.purpose, s.inner_path) for s in ours} != named:
        raise VerificationError("the signature covers another digest than the logged operation", code="wrong-operation")
    if {hashlib.sha256(s.public_key).hexdigest() for s in ours} != {said.key}:
        raise VerificationError("the signature was made with another key than the logged one", code="wrong-key")
    digests = ", ".join(sorted(digest for digest, _, _ in named))
    return None, f"the digest that was logged before the key was used: {digests[:30]}…"


def _told_truly(
    said: Receipt, reading: Reading, *, intents: Sequence[LoggedIntent], stamps: Sequence[_Stamp | None]
) -> tuple[None, str]:
    """What the receipt says about its conditions is not better than what can be seen."""
    ours = [s for s in reading.signatures if sha256_hex(s.envelope) in said.envelopes_sha256]
    certificates = {sha256_hex(s.signer_certificate) if s.signer_certificate else None for s in ours}
    if certificates != {said.certificate}:
        raise VerificationError("the receipt names another certificate", code="wrong-receipt")
    outside, local = _fewest(intents)
    if said.witnesses_outside > outside or said.witnesses_local > local:
        raise VerificationError("the receipt tells of more witnesses than cosigned", code="wrong-receipt")
    found = _where(stamps)
    if _PLACES.index(said.timestamp) > _PLACES.index(found):
        raise VerificationError(f"the receipt tells of timestamp {said.timestamp}, found {found}", code="wrong-receipt")
    begun = _begun(said, intents)
    for stamp, one in zip(stamps, ours, strict=True):
        earliest = begun.get((str(one.content_digest), one.inner_path), parse_time(intents[0].leaf.signing_time))
        if stamp is not None and stamp.info.gen_time < earliest - WINDOW:
            raise VerificationError("the timestamp is older than the logged intent", code="wrong-time")
    leaf = intents[-1].leaf
    if (said.policy_version, said.log_origin) != (leaf.policy_version, intents[-1].witnessed.checkpoint.origin):
        raise VerificationError("the receipt names another policy version or log", code="wrong-receipt")
    if (said.grade == "test") != (said.kind == "test"):
        raise VerificationError(f"a {said.kind} signature graded {said.grade}", code="wrong-receipt")
    return None, f"as the receipt says: grade {said.grade}, {_conditions(said)}"


def _fewest(intents: Sequence[LoggedIntent]) -> tuple[int, int]:
    """How many witnesses, outside and local, every one of the intents has at least."""
    cosigned = [intent.witnessed.cosigned for intent in intents]
    return min(one.outside for one in cosigned), min(one.local for one in cosigned)


def _begun(said: Receipt, intents: Sequence[LoggedIntent]) -> dict[tuple[str, str], datetime]:
    """Digest and path of each operation of the receipt's artifact → signing time of its wave."""
    return {
        (row.digest, row.inner_path): parse_time(intent.leaf.signing_time)
        for intent in intents
        for row in open_operations(intent.operations)
        if row.artifact == said.artifact
    }


_PLACES = ("none", "local", "outside")


def _where(stamps: Sequence[_Stamp | None]) -> str:
    if not stamps or any(stamp is None for stamp in stamps):
        return "none"
    return "outside" if all(stamp is not None and stamp.outside for stamp in stamps) else "local"


def _authorisation(
    story: _Story, bundle: ReceiptBundle, *, receipt: Statement[Receipt], intents: Sequence[LoggedIntent]
) -> None:
    authorisation = bundle.authorisation
    if authorisation is None:
        story.checks.append(Check("authorisation", None, "attested by the signer, not re-checked (shareable receipt)"))
        return

    def counted() -> tuple[None, str]:
        found = recount(authorisation, intents, policy_root_sha256=story.trust.policy_root_sha256)
        said, request = receipt.predicate, found.facts.request.predicate
        subject = found.facts.request.subjects[said.artifact : said.artifact + 1]
        told = (found.policy.sha256, found.people, request.project, request.signing_policy)
        if told != (said.policy_sha256, said.people, said.project, said.signing_policy):
            raise VerificationError("the receipt tells of another policy or other people", code="wrong-receipt")
        if not subject or subject[0].digest.sha256 != said.source_sha256:
            raise VerificationError("the receipt is about another artifact than the request", code="wrong-receipt")
        if found.policy.root.trial != said.trial:
            raise VerificationError("trial root and receipt differ", code="trial")
        who = f"approved by {', '.join(found.people)}" if found.people else "automatic"
        scans = f", {len(found.facts.scans)} clean scan verdicts" if found.facts.scans else ""
        return None, f"counted again under policy version {found.policy.version}: {who}{scans}"

    story.step("authorisation", counted)
