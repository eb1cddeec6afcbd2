# SPDX-License-Identifier: Apache-2.0
"""Artifact mode: the bytes themselves, and the operations that follow from them, derived in a worker and compared.

What is compared with the result later is read here as well, before the intent is logged: a file that its reader will
not have costs no attempt and no use of the key.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from signwright.envelopes.base import MAX_SEEN, check_seen
from signwright.envelopes.templates import template_named
from signwright.errors import DeniedError, LimitError, VerificationError
from signwright.formats.base import Prepared
from signwright.formats.registry import FORMATS
from signwright.formats.zip import ZipFormat
from signwright.model.operation import Operation
from signwright.model.patch import Patch
from signwright.plan.archive import following
from signwright.plan.choice import may_replace
from signwright.plan.signing import NOTHING_INSIDE
from signwright.policy.documents import ArtifactRule
from signwright.policy.metadata import artifact_rule, metadata_problems
from signwright.policy.orders import MAX_ATTACHED
from signwright.signer.gate.artifact import Artifact
from signwright.signer.gate.errands import Errands
from signwright.signer.gate.settings import Limits
from signwright.signer.gate.verify import Case
from signwright.signer.worker.client import Workers
from signwright.statements.models import RequestedArtifact, Subject


@dataclass(frozen=True, slots=True)
class Before:
    """What the independent reader found in an artifact before it was signed. ``stripped_sha256``: of its content;
    ``kept``: paths and values of the signatures that are to stay: with the option ``existing: append`` the artifact's
    own, and those of members that are not signed; ``members_sha256``: of an archive, every byte of those members.
    """

    stripped_sha256: str
    kept: tuple[tuple[str, bytes], ...] = ()
    members_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Derived:
    """One artifact of the request with its bytes and the ``patch`` of earlier waves, what a worker prepared from them,
    and what another one read.
    """

    artifact: Artifact
    prepared: Prepared
    before: Before
    patch: Patch | None = None


@asynccontextmanager
async def derived(case: Case, *, errands: Errands, workers: Workers, limits: Limits) -> AsyncIterator[list[Derived]]:
    """Every artifact of the request, fetched, hashed, derived and compared; the files are gone after the block.

    Raises `LimitError`, `VerificationError`, `UnavailableError`, `FormatError`, and `DeniedError`
    (``wrong-operations``). `VerificationError` also for a signature that is to be kept and does not hold.
    """
    statement = case.job.statement
    rows = list(zip(statement.subjects, statement.predicate.artifacts, strict=True))
    for subject, requested in rows:
        if requested.size > limits.artifact_bytes:
            raise LimitError(
                f"{subject.name!r} has {requested.size} bytes; at most {limits.artifact_bytes}", code="artifact-size"
            )
    async with AsyncExitStack() as stack:
        found = []
        for subject, requested in rows:
            sha256 = subject.digest.sha256
            artifact = await errands.fetch(sha256, requested.size, seconds=limits.fetch_seconds)
            stack.callback(artifact.close)
            rule = _rule(case, subject, requested)
            prepared = await _prepare(case, subject, requested, rule=rule, artifact=artifact, workers=workers)
            before = await _before(prepared, requested, rule=rule, artifact=artifact, workers=workers)
            found.append(Derived(artifact, prepared, before))
        check_room([content for one in found for content in one.prepared.contents])
        yield found


def check_room(contents: Sequence[bytes]) -> None:
    """One order carries them all; raises `LimitError` before an attempt is used up."""
    size = sum(map(len, contents))
    if size > MAX_SEEN or len(contents) > MAX_ATTACHED:
        raise LimitError(
            f"{len(contents)} contents of {size} bytes that the signer must see; at most {MAX_ATTACHED} of {MAX_SEEN}",
            code="contents-size",
            hint="fewer files in one request",
        )


async def derived_again(
    case: Case, wave: int, index: int, *, artifact: Artifact, patch: Patch, workers: Workers
) -> Derived:
    """Artifact ``index`` in a later wave: ``patch`` has the signatures that its operations follow from. Two fresh
    workers have to derive the same. Raises as `derived`.
    """
    subject = case.job.statement.subjects[index]
    requested = case.job.statement.predicate.artifacts[index]
    rule = _rule(case, subject, requested)
    planned = [one for one in requested.derived if one.wave == wave]
    paths = [one.inner_path for one in planned]
    found = [
        await _prepared(case, requested, rule=rule, artifact=artifact, workers=workers, patch=patch, paths=paths)
        for _ in range(2)
    ]
    if (found[0].operations, found[0].contents) != (found[1].operations, found[1].contents):
        raise VerificationError(f"{subject.name!r}: two workers derive different operations", code="worker-answer")
    prepared = found[0]
    same = [following(operation, wave) for operation in prepared.operations] == planned
    if not same or (prepared.source_sha256, prepared.source_size) != (patch.result_sha256, patch.result_size):
        raise DeniedError(
            f"{subject.name!r}: what follows from its signatures is not what the request names", code="wrong-operations"
        )
    await asyncio.to_thread(_check_contents, prepared)
    before = await _before(prepared, requested, rule=rule, artifact=artifact, workers=workers, patch=patch)
    return Derived(artifact, prepared, before, patch)


async def _prepare(
    case: Case,
    subject: Subject,
    requested: RequestedArtifact,
    *,
    rule: ArtifactRule | None,
    artifact: Artifact,
    workers: Workers,
) -> Prepared:
    prepared = await _prepared(case, requested, rule=rule, artifact=artifact, workers=workers)
    if (prepared.source_sha256, prepared.source_size) != (artifact.sha256, artifact.size):
        raise VerificationError(f"{subject.name!r}: the worker read other bytes", code="worker-answer")
    _compare(subject.name, requested, prepared)
    _check_metadata(rule, subject, prepared)
    await asyncio.to_thread(_check_contents, prepared)
    return prepared


async def _prepared(
    case: Case,
    requested: RequestedArtifact,
    *,
    rule: ArtifactRule | None,
    artifact: Artifact,
    workers: Workers,
    patch: Patch | None = None,
    paths: Sequence[str] | None = None,
) -> Prepared:
    """As a fresh worker has it."""
    descriptor = artifact.read_only()
    try:
        return await asyncio.to_thread(
            workers.prepare,
            descriptor,
            format_name=requested.format,
            options=requested.options,
            chain=case.opened.chain_of(case.rule),
            inside=rule,
            patch=patch,
            paths=paths,
        )
    finally:
        os.close(descriptor)


async def _before(
    prepared: Prepared,
    requested: RequestedArtifact,
    *,
    rule: ArtifactRule | None,
    artifact: Artifact,
    workers: Workers,
    patch: Patch | None = None,
) -> Before:
    chosen = FORMATS[prepared.format]
    if chosen.detached_suffix:
        return Before(artifact.sha256)
    descriptor = artifact.read_only()
    try:
        # An archive stays what it is, but for the members that are signed.
        signed = signed_members(prepared)
        kept = signed is not None or requested.options.get("existing") == "append"
        reading = await asyncio.to_thread(
            workers.read_source, descriptor, reader=chosen.name, kept=kept, patch=patch, signed=signed
        )
    finally:
        os.close(descriptor)
    signatures = reading.signatures if kept else ()
    if signed is not None:
        replaced = {path for path in signed if may_replace(rule or NOTHING_INSIDE, path)}
        signatures = tuple(found for found in signatures if found.inner_path not in replaced)
    values = tuple((found.inner_path, found.signature_value) for found in signatures)
    return Before(reading.stripped_sha256, values, reading.kept_sha256)


def signed_members(prepared: Prepared) -> list[str] | None:
    """Paths of the members of an archive that are signed; None for a file that is signed itself."""
    if prepared.format != ZipFormat.name:
        return None
    return sorted({operation.inner_path for operation in prepared.operations})


def _rule(case: Case, subject: Subject, requested: RequestedArtifact) -> ArtifactRule | None:
    """The policy's rule for an artifact of this name and format."""
    project = case.opened.policy.projects[case.job.statement.predicate.project]
    configuration = project.artifact_configurations[case.rule.artifact_configuration]
    return artifact_rule(configuration, subject.name, requested.format)


