# SPDX-License-Identifier: Apache-2.0
"""Signed catalogs, and the cabinet of a driver package, judged by relic: Go, of another family than osslsigncode."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest

from signwright.formats.cab import CabFormat
from signwright.formats.cab_writer import Packed, write_cabinet
from signwright.formats.catalog_content import catalog_file, make_catalog
from signwright.model.view import BytesView
from tests.support.catalog_builder import SHA1_SHAPES, SHAPES, Cat, Member, sign
from tests.support.pe_builder import compact_pe
from tests.support.peers import relic_says
from tests.support.signed_files import identity
from tests.support.signed_files import sign as sign_as

pytestmark = pytest.mark.peer

ALL = {**SHAPES, **SHA1_SHAPES}
WHEN = datetime(2026, 11, 21, tzinfo=UTC)


def accepted(folder: Path, content: bytes, ending: str = "cat") -> bool:
    file = folder / f"a.{ending}"
    file.write_bytes(content)
    told = relic_says(file)
    return told.returncode == 0 and told.stdout.count(": OK - ") == 1


@pytest.mark.parametrize("shape", sorted(ALL))
@pytest.mark.parametrize("key_type", ["rsa3072", "p256"])
def test_signed_catalogs_are_accepted(tmp_path: Path, shape: str, key_type: str) -> None:
    assert accepted(tmp_path, sign(ALL[shape].build(), identity(key_type), description="Example", sha1=True))


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_each_digest_and_a_replaced_signature_are_accepted(tmp_path: Path, digest: str) -> None:
    once = sign(Cat().build(), identity("rsa2048"), digest=digest)
    assert accepted(tmp_path, once)
    assert accepted(tmp_path, sign(once, existing="replace", digest=digest))


def test_a_changed_member_is_refused(tmp_path: Path) -> None:
    signed = sign(Cat().build())
    assert not accepted(tmp_path, signed.replace(Member().digest, bytes(32)))


def test_a_made_catalog_and_a_written_cabinet_are_accepted(tmp_path: Path) -> None:
    program = BytesView(compact_pe())
    made = make_catalog([catalog_file("a.sys", program)], systems=["10_X64"], hardware_ids=["root\\a"], moment=WHEN)
    assert accepted(tmp_path, sign(made))
    out = io.BytesIO()
    write_cabinet(out, [Packed("d\\a.sys", program), Packed("d\\a.cat", BytesView(sign(made)))], moment=WHEN)
    assert accepted(tmp_path, sign_as(CabFormat(), out.getvalue()), "cab")
