# SPDX-License-Identifier: Apache-2.0
"""Authenticode in PE files, judged by programs that share no code with ours: osslsigncode, signify, sbverify."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from signwright.formats.pe import PeFormat
from signwright.model.patch import Patched
from signwright.model.view import BytesView
from tests.support.pe_builder import EFI, PE32, PE32_PLUS, distlib_launcher, identity, sign
from tests.support.pe_builder import SHAPES as BUILT
from tests.support.pki import default_pki
from tests.support.signify_shim import import_signify
from tests.support.tools import require_tool

SOURCE = "int main(void) { return 0; }\n"


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, cwd=cwd, capture_output=True, check=False, timeout=60)


def osslsigncode_says(content: bytes, folder: Path) -> subprocess.CompletedProcess[bytes]:
    (folder / "a.exe").write_bytes(content)
    (folder / "root.pem").write_bytes(default_pki().root_pem)
    tool = require_tool("osslsigncode")
    return run(tool, "verify", "-CAfile", "root.pem", "-in", "a.exe", cwd=folder)


def signify_says(content: bytes) -> str:
    """``OK`` or the name of the result."""
    module = import_signify()
    from signify.x509 import Certificate, FileSystemCertificateStore  # noqa: F401 - after the shim
    from signify.x509.context import CertificateStore

    roots = CertificateStore([Certificate.from_der(default_pki().root)], trusted=True)
    file = module.AuthenticodeFile.from_stream(io.BytesIO(content))
    result, problem = file.explain_verify(trusted_certificate_store=roots)
    return "OK" if result.name == "OK" else f"{result.name}: {problem}"


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Programs made by a real compiler; their lengths are not multiples of 8."""
    folder = tmp_path_factory.mktemp("mingw")
    (folder / "a.c").write_text(SOURCE)
    built = {}
    for name, command in {
        "exe64": ["x86_64-w64-mingw32-gcc", "a.c"],
        "dll64": ["x86_64-w64-mingw32-gcc", "-shared", "a.c"],
        "exe32": ["i686-w64-mingw32-gcc", "a.c"],
    }.items():
        tool = require_tool(command[0], "mingw-w64")
        done = run(tool, *command[1:], "-o", f"{name}.bin", cwd=folder)
        assert done.returncode == 0, done.stderr
        built[name] = (folder / f"{name}.bin").read_bytes()
    return built


SHAPES = {
    "pe32": PE32,
    "pe32+": PE32_PLUS,
    "overlay": PE32_PLUS.but(overlay=b"payload of an installer" * 33),
    "odd": PE32.but(overlay=b"x"),
    "gap": PE32_PLUS.but(gap=b"gap" * 11),
}


@pytest.mark.parametrize("key_type", ["rsa3072", "p256"])
@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_built_shapes_are_accepted_by_both(tmp_path: Path, shape: str, key_type: str) -> None:
    signed = sign(SHAPES[shape].build(), identity(key_type), description="Example", url="https://example.org/")
    told = osslsigncode_says(signed, tmp_path)
    assert told.returncode == 0, told.stdout
    assert signify_says(signed) == "OK"


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_each_digest_is_accepted_by_both(tmp_path: Path, digest: str) -> None:
    signed = sign(distlib_launcher().read_bytes(), identity("rsa3072"), digest=digest)
    assert osslsigncode_says(signed, tmp_path).returncode == 0
    assert signify_says(signed) == "OK"


@pytest.mark.parametrize("name", ["exe64", "dll64", "exe32"])
def test_compiled_programs_are_accepted_by_both(tmp_path: Path, compiled: dict[str, bytes], name: str) -> None:
    signed = sign(compiled[name], identity("rsa3072"))
    told = osslsigncode_says(signed, tmp_path)
    assert told.returncode == 0, told.stdout
    assert b"MISMATCH" not in told.stdout
    assert signify_says(signed) == "OK"


def test_checksum_is_the_one_that_osslsigncode_computes(tmp_path: Path) -> None:
    signed = sign(distlib_launcher().read_bytes())
    assert b"invalid PE checksum" not in osslsigncode_says(signed, tmp_path).stdout
    at = int.from_bytes(signed[60:64], "little") + 24 + 64
    wrong = signed[:at] + bytes([signed[at] ^ 0x01]) + signed[at + 1 :]
    assert b"invalid PE checksum" in osslsigncode_says(wrong, tmp_path).stdout


def test_replaced_and_nested_signatures_are_accepted_by_both(tmp_path: Path) -> None:
    once = sign(distlib_launcher().read_bytes())
    replaced = sign(once, identity("rsa3072"), existing="replace")
    nested = sign(once, identity("rsa3072"), existing="append", digest="sha384")
    for content, count in ((replaced, 1), (nested, 2)):
        told = osslsigncode_says(content, tmp_path)
        assert told.returncode == 0, told.stdout
        assert f"Number of verified signatures: {count}".encode() in told.stdout
        assert signify_says(content) == "OK"


def test_flipped_byte_is_refused_by_both(tmp_path: Path) -> None:
    signed = bytearray(sign(distlib_launcher().read_bytes()))
    signed[0x600] ^= 0x01
    assert osslsigncode_says(bytes(signed), tmp_path).returncode != 0
    assert signify_says(bytes(signed)) != "OK"


def test_efi_program_is_accepted_by_sbverify(tmp_path: Path) -> None:
    tool = require_tool("sbverify", "sbsigntool")
    (tmp_path / "a.efi").write_bytes(sign(EFI.build(), identity("rsa3072")))
    certificate = x509.load_der_x509_certificate(identity("rsa3072").certificate)
    from cryptography.hazmat.primitives.serialization import Encoding

    (tmp_path / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    told = run(tool, "--cert", "cert.pem", "a.efi", cwd=tmp_path)
    assert told.returncode == 0, told.stderr


@pytest.mark.parametrize("shape", sorted(BUILT))
def test_removing_gives_byte_for_byte_what_osslsigncode_gives(tmp_path: Path, shape: str) -> None:
    tool = require_tool("osslsigncode")
    signed = BytesView(sign(BUILT[shape].build()))
    (tmp_path / "signed.exe").write_bytes(signed.read(0, signed.size))
    told = run(tool, "remove-signature", "-in", "signed.exe", "-out", "plain.exe", cwd=tmp_path)
    assert told.returncode == 0, told.stdout
    ours = Patched(signed, PeFormat().remove(signed))
    assert ours.read(0, ours.size) == (tmp_path / "plain.exe").read_bytes()
