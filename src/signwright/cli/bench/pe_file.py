# SPDX-License-Identifier: Apache-2.0
"""A Portable Executable of any size, and a key to sign it with."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

MIB = 1 << 20


def make_pe(path: Path, size: int) -> None:
    """A PE32+ of one section, filled up to ``size`` bytes with one random MiB, repeated: stored, not sparse."""
    with path.open("wb") as file:
        file.write(_head().ljust(512, b"\0") + b"\xc3" * 512)
        _fill(path, file.write, size - file.tell())


def make_file(path: Path, size: int) -> None:
    """Random bytes, repeated after 1 MiB."""
    with path.open("wb") as file:
        _fill(path, file.write, size)


def small_pe(size: int) -> bytes:
    """A PE of ``size`` bytes whose content was never seen before."""
    return (_head().ljust(512, b"\0") + b"\xc3" * 512 + os.urandom(max(size - 1024, 0)))[: max(size, 1024)]


def _fill(path: Path, write: object, size: int) -> None:
    del path
    block = os.urandom(MIB)
    assert callable(write)
    for at in range(0, size, MIB):
        write(block[: size - at])


def _head() -> bytes:
    """DOS, COFF and optional header and the section table ("PE Format" specification)."""
    standard = struct.pack("<HBBIIIII", 0x20B, 1, 0, 512, 0, 0, 0x1000, 0x1000)
    windows = struct.pack("<QIIHHHHHHI", 0x140000000, 0x1000, 0x200, 6, 0, 0, 0, 6, 0, 0)
    sizes = struct.pack("<IIIHHQQQQII", 0x2000, 0x200, 0, 3, 0, 1 << 20, 4096, 1 << 20, 4096, 0, 16)
    optional = standard + windows + sizes + bytes(128)
    coff = struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, len(optional), 0x22)
    section = struct.pack("<8sIIIIIIHHI", b".text", 512, 0x1000, 512, 512, 0, 0, 0, 0, 0x60000020)
    return b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + coff + optional + section


def self_signed(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """For code signing, valid for two days."""
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "signwright bench")]), datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=2))
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
    return builder.add_extension(usage, critical=False).sign(key, SHA256())


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """A throwaway RSA-3072 key with a certificate of its own."""

    key: Path
    certificate: Path


def make_key(folder: Path) -> KeyFiles:
    """``key.pem`` (PKCS#8, not encrypted: it signs nothing that anybody trusts) and ``cert.pem`` in ``folder``."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    certificate = self_signed(key)
    files = KeyFiles(folder / "key.pem", folder / "cert.pem")
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    return files
