# SPDX-License-Identifier: Apache-2.0
"""SSHSIG (OpenSSH PROTOCOL.sshsig): signatures with the keys that people already have.

Accepted: ``ssh-ed25519``, ``ecdsa-sha2-nistp256`` and their hardware forms ``sk-*`` (user presence demanded). RSA and
DSA are refused. What `ssh-keygen -Y sign` writes is read, what we write `ssh-keygen -Y verify` reads.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signwright.errors import MalformedError, VerificationError

MAGIC = b"SSHSIG"
ED25519 = "ssh-ed25519"
ECDSA = "ecdsa-sha2-nistp256"
SK_ED25519 = "sk-ssh-ed25519@openssh.com"
SK_ECDSA = "sk-ecdsa-sha2-nistp256@openssh.com"
KEY_TYPES = (ED25519, ECDSA, SK_ED25519, SK_ECDSA)
USER_PRESENT = 0x01


class _Reader:
    """SSH wire format (RFC 4251 section 5), bounded by the bytes at hand."""

    def __init__(self, wire: bytes) -> None:
        self._wire, self._at = wire, 0

    def take(self, length: int) -> bytes:
        end = self._at + length
        if end > len(self._wire):
            raise MalformedError("SSH structure ends early", code="bad-ssh")
        part, self._at = self._wire[self._at : end], end
        return part

    def string(self) -> bytes:
        return self.take(int.from_bytes(self.take(4), "big"))

    def end(self) -> None:
        if self._at != len(self._wire):
            raise MalformedError("SSH structure has bytes left over", code="bad-ssh")


def string(content: bytes) -> bytes:
    """SSH wire form of a string (RFC 4251 section 5)."""
    return len(content).to_bytes(4, "big") + content


@dataclass(frozen=True, slots=True)
class SshPublicKey:
    """``blob`` is the wire form; ``application`` is empty but for ``sk-`` keys."""

    key_type: str
    blob: bytes
    application: bytes
    key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey

    @classmethod
    def parse(cls, line: str) -> SshPublicKey:
        """``ssh-ed25519 AAAA… [comment]``; raises `MalformedError`, also for types that are not accepted."""
        parts = line.split()
        if len(parts) < 2 or parts[0] not in KEY_TYPES:
            raise MalformedError(
                f"SSH key type {parts[0][:40] if parts else ''!r}; wanted one of {', '.join(KEY_TYPES)}"
            )
        try:
            blob = base64.b64decode(parts[1], validate=True)
        except ValueError as problem:
            raise MalformedError("SSH public key is not base64", code="bad-ssh") from problem
        key = cls.from_blob(blob)
        if key.key_type != parts[0]:
            raise MalformedError("SSH public key says two types", code="bad-ssh")
        return key

    @classmethod
    def from_blob(cls, blob: bytes) -> SshPublicKey:
        reader = _Reader(blob)
        key_type = reader.string().decode("ascii", "replace")
        if key_type not in KEY_TYPES:
            raise MalformedError(f"SSH key type {key_type[:40]!r} is not accepted", code="bad-ssh-key-type")
        key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey
        try:
            if key_type in (ED25519, SK_ED25519):
                key = ed25519.Ed25519PublicKey.from_public_bytes(reader.string())
            else:
                if reader.string() != b"nistp256":
                    raise MalformedError("SSH public key: curve is not nistp256", code="bad-ssh")
                point = reader.string()
                if len(point) != 65:
                    raise MalformedError("SSH public key: wanted an uncompressed point, its one form", code="bad-ssh")
                key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        except ValueError as problem:
            raise MalformedError("SSH public key: not a point", code="bad-ssh") from problem
        application = reader.string() if key_type.startswith("sk-") else b""
        reader.end()
        return cls(key_type, blob, application, key)

    @property
    def fingerprint(self) -> str:
        """As ``ssh-keygen -l`` prints it: ``SHA256:…``."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    @property
    def material(self) -> bytes:
        """Raw Ed25519 key or uncompressed point: the same for every form in which the key can be written."""
        if isinstance(self.key, ed25519.Ed25519PublicKey):
            return self.key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return self.key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    @property
    def line(self) -> str:
        return f"{self.key_type} {base64.b64encode(self.blob).decode()}"


def to_be_signed(namespace: str, message: bytes, *, hash_algorithm: str = "sha512") -> bytes:
    """The bytes under an SSHSIG signature (PROTOCOL.sshsig, "Signed Data")."""
    digest = hashlib.new(hash_algorithm, message).digest()
    return MAGIC + string(namespace.encode()) + string(b"") + string(hash_algorithm.encode()) + string(digest)


def verify_sshsig(blob: bytes, *, public_key: SshPublicKey, namespace: str, message: bytes) -> None:
    """Raise `VerificationError` unless ``blob`` is a signature by exactly ``public_key`` in exactly ``namespace``."""
    reader = _Reader(blob)
    if reader.take(6) != MAGIC or reader.take(4) != (1).to_bytes(4, "big"):
        raise MalformedError("not an SSHSIG signature of version 1", code="bad-ssh")
    signer, named, reserved, algorithm, value = (reader.string() for _ in range(5))
    reader.end()
    if signer != public_key.blob:
        raise VerificationError("SSHSIG: made by another key", code="wrong-key")
    if named != namespace.encode() or reserved:
        raise VerificationError(f"SSHSIG: namespace {named[:60]!r}; wanted {namespace!r}", code="wrong-namespace")
    if algorithm not in (b"sha512", b"sha256"):
        raise VerificationError("SSHSIG: hash is neither sha512 nor sha256", code="weak-digest")
    tbs = to_be_signed(namespace, message, hash_algorithm=algorithm.decode())
    try:
        _verify_value(public_key, value, tbs)
    except InvalidSignature as problem:
        raise VerificationError("SSHSIG: the signature does not hold", code="bad-signature") from problem


def _verify_value(public_key: SshPublicKey, value: bytes, tbs: bytes) -> None:
    reader = _Reader(value)
    if reader.string() != public_key.key_type.encode():
        raise VerificationError("SSHSIG: signature of another type than its key", code="wrong-key")
    core = reader.string()
    if public_key.key_type.startswith("sk-"):
        flags, counter = reader.take(1), reader.take(4)
        if not flags[0] & USER_PRESENT:
            raise VerificationError("SSHSIG: nobody touched the security key", code="no-user-presence")
        tbs = hashlib.sha256(public_key.application).digest() + flags + counter + hashlib.sha256(tbs).digest()
    reader.end()
    if isinstance(public_key.key, ed25519.Ed25519PublicKey):
        public_key.key.verify(core, tbs)
        return
    parts = _Reader(core)
    r, s = parts.string(), parts.string()
    parts.end()
    if max(len(r), len(s)) > 33:
        raise VerificationError("SSHSIG: ECDSA numbers too long", code="bad-signature")
    der = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
    public_key.key.verify(der, tbs, ec.ECDSA(SHA256()))
