# SPDX-License-Identifier: Apache-2.0
"""Authenticode in installers, judged by programs that share no code with ours: osslsigncode and signify; what other
readers of compound files find in a signed file: msitools, olefile.
"""

from __future__ import annotations

import io
import random
from functools import partial
from pathlib import Path

import pytest

from tests.support import osslsigncode
from tests.support.cfb_builder import Cfb
from tests.support.msi_builder import EXTENDED, LONG_URL, SHAPES, SIGNATURE, filled, sign, some_tree, wixl_installer
from tests.support.msi_vectors import by_wixl
from tests.support.signed_files import identity
from tests.support.signify_shim import signify_says
from tests.support.tools import require_tool, run

osslsigncode_says = partial(osslsigncode.says, ending="msi")

#: osslsigncode 2.9 and signify read storages within storages in ways of their own; Windows Installer writes none.
FLAT = {name: content for name, content in some_tree().items() if not isinstance(content, dict)}
ONE_LEVEL = FLAT | {"storage": {"one": b"inner", "other": bytes(5000)}}


def assert_both_accept(content: bytes, folder: Path, signatures: int = 1) -> None:
    told = osslsigncode_says(content, folder)
    assert told.returncode == 0, told.stdout
    assert f"Number of verified signatures: {signatures}".encode() in told.stdout
    assert b"MISMATCH" not in told.stdout
    assert signify_says(content) == "OK"


def streams_that_olefile_finds(content: bytes) -> dict[str, bytes]:
    import olefile

    with olefile.OleFileIO(io.BytesIO(content), raise_defects=olefile.DEFECT_POTENTIAL) as file:
        return {"/".join(path): file.openstream(path).read() for path in file.listdir()}


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_accepted_by_both(tmp_path: Path, shape: str, extended: bool) -> None:
    assert_both_accept(sign(SHAPES[shape].build(), identity("rsa3072"), extended=extended), tmp_path)


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("url", [None, LONG_URL])
def test_small_and_large_signatures_are_accepted_by_both(tmp_path: Path, url: str | None, version: int) -> None:
    source = Cfb(ONE_LEVEL, version=version).build()
    assert_both_accept(sign(source, url=url, description="Example"), tmp_path)
    assert_both_accept(sign(source, identity("rsa3072"), url=url, extended=True), tmp_path)


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_each_digest_is_accepted_by_both(tmp_path: Path, digest: str) -> None:
    for extended in (False, True):
        assert_both_accept(sign(wixl_installer(), digest=digest, extended=extended), tmp_path)


@pytest.mark.parametrize(("tables", "version"), [(2, 3), (109, 3), (110, 3), (236, 3), (240, 3), (2, 4)])
def test_files_of_many_tables_are_accepted_by_both(tmp_path: Path, tables: int, version: int) -> None:
    """109 tables and less need no list of them behind the header; 236 fill the first sector of that list."""
    content = sign(filled(tables, version).build(), identity("rsa3072"), url=LONG_URL, extended=True)
    assert_both_accept(content, tmp_path)


def test_a_package_of_wixl_above_7_mb_is_accepted_by_both(tmp_path: Path) -> None:
    source = by_wixl(random.Random(1).randbytes(9 << 20))
    assert int.from_bytes(source[72:76], "little") >= 1  # sectors of the DIFAT
    for extended in (False, True):
        assert_both_accept(sign(source, identity("rsa3072"), url=LONG_URL, extended=extended), tmp_path)


def test_a_package_of_60_mib_with_sectors_of_4096_is_accepted_by_both(tmp_path: Path) -> None:
    assert_both_accept(sign(Cfb(FLAT | {"Huge": bytes(60 << 20)}, version=4).build()), tmp_path)


@pytest.mark.parametrize("extended", [False, True])
def test_replaced_and_nested_signatures_are_accepted_by_both(tmp_path: Path, extended: bool) -> None:
    once = sign(wixl_installer(), extended=extended)
    assert_both_accept(sign(once, identity("rsa3072"), existing="replace", url=LONG_URL), tmp_path)
    twice = sign(once, identity("rsa3072"), existing="append")
    assert_both_accept(twice, tmp_path, 2)
    assert_both_accept(sign(twice, existing="replace", extended=not extended), tmp_path)


