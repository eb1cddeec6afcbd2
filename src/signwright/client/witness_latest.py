# SPDX-License-Identifier: Apache-2.0
"""What a witness says it cosigned last. Source: c2sp.org/tlog-witness, monitor retrieval.

Where a witness does not serve that, ``add-checkpoint`` with an old size of zero makes it name the size.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import httpx

from signwright.client.http import check_transport
from signwright.errors import SignwrightError, UnavailableError, VerificationError
from signwright.transparency.checkpoint import Checkpoint, verify_checkpoint
from signwright.transparency.cosignature import check_cosignature
from signwright.transparency.note import MAX_NOTE, VerifierKey
from signwright.transparency.witnessing import MAX_ANSWER, SIZE_TYPE, add_checkpoint_body, parse_size

SECONDS = 15.0
_OK, _NOT_FOUND, _CONFLICT = 200, 404, 409


@dataclass(frozen=True, slots=True)
class LatestCheckpoint:
    """``note``: with the log's signature and the witness's, both verified; empty when the witness only named a size,
    which nobody signed. ``checkpoint`` is None then, and ``size`` 0 when it has never cosigned this log.
    """

    size: int
    note: bytes = b""
    checkpoint: Checkpoint | None = None


def latest_of(
    url: str, witness: VerifierKey, *, origin: str, log_keys: tuple[VerifierKey, ...], offer: bytes | None = None
) -> LatestCheckpoint:
    """Ask the witness at ``url`` (prefix). ``offer``: a signed checkpoint of the log to name in ``add-checkpoint``; it
    is cosigned when the witness has seen nothing of the log yet, and never otherwise.

    Raises `UnavailableError` when there is no answer that says it, `VerificationError` for one that is not signed.
    """
    check_transport(url)
    prefix = url.rstrip("/")
    path = hashlib.sha256(origin.encode()).hexdigest()
    with httpx.Client(timeout=SECONDS, follow_redirects=False, headers={"accept-encoding": "identity"}) as client:
        try:
            status, body, _ = _call(client, "GET", f"{prefix}/{path}/checkpoint")
            if status == _OK:
                return _verified(body, witness, origin=origin, log_keys=log_keys)
            if offer is None:
                if status == _NOT_FOUND:
                    return LatestCheckpoint(0)
                raise UnavailableError(f"witness {url}: it answered {status}", code="no-witness")
            content = add_checkpoint_body(0, (), checkpoint=offer)
            status, body, kind = _call(client, "POST", f"{prefix}/add-checkpoint", content)
        except httpx.HTTPError as problem:
            raise UnavailableError(f"witness {url}: {type(problem).__name__}", code="no-witness") from problem
    if status == _CONFLICT and kind == SIZE_TYPE:
        return LatestCheckpoint(parse_size(body))
    if status == _OK:
        return LatestCheckpoint(0)
    raise UnavailableError(f"witness {url}: it answered {status}", code="no-witness")


def _call(client: httpx.Client, method: str, url: str, content: bytes | None = None) -> tuple[int, bytes, str]:
    """(status, at most `MAX_NOTE` bytes of the body, its type)."""
    with client.stream(method, url, content=content) as response:
        body = bytearray()
        for block in response.iter_bytes():
            body += block
            if len(body) > max(MAX_NOTE, MAX_ANSWER):
                raise UnavailableError(f"witness {url}: an answer without end", code="no-witness")
        return response.status_code, bytes(body), response.headers.get("content-type", "").split(";")[0]


def _verified(note: bytes, witness: VerifierKey, *, origin: str, log_keys: tuple[VerifierKey, ...]) -> LatestCheckpoint:
    try:
        signed = verify_checkpoint(note, origin=origin, keys=log_keys)
        lines = signed.note.signatures_by(witness)
        for line in lines:
            check_cosignature(signed.note.text, line, witness)
    except SignwrightError as problem:
        raise VerificationError(f"witness {witness.name}: {problem.message}", code="bad-witness-note") from problem
    if not lines:
        raise VerificationError(
            f"witness {witness.name}: its latest checkpoint is not cosigned by it", code="bad-witness-note"
        )
    return LatestCheckpoint(signed.checkpoint.size, note, signed.checkpoint)
