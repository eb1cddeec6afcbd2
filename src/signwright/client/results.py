# SPDX-License-Identifier: Apache-2.0
"""From a completed request to signed files: fetched, applied beside the output, checked by a stranger, put in place.

Either every output of a request appears, each with its receipt, or none does.
"""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from signwright.client.files import Draft, check_output, draft, hash_file, open_input
from signwright.client.follows import check_follows
from signwright.client.hub import Hub, RequestView
from signwright.client.members import reader_of
from signwright.client.raw import ReceiptKeyReader
from signwright.client.recognise import format_named, options_of, prepare
from signwright.client.trust import TrustFile
from signwright.client.verify import Check, Evidence, verify
from signwright.errors import NotFoundError, UsageError, VerificationError
from signwright.formats.base import Format
from signwright.model.patch import Patch, apply_patch, sealed
from signwright.model.spoken import request_id
from signwright.model.view import FileView
from signwright.policy.policy import Policy
from signwright.statements.bundle import ReceiptBundle, open_envelope
from signwright.statements.models import Request, RequestedArtifact, Statement, parse_statement
from signwright.statements.receipt import Receipt

RECEIPT_SUFFIX = ".swreceipt"
MAX_ENVELOPES = 64


@dataclass(frozen=True, slots=True)
class Target:
    """``source``: the file on disk, None when the hub has to send it; ``output``: where the result goes."""

    artifact: int
    source: Path | None
    output: Path

    @property
    def receipt(self) -> Path:
        return self.output.with_name(self.output.name + RECEIPT_SUFFIX)


@dataclass(frozen=True, slots=True)
class SavedResult:
    """One output as it was written. ``checks``: of the independent verification, empty without a trust file."""

    target: Target
    sha256: str
    receipt: Statement[Receipt]
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Trusted:
    """What results are judged with. ``policy``: for the certificate chain; ``trust``: None checks digests alone."""

    policy: Policy
    trust: TrustFile | None
    now: datetime


def requested(hub: Hub, view: RequestView) -> Statement[Request]:
    """The signed request behind a view; raises `VerificationError` when the hub shows another one."""
    statement = parse_statement(hub.words(view.id).request, Request)
    if view.id != request_id(statement.digest) or view.request_sha256 not in ("", statement.digest):
        raise VerificationError(f"the hub shows another request than {view.id}", code="wrong-request")
    return statement


def check_repeats(earlier: Statement[Request], asked: Statement[Request]) -> None:
    """An earlier request may answer for ``asked`` when it asked for the same; raises `VerificationError` otherwise."""
    if _asked_for(earlier) != _asked_for(asked):
        raise VerificationError(
            "the hub answers with an earlier request that asked for something else",
            code="wrong-request",
            hint="--again asks anew",
        )


def _asked_for(request: Statement[Request]) -> tuple[object, ...]:
    """Everything but nonce and times."""
    plain = request.predicate.model_dump(exclude={"nonce", "created", "expires"})
    return (plain, [(subject.name, subject.digest.sha256) for subject in request.subjects])


def output_for(chosen: Format, source: Path, *, output: Path | None, in_place: bool, several: bool) -> Path:
    """Where the result of ``source`` goes; raises `UsageError` for what would overwrite an input unasked."""
    if in_place:
        if chosen.detached_suffix:
            raise UsageError(
                f"{source}: a {chosen.title} stands beside its file; --in-place makes no sense", code="detached"
            )
        result = source
    elif output is None:
        if not chosen.detached_suffix:
            raise UsageError(
                f"{source}: where should the signed file go?", code="no-output", hint="-o OUT, or --in-place"
            )
        result = source.with_name(source.name + chosen.detached_suffix)
    else:
        result = output / (source.name + chosen.detached_suffix) if several else output
    if several and output is not None and not output.is_dir():
        raise UsageError(f"{output}: no such folder", code="no-output-folder", hint="several files: -o names a folder")
    check_output(result)
    if not in_place and result.exists() and source.exists() and os.path.samefile(result, source):
        raise UsageError(f"{result}: output and input are the same file", code="same-file", hint="--in-place says so")
    return result


def save_results(
    hub: Hub, view: RequestView, request: Statement[Request], *, targets: Sequence[Target], trusted: Trusted
) -> list[SavedResult]:
    """Fetch, apply and check every target, then put all of them in place. Raises `VerificationError` and writes
    nothing when one does not hold.
    """
    outputs = [path for target in targets for path in (target.output, target.receipt)]
    if len(set(outputs)) != len(outputs):
        raise UsageError("two files would have the same output", code="same-output", hint="name the files one by one")
    with ExitStack() as stack:
        ready = [_fetch(stack, hub, view, request, target=target, trusted=trusted) for target in targets]
        for _, result, receipt, mode in ready:
            receipt.publish()
            result.publish(mode=mode)
        return [saved for saved, *_ in ready]


