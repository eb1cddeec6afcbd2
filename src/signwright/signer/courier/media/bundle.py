# SPDX-License-Identifier: Apache-2.0
"""``.swb`` bundles: what a medium carries between a hub and a signer without a network. No names, no paths, no
compression.

Wire form: 8 bytes magic; 4 bytes version; 4 bytes length of the manifest; the manifest, a DSSE envelope (DSSE v1.0.2)
of the courier's Ed25519 key around rows {role, sha256, size}; then, in the order of the rows, 8 bytes length and the
bytes themselves. Numbers are big-endian. Nothing after the last blob is read: a medium may be larger than its bundle.

Everything inside proves itself to whoever acts on it; the signature says early, and clearly, that this is no bundle of
the other side. Sources are read once, in order, in blocks.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Literal, get_args

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field, StringConstraints

from signwright.errors import LimitError, MalformedError, VerificationError
from signwright.model.base64text import strict_base64
from signwright.model.operation import Many, Sha256Text, Strict
from signwright.statements.dsse import pae
from signwright.statements.keys import key_id_of, verifying_key
from signwright.statements.parse import parse_model

#: A first byte beyond ASCII and both line ends: a copy in text mode is no bundle.
MAGIC, VERSION = b"\x89SWB\r\n\x1a\n", 1
MANIFEST_TYPE = "application/vnd.signwright.bundle+json"
MAX_ROWS = 16_384
MAX_MANIFEST = 4 << 20
#: Base64 and the frame of the envelope around it.
MAX_HEAD = 6 << 20
BLOCK = 1 << 20

Side = Literal["outside", "vault"]
Role = Literal[
    "index",
    "policy-root",
    "policy",
    "document",
    "freshness",
    "halt",
    "resume",
    "request",
    "approval",
    "evidence",
    "artifact",
    "question",
    "answer",
    "result",
    "log",
]
ROLES: tuple[str, ...] = get_args(Role)
_SMALL = 128 << 10
#: Most bytes of one blob by its role.
LIMITS: dict[str, int] = {
    **dict.fromkeys(("freshness", "halt", "resume", "request", "approval", "evidence", "question", "answer"), _SMALL),
    "index": 4 << 20,
    "policy-root": 1 << 20,
    "policy": _SMALL,
    "document": 1 << 20,
    "artifact": 8 << 30,
    "result": 64 << 20,
    "log": 32 << 20,
}

#: Gives exactly so many bytes, or raises `MalformedError`.
Read = Callable[[int], bytes]
_encode = json.JSONEncoder(separators=(",", ":")).encode


class Row(Strict):
    """One blob. The same bytes may stand twice, under two roles."""

    role: Role
    sha256: Sha256Text
    size: int = Field(ge=0)


class Manifest(Strict):
    """``side``: who wrote it; ``serial``: goes up from bundle to bundle of one side (nanoseconds since the epoch)."""

    format: Literal["signwright-bundle/1"] = "signwright-bundle/1"
    side: Side
    serial: int = Field(ge=0)
    rows: Many[Row] = Field(max_length=MAX_ROWS)

    @property
    def total(self) -> int:
        return sum(row.size for row in self.rows)


class _Signature(Strict):
    keyid: Annotated[str, StringConstraints(max_length=64)]
    sig: Annotated[str, StringConstraints(max_length=128)]


class _Envelope(Strict):
    payload: str
    payloadType: Annotated[str, StringConstraints(max_length=128)]
    signatures: Many[_Signature] = Field(min_length=1, max_length=1)


def reader(read: Callable[[int], bytes]) -> Read:
    """``read`` of a file as a `Read`."""

    def exactly(count: int) -> bytes:
        piece = bytearray()
        while len(piece) < count:
            block = read(count - len(piece))
            if not block:
                raise MalformedError(f"the bundle ends {count - len(piece)} bytes early", code="bundle-cut-off")
            piece += block
        return bytes(piece)

    return exactly


def read_manifest(read: Read, *, side: Side, key: str, total: int) -> Manifest:
    """The manifest of a bundle that ``side`` wrote and signed with ``key`` (``ed25519:…``).

    ``total``: most bytes of all blobs. Raises `MalformedError`, `LimitError`, and `VerificationError` for another's.
    """
    if read(len(MAGIC)) != MAGIC:
        raise MalformedError("this is no .swb bundle", code="no-bundle")
    version, length = int.from_bytes(read(4), "big"), int.from_bytes(read(4), "big")
    if version != VERSION:
        raise MalformedError(f"bundle version {version}; wanted {VERSION}", code="bundle-version")
    if not 0 < length <= MAX_HEAD:
        raise LimitError(f"bundle: a manifest of {length} bytes; at most {MAX_HEAD} are read", code="bundle-too-large")
    manifest = _opened(read(length), key)
    if manifest.side != side:
        raise VerificationError(
            f"the bundle was written {_place(manifest.side)}; wanted one that was written {_place(side)}",
            code="wrong-side",
        )
    _check_rows(manifest, total)
    return manifest


def _opened(head: bytes, key: str) -> Manifest:
    envelope = parse_model(_Envelope, head, limit=MAX_HEAD, depth=4)
    if envelope.payloadType != MANIFEST_TYPE:
        raise MalformedError(f"bundle: payload type {envelope.payloadType!r}", code="bad-payload-type")
    payload, (line,) = strict_base64(envelope.payload, "manifest"), envelope.signatures
    known = verifying_key(key)
    if line.keyid != known.key_id:
        raise VerificationError(
            f"the bundle is signed by {line.keyid or 'nobody'}; the other courier's key is {known.key_id}",
            code="foreign-bundle",
        )
    known.verify("bundle", pae(MANIFEST_TYPE, payload), strict_base64(line.sig, "signature"))
    return parse_model(Manifest, payload, limit=MAX_MANIFEST, depth=4)


def _check_rows(manifest: Manifest, total: int) -> None:
    for row in manifest.rows:
        if row.size > LIMITS[row.role]:
            found = f"bundle: a blob of role {row.role} with {row.size} bytes; at most {LIMITS[row.role]}"
            raise LimitError(found, code="bundle-too-large")
    if len({(row.role, row.sha256) for row in manifest.rows}) != len(manifest.rows):
        raise MalformedError("bundle: a blob stands twice in its manifest", code="bundle-duplicate")
    if manifest.total > total:
        raise LimitError(f"bundle: {manifest.total} bytes in all; at most {total} are taken", code="bundle-too-large")


def read_blob(read: Read, row: Row, write: Callable[[bytes], object]) -> None:
    """The next blob, which must be that of ``row``; raises `MalformedError` and `VerificationError`.

    ``write`` has then been given bytes that must not be used.
    """
    length = int.from_bytes(read(8), "big")
    if length != row.size:
        raise MalformedError(f"bundle: a blob of {length} bytes; its row says {row.size}", code="bundle-order")
    digest, left = hashlib.sha256(), length
    while left:
        block = read(min(left, BLOCK))
        digest.update(block)
        write(block)
        left -= len(block)
    if digest.hexdigest() != row.sha256:
        raise VerificationError(
            f"bundle: a blob of role {row.role} has SHA-256 {digest.hexdigest()}; wanted {row.sha256}",
            code="bundle-damaged",
        )


def encode_head(manifest: Manifest, key: Ed25519PrivateKey) -> bytes:
    """Everything before the first blob; raises `LimitError` for what a reader would refuse."""
    payload = _encode(manifest.model_dump(mode="json")).encode()
    if len(payload) > MAX_MANIFEST:
        raise LimitError(f"bundle: a manifest of {len(payload)} bytes; at most {MAX_MANIFEST}", code="bundle-too-large")
    line = {
        "keyid": key_id_of(key.public_key().public_bytes_raw()),
        "sig": base64.b64encode(key.sign(pae(MANIFEST_TYPE, payload))).decode(),
    }
    body = {"payload": base64.b64encode(payload).decode(), "payloadType": MANIFEST_TYPE, "signatures": [line]}
    head = _encode(body).encode()
    return b"".join((MAGIC, VERSION.to_bytes(4, "big"), len(head).to_bytes(4, "big"), head))


def encode_bundle(manifest: Manifest, key: Ed25519PrivateKey, blobs: Iterable[Iterable[bytes]]) -> Iterator[bytes]:
    """The bundle in blocks. ``blobs``: the bytes of each row in blocks.

    Raises `VerificationError` when they are no longer what the manifest says; what was written is then no bundle.
    """
    yield encode_head(manifest, key)
    for row, blocks in zip(manifest.rows, blobs, strict=True):
        yield row.size.to_bytes(8, "big")
        digest, size = hashlib.sha256(), 0
        for block in blocks:
            digest.update(block)
            size += len(block)
            yield block
        if (size, digest.hexdigest()) != (row.size, row.sha256):
            raise VerificationError(f"bundle: {row.sha256[:16]}… changed while it was written", code="blob-changed")


def _place(side: Side) -> str:
    return "in the vault" if side == "vault" else "outside"
