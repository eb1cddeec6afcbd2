# SPDX-License-Identifier: Apache-2.0
"""Signed cabinets, judged by programs that share no code with ours: osslsigncode, relic, and cabextract for the files.

osslsigncode and relic read no later cabinet of a set, relic no set at all. jsign does; one that it signed stands among
the test vectors.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest

from signwright.envelopes.templates import template_named
from signwright.formats.cab import CabFormat, CabOptions
from signwright.model.digest import Digest
from signwright.model.patch import Patched, sealed
from signwright.model.view import BytesView
from signwright.readers.cab import CabReader
from signwright.timestamps.query import timestamp_query
from signwright.timestamps.reply import token_of_reply
from tests.support import osslsigncode
from tests.support.cab_builder import SHAPES, Cab, Folder, sign
from tests.support.openssl_ts import OpensslTsa
from tests.support.peers import relic_says
from tests.support.pki import Pki, default_pki
from tests.support.signed_files import identity
from tests.support.tools import require_tool, run

osslsigncode_says = partial(osslsigncode.says, ending="cab")

ALONE = sorted(set(SHAPES) - {"first-of-a-set", "second-of-a-set", "between-two-of-a-set"})


@pytest.fixture(scope="module")
def of_gcab(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Cabinets made by another program."""
    folder, tool = tmp_path_factory.mktemp("gcab"), require_tool("gcab")
    (folder / "text").write_bytes(b"".join(b"line %d\n" % number for number in range(30_000)))
    (folder / "noise").write_bytes(bytes(range(256)) * 40)
    made = {}
    for name, packing in (("mszip", ["-z"]), ("stored", [])):
        assert run(tool, "-c", "-n", *packing, f"{name}.cab", "text", "noise", cwd=folder).returncode == 0
        made[name] = (folder / f"{name}.cab").read_bytes()
    return made


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("key_type", ["rsa3072", "p256"])
@pytest.mark.parametrize("packing", ["mszip", "stored"])
def test_cabinets_of_gcab_are_accepted(
    tmp_path: Path, of_gcab: dict[str, bytes], packing: str, key_type: str, digest: str
) -> None:
    content = sign(of_gcab[packing], identity(key_type), digest=digest, description="x", url="https://example.org/")
    told = osslsigncode_says(content, tmp_path)
    assert told.returncode == 0, told.stdout


@pytest.mark.parametrize("shape", [*ALONE, "first-of-a-set"])
def test_built_shapes_are_accepted(tmp_path: Path, shape: str) -> None:
    told = osslsigncode_says(sign(SHAPES[shape].build()), tmp_path)
    assert told.returncode == 0, told.stdout


@pytest.mark.parametrize("algorithm", ["sha256", "sha384"])
def test_the_digest_is_the_one_that_osslsigncode_computes(
    tmp_path: Path, of_gcab: dict[str, bytes], algorithm: str
) -> None:
    prepared = CabFormat().prepare(BytesView(of_gcab["mszip"]), (), CabOptions(digest=algorithm))
    told = osslsigncode_says(sign(of_gcab["mszip"], digest=algorithm), tmp_path).stdout.decode()
    found = re.search(r"Calculated message digest *: ([0-9A-F]+)", told)
    assert found is not None, told
    assert f"{algorithm}:{found[1].lower()}" == prepared.operations[0].digest


@pytest.mark.parametrize("packing", ["mszip", "stored"])
def test_osslsigncode_signs_the_same_digest(tmp_path: Path, of_gcab: dict[str, bytes], packing: str) -> None:
    signer = identity("rsa2048")
    theirs = osslsigncode.signed_by_it(of_gcab[packing], "-h", "sha256", signer=signer)
    (found,) = CabReader().read(BytesView(theirs)).signatures
    (operation,) = CabFormat().prepare(BytesView(of_gcab[packing]), (), CabOptions()).operations
    assert str(found.content_digest) == operation.digest
    assert sign(of_gcab[packing], signer)[:44] == theirs[:44]


def test_a_removed_signature_leaves_what_osslsigncode_leaves(tmp_path: Path, of_gcab: dict[str, bytes]) -> None:
    tool, signed = require_tool("osslsigncode"), sign(of_gcab["mszip"])
    (tmp_path / "in").write_bytes(signed)
    assert run(tool, "remove-signature", "-in", "in", "-out", "out", cwd=tmp_path).returncode == 0
    view = BytesView(signed)
    patch = sealed(view, CabFormat().remove(view))
    assert Patched(view, patch).read(0, patch.result_size) == (tmp_path / "out").read_bytes() == of_gcab["mszip"]