def test_a_signature_of_another_digest_is_nested_into_one_without_the_extended_stream(tmp_path: Path) -> None:
    assert_both_accept(sign(sign(wixl_installer()), existing="append", digest="sha384"), tmp_path, 2)


@pytest.mark.parametrize("options", [(), ("-add-msi-dse",)])
def test_signatures_of_osslsigncode_are_nested_and_replaced(tmp_path: Path, options: tuple[str, ...]) -> None:
    other = osslsigncode.signed_by_it(wixl_installer(), *options, "-h", "sha256")
    assert_both_accept(sign(other, existing="append"), tmp_path, 2)
    assert_both_accept(sign(other, existing="replace"), tmp_path)


def test_osslsigncode_signs_what_was_unsigned(tmp_path: Path) -> None:
    from signwright.formats.msi import MsiFormat
    from signwright.model.patch import Patched
    from signwright.model.view import BytesView

    view = BytesView(sign(wixl_installer(), extended=True))
    patch = MsiFormat().remove(view)
    left = Patched(view, patch).read(0, patch.result_size)
    assert streams_that_olefile_finds(left) == streams_that_olefile_finds(wixl_installer())
    assert_both_accept(osslsigncode.signed_by_it(left, "-h", "sha256"), tmp_path)


@pytest.mark.parametrize("extended", [False, True])
def test_a_flipped_byte_is_refused_by_both(tmp_path: Path, extended: bool) -> None:
    content = bytearray(sign(by_wixl(), extended=extended))
    content[content.index(b"MSCF") + 40] ^= 0x01
    assert osslsigncode_says(bytes(content), tmp_path).returncode != 0
    assert signify_says(bytes(content)) != "OK"


@pytest.mark.parametrize("url", [None, LONG_URL])
@pytest.mark.parametrize("shape", SHAPES)
def test_olefile_finds_every_old_stream_as_it_was(shape: str, url: str | None) -> None:
    source = SHAPES[shape].build()
    found = streams_that_olefile_finds(sign(source, identity("rsa3072"), url=url, extended=True))
    assert len(found.pop(SIGNATURE)) > 1000
    assert len(found.pop(EXTENDED)) == 32
    assert found == streams_that_olefile_finds(source)


@pytest.mark.parametrize("extended", [False, True])
def test_msitools_finds_every_old_stream_and_table_as_it_was(tmp_path: Path, extended: bool) -> None:
    tool = require_tool("msiinfo", "msitools")
    source = by_wixl()
    (tmp_path / "source.msi").write_bytes(source)
    signed = sign(source, identity("rsa3072"), url=LONG_URL, extended=extended)
    for name, content in (("signed", signed), ("again", sign(signed, existing="replace"))):
        (tmp_path / f"{name}.msi").write_bytes(content)
        for what in ("tables", "suminfo"):
            listed = [run(tool, what, f"{one}.msi", cwd=tmp_path) for one in ("source", name)]
            assert listed[0].returncode == listed[1].returncode == 0
            assert listed[0].stdout == listed[1].stdout
        old = run(tool, "streams", "source.msi", cwd=tmp_path).stdout.decode().split()
        new = run(tool, "streams", f"{name}.msi", cwd=tmp_path).stdout.decode().split()
        assert set(old) | {SIGNATURE} <= set(new)
        for stream in old:
            extracted = [run(tool, "extract", f"{one}.msi", stream, cwd=tmp_path).stdout for one in ("source", name)]
            assert extracted[0] == extracted[1]
        for table in run(tool, "tables", "source.msi", cwd=tmp_path).stdout.decode().split():
            exported = [run(tool, "export", f"{one}.msi", table, cwd=tmp_path) for one in ("source", name)]
            assert exported[0].returncode == exported[1].returncode == 0
            assert exported[0].stdout == exported[1].stdout
