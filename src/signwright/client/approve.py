# SPDX-License-Identifier: Apache-2.0
"""A person's look at a request, and their word on it.

Nothing that the hub merely says is shown or signed. Policy, request, approvals and scan verdicts are verified from
the trust file's pinned root; artifacts are fetched and hashed again and their operations recomputed; the log's newest
checkpoint must continue the one that this client has seen.
"""

from __future__ import annotations

import base64
import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from signwright.client.files import hash_file
from signwright.client.hub import Hub, RequestView
from signwright.client.recognise import format_named, options_of, prepare
from signwright.client.results import requested
from signwright.client.seen_log import follow_log, was_seen
from signwright.client.seen_policy import follow_policy
from signwright.client.ssh_keys import PersonKey
from signwright.client.standing import Known, look
from signwright.client.trust import TrustFile
from signwright.errors import AuthenticationError, DeniedError, SignwrightError, VerificationError
from signwright.formats.base import PreparedMember
from signwright.model.operation import Parameter
from signwright.model.times import format_time, parse_time
from signwright.model.view import FileView
from signwright.policy.decide import Decision, decide
from signwright.policy.documents import ArtifactConfiguration, SigningPolicy
from signwright.policy.facts import Facts, gather
from signwright.policy.metadata import artifact_rule
from signwright.policy.policy import Policy
from signwright.statements.bundle import ReceiptBundle, open_envelope
from signwright.statements.keys import verify_envelope, verifying_key
from signwright.statements.models import Approval, Request, SeenCheckpoint, Statement, parse_statement
from signwright.statements.receipt import Receipt
from signwright.statements.writing import statement_payload

Word = Literal["approve", "deny", "release"]
#: How many earlier requests are looked at to find the last release.
LOOK_BACK = 100
#: What an approver is told of an operation whose digest nobody knows yet.
DERIVED = "a digest that follows from signatures inside it; the signer's two workers derive it"


@dataclass(frozen=True, slots=True)
class ReviewedFile:
    """``facts``: what the format found in the bytes, empty when they were not there to be read."""

    name: str
    sha256: str
    size: int
    format: str
    options: dict[str, Parameter]
    facts: dict[str, Parameter]


@dataclass(frozen=True, slots=True)
class Review:
    """Everything here was verified. ``changes``: since the last release under this policy, None without one.

    ``continues_log``: this client had seen the log before; else ``checkpoint`` is the first that it has seen.
    """

    view: RequestView
    request: Statement[Request]
    policy: Policy
    rule: SigningPolicy
    facts: Facts
    decision: Decision
    files: tuple[ReviewedFile, ...]
    rehashed: bool
    checkpoint: SeenCheckpoint
    continues_log: bool
    changes: tuple[str, ...] | None
    standing: Known

    @property
    def submitter(self) -> str:
        """Who asks, as the policy describes the credential."""
        credential = self.policy.credentials.credentials.get(self.facts.submitter or "")
        words = credential.description if credential else "a credential that is not enrolled"
        return f"{words} ({self.facts.submitter or 'no valid signature'})"


