# SPDX-License-Identifier: Apache-2.0
"""Packages and a bundle, judged by relic: Go, of another family than osslsigncode.

relic wants a catalog in every package, signed with the package's own certificate; here it is one of ours. It compares
names in the zip with those in the block map as they stand, and takes the 64-bit descriptor of an empty file for one of
32 bits; so no name here needs escapes, and no file is empty.
"""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.support.catalog_builder import Cat
from tests.support.catalog_builder import sign as sign_catalog
from tests.support.msix_builder import SHAPES, Bundle, sign
from tests.support.peers import relic_says
from tests.support.signed_files import identity

pytestmark = pytest.mark.peer


@cache
def package(shape: str) -> bytes:
    catalog = sign_catalog(Cat().build(), identity("rsa2048"))
    files = tuple((name.replace("%20", "-"), content) for name, content in SHAPES[shape].files if content)
    return SHAPES[shape].but(catalog=catalog, files=files).build()


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
