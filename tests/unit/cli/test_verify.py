# SPDX-License-Identifier: Apache-2.0
"""``signwright verify`` and ``receipt`` on files: what belongs together, exit codes, what is said."""

from __future__ import annotations

import json
import zipfile

import pytest
from cryptography.hazmat.primitives import serialization

from signwright.cli.main import run
from signwright.statements.bundle import ReceiptBundle
from tests.support.pki import default_pki, private_key, public_bytes
from tests.support.receipts import SOURCES, SignedWorld

AT = "2026-11-21T12:30:00Z"


@pytest.fixture(scope="module")
def world():
    return SignedWorld()


@pytest.fixture
def files(world, tmp_path, monkeypatch):
    """A signed program, a detached signature and a raw one, each with its receipt, as the client leaves them."""
    monkeypatch.chdir(tmp_path)
    for variable in ("SIGNWRIGHT_TRUST", "SIGNWRIGHT_OUTPUT"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "trust.json").write_bytes(world.trust().encode())
    for kind, name in (("pe", "setup.exe"), ("cms", "notes.txt.p7s"), ("raw", "fw.bin.sig")):
        made = world.make(kind)
        (tmp_path / name).write_bytes(made.view)
        (tmp_path / f"{name}.swreceipt").write_bytes(made.bundle.encode())
    (tmp_path / "notes.txt").write_bytes(SOURCES["cms"])
    (tmp_path / "fw.bin").write_bytes(SOURCES["raw"])
    return tmp_path


def verify(*arguments: str) -> int:
    return run(["verify", "--trust", "trust.json", "--at", AT, *arguments])


@pytest.mark.parametrize("name", ["setup.exe", "notes.txt", "notes.txt.p7s", "fw.bin", "fw.bin.sig"])
def test_a_good_file_passes_from_either_side(files, capsys, name):
    assert verify(name) == 0
    said = capsys.readouterr()
    assert "TRIAL" in said.err
    assert "counted again" in said.out
    assert "FAILED" not in said.out


def test_json_names_every_check(files, capsys):
    assert verify("setup.exe", "--output", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True
    assert found["trial"] is True
    names = [row["name"] for row in found["checks"]]
    assert names == [
        *("signature", "receipt", "file", "timestamp", "certificate", "log", "operation", "conditions", "authorisation")
    ]


@pytest.mark.parametrize("name", ["setup.exe", "notes.txt", "fw.bin"])
def test_a_flipped_byte_fails_with_exit_code_8(files, capsys, name):
    content = bytearray((files / name).read_bytes())
    content[len(content) // 2] ^= 1
    (files / name).write_bytes(bytes(content))
    assert verify(name) == 8
    assert "FAILED" in capsys.readouterr().out


def test_the_receipt_of_another_file_fails(files):
    assert verify("setup.exe", "--receipt", "notes.txt.p7s.swreceipt") == 8


def test_a_file_without_receipt_passes_and_says_so(files, capsys):
    (files / "notes.txt.p7s.swreceipt").unlink()
    assert verify("notes.txt") == 0
    assert "who authorised this is not known" in capsys.readouterr().out


def test_an_unsigned_file_fails(files, capsys):
    (files / "plain").write_bytes(b"plain")
    assert verify("plain") == 8
    assert "not-signed" in capsys.readouterr().out


def archive(files, **members: bytes) -> None:
    with zipfile.ZipFile(files / "all.zip", "w") as made:
        for name, content in members.items():
            made.writestr(f"bin/{name}.exe", content)


def test_signatures_of_members_are_told_with_their_paths(files, capsys):
    signed = (files / "setup.exe").read_bytes()
    archive(files, good=signed, plain=SOURCES["pe"], broken=signed[:-1])
    assert verify("all.zip") == 0
    said = capsys.readouterr().out
    assert "1 found" in said
    assert "in bin/good.exe; members that are not named here are not signed; bin/broken.exe: not opened: " in said
    assert "certificate    bin/good.exe: " in said
    assert "plain" not in said


def test_an_archive_without_signed_members_fails(files, capsys):
    archive(files, plain=SOURCES["pe"])
    assert verify("all.zip") == 8
    assert "not-signed" in capsys.readouterr().out


def test_a_signature_beside_an_archive_counts_before_those_of_its_members(files, capsys):
    archive(files, good=(files / "setup.exe").read_bytes())
    (files / "all.zip.p7s").write_bytes((files / "notes.txt.p7s").read_bytes())
    assert verify("all.zip") == 8
    assert verify("all.zip", "--format", "zip") == 0
    assert "bin/good.exe" in capsys.readouterr().out
    (files / "all.zip.swreceipt").write_bytes((files / "setup.exe.swreceipt").read_bytes())
    assert verify("all.zip") == 8
    assert "in bin/good.exe" in capsys.readouterr().out


def test_content_may_lie_elsewhere(files):
    (files / "notes.txt").rename(files / "elsewhere")
    assert verify("notes.txt.p7s", "--content", "elsewhere") == 0
    assert verify("notes.txt.p7s", "--content", "fw.bin") == 8


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["absent"], 2),
        (["setup.exe", "--format", "elf"], 2),
        (["setup.exe", "--at", "yesterday"], 2),
        (["setup.exe", "--crl", "trust.json"], 2),
        (["setup.exe", "--receipt", "absent"], 2),
    ],
)
def test_a_wrong_question_is_a_usage_error(files, arguments, code):
    assert verify(*arguments) == code


