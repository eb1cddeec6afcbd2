# SPDX-License-Identifier: Apache-2.0
"""`signwright config new`: what it writes is a configuration under which the sample is signed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from signwright.cli.main import run
from signwright.formats.registry import FORMATS
from signwright.model.digest import sha256_hex
from signwright.policy.documents import ArtifactConfiguration, MemberRule
from tests.support.deep import prepared
from tests.support.format_samples import SAMPLES
from tests.support.msix_builder import Msix
from tests.support.pe_builder import Pe
from tests.support.signed_files import identity, sign
from tests.support.zip_builder import Zip

PROGRAM = Pe().build()
INNER = Zip((("x.exe", PROGRAM), ("n.txt", b"n"))).build()
VENDOR = sign(FORMATS["pe"], Pe(overlay=b"theirs").build())
FILES = {
    "bin/": b"",
    "bin/a.exe": PROGRAM,
    "bin/v.dll": VENDOR,
    "b.dll": Pe(overlay=b"ours").build(),
    "in.zip": INNER,
    "setup.ps1": SAMPLES["powershell"](),
    "site/app.js": b"alert(1)\n",
    "odd[1]": b"x",
    "LICENSE": b"free",
}


def configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, *more: str) -> str:
    file = tmp_path / "tool-1.0.zip"
    file.write_bytes(content)
    code = run(["config", "new", str(file), *more])
    told = capsys.readouterr()
    assert code == 0, told.err
    return told.out


def test_what_it_writes_has_the_sample_signed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = Zip(tuple(FILES.items())).build()
    text = configuration(tmp_path, capsys, content, "--name", "bundles")
    (rule,) = ArtifactConfiguration.model_validate_json(json.dumps(yaml.safe_load(text)["bundles"])).rules
    assert (rule.name, rule.format, rule.unlisted) == ("*.zip", "zip", "refuse")
    made = prepared(content, rule)
    assert {o.inner_path for o in made.operations} == {"bin/a.exe", "b.dll", "in.zip/x.exe", "setup.ps1"}
    assert (made.facts["verified"], made.facts["kept"]) == (1, 3)


def test_files_of_one_ending_that_are_treated_alike_have_one_rule(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = configuration(tmp_path, capsys, Zip(tuple(FILES.items())).build(), "--output", "json")
    rules = [MemberRule.model_validate_json(json.dumps(row)) for row in json.loads(text)["rules"][0]["members"]]
    by_path = {rule.path: rule for rule in rules}
    assert {"**/*.exe", "bin/v.dll", "b.dll", "LICENSE", "odd[[]1]"} <= set(by_path)
    assert by_path["bin/v.dll"].signers == (sha256_hex(identity().chain[0]),)
    assert by_path["**/*.js"].action == "keep"


@pytest.mark.parametrize("name", ["pe", "cab", "msi", "jar"])
def test_file_of_another_format_has_a_rule_without_members(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    text = configuration(tmp_path, capsys, SAMPLES[name]())
    (rule,) = yaml.safe_load(text)["from-sample"]["rules"]
    assert rule == {"name": "*.zip", "format": name}


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"any text", "of no format"), (Zip((("a.txt", b"a"),)).build(), "no member that can be signed")],
)
def test_sample_with_nothing_to_sign_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, words: str
) -> None:
    file = tmp_path / "sample.zip"
    file.write_bytes(content)
    assert run(["config", "new", str(file)]) == 9
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("form", ["jar", "msix"])
def test_archive_that_is_signed_itself_has_its_programs_signed_before_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    lib = (("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\r\n\r\n"), ("a/B.class", b"x"), ("lib/n.dll", PROGRAM))
    content = Zip(lib).build() if form == "jar" else Msix(files=(("lib/n.dll", PROGRAM),)).build()
    for source, path, last in ((content, "", ""), (Zip((("x", content),)).build(), "x/", "x")):
        text = configuration(tmp_path, capsys, source)
        assert f"({form}) wants derived: allow" in text
        (rule,) = ArtifactConfiguration.model_validate_json(json.dumps(yaml.safe_load(text)["from-sample"])).rules
        name = "x.jar" if form == "jar" else "x.msix"
        if path:
            # What a member is read as goes by its name.
            source = Zip(((name, content),)).build()
            rule = rule.model_copy(update={"members": (rule.members[0].model_copy(update={"path": name}),)})
        made = prepared(source, rule, form=rule.format)
        assert [one.inner_path for one in made.operations] == [f"{path.replace('x', name)}lib/n.dll"]
        assert [one.inner_path for one in made.later] == [last.replace("x", name)]
