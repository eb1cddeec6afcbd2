# SPDX-License-Identifier: Apache-2.0
"""The contract of a key store."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from signwright.envelopes.base import ToBeSigned
from signwright.errors import KeystoreError


class WrongSecretError(KeystoreError):
    """The PIN or passphrase was refused. It is never offered again before somebody changes the file."""

    default_code = "wrong-secret"


class DeviceGoneError(KeystoreError):
    """The token does not answer. Worth another try when it is back."""

    default_code = "token-gone"


class KeyStore(Protocol):
    """One open key in one single-threaded process; never crosses a fork.

    ``protection``: what the store itself can say: ``software`` or ``claimed`` (the token reports the key as sensitive
    and not extractable). ``sign`` gives RSA PKCS #1 v1.5 as big-endian bytes and ECDSA as a DER SEQUENCE.
    """

    @property
    def public_key(self) -> bytes:
        """DER SubjectPublicKeyInfo."""
        ...

    @property
    def protection(self) -> str: ...

    def sign(self, content: ToBeSigned) -> bytes:
        """Raises `DeviceGoneError` or `KeystoreError`."""
        ...


def read_secret(file: str) -> bytes:
    """A PIN or passphrase: the file's first line. Refused when others could read the file."""
    path = Path(file)
    try:
        if path.stat().st_mode & 0o077:
            raise KeystoreError(f"{file} can be read by others; wanted mode 0400 or 0600", code="secret-exposed")
        return path.read_bytes().split(b"\n", 1)[0].rstrip(b"\r")
    except OSError as problem:
        raise KeystoreError(f"{file}: {problem.strerror}", code="no-secret") from problem


def secret_identity(file: str) -> str:
    """Tells one version of a secret file from the next without revealing anything about its content.

    Not by the inode: a service manager writes the same secret into a new file at every start.
    """
    try:
        status = Path(file).stat()
    except OSError:
        return "missing"
    return f"{status.st_mtime_ns}:{status.st_size}"
