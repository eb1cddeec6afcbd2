# SPDX-License-Identifier: Apache-2.0
"""The JDK's own programs: jarsigner as a signer and as a verifier, javac and jar."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tests.support.pki import Identity, default_pki, to_pem
from tests.support.tools import require_tool

PACKAGE = "openjdk-17-jdk-headless"
#: Of stores that hold throwaway certificates.
_PASSWORD = "changeit"


def run(tool: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [require_tool(tool, PACKAGE), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


@cache
def truststore(certificates: tuple[bytes, ...]) -> bytes:
    """PKCS #12 with the root and the signers' certificates, which ``-strict`` wants to find under an alias."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, certificate in enumerate((default_pki().root, *certificates)):
            (folder / "one.pem").write_bytes(to_pem(certificate))
            command = ["-importcert", "-noprompt", "-alias", f"a{number}", "-file", "one.pem", "-keystore", "trust.p12"]
            done = run("keytool", *command, "-storetype", "PKCS12", "-storepass", _PASSWORD, cwd=folder)
            assert done.returncode == 0, done.stdout + done.stderr
        return (folder / "trust.p12").read_bytes()


def jarsigner_says(
    content: bytes, folder: Path, *signers: Identity, options: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """``jarsigner -verify -strict``: exit status 0 means that everything is signed, trusted and in order."""
    (folder / "trust.p12").write_bytes(truststore(tuple(signer.certificate for signer in signers)))
    (folder / "a.jar").write_bytes(content)
    command = ["-verify", "-strict", *options, "-keystore", "trust.p12", "-storepass", _PASSWORD, "a.jar"]
    return run("jarsigner", *command, cwd=folder)


def accepted(content: bytes, folder: Path, *signers: Identity) -> bool:
    told = jarsigner_says(content, folder, *signers)
    return told.returncode == 0 and "jar verified." in told.stdout


def jarsigner_signs(content: bytes, folder: Path, signer: Identity, *options: str, name: str = "OTHER") -> bytes:
    """``content`` signed by jarsigner with the same kind of key and certificate that we sign with."""
    _key_store(folder, signer)
    (folder / "b.jar").write_bytes(content)
    command = ["-keystore", "key.p12", "-storepass", _PASSWORD, "-sigfile", name, *options, "b.jar", "signer"]
    done = run("jarsigner", *command, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return (folder / "b.jar").read_bytes()


def _key_store(folder: Path, signer: Identity) -> None:
    (folder / "key.pem").write_bytes(signer.private_pem)
    (folder / "chain.pem").write_bytes(b"".join(map(to_pem, signer.chain)))
    command = ["openssl", "pkcs12", "-export", "-inkey", "key.pem", "-in", "chain.pem", "-out", "key.p12"]
    subprocess.run(
        [*command, "-name", "signer", "-passout", f"pass:{_PASSWORD}"], cwd=folder, check=True, capture_output=True
    )


@cache
def multi_release_jar(folder: Path) -> bytes:
    """Compiled by javac and packed by jar: one class in two versions, with a main class."""
    source = "package com.example; public class Main { public static void main(String[] a) { %s } }"
    for release, body in (("8", 'System.out.println("old");'), ("17", 'System.out.println("new");')):
        (folder / release).mkdir()
        (folder / "Main.java").write_text(source % body)
        done = run("javac", "--release", release, "-Xlint:-options", "-d", release, "Main.java", cwd=folder)
        assert done.returncode == 0, done.stderr
    command = ["--create", "--file", "a.jar", "--main-class", "com.example.Main", "-C", "8", "."]
    done = run("jar", *command, "--release", "17", "-C", "17", ".", cwd=folder)
    assert done.returncode == 0, done.stderr
    return (folder / "a.jar").read_bytes()
