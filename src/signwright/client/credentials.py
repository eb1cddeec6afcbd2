# SPDX-License-Identifier: Apache-2.0
"""The credential file of a machine: KeyIds and their secrets, which never leave it.

JSON ``{"credentials": [{"key_id": "swk_…", "key_secret": "<base64 of 32 bytes>", "kind": "test"}]}``, mode 0600.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field

from signwright.errors import AuthenticationError, ConfigurationError, MalformedError
from signwright.model.base64text import strict_base64
from signwright.model.operation import Many, Strict
from signwright.statements.dsse import Envelope
from signwright.statements.keys import key_id_of
from signwright.statements.models import KeyId
from signwright.statements.parse import parse_model
from signwright.statements.writing import sign_ed25519


class _Row(Strict):
    key_id: KeyId
    key_secret: str = Field(repr=False)
    kind: Literal["test", "release"]


class _File(Strict):
    credentials: Many[_Row] = Field(min_length=1, max_length=64)


@dataclass(frozen=True, slots=True)
class MachineCredential:
    """``kind`` says which world it submits to; ``key`` is the KeySecret."""

    key_id: str
    kind: str
    key: Ed25519PrivateKey = field(repr=False)

    def sign_statement(self, payload: bytes) -> Envelope:
        """A statement's payload as an envelope that this credential signed."""
        return sign_ed25519(payload, self.key)


def new_credential(kind: str) -> MachineCredential:
    """Fresh, and known to nobody but the caller."""
    key = Ed25519PrivateKey.generate()
    return MachineCredential(key_id_of(key.public_key().public_bytes_raw()), kind, key)


def encode_credentials(credentials: Sequence[MachineCredential]) -> bytes:
    """The file's content. Write it where only its owner can read."""
    import base64

    rows = [
        {"key_id": c.key_id, "key_secret": base64.b64encode(c.key.private_bytes_raw()).decode(), "kind": c.kind}
        for c in credentials
    ]
    return json.dumps({"credentials": rows}, indent=1).encode() + b"\n"


def load_credentials(file: Path) -> tuple[MachineCredential, ...]:
    """Read a credential file; raises `ConfigurationError`, which never repeats a secret."""
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            content = opened.read(1 << 16)
        rows = parse_model(_File, content).credentials
    except OSError as problem:
        raise ConfigurationError(
            f"credential file {file}: {problem.strerror}", code="no-credentials", hint="SIGNWRIGHT_CREDENTIALS names it"
        ) from problem
    except MalformedError as problem:
        # The message may quote what stands in the file.
        raise ConfigurationError(f"credential file {file}: not in its form", code="bad-credentials") from problem
    if sys.platform != "win32" and mode & 0o077:
        raise ConfigurationError(
            f"credential file {file}: mode {mode & 0o777:04o}; wanted 0600", code="open-credentials"
        )
    return tuple(_open(file, row) for row in rows)


def _open(file: Path, row: _Row) -> MachineCredential:
    try:
        seed = strict_base64(row.key_secret)
    except MalformedError:
        seed = b""
    if len(seed) != 32:
        raise ConfigurationError(f"credential file {file}: {row.key_id}: not a KeySecret", code="bad-credentials")
    key = Ed25519PrivateKey.from_private_bytes(seed)
    if key_id_of(key.public_key().public_bytes_raw()) != row.key_id:
        raise ConfigurationError(
            f"credential file {file}: {row.key_id}: the secret of another KeyId", code="bad-credentials"
        )
    return MachineCredential(row.key_id, row.kind, key)


def choose(
    credentials: Sequence[MachineCredential], submitters: Collection[str], kind: str | None = None
) -> MachineCredential:
    """The credential that a signing policy lists among its submitters.

    When it lists none of them, one of its kind (or simply the first): then the answer is the policy's, with its reason.
    """
    if not credentials:
        raise AuthenticationError("no credential at hand", code="no-credentials")
    listed = [c for c in credentials if c.key_id in submitters]
    alike = [c for c in credentials if c.kind == kind]
    return (listed or alike or list(credentials))[0]
