# SPDX-License-Identifier: Apache-2.0
"""YAML as a strict notation: what it cannot say, where an error is, and additions that keep comments."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import yaml

from signwright.cli.main import run
from signwright.cli.policy import PolicyProblems, read_sources, read_yaml
from signwright.cli.policy_edit import add_entry, add_item
from signwright.client.hub import PolicyParts
from signwright.client.policy_files import read_signed, write_signed
from signwright.errors import UsageError
from signwright.policy.weakening import documents_of
from tests.support.receipts import SignedWorld
from tests.support.world import ssh_line


def read(tmp_path, text: str):
    file = tmp_path / "f.yaml"
    file.write_text(text, encoding="utf-8")
    return read_yaml(file)


def test_plain_data_is_read_with_lines(tmp_path):
    source = read(tmp_path, "# c\na: 1\nb:\n  - x\n  - 'no'\nc: {d: true, e: null}\nt: 2026-11-21T09:30:00Z\n")
    assert source.content == {"a": 1, "b": ["x", "no"], "c": {"d": True, "e": None}, "t": "2026-11-21T09:30:00Z"}
    assert source.line_of(("b", 1)) == 5
    assert source.line_of(("c", "e", "deeper")) == 6


@pytest.mark.parametrize(
    "value",
    [
        *("no", "Yes", "on", "OFF", "y", "~", "NULL", "True", "0o17", "017", "0x1f", "1_000", "+1", "1.0", ".5", "1e3"),
        *(".inf", ".NaN", "1:30", "2026-11-21", "2026-11-21 09:30:00", "", "-1.5e-3", "9" * 19),
    ],
)
def test_a_scalar_that_can_be_read_in_two_ways_is_refused(tmp_path, value):
    with pytest.raises(PolicyProblems) as caught:
        read(tmp_path, f"ok: 1\nfield: {value}\n")
    assert "f.yaml:2: field:" in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\na: 2\n",
        "a: 1\n'a': 2\n",
        "a: &x 1\nb: 2\n",
        "a: &x 1\nb: *x\n",
        "a: !!str 1\n",
        "a: !!python/object:os.system x\n",
        "a: !custom x\n",
        "<<: {a: 1}\n",
        "no: 1\n",
        "1: a\n",
        "? [a]\n: 1\n",
        "a: 1\n---\nb: 2\n",
        "a: [\n",
        "",
        "a: 'x\u202ey'\n",
        'a: "\\e[31m"\n',
        "a: \tb: c\n",
        "[" * 40 + "]" * 40,
        "a: \x00\n",
    ],
)
def test_more_than_a_notation_is_refused(tmp_path, text):
    with pytest.raises(PolicyProblems):
        read(tmp_path, text)


def test_not_utf8_is_refused(tmp_path):
    (tmp_path / "f.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(PolicyProblems):
        read_yaml(tmp_path / "f.yaml")


@pytest.fixture
def home(tmp_path):
    """A home with sources, a signed policy, a trust file and the keeper's key, as init makes them."""
    world = SignedWorld()
    policy = tmp_path / "policy"
    (policy / "projects").mkdir(parents=True)
    for name, document in world.world.documents().items():
        text = yaml.safe_dump(document.model_dump(mode="json", exclude_none=True), default_style=None, sort_keys=False)
        (policy / f"{name}.yaml").write_text(f"# {name}\n{text.replace(chr(39), chr(34))}", encoding="utf-8")
    write_signed(policy / "signed", PolicyParts(world.parts[0], world.parts[1], world.parts[2]))
    (tmp_path / "trust.json").write_bytes(world.trust().encode())
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    (tmp_path / "keeper").mkdir()
    pem = world.world.keeper.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    (tmp_path / "keeper" / "keeper").write_bytes(pem)
    (tmp_path / "keeper" / "keeper").chmod(0o600)
    return world, tmp_path


def edit(home, name, old, new):
    file = home[1] / "policy" / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_sources_read_back_what_was_written(home):
    world, folder = home
    assert read_sources(folder / "policy") == world.world.documents()


def test_every_problem_is_reported_with_file_line_and_field(home, capsys):
    _, folder = home
    edit(home, "projects/default.yaml", "required: 2", "required: two")
    edit(home, "organisation.yaml", "name: Example", "name: Example\nnmae: x")
    (folder / "policy" / "peeple.yaml").write_text("a: 1\n")
    assert run(["policy", "check", str(folder)]) == 1
    said = capsys.readouterr().err
    assert "organisation.yaml:3: nmae: unknown field" in said
    assert "approvals.required: Input should be a valid integer" in said
    assert "peeple.yaml:1: no document of a policy has this name" in said


