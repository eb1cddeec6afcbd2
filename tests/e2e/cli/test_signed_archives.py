# SPDX-License-Identifier: Apache-2.0
"""Archives that are signed after their members, in the whole cycle: a program in a JAR in a WAR, and in a package."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from signwright.cli.bench.trial import sign_policy
from signwright.cli.home import Home
from signwright.formats.msix_publisher import publisher_of
from signwright.model.view import BytesView
from signwright.readers.msix_members import check_block_map
from signwright.readers.registry import READERS
from signwright.statements.bundle import ReceiptBundle
from tests.support.format_samples import SAMPLES
from tests.support.homes import RunningHome, running_home
from tests.support.msix_builder import Msix
from tests.support.pe_builder import Pe
from tests.support.tools import require_tool
from tests.support.zip_builder import Zip

PROGRAMS = "  programs:\n    rules:\n"
RULES = """\
      - name: "*.war"
        format: jar
        members:
          - path: "WEB-INF/lib/*.jar"
            action: sign
            format: jar
            members:
              - {path: "native/*.dll", action: sign, format: pe, min: 1}
              - {path: "**", action: keep}
          - {path: "**", action: keep}
      - name: "*.nupkg"
        format: nuget
        members:
          - {path: "tools/*.exe", action: sign, format: pe}
          - {path: "**", action: keep}
      - name: "*.msix"
        format: msix
        members:
          - {path: "**/*.exe", action: sign, format: pe, min: 1}
          - {path: "**", action: keep}
