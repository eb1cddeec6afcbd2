# SPDX-License-Identifier: Apache-2.0
"""A release archive through the whole cycle: members signed, a vendor's verified, the rest kept, nothing else there."""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from signwright.cli.bench.trial import sign_policy
from signwright.cli.home import Home
from signwright.formats.registry import FORMATS
from signwright.model.digest import sha256_hex
from tests.support.format_samples import SAMPLES
from tests.support.homes import RunningHome, running_home
from tests.support.pe_builder import Pe
from tests.support.signed_files import identity, sign
from tests.support.tools import require_tool
from tests.support.zip_builder import Zip

PROGRAMS = "  programs:\n    rules:\n"
VENDOR = sign(FORMATS["pe"], Pe(overlay=b"theirs").build())
RULES = f"""\
      - name: "*.zip"
        format: zip
        members:
          - {{path: "lib/*.dll", action: verify, signers: ["{sha256_hex(identity().chain[0])}"]}}
          - {{path: "**/*.exe", action: sign, format: pe, min: 1, max: 3}}
          - {{path: "*.ps1", action: sign, format: powershell}}
          - path: "plugins/*.zip"
            action: sign
            format: zip
            members:
              - {{path: "**/*.exe", action: sign, format: pe}}
              - {{path: "**", action: keep}}
          - {{path: "**/*.txt", action: keep}}
      - name: "*.msi"
        format: msi
        members:
          - path: "product.cab"
            action: keep
            members:
              - {{path: "**", action: sign, format: pe}}
        unlisted: keep
"""
INNER = Zip((("p.exe", Pe(overlay=b"plugin").build()), ("notes", b"n"))).build()
FILES = {
    "bin/tool.exe": Pe().build(),
    "lib/vendor.dll": VENDOR,
    "setup.ps1": SAMPLES["powershell"](),
    "plugins/p.zip": INNER,
    "readme.txt": b"read me " * 20,
}
SIGNED = ["bin/tool.exe", "setup.ps1", "plugins/p.zip/p.exe"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHome]:
    folder = tmp_path_factory.mktemp("archives")
    with running_home(folder / "h", folder / "state", prepare=lambda made: add_rules(Home(made))) as running:
        yield running


def add_rules(home: Home) -> None:
    project = home / "policy" / "projects" / "default.yaml"
    text = project.read_text(encoding="utf-8").replace("modes: [artifact, digest]", "modes: [artifact]", 1)
    # The rule for installers that the trial has would let their members be anything.
    text = text.replace('      - name: "*"\n        format: msi\n', "").replace(PROGRAMS, PROGRAMS + RULES)
    project.write_text(text, encoding="utf-8")
    sign_policy(home)


def archive(folder: Path, **members: bytes) -> Path:
    file = folder / "tool-1.0.zip"
    file.write_bytes(Zip(tuple({**FILES, **members}.items())).build())
    return file


def test_release_of_an_archive_shows_its_members_and_signs_them(home: RunningHome, tmp_path: Path) -> None:
    file, out = archive(tmp_path), tmp_path / "signed.zip"
    request = home.cli("sign", file, "--policy", "default/release", "--no-wait").out.strip()
    seen = home.cli("approve", request, "--key", home.key("alice"), "--yes")
    assert seen.code == 0, seen.err
    for path in SIGNED:
        assert f"signs {path}" in seen.out + seen.err
    home.approve(request, "bob")
    assert home.cli("wait", request).code == 0
    fetched = home.cli("fetch", request, file, "-o", out)
    assert fetched.code == 0, fetched.err
    verified = home.cli("verify", out)
    assert verified.code == 0, verified.out
    for path in [*SIGNED, "lib/vendor.dll"]:
        assert path in verified.out

    subprocess.run([require_tool("unzip"), "-tq", str(out)], check=True, capture_output=True)
    with zipfile.ZipFile(out) as opened:
        assert opened.read("lib/vendor.dll") == VENDOR
        assert opened.read("readme.txt") == FILES["readme.txt"]
        opened.extract("bin/tool.exe", tmp_path)
    tool = require_tool("osslsigncode")
    command = [tool, "verify", "-in", str(tmp_path / "bin" / "tool.exe"), "-CAfile", "/dev/null"]
    told = subprocess.run(command, check=False, capture_output=True, text=True)
    assert "Number of verified signatures: 0" not in told.stdout or "Calculated message digest" in told.stdout
    lines = {line.split(":")[0].strip(): line.split(":")[1].strip() for line in told.stdout.splitlines() if ":" in line}
    assert lines["Current message digest"] == lines["Calculated message digest"]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"stray.bin": b"x"}, "stray.bin: no rule names it"),
        ({"lib/vendor.dll": Pe().build()}, "lib/vendor.dll: not signed; wanted a signature by a listed signer"),
        ({"bin/tool.exe": b"no program"}, "bin/tool.exe: "),
        ({f"bin/{n}.exe": Pe().build() for n in range(4)}, "**/*.exe: 5 members, wanted 1 to 3"),
    ],
)
def test_archive_that_is_not_as_the_policy_wants_it_is_refused_with_the_path(
    home: RunningHome, tmp_path: Path, members: dict[str, bytes], words: str
) -> None:
    ran = home.cli("sign", archive(tmp_path, **members), "--in-place", "--policy", "default/test")
    assert ran.code == 9, ran.err
    assert words in ran.err


def test_program_in_an_installer_has_to_be_signed_before_it_is_packed(home: RunningHome, tmp_path: Path) -> None:
    file = tmp_path / "setup.msi"
    file.write_bytes(SAMPLES["msi"]())
    ran = home.cli("sign", file, "--in-place", "--policy", "default/test")
    assert ran.code == 9, ran.err
    assert "product.cab/" in ran.err
    assert "must be signed before packing" in ran.err


def test_virus_in_a_member_is_found_before_anything_is_signed(home: RunningHome, tmp_path: Path) -> None:
    eicar = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
    inner = Zip((("deep.txt", eicar), ("p.exe", Pe().build()))).build()
    ran = home.cli("sign", archive(tmp_path, **{"plugins/p.zip": inner}), "--in-place", "--policy", "default/release")
    assert ran.code == 9, ran.err
    assert "infected" in ran.err
    assert "plugins/p.zip/deep.txt" in ran.err
