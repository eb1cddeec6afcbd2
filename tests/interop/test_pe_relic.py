# SPDX-License-Identifier: Apache-2.0
"""Authenticode in PE files, judged by relic: Go, of another family than osslsigncode and signify."""

from __future__ import annotations

from pathlib import Path

import pytest

from signwright.envelopes.templates import template_named
from signwright.formats.authenticode import write_certificates
from signwright.formats.pe import PeFormat, PeOptions
from signwright.model.digest import Digest
from signwright.model.view import BytesView
from signwright.timestamps.query import timestamp_query
from signwright.timestamps.reply import token_of_reply
from tests.support.openssl_ts import OpensslTsa
from tests.support.pe_builder import EFI, PE32, PE32_PLUS, SHAPES, distlib_launcher, envelope_for, identity, sign
from tests.support.peers import relic_says
from tests.support.pki import Pki, default_pki

pytestmark = pytest.mark.peer

#: Shapes that relic 8.2 does not read, signed by whomever: words of its refusal. Windows loads some of them.
UNREAD = {
    "gap": "but expected",
    "gap-after-headers": "but expected",
    "six-directories": "unexpected EOF",
    "unpadded-last-section": "overlaps with PE sections",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.exe"


def accepted(file: Path, content: bytes) -> int:
    """How many signatures relic lists; fails when it refuses one."""
    file.write_bytes(content)
    told = relic_says(file)
    assert told.returncode == 0, told.stdout
    return told.stdout.count(": OK - ")


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_built_shapes_are_accepted_where_relic_reads_them(file: Path, shape: str) -> None:
    content = sign(SHAPES[shape].build(), identity("rsa3072"), description="Example", url="https://example.org/")
    if shape not in UNREAD:
        assert accepted(file, content) == 1
        return
    file.write_bytes(content)
    assert UNREAD[shape] in relic_says(file).stdout


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("key_type", ["rsa3072", "p256", "p384"])
def test_each_digest_and_key_is_accepted(file: Path, key_type: str, digest: str) -> None:
    assert accepted(file, sign(distlib_launcher().read_bytes(), identity(key_type), digest=digest)) == 1


def test_replaced_nested_and_neighbouring_signatures_are_accepted(file: Path) -> None:
    once = sign(PE32_PLUS.build())
    assert accepted(file, sign(once, identity("rsa2048"), existing="replace")) == 1
    assert accepted(file, sign(once, existing="append", digest="sha384")) == 1  # it lists the outer one
    assert accepted(file, sign(sign(EFI.build()), existing="append", digest="sha384")) == 2
    prepared = [
        PeFormat().prepare(BytesView(PE32.build()), (), PeOptions(digest=name)) for name in ("sha256", "sha384")
    ]
    table = write_certificates([envelope_for(one, identity()) for one in prepared])
    assert accepted(file, PE32.but(table=table).build()) == 2


def test_timestamp_of_openssl_in_our_signature_is_accepted(file: Path, tmp_path: Path) -> None:
    signer, source = identity("rsa2048"), PE32.build()  # RSA: the same value when it is signed again
    (operation,) = PeFormat().prepare(BytesView(source), (), PeOptions()).operations
    value = signer.sign(template_named(operation.template).to_be_signed(operation, signer.context()))
    authority = OpensslTsa(tmp_path / "tsa", default_pki().timestamping("rsa2048"), with_chain=True)
    token = token_of_reply(authority.reply(timestamp_query(Digest.of(value), 7)))
    file.write_bytes(sign(source, signer, token=token))
    told = relic_says(file)
    assert told.returncode == 0, told.stdout
    assert "(timestamp): OK" in told.stdout


def test_what_is_wrong_is_refused(file: Path) -> None:
    content = sign(PE32_PLUS.build())
    flipped = bytearray(content)
    flipped[0x450] ^= 1
    for bent, said in ((bytes(flipped), "digest mismatch"), (content + b"behind", "trailing garbage")):
        file.write_bytes(bent)
        told = relic_says(file)
        assert told.returncode == 1
        assert said in told.stdout
    file.write_bytes(content)
    assert relic_says(file, Pki("stranger").root).returncode == 1
