# SPDX-License-Identifier: Apache-2.0
"""From files to a signed request: recognise, prepare, state what is asked for, sign it, hand it in, upload."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from signwright.client.credentials import MachineCredential, choose
from signwright.client.files import open_input
from signwright.client.hub import Hub, RequestView
from signwright.client.recognise import choose_format, prepare, typed_options
from signwright.client.upload import upload
from signwright.errors import DeniedError, FormatError, SignwrightError, UsageError
from signwright.formats.base import Format, Prepared
from signwright.model.operation import Parameter
from signwright.model.times import format_time
from signwright.model.view import FileView
from signwright.policy.documents import ArtifactConfiguration, SigningPolicy
from signwright.policy.metadata import artifact_rule, metadata_problems
from signwright.policy.policy import Policy
from signwright.statements.dsse import Envelope, statement_digest
from signwright.statements.models import Request, RequestedArtifact, SourceRevision
from signwright.statements.writing import statement_payload

Mode = Literal["artifact", "digest"]


@dataclass(frozen=True, slots=True)
class Order:
    """What a caller asks for. ``options``: name → text; ``format``: None recognises by content."""

    project: str
    signing_policy: str
    mode: Mode | None = None
    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    source: SourceRevision | None = None

    @property
    def address(self) -> str:
        return f"{self.project}/{self.signing_policy}"


@dataclass(frozen=True, slots=True)
class PreparedFile:
    """One file as it was read: ``prepared`` has its SHA-256, size and operations; ``options``: plain values."""

    path: Path
    name: str
    format: Format
    prepared: Prepared
    options: dict[str, Parameter]


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A signed request that nobody has seen yet. ``digest``: its request digest, in hex."""

    order: Order
    mode: Mode
    files: tuple[PreparedFile, ...]
    envelope: Envelope
    digest: str
    credential: MachineCredential

    @property
    def default_key(self) -> str:
        """An idempotency key that the same job makes again: credential, policy, subjects, options, source commit."""
        told = {
            "credential": self.credential.key_id,
            "policy": self.order.address,
            "mode": self.mode,
            "files": [[f.name, f.prepared.source_sha256, f.format.name, f.options] for f in self.files],
            "commit": self.order.source.commit if self.order.source else None,
        }
        text = json.dumps(told, sort_keys=True, separators=(",", ":"))
        return "auto-" + hashlib.sha256(text.encode()).hexdigest()[:32]


def rule_of(policy: Policy, order: Order) -> SigningPolicy:
    """The signing policy that is asked for; raises `UsageError` naming those that exist."""
    rule = policy.signing_policy(order.project, order.signing_policy)
    if rule is None:
        there = sorted(f"{p}/{name}" for p, document in policy.projects.items() for name in document.signing_policies)
        raise UsageError(
            f"no signing policy {order.address!r}; there are {', '.join(there)}", code="unknown-signing-policy"
        )
    return rule


def prepare_request(
    paths: Sequence[Path],
    order: Order,
    *,
    policy: Policy,
    credentials: Sequence[MachineCredential],
    now: datetime,
) -> PreparedRequest:
    """Read every file once and sign one request for all of them. Raises `UsageError`, `FormatError`, and `DeniedError`
    for files that are not within the policy's metadata limits: the signer would refuse them after everybody's work.
    """
    rule = rule_of(policy, order)
    mode = _mode(rule, order)
    chain = tuple(base64.b64decode(certificate) for certificate in policy.key_of(rule).chain)
    configuration = policy.projects[order.project].artifact_configurations[rule.artifact_configuration]
    names = zip(paths, _subject_names(paths), strict=True)
    files = [_prepared(path, name, order, mode, chain=chain, configuration=configuration) for path, name in names]
    rules = (artifact_rule(configuration, one.name, one.format.name) for one in files)
    found = (metadata_problems(r, one.name, one.prepared.facts) for r, one in zip(rules, files, strict=True))
    reasons = [reason for reasons in found for reason in reasons]
    if reasons:
        rows = [reason.as_json() for reason in reasons]
        raise DeniedError("; ".join(map(str, reasons)), code="metadata", details={"reasons": rows})
    if rule.derived != "allow" and any(one.prepared.later for one in files):
        raise DeniedError(
            f"{order.address} does not allow operations that follow from signatures of members",
            code="derived",
            hint="derived: allow in the signing policy, by its keepers; or sign the members before they are packed",
        )
    credential = choose(credentials, rule.submitters, rule.kind)
    envelope = _sign(order, mode, files, rule=rule, credential=credential, now=now)
    return PreparedRequest(order, mode, tuple(files), envelope, statement_digest("request", envelope), credential)


