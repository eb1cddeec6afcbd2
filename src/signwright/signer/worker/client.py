# SPDX-License-Identifier: Apache-2.0
"""The worker as its caller sees it: prepare, embed, read and inspect as typed functions over a `WorkerPool`.

Everything a worker answers is checked for shape here and for meaning by the gate. Errors are those of
`signwright.signer.worker.pool.RunningJob.answer`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field, StringConstraints, ValidationError

from signwright.errors import FormatError, LimitError, MalformedError
from signwright.formats.base import Prepared
from signwright.formats.zip import ZipFormat
from signwright.model.digest import Digest
from signwright.model.framing import Frame
from signwright.model.operation import DigestText, Many, Name, Strict
from signwright.model.patch import Patch
from signwright.model.text import first_bad_character
from signwright.model.times import parse_time
from signwright.policy.documents import Inside
from signwright.readers.base import FoundSignature, Reading
from signwright.signer.start import signer_command, signer_environment
from signwright.signer.worker.pool import JobLimits, WorkerPool

_Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Text = Annotated[str, StringConstraints(max_length=2048)]
_Part = Annotated[int, Field(ge=0)]
_Size = Annotated[int, Field(ge=0)]
Answer = TypeVar("Answer", bound=Strict)


class _Signature(Strict):
    format: Name
    family: Name
    purpose: Name
    content_digest: DigestText
    signature_value: _Part
    envelope: _Part
    public_key: _Part
    signer_certificate: _Part | None
    certificates: Many[_Part]
    timestamp_token: _Part | None
    signing_time: _Text | None
    notes: dict[_Text, _Text]
    inner_path: _Text


class _Reading(Strict):
    format: Name
    stripped_sha256: _Sha256
    warnings: Many[_Text]
    kept_sha256: _Sha256 | None = None
    signatures: Many[_Signature]


class _ReadAnswer(Strict):
    sha256: _Sha256
    size: _Size
    result: _Reading


class _SourceAnswer(Strict):
    source: _Reading


class _InspectAnswer(Strict):
    formats: Many[Name]
    readers: Many[Name]
    sha256: _Sha256
    size: _Size


@dataclass(frozen=True, slots=True)
class ResultReading:
    """``sha256`` (hex) and ``size`` of the result as the reader's process saw it."""

    sha256: str
    size: int
    result: Reading


@dataclass(frozen=True, slots=True)
class Inspection:
    """Names of the formats that could sign the artifact and of the readers that know it; its hex SHA-256 and size."""

    formats: tuple[str, ...]
    readers: tuple[str, ...]
    sha256: str
    size: int


class Workers:
    """Format jobs on a pool. Descriptors passed in must be read-only and stay the caller's."""

    def __init__(self, pool: WorkerPool) -> None:
        self.pool = pool

    def prepare(
        self,
        artifact: int,
        *,
        format_name: str,
        options: Mapping[str, object],
        chain: Sequence[bytes] = (),
        inside: Inside | None = None,
        patch: Patch | None = None,
        paths: Sequence[str] | None = None,
    ) -> Prepared:
        """`signwright.plan.signing.prepare` on ``artifact`` with ``patch`` (sealed) over it; with ``paths``
        `signwright.plan.signing.prepare_again`.
        """
        message: dict[str, object] = {"format": format_name, "options": dict(options), "chain": len(chain)}
        message["paths"] = None if paths is None else list(paths)
        if inside is not None:
            message["inside"] = inside.model_dump(mode="json", include=set(Inside.model_fields))
        frame = self._run("prepare", message, parts=chain, artifact=artifact, patch=patch)
        try:
            prepared = Prepared.unpack(frame.parts)
        except (ValidationError, LimitError, MalformedError) as problem:
            raise FormatError("the worker's answer has the wrong form", code="worker-answer") from problem
        # Members are signed by the format of archives, whatever the archive is.
        wanted = ZipFormat.name if any(operation.inner_path for operation in prepared.operations) else format_name
        if prepared.format != wanted:
            raise FormatError(f"the worker prepared {prepared.format}, wanted {wanted}", code="worker-answer")
        return prepared

    def embed(
        self, artifact: int, *, prepared: Prepared, envelopes: Sequence[bytes], patch: Patch | None = None
    ) -> Patch:
        """`signwright.plan.signing.embed`, composed with ``patch``, with the digest of the result. The result is
        relative to ``artifact``.
        """
        packed = prepared.pack()
        message: dict[str, object] = {"prepared": len(packed), "envelopes": len(envelopes)}
        parts = [*envelopes, *packed]
        frame = self._run("embed", message, parts=parts, artifact=artifact, patch=patch)
        if len(frame.parts) != 1:
            raise FormatError("the worker answered without a patch", code="worker-answer")
        made = _decoded(frame.parts[0])
        source = patch.source_sha256 if patch is not None else prepared.source_sha256
        if made.source_sha256 != source:
            raise FormatError("the worker's patch speaks of other bytes than were prepared", code="worker-answer")
        return made

    def read_source(
        self,
        artifact: int,
        *,
        reader: str,
        kept: bool,
        patch: Patch | None = None,
        signed: Sequence[str] | None = None,
    ) -> Reading:
        """Have a fresh worker read ``artifact`` with ``patch`` over it by the independent reader before it is signed.
        ``signed``: paths of the members of an archive that will be; None for other files.

        ``kept``: whether its signatures stay in it; then one that does not hold is an error. Otherwise such a file has
        a reading without signatures.
        """
        message: dict[str, object] = {"reader": reader, "kept": kept, "signed": _paths(signed)}
        frame = self._run("read-source", message, parts=(), artifact=artifact, patch=patch)
        reading = _reading(_validated(_SourceAnswer, _json(frame.message)).source, frame.parts)
        return _with_kept(reading, signed)

    def read_result(
        self,
        artifact: int,
        *,
        reader: str,
        patch: Patch,
        detached: bool = False,
        signed: Sequence[str] | None = None,
    ) -> ResultReading:
        """Have a fresh worker read ``artifact`` with ``patch`` over it by the independent reader.

        ``detached``: the patch turns the artifact into a signature about it. ``signed``: as in `read_source`.
        """
        message: dict[str, object] = {"reader": reader, "detached": detached, "signed": _paths(signed)}
        found = self._read(message, artifact, patch)
        _with_kept(found.result, signed)
        return found

    def read(self, artifact: int, *, reader: str) -> ResultReading:
        """Read ``artifact`` as it is."""
        return self._read({"reader": reader, "detached": False}, artifact, None)

    def _read(self, message: dict[str, object], artifact: int, patch: Patch | None) -> ResultReading:
        frame = self._run("read", message, parts=(), artifact=artifact, patch=patch)
        answer = _validated(_ReadAnswer, _json(frame.message))
        return ResultReading(answer.sha256, answer.size, _reading(answer.result, frame.parts))

    def inspect(self, artifact: int) -> Inspection:
        """Which formats and readers recognise ``artifact``."""
        answer = _validated(_InspectAnswer, _json(self.pool.run("inspect", {}, views=[artifact]).message))
        return Inspection(tuple(answer.formats), tuple(answer.readers), answer.sha256, answer.size)

    def _run(
        self, job: str, message: dict[str, object], *, parts: Sequence[bytes], artifact: int, patch: Patch | None
    ) -> Frame:
        everything = [*parts]
        message["patch"] = None
        if patch is not None:
            message["patch"] = len(everything)
            everything.append(patch.encode())
        return self.pool.run(job, message, parts=everything, views=[artifact])