def _fetch(
    stack: ExitStack,
    hub: Hub,
    view: RequestView,
    request: Statement[Request],
    *,
    target: Target,
    trusted: Trusted,
) -> tuple[SavedResult, Draft, Draft, int | None]:
    index = target.artifact
    artifact, subject = request.predicate.artifacts[index], request.subjects[index]
    chosen = format_named(artifact.format)
    content = hub.result(view, index, "receipt")
    bundle = ReceiptBundle.decode(content)
    receipt = _receipt_for(bundle, request, index)
    source = stack.enter_context(_source(hub, view, target, sha256=subject.digest.sha256, size=artifact.size))
    patch = _patch(hub, view, request, receipt, index=index, source=source, policy=trusted.policy)
    result, kept = stack.enter_context(draft(target.output)), stack.enter_context(draft(target.receipt))
    sha256 = apply_patch(FileView(source), patch, result.file.write)
    if sha256 != patch.result_sha256:
        raise VerificationError(f"{target.output}: SHA-256 {sha256}; wanted {patch.result_sha256}", code="wrong-result")
    kept.file.write(content)
    checks = _checks(chosen, result.file, source, bundle=bundle, trusted=trusted)
    # Permissions go along, setuid, setgid and sticky do not: the new file may belong to somebody else than the old one.
    mode = None if chosen.detached_suffix or target.source is None else os.fstat(source.fileno()).st_mode & 0o777
    return SavedResult(target, sha256, receipt, tuple(checks)), result, kept, mode


def _receipt_for(bundle: ReceiptBundle, request: Statement[Request], index: int) -> Statement[Receipt]:
    """The receipt, which must be about this artifact of this request."""
    receipt = parse_statement(open_envelope(bundle.receipt), Receipt)
    said = receipt.predicate
    wanted = (request.digest, index, request.subjects[index].digest.sha256)
    if (said.request, said.artifact, said.source_sha256) != wanted:
        raise VerificationError("the receipt is about another request or artifact", code="wrong-receipt")
    return receipt


@contextmanager
def _source(hub: Hub, view: RequestView, target: Target, *, sha256: str, size: int) -> Iterator[BinaryIO]:
    """The file that was to be signed, open, with its digest checked."""
    with ExitStack() as stack:
        if target.source is not None:
            file: BinaryIO = stack.enter_context(open_input(target.source))
        else:
            check_output(target.output)
            # Beside the output: the same file system, with room for the result as well.
            file = stack.enter_context(tempfile.TemporaryFile(dir=target.output.parent))
            if view.mode == "digest":
                raise NotFoundError(
                    "a file signed in digest mode never was at the hub", code="no-source", hint="name it"
                )
            hub.download(view.id, target.artifact, file, size=size)
        found, _ = hash_file(file)
        if found != sha256:
            name = target.source or f"artifact {target.artifact}"
            raise VerificationError(f"{name}: SHA-256 {found}; the request is for {sha256}", code="wrong-source")
        yield file


def _patch(
    hub: Hub,
    view: RequestView,
    request: Statement[Request],
    receipt: Statement[Receipt],
    *,
    index: int,
    source: BinaryIO,
    policy: Policy,
) -> Patch:
    """The patch from the hub, checked against the receipt; in digest mode made here from the envelopes."""
    said, artifact = receipt.predicate, request.predicate.artifacts[index]
    if request.predicate.mode == "digest":
        envelopes = [hub.result(view, index, f"envelopes/{k}") for k in range(len(said.envelopes_sha256))]
        if tuple(hashlib.sha256(e).hexdigest() for e in envelopes) != said.envelopes_sha256:
            raise VerificationError("the hub's envelopes are not those of the receipt", code="wrong-envelope")
        return _embed(artifact, envelopes, source=source, request=request, policy=policy)
    wire = hub.result(view, index, "patch")
    if hashlib.sha256(wire).hexdigest() != said.patch_sha256:
        raise VerificationError("the hub's patch is not the one of the receipt", code="wrong-patch")
    patch = Patch.decode(wire)
    if (patch.source_sha256, patch.result_sha256) != (said.source_sha256, receipt.subjects[0].digest.sha256):
        raise VerificationError("the patch is for other bytes than the receipt", code="wrong-patch")
    return patch


def _embed(
    artifact: RequestedArtifact,
    envelopes: Sequence[bytes],
    *,
    source: BinaryIO,
    request: Statement[Request],
    policy: Policy,
) -> Patch:
    chosen = format_named(artifact.format)
    rule = policy.signing_policy(request.predicate.project, request.predicate.signing_policy)
    chain = [base64.b64decode(c) for c in policy.key_of(rule).chain] if rule else []
    view = FileView(source)
    prepared = prepare(chosen, view, chain=chain, options=options_of(chosen, artifact.options), inside=None)
    if prepared.operations != artifact.operations:
        raise VerificationError("the file now asks for other operations than the request", code="wrong-operations")
    return sealed(view, chosen.embed(prepared, envelopes))


def _checks(
    chosen: Format, result: BinaryIO, source: BinaryIO, *, bundle: ReceiptBundle, trusted: Trusted
) -> list[Check]:
    """An independent look at what was written; raises `VerificationError` for the first check that fails."""
    if trusted.trust is None:
        return []
    read = ReceiptKeyReader(bundle).read if chosen.name == "raw" else reader_of(chosen.name, bundle)
    content = FileView(source) if chosen.detached_suffix else None
    evidence = Evidence(FileView(result), content, read, bundle)
    checks = verify(evidence, trusted.trust, at=trusted.now)
    bad = [check for check in checks if check.ok is False]
    if bad:
        text = "; ".join(f"{check.name}: {check.text}" for check in bad)
        raise VerificationError(f"the result does not hold, nothing was written: {text}", code=bad[0].code)
    if parse_statement(open_envelope(bundle.receipt), Receipt).predicate.derived:
        # Nobody approved that digest: whoever has the approved file makes sure that it follows from it.
        words = check_follows(bundle, trusted.trust, FileView(source), FileView(result))
        checks.append(Check("source", True, words))
    return checks
