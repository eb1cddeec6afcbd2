# SPDX-License-Identifier: Apache-2.0
"""Packages, judged by a program that shares no code with ours: osslsigncode. The other way round as well."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from signwright.errors import FormatError, VerificationError
from signwright.formats.msix import MsixFormat
from signwright.model.patch import Patched
from signwright.model.view import BytesView
from signwright.readers.msix import MsixReader
from tests.support.msix_builder import SHAPES, Bundle, Msix, sign, signed_msix, small_bundle, small_msix
from tests.support.pki import default_pki, to_pem
from tests.support.signed_files import identity
from tests.support.tools import require_tool

READER = MsixReader()


def osslsigncode(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    (folder / "root.pem").write_bytes(default_pki().root_pem)
    tool = require_tool("osslsigncode")
    return subprocess.run([tool, *arguments], cwd=folder, capture_output=True, check=False, timeout=60)


def accepted(content: bytes, folder: Path) -> bytes:
    """What it says of a package that it accepts."""
    (folder / "a.msix").write_bytes(content)
    told = osslsigncode(folder, "verify", "-CAfile", "root.pem", "-in", "a.msix")
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


@pytest.mark.parametrize("key_type", ["rsa3072", "p256"])
@pytest.mark.parametrize("shape", SHAPES)
def test_packages_of_every_shape_are_accepted(tmp_path: Path, shape: str, key_type: str) -> None:
    signed = sign(SHAPES[shape].build(), identity(key_type), description="Example", url="https://example.org/")
    told = accepted(signed, tmp_path)
    assert SHAPES[shape].algorithm.upper().encode() in told
    assert (b"Code Integrity" in told) == (shape == "catalog")


@pytest.mark.parametrize("shape", SHAPES)
def test_signed_again_and_after_removal_it_is_accepted(tmp_path: Path, shape: str) -> None:
    once = sign(SHAPES[shape].build())
    accepted(sign(once, existing="replace"), tmp_path)
    view = BytesView(once)
    patch = MsixFormat().remove(view)
    unsigned = Patched(view, patch).read(0, patch.result_size)
    accepted(sign(unsigned), tmp_path)


def test_a_bundle_and_a_bundle_of_one_are_accepted(tmp_path: Path) -> None:
    accepted(sign(small_bundle()), tmp_path)
    accepted(sign(Bundle((("only.msix", signed_msix()),)).build()), tmp_path)


def test_many_members_are_accepted(tmp_path: Path) -> None:
    many = Msix(files=tuple((f"content/{n}.bin", b"%d" % n * 40) for n in range(2000)))
    accepted(sign(many.build()), tmp_path)


@pytest.mark.parametrize("place", ["first", "manifest", "signature", "directory"])
def test_a_changed_byte_is_refused_by_both(tmp_path: Path, place: str) -> None:
    signed = bytearray(signed_msix())
    at = {
        "first": 60,
        "manifest": signed.index(b"AppxManifest.xml") + 40,
        "signature": signed.rindex(b"PK\3\4", 0, signed.index(b"PK\1\2")) + 400,
        "directory": signed.index(b"PK\1\2") + 13,
    }[place]
    signed[at] ^= 1
    (tmp_path / "a.msix").write_bytes(signed)
    assert osslsigncode(tmp_path, "verify", "-CAfile", "root.pem", "-in", "a.msix").returncode != 0
    with pytest.raises((FormatError, VerificationError)):
        READER.read(BytesView(bytes(signed)))


# Where nothing is packed the other tool writes packed content types under a header that says stored.
@pytest.mark.parametrize("shape", [name for name in SHAPES if name != "stored"])
def test_what_the_other_signs_is_read_and_replaced(tmp_path: Path, shape: str) -> None:
    source, signer = SHAPES[shape].build(), identity("rsa2048")
    (tmp_path / "in.msix").write_bytes(source)
    (tmp_path / "key").write_bytes(signer.private_pem)
    (tmp_path / "chain").write_bytes(b"".join(map(to_pem, signer.chain)))
    signing = (
        "sign",
        "-h",
        "sha256",
        "-key",
        "key",
        "-certs",
        "chain",
        "-n",
        "Other",
        "-in",
        "in.msix",
        "-out",
        "out.msix",
    )
    told = osslsigncode(tmp_path, *signing)
    assert told.returncode == 0, told.stderr
    signed = (tmp_path / "out.msix").read_bytes()
    reading = READER.read(BytesView(signed))
    assert reading.signatures[0].notes["description"] == "Other"
    assert reading.stripped_sha256 == READER.read(BytesView(source)).stripped_sha256
    accepted(sign(signed, existing="replace"), tmp_path)


def test_it_removes_our_signature_and_the_package_is_the_source_s(tmp_path: Path) -> None:
    (tmp_path / "a.msix").write_bytes(signed_msix())
    told = osslsigncode(tmp_path, "remove-signature", "-in", "a.msix", "-out", "b.msix")
    assert told.returncode == 0, told.stderr
    reading = READER.read(BytesView((tmp_path / "b.msix").read_bytes()))
    assert reading.signatures == ()
    assert reading.stripped_sha256 == READER.read(BytesView(small_msix())).stripped_sha256
