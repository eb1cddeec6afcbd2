# SPDX-License-Identifier: Apache-2.0
"""Making statements and signing them with a machine key; `signwright.statements.models` and
`signwright.statements.keys` read and verify them. The keyholder makes none.
"""

from __future__ import annotations

import base64
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signwright.model.operation import Strict
from signwright.statements.dsse import PAYLOAD_TYPE, Envelope, EnvelopeSignature, pae
from signwright.statements.keys import ED25519_PREFIX, key_id_of
from signwright.statements.models import PREDICATES, STATEMENT_TYPE, parse_statement, predicate_type

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def statement_payload(predicate: Strict, subjects: list[tuple[str, str]]) -> bytes:
    """The bytes to sign. ``subjects``: (name, hex SHA-256). The result parses back, or `MalformedError` is raised."""
    name = next(name for name, known in PREDICATES.items() if known is type(predicate))
    body = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": label, "digest": {"sha256": sha256}} for label, sha256 in subjects],
        "predicateType": predicate_type(name),
        "predicate": predicate.model_dump(mode="json"),
    }
    payload = _encode(body).encode()
    parse_statement(Envelope(payload, ()), type(predicate))
    return payload


def public_text(private_key: Ed25519PrivateKey) -> str:
    """The written form of a machine key's public half."""
    raw = private_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return ED25519_PREFIX + base64.b64encode(raw).decode()


def sign_ed25519(payload: bytes, private_key: Ed25519PrivateKey) -> Envelope:
    """An envelope with one Ed25519 signature."""
    raw = private_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    value = private_key.sign(pae(PAYLOAD_TYPE, payload))
    return Envelope(payload, (EnvelopeSignature(key_id_of(raw), "ed25519", value),))
