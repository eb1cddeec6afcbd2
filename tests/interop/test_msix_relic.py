# SPDX-License-Identifier: Apache-2.0
"""Packages and a bundle, judged by relic: Go, of another family than osslsigncode.

relic wants a catalog in every package, signed with the package's own certificate; here it is one of ours. It compares
names in the zip with those in the block map as they stand, and takes the 64-bit descriptor of an empty file for one of
32 bits; so no name here needs escapes, and no file is empty.
"""

from __future__ import annotations

import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from signwright.formats.msix_blocks import BlockCheck
from signwright.formats.msix_members import changed_block_map, hash_blocks, pack_blocks
from signwright.model.view import BytesView
from tests.support.catalog_builder import Cat
from tests.support.catalog_builder import sign as sign_catalog
from tests.support.msix_builder import SHAPES, Bundle, Msix, Row, sign
from tests.support.peers import relic_says
from tests.support.signed_files import identity

pytestmark = pytest.mark.peer


def source(shape: str) -> Msix:
    catalog = sign_catalog(Cat().build(), identity("rsa2048"))
    files = tuple((name.replace("%20", "-"), content) for name, content in SHAPES[shape].files if content)
    return SHAPES[shape].but(catalog=catalog, files=files)


@cache
def package(shape: str) -> bytes:
    return source(shape).build()


def changed(shape: str, content: bytes, mapped: bytes) -> bytes:
    """A program in the package is ``content``, packed by us; the block map, changed by us, has hashes of ``mapped``."""
    package, name = source(shape), "app.exe"
    packing = pack_blocks(BytesView(content), package.algorithm)
    stream, hashed = content if package.stored else packing.packed, hash_blocks(BytesView(mapped), package.algorithm)
    row = replace(hashed.row(30 + len(name)), sizes=None if package.stored else packing.sizes)

    def rows_of(rows: list[Row]) -> list[Row]:
        return [replace(one, content=content, packed=stream) if one.name == name else one for one in rows]

    return package.but(
        file_hashes=True, rows_of=rows_of, map_of=lambda text: changed_block_map(text.encode(), {name: row}).decode()
    ).build()


def told(content: bytes, folder: Path, ending: str = "appx") -> subprocess.CompletedProcess[str]:
    file = folder / f"a.{ending}"
    file.write_bytes(content)
    return relic_says(file)


@pytest.mark.parametrize("shape", SHAPES)
def test_packages_of_every_shape_are_accepted(tmp_path: Path, shape: str) -> None:
    source = package(shape)
    for signed in (sign(source, description="Example"), sign(sign(source), existing="replace")):
        said = told(signed, tmp_path)
        assert said.returncode == 0, said.stdout + said.stderr
        assert ": OK - " in said.stdout


def test_a_bundle_is_accepted(tmp_path: Path) -> None:
    inner = sign(package("packager"))
    said = told(sign(Bundle((("x64.appx", inner),)).build()), tmp_path, "appxbundle")
    assert said.returncode == 0, said.stdout + said.stderr


def test_a_changed_byte_is_refused(tmp_path: Path) -> None:
    signed = bytearray(sign(package("packager")))
    signed[60] ^= 1
    assert told(bytes(signed), tmp_path).returncode != 0


@pytest.mark.parametrize("shape", ["packager", "newer-packager", "stored", "sha384", "sha512", "large"])
def test_another_member_is_accepted_with_its_map_and_refused_with_an_old_one(
    tmp_path: Path, shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"MZ" + bytes(range(256)) * 700
    said = told(sign(changed(shape, content, content)), tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr
    # That relic looks at the map at all: our own writer would not sign this one.
    for step in ("take", "finish"):
        monkeypatch.setattr(BlockCheck, step, lambda *_: None)
    said = told(sign(changed(shape, content, content[:-1] + b"?")), tmp_path)
    assert said.returncode != 0
    assert "digest mismatch" in said.stdout + said.stderr
