# SPDX-License-Identifier: Apache-2.0
"""Signatures of files and of NuGet packages have one content type: what keeps the one from being the other.

A gate that was taken may have a digest signed with ``cms-detached`` whose content nobody has seen: that of the text in
a package signature. What it gets lacks what a package's verifier demands; and what a package's key gives, cut out of
its package, is refused as the signature of a file.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from signwright.envelopes import der
from signwright.envelopes.cms import DATA
from signwright.envelopes.nuget import signature_text
from signwright.envelopes.templates import TEMPLATES
from signwright.errors import FormatError, VerificationError
from signwright.formats.cms import CmsFormat
from signwright.formats.whole_file import WholeFileOptions
from signwright.model.digest import Digest
from signwright.model.operation import Operation
from signwright.model.view import BytesView
from signwright.readers import cms as cms_reader
from signwright.readers.detached import CmsReader
from signwright.readers.nuget import NuGetReader
from tests.support.nuget_builder import rsa, signed_package, small_package
from tests.support.package_signatures import resigned
from tests.support.pki import default_pki
from tests.support.signed_files import envelope_of
from tests.support.tools import require_tool

PACKAGE = small_package()
TEXT = signature_text(Digest.of(PACKAGE))


def with_content(detached: bytes, content: bytes | None) -> bytes:
    """The same signature with this content inside, or without any: its signed bytes do not know the difference."""
    head, wrapped = der.read_all(der.read_one(detached, der.SEQUENCE).content)
    fields = der.read_all(der.read_one(wrapped.content, der.SEQUENCE).content)
    inside = der.explicit(0, der.octet_string(content)) if content is not None else b""
    fields = [f.encoded for f in fields]
    fields[2] = der.sequence(der.oid(DATA), inside)
    return der.sequence(head.encoded, der.explicit(0, der.sequence(*fields)))


def openssl_accepts(signature: bytes, content: bytes, folder: Path) -> bool:
    (folder / "sig").write_bytes(signature)
    (folder / "content").write_bytes(content)
    (folder / "root.pem").write_bytes(default_pki().root_pem)
    command = [
        require_tool("openssl"),
        "cms",
        "-verify",
        "-binary",
        "-inform",
        "DER",
        "-in",
        "sig",
        "-content",
        "content",
    ]
    command += ["-purpose", "any", "-CAfile", "root.pem", "-out", "out"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=60).returncode == 0


def test_a_file_s_signature_of_a_package_s_text_is_no_package_signature(tmp_path: Path) -> None:
    """Sound CMS over the right text: it is the attributes that are missing, and no one but the key could add them."""
    operation = Operation(template="cms-detached", digest=f"sha256:{hashlib.sha256(TEXT).hexdigest()}")
    crossing = envelope_of(operation, rsa())
    assert openssl_accepts(crossing, TEXT, tmp_path)
    forged = with_content(crossing, TEXT)
    parsed = cms_reader.parse(forged)
    cms_reader.check_embedded(parsed, parsed.only_signer)
    with pytest.raises(VerificationError) as refusal:
        NuGetReader().read(BytesView(resigned(PACKAGE, forged)))
    assert refusal.value.code == "wrong-kind"


def test_a_package_s_signature_cut_out_of_it_is_no_file_s_signature(tmp_path: Path) -> None:
    (found,) = NuGetReader().read(BytesView(signed_package())).signatures
    cut = with_content(found.envelope, None)
    assert openssl_accepts(cut, TEXT, tmp_path)
    with pytest.raises(VerificationError) as refusal:
        CmsReader().read(BytesView(cut), BytesView(TEXT))
    assert refusal.value.code == "wrong-kind"
    with pytest.raises(FormatError) as unsigned:
        CmsFormat().prepare(BytesView(TEXT), (), WholeFileOptions())
    assert unsigned.value.code == "other-purpose"


def test_no_other_template_commits_to_an_origin() -> None:
    commitment = bytes.fromhex("060b2a864886f70d0109100210")
    for name, template in TEMPLATES.items():
        operation = Operation(template=name, digest=str(Digest.of(b"content")))
        signed = template.to_be_signed(operation, rsa().context())
        assert (commitment in signed.content) is (name == "nuget"), name