def test_check_reports_problems_of_sense_and_weak_settings(home, capsys):
    _, folder = home
    assert run(["policy", "check", str(folder)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("ok: 6 documents")
    assert "weak: services: no witness outside this host has to cosign" in said.err
    edit(home, "projects/default.yaml", "required: 2", "required: 1")
    assert run(["policy", "check", str(folder)]) == 3
    assert "default/release: 1 approvals; the organisation wants 2" in capsys.readouterr().err


def test_check_refuses_a_format_that_nobody_writes_and_a_key_that_may_not_sign_it(home, capsys):
    _, folder = home
    edit(home, "projects/default.yaml", "format: raw", "format: tarball")
    assert run(["policy", "check", str(folder)]) == 3
    assert "default/test-raw: no format 'tarball'" in capsys.readouterr().err
    edit(home, "projects/default.yaml", "format: tarball", "format: raw")
    edit(home, "projects/default.yaml", "format: pe", "format: raw")
    edit(home, "projects/default.yaml", "format: cms", "format: raw")
    assert run(["policy", "check", str(folder)]) == 3
    said = capsys.readouterr().err
    assert re.search(r"default/release-file: key release \([a-z, ]+\) serves none of its formats \(raw\)", said)
    assert "default/test-raw: key" not in said


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ("[]", "format zip wants rules for members"),
        ('[{path: "*.exe", action: sign}]', "*.exe: sign as which format?"),
        ('[{path: "*.dll", action: verify}]', "*.dll: verify wants signers"),
        ('[{path: "*", action: sign, format: pe, options: {existing: replace}}]', "existing stands beside options"),
        ('[{path: "*", action: sign, format: pe, min: 2, max: 1}]', "*: min is above max"),
        ('[{path: "a.zip", action: sign, format: zip}]', "a.zip: format zip wants rules for members"),
        ('[{path: "*", action: sign, format: tarball}]', "no format 'tarball'"),
    ],
)
def test_check_refuses_rules_for_members_that_could_not_be_kept(home, capsys, members, words):
    _, folder = home
    programs = "  programs:\n    files: list\n    rules:\n"
    rule = f'    - name: "*.zip"\n      format: zip\n      members: {members}\n'
    edit(home, "projects/default.yaml", programs, programs + rule)
    assert run(["policy", "check", str(folder)]) == 3
    assert words in capsys.readouterr().err


def test_sources_elsewhere_are_held_against_the_trust_file_of_the_home(home, capsys, tmp_path):
    _, folder = home
    sources = tmp_path / "checkout" / "policy"
    shutil.copytree(folder / "policy", sources)
    (folder / "trust.json").write_bytes(b"{}")
    assert run(["policy", "check", str(sources), "--home", str(folder)]) != 0
    assert "trust.json" in capsys.readouterr().err


