# SPDX-License-Identifier: Apache-2.0
"""Authenticode in PE files, judged by programs that share no code with ours: osslsigncode, signify, sbverify."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from signwright.formats.authenticode import write_certificates
from signwright.formats.pe import PeFormat, PeOptions
from signwright.model.patch import Patched
from signwright.model.view import BytesView, FileView
from signwright.readers.pe import PeReader
from tests.support import osslsigncode
from tests.support.pe_builder import EFI, PE32_PLUS, SHAPES, distlib_launcher, envelope_for, identity, sign
from tests.support.pki import default_pki, to_pem
from tests.support.signify_shim import signify_says
from tests.support.tools import require_tool, run

osslsigncode_says = partial(osslsigncode.says, ending="exe")

SOURCES = {
    "a.c": "int main(void) { return 0; }\n",
    "driver.c": "int DriverEntry(void *driver, void *path) { return driver == path; }\n",
}
DRIVER = ["-shared", "-nostdlib", "-Wl,--subsystem,native", "-Wl,--entry,DriverEntry"]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Programs made by a real compiler; their lengths are not multiples of 8."""
    folder = tmp_path_factory.mktemp("mingw")
    for name, text in SOURCES.items():
        (folder / name).write_text(text)
    built = {}
    for name, command in {
        "exe64": ["x86_64-w64-mingw32-gcc", "a.c"],
        "dll64": ["x86_64-w64-mingw32-gcc", "-shared", "a.c"],
        "exe32": ["i686-w64-mingw32-gcc", "a.c"],
        "sys64": ["x86_64-w64-mingw32-gcc", *DRIVER, "driver.c"],
    }.items():
        tool = require_tool(command[0], "mingw-w64")
        done = run(tool, *command[1:], "-o", f"{name}.bin", cwd=folder)
        assert done.returncode == 0, done.stderr
        built[name] = (folder / f"{name}.bin").read_bytes()
    return built


@pytest.mark.parametrize("key_type", ["rsa3072", "p256"])
@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_built_shapes_are_accepted_by_both(tmp_path: Path, shape: str, key_type: str) -> None:
    signed = sign(SHAPES[shape].build(), identity(key_type), description="Example", url="https://example.org/")
    told = osslsigncode_says(signed, tmp_path)
    assert told.returncode == 0, told.stdout
    assert signify_says(signed) == "OK"


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_each_digest_is_accepted_by_both(tmp_path: Path, digest: str) -> None:
    signed = sign(distlib_launcher().read_bytes(), identity("rsa3072"), digest=digest)
    assert osslsigncode_says(signed, tmp_path).returncode == 0
    assert signify_says(signed) == "OK"


@pytest.mark.parametrize("name", ["exe64", "dll64", "exe32", "sys64"])
def test_compiled_programs_are_accepted_by_both(tmp_path: Path, compiled: dict[str, bytes], name: str) -> None:
    signed = sign(compiled[name], identity("rsa3072"))
    told = osslsigncode_says(signed, tmp_path)
    assert told.returncode == 0, told.stdout
    assert b"MISMATCH" not in told.stdout
    assert signify_says(signed) == "OK"


def test_checksum_is_the_one_that_osslsigncode_computes(tmp_path: Path) -> None:
    signed = sign(distlib_launcher().read_bytes())
    assert b"invalid PE checksum" not in osslsigncode_says(signed, tmp_path).stdout
    at = int.from_bytes(signed[60:64], "little") + 24 + 64
    wrong = signed[:at] + bytes([signed[at] ^ 0x01]) + signed[at + 1 :]
    assert b"invalid PE checksum" in osslsigncode_says(wrong, tmp_path).stdout


def test_replaced_and_nested_signatures_are_accepted_by_both(tmp_path: Path) -> None:
    once = sign(distlib_launcher().read_bytes())
    replaced = sign(once, identity("rsa3072"), existing="replace")
    nested = sign(once, identity("rsa3072"), existing="append", digest="sha384")
    for content, count in ((replaced, 1), (nested, 2)):
        told = osslsigncode_says(content, tmp_path)
        assert told.returncode == 0, told.stdout
        assert f"Number of verified signatures: {count}".encode() in told.stdout
        assert signify_says(content) == "OK"


