# SPDX-License-Identifier: Apache-2.0
"""Catalogs, judged by programs that share no code with ours: osslsigncode and signify."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from signwright.errors import FormatError
from signwright.formats.catalog_content import catalog_file, make_catalog
from signwright.model.view import BytesView
from signwright.readers.catalog import CatalogReader
from tests.support import osslsigncode
from tests.support.catalog_builder import SHA1_SHAPES, SHAPES, Cat, Member, sign
from tests.support.pe_builder import Pe
from tests.support.signed_files import identity
from tests.support.signify_shim import import_signify, signify_says
from tests.support.tools import require_tool, run

osslsigncode_says = partial(osslsigncode.says, ending="cat")

SHAPES = {**SHAPES, **SHA1_SHAPES}


@pytest.mark.parametrize("key_type", ["rsa3072", "p256"])
@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_signed_catalogs_are_accepted_by_both(tmp_path: Path, shape: str, key_type: str) -> None:
    source = SHAPES[shape].build()
    signed = sign(source, identity(key_type), description="Example", url="https://example.org/", sha1=True)
    told = osslsigncode_says(signed, tmp_path)
    assert told.returncode == 0, told.stdout
    assert b"Number of verified signatures: 1" in told.stdout
    assert signify_says(signed) == "OK"


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_each_digest_is_accepted_by_both(tmp_path: Path, digest: str) -> None:
    signed = sign(Cat().build(), identity("rsa3072"), digest=digest)
    assert osslsigncode_says(signed, tmp_path).returncode == 0
    assert signify_says(signed) == "OK"


def test_a_replaced_signature_is_accepted_by_both(tmp_path: Path) -> None:
    again = sign(sign(Cat().build(), identity("p256")), identity("rsa3072"), existing="replace")
    assert b"Number of verified signatures: 1" in osslsigncode_says(again, tmp_path).stdout
    assert signify_says(again) == "OK"


def test_a_changed_member_is_refused_by_both(tmp_path: Path) -> None:
    signed, digest = sign(Cat().build()), Member().digest
    changed = signed.replace(digest, bytes(32))
    assert changed != signed
    assert osslsigncode_says(changed, tmp_path).returncode != 0
    assert signify_says(changed) != "OK"


def test_signify_finds_a_listed_file_and_no_other() -> None:
    module = import_signify()
    from signify.authenticode.trust_list import CertificateTrustList  # noqa: F401 - after the shim

    listed = Cat(members=(Member(b"listed"),))
    catalog = module.AuthenticodeFile.from_stream(io.BytesIO(sign(listed.build()))).ctl
    assert catalog.find_subject(Member(b"listed").digest) is not None
    assert catalog.find_subject(Member(b"other").digest) is None


def test_catalogs_that_osslsigncode_signed_are_read_and_can_be_signed_again(tmp_path: Path) -> None:
    theirs = osslsigncode.signed_by_it(Cat().build(), "-h", "sha256", "-n", "Theirs", signer=identity("rsa2048"))
    reading = CatalogReader().read(BytesView(theirs))
    (found,) = reading.signatures
    assert found.notes["description"] == "Theirs"
    assert reading.stripped_sha256 == CatalogReader().stripped(BytesView(Cat().build()))
    with pytest.raises(FormatError):
        sign(theirs)
    assert signify_says(sign(theirs, existing="replace")) == "OK"


def test_what_both_sign_is_the_same(tmp_path: Path) -> None:
    """Their signature has a signingTime of its own; the digest of the list in it is ours."""
    theirs = osslsigncode.signed_by_it(Cat().build(), "-h", "sha256", signer=identity("rsa2048"))
    ours = sign(Cat().build(), identity("rsa2048"))
    digests = {CatalogReader().read(BytesView(one)).signatures[0].content_digest for one in (theirs, ours)}
    assert len(digests) == 1


@pytest.mark.parametrize("overlay", [0, 5])
def test_an_unsigned_program_is_found_in_a_catalog_that_was_made_here(tmp_path: Path, overlay: int) -> None:
    program = Pe(overlay=b"x" * overlay).build()
    member = catalog_file("a.exe", BytesView(program))
    made = make_catalog([member], systems=["10_X64"], hardware_ids=[], moment=datetime(2026, 11, 21, tzinfo=UTC))
    (tmp_path / "a.exe").write_bytes(program)
    (tmp_path / "b.exe").write_bytes(Pe(overlay=b"another").build())
    assert osslsigncode_says(sign(made), tmp_path).returncode == 0
    for name, found in (("a.exe", True), ("b.exe", False)):
        command = [require_tool("osslsigncode"), "verify", "-CAfile", "root.pem", "-catalog", "a.cat", "-in", name]
        assert (run(*command, cwd=tmp_path).returncode == 0) is found