def _prepared(
    path: Path, name: str, order: Order, mode: Mode, *, chain: Sequence[bytes], configuration: ArtifactConfiguration
) -> PreparedFile:
    with open_input(path) as opened:
        view = FileView(opened)
        chosen = choose_format(view, name, configuration, order.format)
        if mode == "digest" and not chosen.digest_mode:
            raise UsageError(f"{path}: {chosen.title} cannot be signed in digest mode", code="no-digest-mode")
        options, plain = typed_options(chosen, order.options)
        try:
            inside = artifact_rule(configuration, name, chosen.name)
            prepared = prepare(chosen, view, chain=chain, options=options, inside=inside)
        except FormatError as problem:
            raise _about(path, problem) from problem
    if mode == "digest" and (prepared.contents or prepared.later):
        raise UsageError(
            f"{path}: with these options the signer must see content, which wants artifact mode", code="no-digest-mode"
        )
    return PreparedFile(path, name, chosen, prepared, plain)


def _about(path: Path, problem: FormatError) -> SignwrightError:
    found = FormatError(f"{path}: {problem.message}", code=problem.code, hint=problem.hint)
    found.message = f"{path}: {problem.message}"
    return found


def _mode(rule: SigningPolicy, order: Order) -> Mode:
    """The mode asked for, else artifact mode unless the policy takes digests alone."""
    if order.mode is not None:
        return order.mode
    return "artifact" if "artifact" in rule.modes else "digest"


def _subject_names(paths: Sequence[Path]) -> list[str]:
    """File names without folders; with as much of the folder as tells two equal names apart."""
    names = [path.name for path in paths]
    if len(set(names)) == len(names):
        return names
    longer = [path.as_posix() for path in paths]
    if len(set(longer)) != len(longer):
        raise UsageError("a file is named twice", code="named-twice")
    return longer


def _sign(
    order: Order,
    mode: Mode,
    files: Sequence[PreparedFile],
    *,
    rule: SigningPolicy,
    credential: MachineCredential,
    now: datetime,
) -> Envelope:
    artifacts = tuple(
        RequestedArtifact(
            size=f.prepared.source_size,
            format=f.format.name,
            options=f.options,
            operations=f.prepared.operations,
            derived=f.prepared.later,
        )
        for f in files
    )
    request = Request(
        project=order.project,
        signing_policy=order.signing_policy,
        mode=mode,
        artifacts=artifacts,
        source=order.source,
        nonce=secrets.token_hex(16),
        created=format_time(now),
        expires=format_time(now + timedelta(hours=rule.max_request_age_hours)),
    )
    subjects = [(f.name, f.prepared.source_sha256) for f in files]
    return credential.sign_statement(statement_payload(request, subjects))


#: Told the file's name, bytes sent and bytes in all.
UploadProgress = Callable[[str, int, int], None]


def submit(
    hub: Hub, request: PreparedRequest, *, idempotency_key: str | None, wait: float | None, progress: UploadProgress
) -> RequestView:
    """Hand the request in and send what the hub does not have. The view may be of an earlier request (same key)."""
    ahead = wait if request.mode == "digest" else None
    view = hub.submit(request.envelope, idempotency_key=idempotency_key, wait=ahead)
    if request.mode == "digest" or view.is_final:
        return view
    missing = set(view.missing)
    for file in {f.prepared.source_sha256: f for f in request.files}.values():
        if file.prepared.source_sha256 in missing:
            _send(hub, file, progress)
    return view


def _send(hub: Hub, file: PreparedFile, progress: UploadProgress) -> None:
    prepared = file.prepared
    with open_input(file.path) as opened:
        upload(
            hub,
            opened,
            sha256=prepared.source_sha256,
            size=prepared.source_size,
            progress=lambda sent, size: progress(file.name, sent, size),
        )
