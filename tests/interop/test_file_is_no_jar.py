# SPDX-License-Identifier: Apache-2.0
"""Why a file that is a signature file of a JAR is refused: jarsigner takes a detached signature of it for a JAR's.

If this test fails because jarsigner no longer does, the refusal has lost its reason.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from signwright.errors import FormatError, VerificationError
from signwright.formats.whole_file import WholeFileOptions, prepare_whole_file
from signwright.model.operation import Operation
from signwright.model.view import BytesView
from signwright.readers.detached import CmsReader
from tests.support.signed_files import envelope_of, identity
from tests.support.tools import require_tool

MANIFEST = b"Manifest-Version: 1.0\r\n\r\n"


def digest(content: bytes) -> bytes:
    return base64.b64encode(hashlib.sha256(content).digest())


def signature_file(first: bytes) -> tuple[bytes, bytes]:
    """Manifest and signature file of a JAR with one class; ``first``: lines before the one that makes it one."""
    section = b"Name: Evil.class\r\nSHA-256-Digest: " + digest(b"evil") + b"\r\n\r\n"
    manifest = MANIFEST + section
    main = first + b"Signature-Version: 1.0\r\nSHA-256-Digest-Manifest: " + digest(manifest) + b"\r\n\r\n"
    return manifest, main + b"Name: Evil.class\r\nSHA-256-Digest: " + digest(section) + b"\r\n\r\n"


@pytest.mark.parametrize("first", [b"", b"Created-By: notes\r\n", b"X: y\r\n" * 900], ids=["plain", "second", "far"])
def test_a_detached_signature_of_such_a_file_would_be_one_of_a_jar(tmp_path: Path, first: bytes) -> None:
    tool = require_tool("jarsigner")
    manifest, content = signature_file(first)
    operation = Operation(template="cms-detached", digest="sha256:" + hashlib.sha256(content).hexdigest())
    envelope = envelope_of(operation, identity("rsa3072"))
    with zipfile.ZipFile(tmp_path / "evil.jar", "w") as jar:
        for name, member in (("MANIFEST.MF", manifest), ("A.SF", content), ("A.RSA", envelope)):
            jar.writestr(f"META-INF/{name}", member)
        jar.writestr("Evil.class", b"evil")
    told = subprocess.run([tool, "-verify", str(tmp_path / "evil.jar")], capture_output=True, check=False, timeout=120)
    assert b"jar verified." in told.stdout, told.stdout

    with pytest.raises(FormatError) as refusal:
        prepare_whole_file(BytesView(content), WholeFileOptions(), name="cms", template="cms-detached")
    assert refusal.value.code == "other-purpose"
    with pytest.raises(VerificationError) as failure:
        CmsReader().read(BytesView(envelope), BytesView(content))
    assert failure.value.code == "wrong-kind"