def review(hub: Hub, reference: str, *, trust: TrustFile, now: datetime, read_artifacts: bool = True) -> Review:
    """Fetch and verify everything about a request. Raises `VerificationError` for a lie, `DeniedError` when hopeless.

    ``read_artifacts``: False for a no, which needs no look inside.
    """
    policy = hub.policy().open(pinned_root_sha256=trust.policy_root_sha256)
    follow_policy(policy)
    view = hub.request(reference)
    request = requested(hub, view)
    words = hub.words(view.id)
    standing = look(hub, policy, now=now)
    evidence = (*words.evidence, *standing.evidence)
    facts = gather(policy, words.request, approvals=words.approvals, evidence=evidence, now=now)
    rule = policy.signing_policy(request.predicate.project, request.predicate.signing_policy)
    if rule is None or facts.submitter is None:
        raise DeniedError(
            f"{view.id}: the request is not signed by an enrolled credential for a policy that exists", code="submitter"
        )
    rehashed = read_artifacts and request.predicate.mode == "artifact"
    chain = [base64.b64decode(c) for c in policy.key_of(rule).chain]
    configuration = policy.projects[request.predicate.project].artifact_configurations[rule.artifact_configuration]
    files = tuple(
        _read(hub, view, request, index, chain=chain, configuration=configuration)
        if rehashed
        else _unread(request, index)
        for index in range(len(request.subjects))
    )
    continues_log = was_seen(trust.log_trust)
    return Review(
        view=view,
        request=request,
        policy=policy,
        rule=rule,
        facts=facts,
        decision=decide(policy, facts),
        files=files,
        rehashed=rehashed,
        checkpoint=follow_log(trust.log_trust, hub.checkpoint(), hub.log_file),
        continues_log=continues_log,
        changes=_changes(hub, trust, request) if read_artifacts else None,
        standing=standing,
    )


def _unread(request: Statement[Request], index: int) -> ReviewedFile:
    subject, artifact = request.subjects[index], request.predicate.artifacts[index]
    return ReviewedFile(subject.name, subject.digest.sha256, artifact.size, artifact.format, dict(artifact.options), {})


def _read(
    hub: Hub,
    view: RequestView,
    request: Statement[Request],
    index: int,
    *,
    chain: list[bytes],
    configuration: ArtifactConfiguration,
) -> ReviewedFile:
    """Hash the bytes again and derive the operations from them, as the signer will."""
    plain = _unread(request, index)
    artifact = request.predicate.artifacts[index]
    with tempfile.TemporaryFile() as file:
        hub.download(view.id, index, file, size=artifact.size)
        sha256, size = hash_file(file)
        if (sha256, size) != (plain.sha256, plain.size):
            raise VerificationError(
                f"{plain.name}: the hub sent SHA-256 {sha256}; the request is for {plain.sha256}", code="wrong-artifact"
            )
        chosen = format_named(artifact.format)
        inside = artifact_rule(configuration, plain.name, chosen.name)
        options = options_of(chosen, artifact.options)
        prepared = prepare(chosen, FileView(file), chain=chain, options=options, inside=inside)
    if (prepared.operations, prepared.later) != (artifact.operations, artifact.derived):
        raise VerificationError(
            f"{plain.name}: its operations are not those of the request", code="wrong-operations", hint="do not approve"
        )
    facts = {**prepared.facts, **{f"signs {m.path}": _words(m) for m in prepared.members}}
    facts |= {f"then signs {one.inner_path or plain.name}": DERIVED for one in artifact.derived}
    return ReviewedFile(plain.name, plain.sha256, plain.size, plain.format, plain.options, facts)


def _words(member: PreparedMember) -> str:
    """What a member is, in a line."""
    said = [f"{name} {value}" for name, value in sorted(member.facts.items()) if isinstance(value, str)]
    return ", ".join([member.format, *said])[:300]


def person_of(policy: Policy, key: PersonKey) -> str:
    """Whose key it is; raises `AuthenticationError` when it is nobody's."""
    for name, person in policy.people.people.items():
        if not person.disabled and key.public.fingerprint in {verifying_key(text).key_id for text in person.keys}:
            return name
    raise AuthenticationError(
        f"key {key.public.fingerprint} is not enrolled in this policy",
        code="unknown-person",
        hint="ask a policy keeper",
    )