def test_replaced_and_nested_signatures_are_accepted(tmp_path: Path, of_gcab: dict[str, bytes]) -> None:
    once = sign(of_gcab["mszip"])
    replaced = sign(once, identity("rsa3072"), existing="replace")
    nested = sign(once, identity("rsa3072"), existing="append", digest="sha384")
    for content, count in ((replaced, 1), (nested, 2)):
        told = osslsigncode_says(content, tmp_path)
        assert told.returncode == 0, told.stdout
        assert f"Number of verified signatures: {count}".encode() in told.stdout


def test_the_files_in_a_signed_cabinet_still_come_out(tmp_path: Path) -> None:
    tool = require_tool("cabextract")
    cab = Cab(folders=(Folder(), Folder(files=(("c", b"third"),))), reserves=(bytes(6144), 0, 0))
    (tmp_path / "a.cab").write_bytes(sign(cab.build()))
    assert run(tool, "-q", "-d", "out", "a.cab", cwd=tmp_path).returncode == 0
    for folder in cab.folders:
        for name, content in folder.files:
            assert (tmp_path / "out" / name).read_bytes() == content


def test_what_is_wrong_is_refused(tmp_path: Path, of_gcab: dict[str, bytes]) -> None:
    signed = sign(of_gcab["mszip"])
    for at in (32, 60, 200, len(of_gcab["mszip"])):
        flipped = bytearray(signed)
        flipped[at] ^= 0x01
        assert osslsigncode_says(bytes(flipped), tmp_path).returncode != 0
    assert osslsigncode_says(signed, tmp_path, Pki("stranger").root_pem).returncode != 0


@pytest.mark.peer
@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("packing", ["mszip", "stored"])
def test_relic_accepts_cabinets_of_gcab(tmp_path: Path, of_gcab: dict[str, bytes], packing: str, digest: str) -> None:
    (tmp_path / "a.cab").write_bytes(sign(of_gcab[packing], identity("p384"), digest=digest, description="x"))
    told = relic_says(tmp_path / "a.cab")
    assert told.returncode == 0, told.stdout


@pytest.mark.peer
@pytest.mark.parametrize("shape", sorted(set(ALONE) - {"empty-file"}))  # which it takes for CMS, being so small
def test_relic_accepts_built_shapes(tmp_path: Path, shape: str) -> None:
    (tmp_path / "a.cab").write_bytes(sign(SHAPES[shape].build(), identity("rsa2048")))
    told = relic_says(tmp_path / "a.cab")
    assert told.returncode == 0, told.stdout


@pytest.mark.peer
def test_relic_accepts_a_timestamp_of_openssl_in_our_signature(tmp_path: Path, of_gcab: dict[str, bytes]) -> None:
    signer = identity("rsa2048")  # RSA: the same value when it is signed again
    (operation,) = CabFormat().prepare(BytesView(of_gcab["mszip"]), (), CabOptions()).operations
    value = signer.sign(template_named(operation.template).to_be_signed(operation, signer.context()))
    authority = OpensslTsa(tmp_path / "tsa", default_pki().timestamping("rsa2048"), with_chain=True)
    token = token_of_reply(authority.reply(timestamp_query(Digest.of(value), 7)))
    (tmp_path / "a.cab").write_bytes(sign(of_gcab["mszip"], signer, token=token))
    told = relic_says(tmp_path / "a.cab")
    assert told.returncode == 0, told.stdout
    assert "(timestamp): OK" in told.stdout


@pytest.mark.peer
def test_relic_refuses_what_is_wrong(tmp_path: Path, of_gcab: dict[str, bytes]) -> None:
    signed = sign(of_gcab["stored"])
    flipped = bytearray(signed)
    flipped[500] ^= 1
    for content, said in ((bytes(flipped), "digest mismatch"), (signed + b"behind", "trailing garbage")):
        (tmp_path / "a.cab").write_bytes(content)
        told = relic_says(tmp_path / "a.cab")
        assert told.returncode == 1
        assert said in told.stdout