def test_flipped_byte_is_refused_by_both(tmp_path: Path) -> None:
    signed = bytearray(sign(distlib_launcher().read_bytes()))
    signed[0x600] ^= 0x01
    assert osslsigncode_says(bytes(signed), tmp_path).returncode != 0
    assert signify_says(bytes(signed)) != "OK"


@pytest.mark.parametrize("key_types", [["rsa3072"], ["rsa3072", "rsa2048"]], ids=["one", "two"])
def test_every_signature_of_an_efi_program_is_accepted_by_sbverify(tmp_path: Path, key_types: list[str]) -> None:
    tool = require_tool("sbverify", "sbsigntool")
    content = EFI.build()
    for key_type in key_types:
        content = sign(content, identity(key_type), existing="append")
    (tmp_path / "a.efi").write_bytes(content)
    for key_type in key_types:
        (tmp_path / "cert.pem").write_bytes(to_pem(identity(key_type).certificate))
        told = run(tool, "--cert", "cert.pem", "a.efi", cwd=tmp_path)
        assert told.returncode == 0, told.stderr


def test_driver_is_known_as_one(compiled: dict[str, bytes]) -> None:
    facts = PeFormat().prepare(BytesView(compiled["sys64"]), (), PeOptions()).facts
    assert (facts["subsystem"], facts["is_driver"]) == ("native", True)


@pytest.mark.parametrize("theirs", ["sha1", "sha256", "sha384"])
def test_signature_beside_one_of_osslsigncode_is_accepted_by_both(
    tmp_path: Path, compiled: dict[str, bytes], theirs: str
) -> None:
    first = osslsigncode.signed_by_it(compiled["exe64"], "-h", theirs, signer=identity("rsa2048"))
    ours_last = sign(first, existing="append", digest="sha384")
    ours_first = osslsigncode.signed_by_it(sign(compiled["exe64"]), "-nest", "-h", theirs, signer=identity("rsa2048"))
    for content in (ours_last, ours_first, sign(ours_first, existing="append", digest="sha512")):
        told = osslsigncode_says(content, tmp_path)
        assert told.returncode == 0, told.stdout
        assert signify_says(content) == "OK"
        reading = PeReader().read(BytesView(content))
        assert any("uses sha1" in warning for warning in reading.warnings) == (theirs == "sha1")


def test_table_of_several_entries_is_accepted_by_signify(tmp_path: Path) -> None:
    """osslsigncode 2.9 refuses every such table, of firmware as well; nobody else here reads it."""
    source = BytesView(PE32_PLUS.build())
    prepared = [PeFormat().prepare(source, (), PeOptions(digest=digest)) for digest in ("sha256", "sha384")]
    table = write_certificates([envelope_for(one, identity("rsa3072")) for one in prepared])
    two = PE32_PLUS.but(table=table).build()
    for content in (two, sign(two, existing="append")):
        assert signify_says(content) == "OK"
        assert osslsigncode_says(content, tmp_path).returncode != 0


def test_bytes_behind_a_table_are_refused_and_accepted_once_signed_again(tmp_path: Path) -> None:
    longer = sign(distlib_launcher().read_bytes()) + b"appended later"
    again = sign(longer, existing="replace")
    for content, good in ((longer, False), (again, True)):
        assert (osslsigncode_says(content, tmp_path).returncode == 0) == good
        assert (signify_says(content) == "OK") == good


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_removing_gives_byte_for_byte_what_osslsigncode_gives(tmp_path: Path, shape: str) -> None:
    tool = require_tool("osslsigncode")
    signed = BytesView(sign(SHAPES[shape].build()))
    (tmp_path / "signed.exe").write_bytes(signed.read(0, signed.size))
    told = run(tool, "remove-signature", "-in", "signed.exe", "-out", "plain.exe", cwd=tmp_path)
    assert told.returncode == 0, told.stdout
    ours = Patched(signed, PeFormat().remove(signed))
    assert ours.read(0, ours.size) == (tmp_path / "plain.exe").read_bytes()