"""
MANIFEST = ("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\r\n\r\n")
JAR = Zip((MANIFEST, ("a/B.class", b"\xca\xfe\xba\xbe"), ("native/lib.dll", Pe().build()))).build()
INNER, PROGRAM = "WEB-INF/lib/app.jar", "WEB-INF/lib/app.jar/native/lib.dll"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHome]:
    folder = tmp_path_factory.mktemp("signed-archives")
    with running_home(folder / "h", folder / "state", prepare=lambda made: add_rules(Home(made))) as running:
        yield running


def add_rules(home: Home) -> None:
    project = home / "policy" / "projects" / "default.yaml"
    text = project.read_text(encoding="utf-8").replace("modes: [artifact, digest]", "modes: [artifact]", 1)
    # The rules for these formats that the trial has would let their members be anything.
    text = re.sub(r"      - name: .*\n        format: (?:jar|nuget|msix)\n", "", text)
    text = text.replace(PROGRAMS, PROGRAMS + RULES)
    text = re.sub(r"    modes: \[artifact\].*\n", ALLOWED, text)
    assert text.count("derived: allow") >= 2
    project.write_text(text, encoding="utf-8")
    sign_policy(home)


ALLOWED = "    modes: [artifact]\n    derived: allow\n"


def war(folder: Path, **members: bytes) -> Path:
    file = folder / "shop.war"
    file.write_bytes(Zip((("index.html", b"<p>"), (INNER, JAR), *members.items())).build())
    return file


def members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name) for name in opened.namelist()}


def test_release_is_shown_what_follows_signed_innermost_first_and_counted_again(
    home: RunningHome, tmp_path: Path
) -> None:
    file, out = war(tmp_path), tmp_path / "signed.war"
    request = home.cli("sign", file, "--policy", "default/release", "--no-wait").out.strip()
    seen = home.cli("approve", request, "--key", home.key("alice"), "--yes")
    assert seen.code == 0, seen.err
    for words in (f"signs {PROGRAM}", f"then signs {INNER}", "then signs shop.war", "follows from signatures"):
        assert words in seen.out + seen.err
    home.approve(request, "bob")
    waited = home.cli("wait", request)
    assert waited.code == 0, waited.err
    fetched = home.cli("fetch", request, file, "-o", out)
    assert fetched.code == 0, fetched.err
    verified = home.cli("verify", out)
    assert verified.code == 0, verified.out
    for words in (PROGRAM, INNER, "DERIVED", "counted again", "alice, bob"):
        assert words in verified.out
    followed = home.cli("verify", out, "--source", file)
    assert followed.code == 0, followed.out
    assert "made again from the approved file" in followed.out
    other = tmp_path / "other.war"
    other.write_bytes(file.read_bytes())
    with zipfile.ZipFile(other, "a") as opened:
        opened.writestr("more.txt", b"more")
    assert "wrong-source" in home.cli("verify", out, "--source", other).err
    bundle = ReceiptBundle.decode((tmp_path / "signed.war.swreceipt").read_bytes())
    assert len(bundle.waves) == 3

    held = members(out.read_bytes())[INNER]
    assert READERS["pe"].read(BytesView(members(held)["native/lib.dll"])).signatures
    (tmp_path / "app.jar").write_bytes(held)
    for name in ("signed.war", "app.jar"):
        command = [require_tool("jarsigner"), "-verify", str(tmp_path / name)]
        told = subprocess.run(command, check=True, capture_output=True, text=True)
        assert "jar verified" in told.stdout


def test_receipt_without_its_last_wave_proves_nothing(home: RunningHome, tmp_path: Path) -> None:
    out, receipt = tmp_path / "signed.war", tmp_path / "signed.war.swreceipt"
    assert home.cli("sign", war(tmp_path), "-o", out, "--policy", "default/test").code == 0
    content = json.loads(receipt.read_text(encoding="utf-8"))
    assert home.cli("verify", out).code == 0
    for waves in (content["waves"][:2], content["waves"][1:], content["waves"][::-1]):
        receipt.write_text(json.dumps({**content, "waves": waves}), encoding="utf-8")
        assert home.cli("verify", out).code != 0


def test_package_is_signed_after_the_program_in_it(home: RunningHome, tmp_path: Path) -> None:
    file = tmp_path / "tool.1.0.0.nupkg"
    file.write_bytes(Zip((*members(SAMPLES["nuget"]()).items(), ("tools/tool.exe", Pe().build()))).build())
    ran = home.cli("sign", file, "--in-place", "--policy", "default/test")
    assert ran.code == 0, ran.err
    verified = home.cli("verify", file)
    assert verified.code == 0, verified.out
    assert "tools/tool.exe" in verified.out
    assert READERS["pe"].read(BytesView(members(file.read_bytes())["tools/tool.exe"])).signatures


def test_package_of_windows_is_signed_after_its_programs(home: RunningHome, tmp_path: Path) -> None:
    chain = yaml.safe_load((home.folder / "policy" / "keys.yaml").read_text(encoding="utf-8"))["keys"]["test"]["chain"]
    publisher = publisher_of(base64.b64decode(chain[0]))
    program = Pe(overlay=bytes(range(256)) * 1000).build()
    file, out = tmp_path / "app.msix", tmp_path / "signed.msix"
    file.write_bytes(Msix(files=(("app.exe", program), ("x.txt", b"text")), publisher=publisher).build())
    ran = home.cli("sign", file, "-o", out, "--policy", "default/test")
    assert ran.code == 0, ran.err
    verified = home.cli("verify", out)
    assert verified.code == 0, verified.out
    assert "app.exe" in verified.out
    check_block_map(BytesView(out.read_bytes()))
    for name, content in (("signed.msix", out.read_bytes()), ("app.exe", members(out.read_bytes())["app.exe"])):
        (tmp_path / name).write_bytes(content)
        tool = require_tool("osslsigncode")
        command = [tool, "verify", "-in", str(tmp_path / name), "-CAfile", "/dev/null"]
        told = subprocess.run(command, check=False, capture_output=True, text=True).stdout
        rows = {line.split(":")[0].strip(): line.split(":")[1].strip() for line in told.splitlines() if ":" in line}
        digests = [(rows[n], rows[n.replace("Current", "Calculated")]) for n in rows if n.startswith("Current")]
        assert digests
        assert all(ours == theirs for ours, theirs in digests), told


def test_two_files_of_one_request_take_as_many_waves_as_they_need(home: RunningHome, tmp_path: Path) -> None:
    program, outputs = tmp_path / "setup.exe", tmp_path / "out"
    program.write_bytes(Pe().build())
    outputs.mkdir()
    ran = home.cli("sign", program, war(tmp_path), "-o", outputs, "--policy", "default/test")
    assert ran.code == 0, ran.err
    for name, derived in (("setup.exe", False), ("shop.war", True)):
        verified = home.cli("verify", outputs / name)
        assert verified.code == 0, verified.out
        assert ("DERIVED" in verified.out) == derived
        followed = home.cli("verify", outputs / name, "--source", tmp_path / name)
        assert followed.code == 0, followed.out
        assert ("made again" in followed.out, "nothing that was signed is derived" in followed.out) == (
            derived,
            not derived,
        )


def test_archive_with_a_member_that_is_not_as_wanted_is_refused_with_its_path(
    home: RunningHome, tmp_path: Path
) -> None:
    bad = Zip((MANIFEST, ("native/lib.dll", b"no program"))).build()
    file = war(tmp_path, **{"WEB-INF/lib/bad.jar": bad})
    ran = home.cli("sign", file, "--in-place", "--policy", "default/test")
    assert ran.code == 9, ran.err
    assert "WEB-INF/lib/bad.jar: native/lib.dll" in ran.err.replace("bad.jar/native", "bad.jar: native")