def _check_metadata(rule: ArtifactRule | None, subject: Subject, prepared: Prepared) -> None:
    """What the artifact says of itself, as the worker read it, is within its rule; raises `DeniedError`."""
    reasons = list(metadata_problems(rule, subject.name, prepared.facts))
    if reasons:
        words = "; ".join(map(str, reasons))
        raise DeniedError(words, code="metadata", details={"reasons": [reason.as_json() for reason in reasons]})


def _check_contents(prepared: Prepared) -> None:
    """What the keyholder will look at, looked at before an attempt is used up; raises `MalformedError`."""
    contents = list(prepared.contents)
    for operation in prepared.operations:
        template = template_named(operation.template)
        if template.check_content is not None:
            check_seen(template, operation, contents.pop(0))


def _compare(name: str, requested: RequestedArtifact, found: Prepared) -> None:
    """Exactly the same operations in the same order, and the same that follow from them."""
    if (requested.operations, requested.derived) == (found.operations, found.later):
        return
    raise DeniedError(
        f"{name!r}: the request's operations are not those of the artifact: found {_words(found.operations)} and"
        f" {len(found.later)} derived ones, wanted {_words(requested.operations)} and {len(requested.derived)}",
        code="wrong-operations",
    )


def _words(operations: tuple[Operation, ...]) -> str:
    shown = [f"{o.template} {o.digest[:23]}… {dict(sorted(o.parameters.items()))}" for o in operations[:3]]
    return f"{len(operations)} ({'; '.join(shown)})"
