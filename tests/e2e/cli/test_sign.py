# SPDX-License-Identifier: Apache-2.0
"""`signwright sign` against a real home: what appears, where, with which exit code."""

from __future__ import annotations

import os
import secrets
import shlex
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from signwright.client.trust import load_trust
from tests.support.homes import RunningHome
from tests.support.pe_builder import Pe
from tests.support.processes import wait_until
from tests.support.tools import require_tool


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program that nobody has signed before."""
    file = tmp_path / "setup.exe"
    file.write_bytes(Pe(overlay=secrets.token_bytes(16)).build())
    return file


@pytest.fixture
def document(tmp_path: Path) -> Path:
    file = tmp_path / "notes.txt"
    file.write_text(f"notes {secrets.token_hex(8)}\n", encoding="utf-8")
    return file


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_test_policy_signs_a_program_without_a_person(home: RunningHome, program: Path) -> None:
    out = program.with_name("signed.exe")
    before = program.read_bytes()
    ran = home.cli("sign", program, "-o", out)
    assert (ran.code, ran.out) == (0, f"{out}\n"), ran.err
    assert program.read_bytes() == before
    assert all(line.startswith("signwright: ") for line in ran.err.splitlines())
    assert "TRIAL" in ran.err
    verified = home.cli("verify", out)
    assert verified.code == 0, verified.out
    flipped = bytearray(out.read_bytes())
    flipped[0x150] ^= 1
    out.write_bytes(flipped)
    assert home.cli("verify", out).code == 8
    flipped[0x150] ^= 1
    out.write_bytes(bytes(flipped) + b"behind")
    refused = home.cli("verify", out)
    assert (refused.code, "6 bytes stand behind the certificate table" in refused.out) == (8, True)


def test_in_place_keeps_the_permission_bits(home: RunningHome, program: Path) -> None:
    program.chmod(0o750)
    ran = home.cli("sign", program, "--in-place", "--description", "Example", "--option", "digest=sha384")
    assert (ran.code, ran.out) == (0, f"{program}\n"), ran.err
    assert stat.S_IMODE(program.stat().st_mode) == 0o750
    assert names(program.parent) == {"setup.exe", "setup.exe.swreceipt"}
    assert "sha384" in home.cli("verify", program).out


def test_digest_mode_never_sends_the_file(home: RunningHome, program: Path) -> None:
    out = program.with_name("signed.exe")
    ran = home.cli("sign", program, "-o", out, "--mode", "digest", "--output", "json")
    assert ran.code == 0, ran.err
    content = program.read_bytes()
    stored = [p for p in (home.folder / "hub").rglob("*") if p.is_file() and p.stat().st_size == len(content)]
    assert not any(path.read_bytes() == content for path in stored)
    checks = home.cli("verify", out, "--output", "json").json
    assert checks["ok"]
    assert ran.json["mode"] == "digest"


def test_json_names_request_files_and_digests(home: RunningHome, program: Path) -> None:
    ran = home.cli("sign", program, "--in-place", "--output", "json")
    assert ran.code == 0, ran.err
    (file,) = ran.json["files"]
    assert {"request", "request_sha256", "state", "policy", "mode", "history", "files", "final"} <= set(ran.json)
    assert file["output"] == str(program)
    assert file["receipt"] == f"{program}.swreceipt"
    assert (file["trial"], file["verified"], file["grade"]) == (True, True, "test")
    status = home.cli("status", ran.json["request"], "--output", "json").json
    assert status["state"] == "completed"


def test_detached_signature_is_accepted_by_openssl(home: RunningHome, document: Path) -> None:
    openssl = require_tool("openssl")
    ran = home.cli("sign", document, "--policy", "default/test-file")
    signature = document.with_name("notes.txt.p7s")
    assert (ran.code, ran.out) == (0, f"{signature}\n"), ran.err
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    roots = document.with_name("roots.pem")
    found = [x509.load_der_x509_certificate(root) for root in load_trust(home.folder / "trust.json").roots]
    roots.write_bytes(b"".join(certificate.public_bytes(Encoding.PEM) for certificate in found))
    command = [openssl, "cms", "-verify", "-binary", "-inform", "DER", "-in", signature, "-content", document]
    command += ["-CAfile", roots, "-purpose", "any", "-out", os.devnull]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_raw_signature_stands_beside_its_file(home: RunningHome, document: Path) -> None:
    ran = home.cli("sign", document, "--policy", "default/test-raw")
    assert ran.code == 0, ran.err
    assert names(document.parent) == {"notes.txt", "notes.txt.sig", "notes.txt.sig.swreceipt"}
    assert home.cli("verify", document.with_name("notes.txt.sig")).code == 0


def test_release_wants_two_people_and_names_them(home: RunningHome, program: Path, tmp_path: Path) -> None:
    second = tmp_path / "tool.exe"
    second.write_bytes(Pe(overlay=secrets.token_bytes(16)).build())
    out = tmp_path / "signed"
    out.mkdir()
    asked = home.cli("sign", program, second, "--policy", "default/release", "--no-wait")
    assert asked.code == 0, asked.err
    request = asked.out.strip()
    wait_until(lambda: "awaiting-approval" in home.cli("status", request).out, what="scan")
    assert request in home.cli("approve", "--key", home.key("alice")).out
    home.approve(request, "alice")
    home.approve(request, "alice")
    assert home.cli("wait", request, "--timeout", "1").code == 5
    assert home.cli("fetch", request, "-o", out).code == 5
    home.approve(request, "bob")
    assert home.cli("wait", request).code == 0
    fetched = home.cli("fetch", request, program, second, "-o", out, "--output", "json")
    assert fetched.code == 0, fetched.err
    assert [file["people"] for file in fetched.json["files"]] == [["alice", "bob"], ["alice", "bob"]]
    assert names(out) == {f"{n}.exe{s}" for n in ("setup", "tool") for s in ("", ".swreceipt")}
    assert "approved by alice, bob" in home.cli("verify", out / "tool.exe").out


def test_no_of_one_person_ends_a_request(home: RunningHome, program: Path) -> None:
    request = home.cli("sign", program, "--policy", "default/release", "--no-wait").out.strip()
    wait_until(lambda: "awaiting-approval" in home.cli("status", request).out, what="scan")
    assert home.cli("deny", request, "--key", home.key("bob"), "--comment", "not this one").code == 0
    ran = home.cli("wait", request)
    assert ran.code == 4
    assert "not this one" in ran.err


def test_same_command_again_answers_with_the_earlier_request(home: RunningHome, program: Path) -> None:
    first = home.cli("sign", program, "-o", program.with_name("1.exe"), "--output", "json").json
    again = home.cli("sign", program, "-o", program.with_name("2.exe"), "--output", "json")
    anew = home.cli("sign", program, "-o", program.with_name("3.exe"), "--output", "json", "--again").json
    assert again.json["request"] == first["request"]
    assert "asked for before" in again.err
    assert anew["request"] != first["request"]
    assert program.with_name("2.exe").read_bytes() == program.with_name("1.exe").read_bytes()


def test_key_of_another_request_is_refused(home: RunningHome, program: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.exe"
    other.write_bytes(Pe(overlay=secrets.token_bytes(16)).build())
    key = secrets.token_hex(8)
    assert home.cli("sign", program, "--in-place", "--idempotency-key", key).code == 0
    ran = home.cli("sign", other, "--in-place", "--idempotency-key", key)
    assert (ran.code, ran.out) == (2, "")
    assert "was used for another request, r-" in ran.err
    assert "hint: other files, options or policy want another key" in ran.err
    ran = home.cli("sign", other, "--in-place", "--idempotency-key", key, "--output", "json")
    assert (ran.code, ran.json["error"]["code"]) == (2, "idempotency-key-reused")
    assert home.cli("sign", other, "--in-place", "--idempotency-key", f"{key}2").code == 0


@pytest.mark.parametrize("place", [(), ("--in-place",), ("-o", "the result.exe")])
def test_whoever_does_not_wait_is_told_the_command_that_fetches(
    home: RunningHome, program: Path, place: tuple[str, ...]
) -> None:
    folder = program.parent
    ran = home.cli("sign", program.name, "--no-wait", *place, cwd=folder)
    assert ran.code == 0, ran.err
    request = ran.out.strip()
    (hint,) = [line for line in ran.err.splitlines() if " hint: " in line]
    wait, _, rest = hint.partition(" hint: ")[2].partition(", then ")
    fetch = shlex.split(rest.partition("; or: ")[0])
    assert shlex.split(wait) == ["signwright", "wait", request]
    assert home.cli(*shlex.split(wait)[1:]).code == 0
    fetched = home.cli(*fetch[1:], cwd=folder)
    assert fetched.code == 0, fetched.err
    assert fetched.out.strip() == {"-o": "the result.exe", "--in-place": program.name}.get((*place, "")[0], "OUT")
    assert home.cli("verify", folder / fetched.out.strip()).code == 0
    again = home.cli("sign", program.name, "--no-wait", *place, cwd=folder)
    if "--in-place" not in place:
        assert again.err.splitlines()[-1].startswith(f"signwright: hint: signwright fetch {request} ")


def test_separate_makes_one_request_for_each_file(home: RunningHome, document: Path, tmp_path: Path) -> None:
    other = tmp_path / "more.txt"
    other.write_text(secrets.token_hex(8), encoding="utf-8")
    ran = home.cli("sign", document, other, "--policy", "test-file", "--separate")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines() == [f"{document}.p7s", f"{other}.p7s"]
    assert ran.err.count("submitted to default/test-file") == 2


def test_interrupted_wait_leaves_the_request_alive(home: RunningHome, program: Path) -> None:
    command = home.command("sign", program, "--policy", "default/release", "-o", program.with_name("out.exe"))
    with subprocess.Popen(command, env=home.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        try:
            for line in child.stderr:
                if "waiting for approval" in line:
                    break
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=20)
        finally:
            child.kill()
    assert (child.returncode, out) == (130, "")
    assert "goes on" in err
    request = err.split("signwright wait ", 1)[1].split(",", 1)[0]
    assert home.cli("status", request, "--output", "json").json["state"] == "awaiting-approval"
    assert home.cli("cancel", request).code == 0
    assert home.cli("wait", request).code == 1
    assert names(program.parent) == {"setup.exe"}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--policy", "default/nothing", "-o", "x.exe"), 2, "no signing policy 'default/nothing'"),
        (("--project", "other", "-o", "x.exe"), 2, "no signing policy 'other/test'"),
        ((), 2, "where should the signed file go"),
        (("-o", "setup.exe"), 2, "--in-place"),
        (("-o", "x.exe", "--in-place"), 2, "two things"),
        (("-o", "nowhere/x.exe"), 2, "no such folder"),
        (("-o", "link.exe"), 2, "symbolic link"),
        (("-o", "x.exe", "--option", "colour=red"), 2, "no option 'colour'"),
        (("-o", "x.exe", "--option", "digest=sha1"), 2, "digest"),
        (("-o", "x.exe", "--description", "a\x1b[31m"), 2, "U+001B"),
        (("-o", "x.exe", "--description", "a\u202eb"), 2, "U+202E"),
        (("-o", "x.exe", "--format", "rpm"), 2, "no format 'rpm'"),
        (("-o", "x.exe", "--mode", "digest", "--policy", "default/release"), 3, "digest mode"),
    ],
)
def test_wrong_wishes_are_refused(
    home: RunningHome, program: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    program.with_name("link.exe").symlink_to("elsewhere")
    ran = home.cli("sign", program.name, *arguments, cwd=program.parent)
    assert ran.code == code, ran.err
    assert said in ran.err
    assert ran.out == ""
    assert names(program.parent) == {"setup.exe", "link.exe"}


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "none of Windows"), (b"hello world, no program", "none of Windows"), (Pe().build()[:0x90], "at offset")],
)
def test_what_is_no_program_is_rejected(home: RunningHome, tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "a.exe"
    file.write_bytes(content)
    ran = home.cli("sign", file, "--in-place")
    assert ran.code == 9, ran.err
    assert said in ran.err
    assert file.read_bytes() == content


def test_virus_in_a_zip_is_rejected_with_its_path(home: RunningHome, tmp_path: Path) -> None:
    import zipfile

    eicar = "X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + "EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
    file = tmp_path / "bundle.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", secrets.token_hex(8))
        archive.writestr("inner/eicar.com", eicar)
    ran = home.cli("sign", file, "--policy", "default/release-file")
    assert ran.code == 9, ran.err
    assert "inner/eicar.com" in ran.err
    assert names(tmp_path) == {"bundle.zip"}


def test_credential_of_another_kind_is_denied_by_the_policy(home: RunningHome, program: Path, tmp_path: Path) -> None:
    import json

    rows = json.loads((home.folder / "credentials" / "ci.json").read_text(encoding="utf-8"))["credentials"]
    mine = tmp_path / "test-only.json"
    mine.write_text(json.dumps({"credentials": [row for row in rows if row["kind"] == "test"]}), encoding="utf-8")
    mine.chmod(0o600)
    ran = home.cli("sign", program, "-o", tmp_path / "x.exe", "--policy", "default/release", "--credentials", mine)
    assert ran.code == 3, ran.err
    assert "submitter" in ran.err


def test_unknown_credential_is_exit_code_6(home: RunningHome, program: Path, tmp_path: Path) -> None:
    from signwright.client.credentials import encode_credentials, new_credential

    file = tmp_path / "mine.json"
    file.write_bytes(encode_credentials([new_credential("test")]))
    file.chmod(0o600)
    ran = home.cli("sign", program, "--in-place", "--credentials", file)
    assert ran.code == 6, ran.err


def test_absent_server_is_exit_code_7(home: RunningHome, program: Path, free_port: int) -> None:
    ran = home.cli("sign", program, "--in-place", "--hub", f"http://127.0.0.1:{free_port}", "--output", "json")
    assert ran.code == 7, ran.err
    assert ran.json["error"]["code"] == "hub-unreachable"


def test_policy_of_another_root_is_not_believed(home: RunningHome, program: Path, tmp_path: Path) -> None:
    trust = load_trust(home.folder / "trust.json").model_copy(update={"policy_root_sha256": "0" * 64})
    other = tmp_path / "trust.json"
    other.write_bytes(trust.encode())
    ran = home.cli("sign", program, "--in-place", "--trust", other)
    assert ran.code == 8
    assert "does not come from the pinned one" in ran.err


def test_approver_refuses_an_artifact_that_was_swapped(home: RunningHome, program: Path) -> None:
    """The hub's store is changed behind its back: what an approver reads is not what was asked for."""
    request = home.cli("sign", program, "--policy", "default/release", "--no-wait").out.strip()
    wait_until(lambda: "awaiting-approval" in home.cli("status", request).out, what="scan")
    content = program.read_bytes()
    stored = [p for p in (home.folder / "hub").rglob("*") if p.is_file() and p.read_bytes() == content]
    assert len(stored) == 1
    stored[0].chmod(0o600)
    stored[0].write_bytes(Pe(overlay=secrets.token_bytes(16)).build())
    ran = home.cli("approve", request, "--key", home.key("alice"), "--yes")
    assert ran.code == 8, ran.err
    assert "the hub sent SHA-256" in ran.err
    assert home.cli("status", request, "--output", "json").json["approvals"] == []
    assert home.cli("cancel", request).code == 0


def test_approver_sees_what_changed_since_the_last_release(home: RunningHome, program: Path) -> None:
    for _ in range(2):
        program.write_bytes(Pe(overlay=secrets.token_bytes(24)).build())
        request = home.cli("sign", program, "--policy", "default/release", "--no-wait").out.strip()
        wait_until(lambda request=request: "awaiting-approval" in home.cli("status", request).out, what="scan")
        home.approve(request, "alice")
        ran = home.cli("approve", request, "--key", home.key("bob"), "--yes")
        assert home.cli("wait", request).code == 0
    assert "setup.exe: other content" in ran.err
    assert "word      alice said approve" in ran.err


def test_stranger_cannot_approve(home: RunningHome, program: Path, tmp_path: Path) -> None:
    from signwright.client.ssh_keys import make_key_files

    make_key_files(tmp_path / "mallory", comment="alice")
    ran = home.cli("approve", "--key", tmp_path / "mallory")
    assert ran.code == 6, ran.err
    ran = home.cli("approve", "--key", tmp_path / "mallory", "--person", "alice")
    assert ran.code == 6, ran.err
