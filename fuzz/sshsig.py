# SPDX-License-Identifier: Apache-2.0
"""OpenSSH: public keys and SSHSIG signatures. The first byte says how the rest is read."""

from __future__ import annotations

from signwright.errors import VerificationError
from signwright.statements.sshsig import SshPublicKey, verify_sshsig

KEY = SshPublicKey.parse(
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea"  # RFC 8032, 7.1, test 1
)


def one_input(data: bytes) -> None:
    kind, rest = data[:1], data[1:]
    if kind == b"k":
        key = SshPublicKey.from_blob(rest)
        assert key.blob == rest
        assert SshPublicKey.parse(key.line) == key
    elif kind == b"l":
        SshPublicKey.parse(rest.decode("latin-1"))
    else:
        try:
            verify_sshsig(rest, public_key=KEY, namespace="fuzz", message=b"message")
        except VerificationError:
            return
        raise AssertionError("a signature by a key whose private half nobody used")
