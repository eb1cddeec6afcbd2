# SPDX-License-Identifier: Apache-2.0
"""What a worker can be asked to do, one function each, from a `Task` to its answer: prepare, embed, read, inspect.

``patch`` in a message is the index of the part that holds the patch so far, or null. View 0 is always the artifact
as it was handed in, never a signed state of it: what is signed is that view with the patch over it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from signwright.errors import FormatError, MalformedError, UsageError, VerificationError
from signwright.formats.base import Format, Prepared
from signwright.formats.registry import FORMATS
from signwright.model.framing import Frame
from signwright.model.patch import Patch, Patched, compose, sealed
from signwright.model.times import format_time
from signwright.model.view import View, sha256_of
from signwright.plan import signing
from signwright.policy.documents import Inside
from signwright.readers.base import NOT_COUNTED, FoundSignature, Keeper, Reader, Reading, Stripper
from signwright.readers.registry import READERS
from signwright.signer.worker.task import Job, Task

Model = TypeVar("Model", bound=BaseModel)


def prepare(task: Task) -> Frame:
    """``format``, ``options``, ``inside`` (what is wanted of its members), ``chain`` (number of leading parts that are
    DER certificates), ``patch``, ``paths`` (in a later wave: what is signed in it; else null) → ``prepared``.
    """
    chosen = _format(task)
    options = _read_model(chosen.options, json.dumps(task.message.get("options", {})).encode(), code="bad-options")
    chain = task.parts[: _index(task, "chain")]
    inside = _read_model(Inside, json.dumps(task.message.get("inside", {})).encode(), code="worker-usage")
    if task.message.get("paths") is None:
        prepared = signing.prepare(chosen, _current(task), chain, options, inside)
    else:
        prepared = signing.prepare_again(chosen, _current(task), chain, options, inside, _paths(task, "paths"))
    return Frame({}, prepared.pack())


def embed(task: Task) -> Frame:
    """``envelopes`` (leading parts), ``prepared`` (the parts behind them, as many), ``patch`` (a part) →
    part 0: the sealed patch.
    """
    count = _index(task, "envelopes")
    envelopes, packed = task.parts[:count], task.parts[count : count + _index(task, "prepared")]
    try:
        prepared = Prepared.unpack(packed)
    except (ValidationError, MalformedError) as problem:
        raise UsageError(f"what was prepared does not parse: {problem}"[:300], code="worker-usage") from problem
    patch = signing.embed(_current(task), prepared, envelopes)
    before = _patch(task)
    if before is not None:
        patch = compose(before, patch)
    return Frame({}, (sealed(task.views[0], patch).encode(),))


def read(task: Task) -> Frame:
    """``reader``, ``patch``, ``detached``, ``signed`` → the reading of the result.

    ``detached``: the result is a signature about view 0 and not a changed view 0. ``signed``: paths of the members of
    an archive that are signed; null for other files.
    """
    reader = _reader(task)
    source, result = task.views[0], _current(task)
    members = _members(task, reader)
    if members is not None:
        reading = members.read_members(result, _paths(task, "signed"))
    else:
        reading = reader.read(result, source if task.message.get("detached") is True else None)
    parts: list[bytes] = []
    message = {"sha256": sha256_of(result), "size": result.size, "result": _reading(reading, parts)}
    return Frame(message, tuple(parts))


def read_source(task: Task) -> Frame:
    """``reader``, ``patch``, ``kept``, ``signed`` (as in `read`) → the reading of what is to be signed.

    ``kept``: its signatures stay where they are, so each has to hold, or to be one that counts for nothing beside
    another. Otherwise they go, and one that does not hold, or does not even parse, is none: in the result no such one
    may be.
    """
    reader, view = _reader(task), _current(task)
    kept = task.message.get("kept")
    if not isinstance(kept, bool):
        raise UsageError("kept is neither true nor false", code="worker-usage")
    members = _members(task, reader)
    try:
        reading = members.read_members(view, _paths(task, "signed")) if members is not None else reader.read(view)
    except (FormatError, VerificationError) as problem:
        if not isinstance(reader, Stripper) or (kept and problem.code not in NOT_COUNTED):
            raise
        reading = Reading(reader.name, (), reader.stripped(view))
    parts: list[bytes] = []
    return Frame({"source": _reading(reading, parts)}, tuple(parts))


def inspect(task: Task) -> Frame:
    """Which formats and readers recognise view 0, and its SHA-256: ``formats``, ``readers``, ``sha256``, ``size``."""
    view = task.views[0]
    return Frame(
        {
            "formats": [name for name, known in FORMATS.items() if known.recognizes(view)],
            "readers": [name for name, known in READERS.items() if known.recognizes(view)],
            "sha256": sha256_of(view),
            "size": view.size,
        }
    )


JOBS: Mapping[str, Job] = {
    "prepare": prepare,
    "embed": embed,
    "read": read,
    "read-source": read_source,
    "inspect": inspect,
}


def _read_model(model: type[Model], content: bytes, *, code: str) -> Model:
    try:
        return model.model_validate_json(content)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"{where or model.__name__}: {first['msg']}", code=code) from problem


def _format(task: Task) -> Format:
    name = task.message.get("format")
    if not isinstance(name, str) or name not in FORMATS:
        raise UsageError(f"unknown format {str(name)[:80]!r}; known: {', '.join(FORMATS)}", code="unknown-format")
    return FORMATS[name]


def _reader(task: Task) -> Reader:
    name = task.message.get("reader")
    if not isinstance(name, str) or name not in READERS:
        raise UsageError(f"no reader for {str(name)[:80]!r}; known: {', '.join(READERS)}", code="unknown-format")
    return READERS[name]


def _members(task: Task, reader: Reader) -> Keeper | None:
    """The reader of an archive, where the message says which members are signed."""
    if task.message.get("signed") is None:
        return None
    if not isinstance(reader, Keeper):
        raise UsageError("signed: the reader is not one of archives", code="worker-usage")
    return reader


def _paths(task: Task, field: str) -> list[str]:
    paths = task.message.get(field)
    if not isinstance(paths, list) or any(type(path) is not str for path in paths):
        raise UsageError(f"{field} is no list of paths in an archive", code="worker-usage")
    return paths


def _index(task: Task, field: str) -> int:
    value = task.message.get(field, 0)
    if type(value) is not int or not 0 <= value <= len(task.parts):
        raise UsageError(f"{field} is not a number of parts", code="worker-usage")
    return value


def _patch(task: Task) -> Patch | None:
    if task.message.get("patch") is None:
        return None
    return Patch.decode(_part(task, "patch"))


def _part(task: Task, field: str) -> bytes:
    index = _index(task, field)
    if index >= len(task.parts):
        raise UsageError(f"{field} is not among the parts", code="worker-usage")
    return task.parts[index]


def _current(task: Task) -> View:
    patch = _patch(task)
    return task.views[0] if patch is None else Patched(task.views[0], patch)


def _reading(reading: Reading, parts: list[bytes]) -> dict[str, object]:
    """As plain data; byte strings go to ``parts``, equal ones once, and are named by their index there: the members of
    an archive have most of their certificates in common.
    """
    there: dict[bytes, int] = {}
    return {
        "format": reading.format,
        "stripped_sha256": reading.stripped_sha256,
        "warnings": list(reading.warnings),
        "kept_sha256": reading.kept_sha256,
        "signatures": [_signature(found, parts, there) for found in reading.signatures],
    }


def _signature(found: FoundSignature, parts: list[bytes], there: dict[bytes, int]) -> dict[str, object]:
    def part(content: bytes | None) -> int | None:
        if content is None:
            return None
        if content not in there:
            there[content] = len(parts)
            parts.append(content)
        return there[content]

    if len(found.certificates) > 64:
        raise FormatError("a signature with more than 64 certificates")
    return {
        "format": found.format,
        "family": found.family,
        "purpose": found.purpose,
        "content_digest": str(found.content_digest),
        "signature_value": part(found.signature_value),
        "envelope": part(found.envelope),
        "public_key": part(found.public_key),
        "signer_certificate": part(found.signer_certificate),
        "certificates": [part(certificate) for certificate in found.certificates],
        "timestamp_token": part(found.timestamp_token),
        "signing_time": None if found.signing_time is None else format_time(found.signing_time),
        "notes": dict(found.notes),
        "inner_path": found.inner_path,
    }