def format_workers(
    *,
    environment: Path | None = None,
    sandbox_none: bool = False,
    parallel: int | None = None,
    limits: JobLimits | None = None,
) -> Workers:
    """Workers in the signer's own environment; the zygote starts with ``.pool.start()`` or with the first job."""
    command = signer_command("signwright.signer.worker", [], environment=environment or signer_environment())
    return Workers(WorkerPool(command, sandbox_none=sandbox_none, parallel=parallel, limits=limits))


def _json(message: dict[str, object]) -> bytes:
    return json.dumps(message).encode()


def _validated(model: type[Answer], content: bytes) -> Answer:
    try:
        return model.model_validate_json(content)
    except ValidationError as problem:
        raise FormatError("the worker's answer has the wrong form", code="worker-answer") from problem


def _decoded(wire: bytes) -> Patch:
    try:
        return Patch.decode(wire)
    except MalformedError as problem:
        raise FormatError(f"the worker's patch is refused: {problem.message}", code="worker-answer") from problem


def _reading(row: _Reading, parts: Sequence[bytes]) -> Reading:
    texts = [*row.warnings, *(t for s in row.signatures for pair in s.notes.items() for t in pair)]
    texts += [signature.inner_path for signature in row.signatures]
    if any(first_bad_character(text) is not None for text in texts):
        raise FormatError("the worker's answer has control characters", code="worker-answer")
    try:
        found = tuple(_signature(signature, parts) for signature in row.signatures)
    except (IndexError, MalformedError) as problem:
        raise FormatError("the worker's answer names parts or times that are none", code="worker-answer") from problem
    return Reading(row.format, found, row.stripped_sha256, tuple(row.warnings), row.kept_sha256)


def _paths(signed: Sequence[str] | None) -> list[str] | None:
    return None if signed is None else list(signed)


def _with_kept(reading: Reading, signed: Sequence[str] | None) -> Reading:
    if (signed is None) != (reading.kept_sha256 is None):
        raise FormatError("the worker's answer has no digest of what is kept, or an unasked one", code="worker-answer")
    return reading


def _signature(row: _Signature, parts: Sequence[bytes]) -> FoundSignature:
    return FoundSignature(
        format=row.format,
        family=row.family,
        purpose=row.purpose,
        content_digest=Digest.parse(row.content_digest),
        signature_value=parts[row.signature_value],
        envelope=parts[row.envelope],
        public_key=parts[row.public_key],
        signer_certificate=None if row.signer_certificate is None else parts[row.signer_certificate],
        certificates=tuple(parts[index] for index in row.certificates),
        timestamp_token=None if row.timestamp_token is None else parts[row.timestamp_token],
        signing_time=None if row.signing_time is None else parse_time(row.signing_time),
        notes=dict(row.notes),
        inner_path=row.inner_path,
    )