def say_word(
    hub: Hub, seen: Review, key: PersonKey, *, word: Word, comment: str | None, now: datetime
) -> tuple[RequestView, Statement[Approval]]:
    """Sign ``word`` about exactly what was reviewed, and hand it in."""
    request = seen.request
    expires = now + timedelta(hours=min(seen.rule.approvals.max_age_hours, 168))
    approval = Approval(
        decision=word,
        person=person_of(seen.policy, key),
        project=request.predicate.project,
        signing_policy=request.predicate.signing_policy,
        policy_sha256=seen.policy.sha256,
        checkpoint=seen.checkpoint,
        artifacts_rehashed=seen.rehashed,
        evidence_verified=tuple(scan.statement.digest for scan in seen.facts.scans),
        comment=comment,
        created=format_time(now),
        expires=format_time(expires),
    )
    subjects = [("request", request.digest), *((s.name, s.digest.sha256) for s in request.subjects)]
    envelope = key.sign_statement(statement_payload(approval, subjects), "approval")
    return hub.add_word(seen.view.id, envelope), parse_statement(envelope, Approval)


def _changes(hub: Hub, trust: TrustFile, request: Statement[Request]) -> tuple[str, ...] | None:
    before = _last_release(hub, trust, request)
    return None if before is None else tuple(differences(before, request))


def _last_release(hub: Hub, trust: TrustFile, request: Statement[Request]) -> Statement[Request] | None:
    """The newest request under the same policy that a receipt proves to have been signed."""
    address = (request.predicate.project, request.predicate.signing_policy)
    for view in hub.requests(state="completed", limit=LOOK_BACK):
        if (view.project, view.signing_policy) != address:
            continue
        try:
            earlier = requested(hub, view)
            bundle = ReceiptBundle.decode(hub.result(view, 0, "receipt"))
            envelope = open_envelope(bundle.receipt)
            proved = verify_envelope(envelope, "receipt", list(trust.receipt_keys))
            if proved and parse_statement(envelope, Receipt).predicate.request == earlier.digest:
                return earlier
        except SignwrightError:
            continue  # what is not proved is not shown
    return None


def differences(before: Statement[Request], after: Statement[Request]) -> list[str]:
    """What differs between two requests, in words; empty when nothing does."""
    old = {s.name: (s.digest.sha256, a) for s, a in zip(before.subjects, before.predicate.artifacts, strict=True)}
    new = {s.name: (s.digest.sha256, a) for s, a in zip(after.subjects, after.predicate.artifacts, strict=True)}
    rows = [f"no longer there: {name}" for name in sorted(set(old) - set(new))]
    rows += [f"new: {name}" for name in sorted(set(new) - set(old))]
    for name in sorted(set(old) & set(new)):
        (old_sha256, old_artifact), (new_sha256, new_artifact) = old[name], new[name]
        if old_sha256 != new_sha256:
            rows.append(f"{name}: other content, {old_artifact.size} → {new_artifact.size} bytes")
        if old_artifact.options != new_artifact.options:
            rows.append(f"{name}: other options, {_plain(old_artifact.options)} → {_plain(new_artifact.options)}")
        if old_artifact.format != new_artifact.format:
            rows.append(f"{name}: {old_artifact.format} → {new_artifact.format}")
        old_count, new_count = len(old_artifact.derived), len(new_artifact.derived)
        if old_count != new_count:
            rows.append(f"{name}: digests that follow from signatures inside it, {old_count} → {new_count}")
    rows += _other_source(before.predicate, after.predicate)
    if before.predicate.mode != after.predicate.mode:
        rows.append(f"mode: {before.predicate.mode} → {after.predicate.mode}")
    days = (parse_time(after.predicate.created) - parse_time(before.predicate.created)).days
    return [*rows, f"last release: {before.predicate.created} ({days} days before)"]


def _other_source(before: Request, after: Request) -> list[str]:
    old, new = before.source, after.source
    if old is None or new is None:
        return [] if old is new else [f"source: {'told' if old else 'not told'} → {'told' if new else 'not told'}"]
    rows = [] if old.repository == new.repository else [f"repository: {old.repository} → {new.repository}"]
    return rows if old.commit == new.commit else [*rows, f"commit: {old.commit[:12]} → {new.commit[:12]}"]


def _plain(options: dict[str, Parameter]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(options.items())) or "none"