def test_without_trust_file_nothing_is_believed(files, capsys):
    assert run(["verify", "setup.exe"]) == 2
    assert "no trust file given" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"{}", b"MZ\x90", b""])
def test_a_broken_receipt_is_an_error_that_names_it(files, capsys, content):
    (files / "setup.exe.swreceipt").write_bytes(content)
    assert verify("setup.exe") == 1
    assert "setup.exe.swreceipt: " in capsys.readouterr().err


def test_the_shareable_receipt_is_exported_and_verifies(files, capsys):
    assert run(["receipt", "export", "--public", "setup.exe.swreceipt", "-o", "public"]) == 0
    bundle = ReceiptBundle.decode((files / "public").read_bytes())
    assert bundle.authorisation is None
    assert verify("setup.exe", "--receipt", "public") == 0
    assert "attested by the signer, not re-checked" in capsys.readouterr().out
    assert run(["receipt", "export", "setup.exe.swreceipt", "-o", "other"]) == 2


def test_a_receipt_is_shown_with_the_warning_that_nothing_was_checked(files, capsys):
    assert run(["receipt", "show", "setup.exe.swreceipt"]) == 0
    said = capsys.readouterr()
    assert "nothing is verified here" in said.err
    assert said.out.startswith("TRIAL")
    assert "default" in said.out
    assert run(["receipt", "show", "setup.exe.swreceipt", "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["shareable"] is False


def test_whether_a_revocation_list_was_looked_at_is_said(files, capsys):
    (files / "list.der").write_bytes(default_pki().crl({}))
    for arguments, said in (((), "revocation NOT looked at"), (("--crl", "list.der"), "not revoked in the list given")):
        assert verify("setup.exe", *arguments) == 0
        (line,) = [row for row in capsys.readouterr().out.splitlines() if " certificate " in row]
        assert said in line


def test_a_raw_signature_with_a_shareable_receipt_needs_its_public_key(files, world, capsys):
    """The shareable form has no policy, so the key has to come from somewhere else; a wrong one is noticed."""
    assert run(["receipt", "export", "--public", "fw.bin.sig.swreceipt", "-o", "public"]) == 0
    (files / "right.der").write_bytes(public_bytes(world.raw_key))
    other = private_key("p256", "somebody else").public_key()
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    (files / "wrong.pem").write_bytes(other.public_bytes(encoding, form))
    assert verify("fw.bin", "--receipt", "public") == 8
    assert "names no key" in capsys.readouterr().out
    assert verify("fw.bin", "--receipt", "public", "--public-key", "right.der") == 0
    assert verify("fw.bin", "--receipt", "public", "--public-key", "wrong.pem") == 8
    assert verify("fw.bin", "--public-key", "trust.json") == 2
    assert verify("setup.exe", "--public-key", "right.der") == 2


def test_failed_verification_is_one_json_object(files, capsys):
    (files / "fw.bin").write_bytes(b"something else")
    assert verify("fw.bin", "--output", "json") == 8
    assert json.loads(capsys.readouterr().out)["ok"] is False