def test_diff_says_who_gains_what(home, capsys):
    _, folder = home
    edit(home, "people.yaml", "alice:", "mallory:")
    assert run(["policy", "diff", "--home", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "WEAKER   people: people.mallory: mallory may approve" in out
    assert "stronger people: people.alice: no longer: alice may approve" in out
    assert run(["policy", "diff", "--home", str(folder), "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["from_version"] == 1


def test_apply_signs_the_next_version_and_only_a_keeper_can(home, capsys, tmp_path):
    world, folder = home
    edit(home, "projects/default.yaml", "required: 2", "required: 3")
    arguments = ["policy", "apply", str(folder), "--no-post", "--yes"]
    assert run(arguments) == 0
    signed = read_signed(folder / "policy" / "signed", pinned_root_sha256=world.parts[3])
    assert signed.policy.version == 2
    assert signed.policy.projects["default"].signing_policies["release"].approvals.required == 3
    assert documents_of(signed.policy) == read_sources(folder / "policy")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    stranger = tmp_path / "stranger"
    stranger.write_bytes(
        Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    )
    stranger.chmod(0o600)
    assert run([*arguments, "--key", str(stranger)]) == 3
    assert read_signed(folder / "policy" / "signed", pinned_root_sha256=None).policy.version == 2


def test_apply_does_not_sign_what_nobody_confirmed(home):
    assert run(["policy", "apply", str(home[1]), "--no-post"]) == 2


def test_an_edited_signed_document_is_noticed(home):
    _, folder = home
    file = folder / "policy" / "signed" / "documents" / "people.json"
    file.write_bytes(file.read_bytes().replace(b"alice", b"alicf"))
    assert run(["policy", "show", str(folder)]) == 8


def test_people_and_credentials_are_added_and_comments_stay(home, capsys, tmp_path):
    world, folder = home
    public = tmp_path / "dave.pub"
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public.write_text(ssh_line(Ed25519PrivateKey.generate()) + " dave@laptop\n")
    assert run(["people", "add", "dave", "--key", str(public), "--group", "release", "--home", str(folder)]) == 0
    assert read_sources(folder / "policy")["people"].people["dave"].groups == ("release",)
    assert (folder / "policy" / "people.yaml").read_text().startswith("# people\n")
    assert run(["people", "add", "dave", "--key", str(public), "--home", str(folder)]) == 2
    public.write_text(" ".join([*public.read_text().split()[:2], "eve@desk"]) + "\n")
    capsys.readouterr()
    assert run(["people", "add", "eve", "--key", str(public), "--group", "release", "--home", str(folder)]) == 2
    said = capsys.readouterr().err
    assert "dave signs with it (SHA256:" in said
    assert "eve needs a key of their own" in said
    assert "eve" not in (folder / "policy" / "people.yaml").read_text()
    assert run(["people", "add", "eve", "--key", str(folder / "keeper" / "keeper"), "--home", str(folder)]) == 2
    assert "PRIVATE" in capsys.readouterr().err
    secrets = tmp_path / "ci.json"
    assert run(["credential", "new", "--kind", "release", "--out", str(secrets)]) == 0
    line = capsys.readouterr().out.strip()
    assert secrets.stat().st_mode & 0o777 == 0o600
    assert json.loads(secrets.read_text())["credentials"][0]["key_secret"] not in line
    add = ["credential", "add", line, "--home", str(folder), "--policy"]
    assert run([*add, "default/test"]) == 2  # test and release are different worlds
    assert run([*add, "default/release"]) == 0
    rule = read_sources(folder / "policy")["projects/default"].signing_policies["release"]
    assert line.split()[0] in rule.submitters
    assert run(["credential", "new", "--out", str(secrets)]) == 0
    assert len(json.loads(secrets.read_text())["credentials"]) == 2
    assert run([*add[:2], line[:30] + "x" + line[31:], *add[3:], "default/release"]) == 2
    assert run(["policy", "check", str(folder)]) == 0
    assert world


@pytest.mark.parametrize(
    "text",
    [
        "top: {}\n",
        "# a\ntop:  # c\n  x: {k: 1}\n\n# end\nz: 1\n",
        "top:\n    x:\n        k: 1\n",
        "z: 1\ntop:\n  x: {k: 1}\n",
    ],
)
def test_an_entry_is_added_wherever_the_block_stands(tmp_path, text):
    file = tmp_path / "f.yaml"
    file.write_text(text)
    before = read_yaml(file).content
    add_entry(file, "top", "new", {"a": "no", "b": ["x"]})
    assert read_yaml(file).content == before | {"top": {**before["top"], "new": {"a": "no", "b": ["x"]}}}
    assert [line for line in text.splitlines() if "#" in line] == [
        line for line in file.read_text().splitlines() if "#" in line
    ]


@pytest.mark.parametrize("text", ["l: []\n", "l: [a]  # c\n", "l:\n  - a\n  - b\nz: 1\n", "l:\n- a\n"])
def test_an_item_is_added_to_a_list_in_either_form(tmp_path, text):
    file = tmp_path / "f.yaml"
    file.write_text(text)
    before = read_yaml(file).content["l"]
    assert add_item(file, ("l",), "new") is True
    assert read_yaml(file).content["l"] == [*before, "new"]
    assert add_item(file, ("l",), "new") is False


def test_what_cannot_be_added_to_is_left_alone(tmp_path):
    file = tmp_path / "f.yaml"
    file.write_text("top: {x: {k: 1}}\n")
    with pytest.raises(UsageError) as caught:
        add_entry(file, "top", "new", {"a": 1})
    assert caught.value.code == "edit-by-hand"
    assert file.read_text() == "top: {x: {k: 1}}\n"


def test_trust_shows_a_fingerprint_and_exports_the_file(home, capsys, tmp_path):
    world, folder = home
    assert run(["trust", "show", "--home", str(folder)]) == 0
    shown = capsys.readouterr()
    (line,) = [line for line in shown.out.splitlines() if line.startswith("fingerprint")]
    assert len(line.split()[1].split("-")) == 8
    assert "TRIAL" in shown.err
    out = tmp_path / "out.json"
    assert run(["trust", "export", "--home", str(folder), "-o", str(out)]) == 0
    assert out.read_bytes() == world.trust().encode()
    assert line.split()[1] in capsys.readouterr().err
