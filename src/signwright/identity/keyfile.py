# SPDX-License-Identifier: Apache-2.0
"""Software keys at rest: PKCS #8 EncryptedPrivateKeyInfo, PBES2 with scrypt and AES-256-CBC (RFC 8018, RFC 7914)."""

from __future__ import annotations

import base64
import secrets
import textwrap

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from signwright.envelopes import der

PBES2 = "1.2.840.113549.1.5.13"
SCRYPT = "1.3.6.1.4.1.11591.4.11"
AES_256_CBC = "2.16.840.1.101.3.4.1.42"
#: 16 MiB and some tens of milliseconds a try.
COST, BLOCK_SIZE, PARALLEL = 1 << 14, 8, 1


def encrypted_pkcs8(private_key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, passphrase: bytes) -> bytes:
    """PEM ``ENCRYPTED PRIVATE KEY``, readable by OpenSSL."""
    salt, iv = secrets.token_bytes(16), secrets.token_bytes(16)
    plain = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    key = Scrypt(salt=salt, length=32, n=COST, r=BLOCK_SIZE, p=PARALLEL).derive(passphrase)
    padder, cipher = PKCS7(128).padder(), Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    sealed = cipher.update(padder.update(plain) + padder.finalize()) + cipher.finalize()
    numbers = (der.integer(n) for n in (COST, BLOCK_SIZE, PARALLEL, 32))
    kdf = der.sequence(der.oid(SCRYPT), der.sequence(der.octet_string(salt), *numbers))
    scheme = der.sequence(der.oid(AES_256_CBC), der.octet_string(iv))
    algorithm = der.sequence(der.oid(PBES2), der.sequence(kdf, scheme))
    body = base64.b64encode(der.sequence(algorithm, der.octet_string(sealed))).decode()
    lines = "\n".join(textwrap.wrap(body, 64))
    return f"-----BEGIN ENCRYPTED PRIVATE KEY-----\n{lines}\n-----END ENCRYPTED PRIVATE KEY-----\n".encode()
