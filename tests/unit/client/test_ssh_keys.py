# SPDX-License-Identifier: Apache-2.0
"""A person's key: from a file, under a passphrase, in an agent; judged by ssh-keygen."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from signwright.client.ssh_keys import load_person_key, make_key_files
from signwright.errors import ConfigurationError, SignwrightError, UsageError
from signwright.statements.dsse import PAYLOAD_TYPE, pae
from signwright.statements.keys import verify_envelope
from tests.support.tools import require_tool, require_tools

NAMESPACE = "signwright.approval.v1"


def no_passphrase(text: str) -> str:
    raise AssertionError(text)


def made(folder: Path, *arguments: str) -> Path:
    file = folder / "id"
    command = [require_tool("ssh-keygen", "openssh-client"), "-q", "-N", "", "-C", "alice", "-f", str(file), *arguments]
    subprocess.run(command, check=True)
    return file


def accepted(folder: Path, line: str, value: bytes, message: bytes) -> bool:
    import base64

    allowed, armoured = folder / "allowed", folder / "value.sig"
    allowed.write_text(f"alice {line}\n", encoding="utf-8")
    body = base64.encodebytes(value).decode()
    armoured.write_text(f"-----BEGIN SSH SIGNATURE-----\n{body}-----END SSH SIGNATURE-----\n", encoding="ascii")
    command = ["ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", "alice", "-n", NAMESPACE, "-s", str(armoured)]
    return subprocess.run(command, input=message, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("arguments", [("-t", "ed25519"), ("-t", "ecdsa", "-b", "256")])
def test_signature_of_a_plain_key_is_accepted_by_ssh_keygen(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    key = load_person_key(made(tmp_path, *arguments), no_passphrase)
    envelope = key.sign_statement(b"{}", "approval")
    message = pae(PAYLOAD_TYPE, b"{}")
    assert accepted(tmp_path, key.public.line, envelope.signatures[0].value, message)
    assert not accepted(tmp_path, key.public.line, envelope.signatures[0].value, message + b".")


def test_passphrase_is_asked_for_and_a_wrong_one_refused(tmp_path: Path) -> None:
    file = made(tmp_path, "-t", "ed25519")
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "open sesame", "-f", str(file)], check=True)
    asked: list[str] = []

    def ask(text: str) -> str:
        asked.append(text)
        return "open sesame"

    assert load_person_key(file, ask).sign_statement(b"{}", "approval").signatures
    assert asked == [f"passphrase of {file}"]
    with pytest.raises(UsageError, match="does not open"):
        load_person_key(file, lambda _: "wrong")


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    program, _ = require_tools("ssh-agent", "ssh-add")
    socket = tmp_path / "agent"
    with subprocess.Popen([program, "-D", "-a", str(socket)], stdout=subprocess.PIPE) as running:
        try:
            assert running.stdout is not None
            running.stdout.readline()
            monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
            yield
        finally:
            running.terminate()


@pytest.mark.usefixtures("agent")
def test_key_in_an_agent_signs_through_its_public_half(tmp_path: Path) -> None:
    file = made(tmp_path, "-t", "ed25519")
    subprocess.run(["ssh-add", "-q", str(file)], check=True)
    file.unlink()
    key = load_person_key(file.with_name("id.pub"), no_passphrase)
    envelope = key.sign_statement(b"{}", "approval")
    assert [found.key_id for found in verify_envelope(envelope, "approval", [key.public.line])]
    subprocess.run(["ssh-add", "-q", "-D"], check=True)
    with pytest.raises(SignwrightError, match="could not sign"):
        key.sign_statement(b"{}", "approval")


@pytest.mark.parametrize(("content", "said"), [("hello", "neither"), ("", "neither"), ("ssh-rsa AAAA", "neither")])
def test_what_is_no_key_is_refused(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "id"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=said):
        load_person_key(file, no_passphrase)


def test_rsa_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="wanted an Ed25519 or ECDSA"):
        load_person_key(made(tmp_path, "-t", "rsa", "-b", "2048"), no_passphrase)


def test_new_key_files_are_read_by_ssh_keygen(tmp_path: Path) -> None:
    tool = require_tool("ssh-keygen", "openssh-client")
    line = make_key_files(tmp_path / "k", comment="bob")
    shown = subprocess.run([tool, "-y", "-f", str(tmp_path / "k")], check=True, capture_output=True, text=True).stdout
    assert shown.split()[:2] == line.split()
    assert (tmp_path / "k").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "k.pub").read_text(encoding="utf-8") == f"{line} bob\n"
