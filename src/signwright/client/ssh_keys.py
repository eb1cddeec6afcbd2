# SPDX-License-Identifier: Apache-2.0
"""A person's SSH key: a private key file (passphrase asked for), or a public one whose private half an agent or a
security key holds; then ``ssh-keygen -Y sign`` does the signing and asks for the touch.
"""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from signwright.errors import ConfigurationError, MalformedError, UnavailableError, UsageError, VerificationError
from signwright.statements.dsse import PAYLOAD_TYPE, Envelope, EnvelopeSignature, pae
from signwright.statements.keys import ssh_namespace
from signwright.statements.ssh_signing import sign_sshsig
from signwright.statements.sshsig import SshPublicKey, verify_sshsig

MAX_KEY_FILE = 64 << 10
TOUCH_SECONDS = 120
_BEGIN = "-----BEGIN OPENSSH PRIVATE KEY-----"
_ARMOUR = ("-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----")

#: Asks for the passphrase of a key file; the argument is what to show.
AskPassphrase = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class PersonKey:
    """``sign``: (namespace, message) → binary SSHSIG."""

    public: SshPublicKey
    sign: Callable[[str, bytes], bytes]

    def sign_statement(self, payload: bytes, name: str) -> Envelope:
        """A statement of type ``name`` as an envelope that this key signed, verified before it is used."""
        namespace, message = ssh_namespace(name), pae(PAYLOAD_TYPE, payload)
        value = self.sign(namespace, message)
        verify_sshsig(value, public_key=self.public, namespace=namespace, message=message)
        return Envelope(payload, (EnvelopeSignature(self.public.fingerprint, "sshsig", value),))


def load_person_key(file: Path, ask: AskPassphrase) -> PersonKey:
    """Read ``file``; raises `ConfigurationError` for what is no usable key, `UsageError` for a wrong passphrase."""
    try:
        content = file.expanduser().read_bytes()[: MAX_KEY_FILE + 1]
    except OSError as problem:
        raise ConfigurationError(f"key {file}: {problem.strerror}", code="no-key") from problem
    text = content.decode("utf-8", "replace")
    if not text.lstrip().startswith(_BEGIN):
        return _held_elsewhere(file, text)
    if b"sk-ssh-" in _decoded(text) or b"sk-ecdsa-" in _decoded(text):
        return _held_elsewhere(file, _beside(file))
    return _private(file, content, ask)


def _private(file: Path, content: bytes, ask: AskPassphrase) -> PersonKey:
    try:
        key = load_ssh_private_key(content, None)
    except TypeError:
        try:
            key = load_ssh_private_key(content, ask(f"passphrase of {file}").encode())
        except ValueError as problem:
            raise UsageError(f"key {file}: the passphrase does not open it", code="wrong-passphrase") from problem
    except (ValueError, UnsupportedAlgorithm) as problem:
        raise ConfigurationError(
            f"key {file}: not an OpenSSH private key that we can read", code="bad-key"
        ) from problem
    if not isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
        raise ConfigurationError(f"key {file}: wanted an Ed25519 or ECDSA P-256 key", code="bad-key")
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    try:
        public = SshPublicKey.parse(line)
    except MalformedError as problem:
        raise ConfigurationError(f"key {file}: {problem.message}", code="bad-key") from problem
    return PersonKey(public, lambda namespace, message: sign_sshsig(key, namespace=namespace, message=message))


def _held_elsewhere(file: Path, public_line: str) -> PersonKey:
    """The private half is in an agent or a security key."""
    try:
        public = SshPublicKey.parse(public_line)
    except MalformedError as problem:
        raise ConfigurationError(
            f"key {file}: neither an OpenSSH private key nor a public one ({problem.message})", code="bad-key"
        ) from problem
    return PersonKey(public, lambda namespace, message: _ssh_keygen(file, public, namespace, message=message))


def _beside(file: Path) -> str:
    """The public line of a security key's file."""
    named = file.expanduser().with_name(file.name + ".pub")
    try:
        return named.read_text(encoding="utf-8")
    except OSError as problem:
        raise ConfigurationError(f"key {file}: its public half {named} is missing", code="no-key") from problem


def _ssh_keygen(file: Path, public: SshPublicKey, namespace: str, *, message: bytes) -> bytes:
    """``ssh-keygen -Y sign`` reads the message from stdin and writes the armoured signature to stdout."""
    command = ["ssh-keygen", "-Y", "sign", "-q", "-f", str(file.expanduser()), "-n", namespace]
    try:
        done = subprocess.run(command, input=message, stdout=subprocess.PIPE, timeout=TOUCH_SECONDS, check=False)
    except FileNotFoundError as problem:
        raise UnavailableError(
            "ssh-keygen is needed to sign with a key that an agent or a security key holds", code="no-ssh-keygen"
        ) from problem
    except subprocess.TimeoutExpired as problem:
        raise UnavailableError(f"nobody touched the key within {TOUCH_SECONDS} s", code="no-touch") from problem
    if done.returncode != 0:
        raise VerificationError(
            f"ssh-keygen could not sign with {public.fingerprint}",
            code="no-signature",
            hint="is the key in the agent (ssh-add -l), or plugged in?",
        )
    return _unarmoured(done.stdout.decode("ascii", "replace"))


def _unarmoured(text: str) -> bytes:
    lines = text.strip().splitlines()
    if not lines or (lines[0], lines[-1]) != _ARMOUR:
        raise MalformedError("ssh-keygen wrote no SSH signature", code="bad-ssh")
    return base64.b64decode("".join(lines[1:-1]))


def _decoded(text: str) -> bytes:
    body = "".join(line for line in text.strip().splitlines() if not line.startswith("-----"))
    try:
        return base64.b64decode(body)
    except ValueError:
        return b""


def make_key_files(private: Path, *, comment: str, passphrase: bytes | None = None) -> str:
    """A new Ed25519 key in OpenSSH form, mode 0600, and ``.pub`` beside it; returns the public line."""
    key = ed25519.Ed25519PrivateKey.generate()
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    content = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, encryption)
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    descriptor = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    private.with_name(private.name + ".pub").write_text(f"{line} {comment}\n", encoding="utf-8")
    return line