@pytest.mark.parametrize("digest", ["sha256", "sha384"])
@pytest.mark.parametrize("name", ["exe64", "dll64", "exe32"])
def test_page_hashes_are_those_of_both(tmp_path: Path, compiled: dict[str, bytes], name: str, digest: str) -> None:
    signed = sign(compiled[name], identity("rsa3072"), digest=digest, page_hashes=True)
    told = osslsigncode_says(signed, tmp_path)
    assert told.returncode == 0, told.stdout
    lines = dict(line.split(":", 1) for line in told.stdout.decode().splitlines() if ":" in line)
    said = {key.strip(): value.strip() for key, value in lines.items()}
    assert said["Page hash algorithm"] == "SHA256"
    assert said["Page hash"] == said["Calculated page hash"]
    assert signify_says(signed) == "OK"


def test_page_hashes_of_osslsigncode_hold_for_our_reader(tmp_path: Path, compiled: dict[str, bytes]) -> None:
    pki, signer = default_pki(), identity("rsa3072")
    (tmp_path / "a.exe").write_bytes(compiled["exe64"])
    (tmp_path / "cert.pem").write_bytes(to_pem(signer.certificate) + pki.root_pem)
    (tmp_path / "key.pem").write_bytes(signer.private_pem)
    tool = require_tool("osslsigncode")
    flags = ["-h", "sha256", "-ph", "-certs", "cert.pem", "-key", "key.pem", "-in", "a.exe", "-out", "b.exe"]
    done = run(tool, "sign", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = PeReader().read(BytesView((tmp_path / "b.exe").read_bytes())).signatures
    assert found.notes["page_hashes"] == "sha256, every page"


VERSION = """1 VERSIONINFO
FILEVERSION 1,2,3,4
PRODUCTVERSION 5,6,7,65535
BEGIN
  BLOCK "StringFileInfo" BEGIN BLOCK "040904B0" BEGIN
    VALUE "ProductName", "Example"
    VALUE "FileVersion", "1.2 beta"
  END END
  BLOCK "VarFileInfo" BEGIN VALUE "Translation", 0x409, 1200 END
END
"""


@pytest.mark.parametrize("kind", ["x86_64", "i686"])
def test_version_that_a_resource_compiler_writes_is_read(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.rc").write_text(VERSION)
    (tmp_path / "a.c").write_text(SOURCES["a.c"])
    windres, gcc = (require_tool(f"{kind}-w64-mingw32-{name}", "mingw-w64") for name in ("windres", "gcc"))
    for command in ([windres, "a.rc", "a.o"], [gcc, "a.c", "a.o", "-o", "a.exe"]):
        done = run(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    facts = PeFormat().prepare(BytesView((tmp_path / "a.exe").read_bytes()), (), PeOptions()).facts
    assert {name: value for name, value in facts.items() if "product" in name or "version" in name} == {
        "product_name": "Example",
        "file_version": "1.2 beta",
        "fixed_file_version": "1.2.3.4",
        "fixed_product_version": "5.6.7.65535",
    }


@pytest.mark.slow
def test_program_of_more_than_2_gib_is_accepted_by_osslsigncode(tmp_path: Path) -> None:
    """Offsets beyond 31 bits; the file is sparse, and signed where it lies."""
    tool, path = require_tool("osslsigncode"), tmp_path / "large.exe"
    path.write_bytes(PE32_PLUS.build())
    with path.open("r+b") as file:
        file.truncate((1 << 31) + 4099)
        prepared = PeFormat().prepare(FileView(file), (), PeOptions())
        patch = PeFormat().embed(prepared, [envelope_for(prepared, identity())])
        for splice in patch.splices:
            file.seek(splice.offset)
            file.write(splice.insert)
    assert path.stat().st_size == patch.result_size
    with path.open("rb") as file:
        reading = PeReader().read(FileView(file))
    assert (len(reading.signatures), reading.warnings) == (1, ())
    (tmp_path / "root.pem").write_bytes(default_pki().root_pem)
    told = run(tool, "verify", "-CAfile", "root.pem", "-in", path.name, cwd=tmp_path)
    assert told.returncode == 0, told.stdout
