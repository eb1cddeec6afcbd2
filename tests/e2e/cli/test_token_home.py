# SPDX-License-Identifier: Apache-2.0
"""A home whose release key is on a PKCS #11 token (real SoftHSM): adopted with its certificate, used, lost, found."""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from signwright.client.ssh_keys import make_key_files
from tests.support.homes import PEOPLE, Ran, RunningHome, running_home
from tests.support.pe_builder import Pe
from tests.support.pki import Pki, default_pki, to_pem
from tests.support.processes import wait_until
from tests.support.softhsm import PIN, SoftToken, make_token
from tests.support.terminal import on_terminal
from tests.support.tools import require_tool

pytestmark = pytest.mark.hsm
CLI = [sys.executable, "-m", "signwright.cli"]


@dataclass(frozen=True)
class Desk:
    """Everything that somebody has before ``init``: a token, approvers' keys, the certificates above the token's."""

    folder: Path
    token: SoftToken

    @property
    def people(self) -> list[str]:
        return [part for name in PEOPLE for part in ("--approver", f"{name}={self.folder / name}.pub")]

    @property
    def store(self) -> list[str]:
        return [f"--release-store=pkcs11:token={self.token.label}", f"--module={self.token.module}"]

    @property
    def pin(self) -> list[str]:
        return ["--pin-file", self.token.pin_file()]

    @property
    def chain(self) -> list[str]:
        return ["--chain", str(self.folder / "chain.pem")]

    @property
    def environment(self) -> dict[str, str]:
        return {k: v for k, v in self.token.environment.items() if not k.startswith("SIGNWRIGHT_") or "_ENV" in k}

    def certify(self, label: str, *, key_of: str | None = None) -> None:
        """A certificate beside key ``label``, for that key or for another one."""
        public = load_der_public_key(self.token.public_key(key_of or label))
        assert isinstance(public, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
        self.token.store_certificate(label, default_pki().certify(public, "Five People Software"))

    def init(self, *arguments: str) -> tuple[Ran, Path]:
        home = self.folder / f"home-{secrets.token_hex(3)}"
        command = [*CLI, "init", "--home", str(home), *arguments]
        done = subprocess.run(
            command, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        return Ran(done.returncode, done.stdout, done.stderr), home


def make_desk(folder: Path) -> Desk:
    token = make_token(folder / "hsm")
    for name in PEOPLE:
        make_key_files(folder / name, comment=name)
    pki = default_pki()
    (folder / "chain.pem").write_bytes(to_pem(pki.intermediate) + to_pem(pki.root))
    return Desk(folder, token)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return make_desk(tmp_path)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Desk, RunningHome]]:
    """A desk and the home made from its token; tests that take something away give it back."""
    folder = tmp_path_factory.mktemp("token")
    desk = make_desk(folder)
    desk.token.generate("release", "rsa3072")
    desk.certify("release")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", desk.token.environment["SOFTHSM2_CONF"])
        with running_home(folder / "h", folder / "state", *desk.store, *desk.pin, *desk.people, *desk.chain) as home:
            yield desk, home


def submit(home: RunningHome, folder: Path) -> tuple[str, Path]:
    file = folder / f"{secrets.token_hex(3)}.exe"
    file.write_bytes(Pe(overlay=secrets.token_bytes(16)).build())
    ran = home.cli("sign", file, "--policy", "default/release", "--no-wait")
    assert ran.code == 0, ran.err
    return ran.out.strip(), file


def approve(desk: Desk, home: RunningHome, request: str) -> None:
    for name in PEOPLE:
        ran = home.cli("approve", request, "--key", desk.folder / name, "--yes")
        assert ran.code == 0, ran.err


def key_finding(home: RunningHome) -> str:
    """What `doctor` says about the release key at this moment."""
    findings = home.cli("doctor", "--home", home.folder, "--output", "json").json["findings"]
    return next((f"{f['level']} {f['text']}" for f in findings if f["text"].startswith("release: ")), "no word")


def up(home: RunningHome) -> None:
    """In a process of its own, which leaves the supervisor behind."""
    command = home.command("up", "--home", home.folder, "--detach")
    subprocess.run(command, env=home.env, stdin=subprocess.DEVNULL, capture_output=True, check=True)


def children_of_the_keyholder(desk: Desk) -> list[int]:
    """Processes of this desk's home that have the token's library open."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            ours = entry.name.isdigit() and str(desk.token.folder).encode() in (entry / "environ").read_bytes()
            if ours and "libsofthsm2" in (entry / "maps").read_text(encoding="utf-8"):
                found.append(int(entry.name))
        except OSError:
            continue  # gone meanwhile, or not ours to look at
    return found


def test_adopted_key_signs_a_release_that_outside_verifiers_accept(
    lasting: tuple[Desk, RunningHome], tmp_path: Path
) -> None:
    desk, home = lasting
    assert not (home.folder / "people").exists()
    request, file = submit(home, tmp_path)
    approve(desk, home, request)
    assert home.cli("wait", request).code == 0
    fetched = home.cli("fetch", request, file, "--in-place", "--output", "json")
    assert fetched.code == 0, fetched.err
    assert fetched.json["files"][0]["trial"] is False
    verified = home.cli("verify", file)
    assert verified.code == 0, verified.out
    assert "approved by alice, bob" in verified.out
    assert "Five People Software" in verified.out
    assert "key claimed" in verified.out
    tool = require_tool("osslsigncode", "osslsigncode")
    trust = json.loads((home.folder / "trust.json").read_text(encoding="utf-8"))
    (tmp_path / "root.pem").write_bytes(default_pki().root_pem)
    anchor = base64.b64decode(trust["timestamp_authorities"][0]["anchors"][0])
    (tmp_path / "tsa.pem").write_bytes(to_pem(anchor))
    authorities = ["-CAfile", tmp_path / "root.pem", "-TSA-CAfile", tmp_path / "tsa.pem"]
    command = [str(part) for part in (tool, "verify", "-in", file, *authorities)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Timestamp Server Signature verification: ok" in done.stdout
    assert key_finding(home) == "ok release: ready"


def test_key_in_the_token_signs_a_certification_request_for_itself(
    lasting: tuple[Desk, RunningHome], tmp_path: Path
) -> None:
    desk, home = lasting
    out, keeper = tmp_path / "r.csr", home.folder / "keeper" / "keeper"
    asked = ["--key", "release", "--common-name", "Five People Software", "--keeper", keeper, "-o", out, "--yes"]
    ran = home.cli("key", "csr", "--home", home.folder, *asked)
    assert ran.code == 0, ran.err
    command = [str(require_tool("openssl", "openssl")), "req", "-in", str(out), "-verify", "-noout", "-text"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    request = x509.load_pem_x509_csr(out.read_bytes())
    assert request.is_signature_valid
    public = request.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert public == desk.token.public_key("release")


def test_revocation_counts_from_its_own_date_on(lasting: tuple[Desk, RunningHome], tmp_path: Path) -> None:
    """The timestamp dates the signature: what was signed before the key was lost stays good, at whatever time asked."""
    desk, home = lasting
    request, file = submit(home, tmp_path)
    approve(desk, home, request)
    assert home.cli("wait", request).code == 0
    assert home.cli("fetch", request, file, "--in-place").code == 0
    entry = json.loads((home.folder / "policy" / "signed" / "documents" / "keys.json").read_bytes())["keys"]["release"]
    certificate = base64.b64decode(entry["chain"][0])
    checks = {row["name"]: row["text"] for row in home.cli("verify", file, "--output", "json").json["checks"]}
    stamped = datetime.strptime(checks["timestamp"].split()[0], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)

    def verify(revoked: dict[bytes, datetime], *arguments: object) -> tuple[int, str]:
        made = default_pki().crl(revoked, this_update=stamped + timedelta(days=2))
        (tmp_path / "list.crl").write_bytes(made)
        ran = home.cli("verify", file, "--crl", tmp_path / "list.crl", *arguments)
        (line,) = [row for row in ran.out.splitlines() if " certificate " in row]
        return ran.code, line

    day = timedelta(days=1)
    later = ("--at", f"{stamped + 20 * 365 * day:%Y-%m-%dT%H:%M:%SZ}")
    for arguments in ((), later):
        code, line = verify({}, *arguments)
        assert (code, "not revoked in the list given" in line) == (0, True), line
        code, line = verify({certificate: stamped + day}, *arguments)
        assert (code, "not revoked in the list given" in line) == (0, True), line
        code, line = verify({certificate: stamped - day}, *arguments)
        assert (code, line.startswith("FAILED"), "[certificate-revoked]" in line) == (8, True, True), line
    stranger = Pki("stranger").crl({})
    (tmp_path / "stranger.crl").write_bytes(stranger)
    ran = home.cli("verify", file, "--crl", tmp_path / "stranger.crl")
    assert (ran.code, "[bad-crl]" in ran.out) == (8, True)


def test_without_timestamp_the_asked_time_decides(lasting: tuple[Desk, RunningHome], tmp_path: Path) -> None:
    """``--at`` against validity and revocation, on a program that another tool signed under the same root."""
    _, home = lasting
    tool = require_tool("osslsigncode", "osslsigncode")
    signer = default_pki().code_signing("p256", "Elsewhere")
    (tmp_path / "key.pem").write_bytes(signer.private_pem)
    (tmp_path / "chain.pem").write_bytes(b"".join(map(to_pem, signer.chain)))
    (tmp_path / "plain.exe").write_bytes(Pe().build())
    file, listed = tmp_path / "signed.exe", tmp_path / "list.pem"
    command = [tool, "sign", "-certs", "chain.pem", "-key", "key.pem", "-in", "plain.exe", "-out", "signed.exe"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    revoked = datetime(2026, 6, 1, tzinfo=UTC)
    crl = x509.load_der_x509_crl(default_pki().crl({signer.certificate: revoked}))
    listed.write_bytes(crl.public_bytes(Encoding.PEM))

    def verify(*arguments: object) -> tuple[int, str]:
        ran = home.cli("verify", file, *arguments, "--output", "json")
        (check,) = [row for row in ran.json["checks"] if row["name"] == "certificate"]
        return ran.code, check["code"] or check["text"].rsplit(", ", 1)[-1]

    before, after, expired = ("--at", "2026-05-31T23:59:59Z"), ("--at", "2026-06-01T00:00:01Z"), "2045-01-02T00:00:00Z"
    assert verify() == (0, "revocation NOT looked at")
    assert verify("--at", expired) == (8, "certificate-validity")
    assert verify("--at", "2019-12-31T00:00:00Z") == (8, "certificate-validity")
    assert verify("--crl", listed, *before) == (0, "not revoked in the list given")
    assert verify("--crl", listed, *after) == (8, "certificate-revoked")
    assert verify("--crl", listed) == (8, "certificate-revoked")


def test_token_that_is_pulled_out_is_named_and_used_again_when_it_is_back(
    lasting: tuple[Desk, RunningHome], tmp_path: Path
) -> None:
    desk, home = lasting
    request, file = submit(home, tmp_path)
    tokens, away = desk.token.folder / "tokens", desk.token.folder / "pulled"
    tokens.rename(away)
    tokens.mkdir()
    try:
        children = children_of_the_keyholder(desk)
        assert children
        for number in children:
            os.kill(number, signal.SIGKILL)
        wait_until(lambda: key_finding(home).startswith("bad release: down (the token is not there"), what="down")
        approve(desk, home, request)
        ran = home.cli("wait", request, "--timeout", "5")
        assert ran.code != 0
        assert "key" in ran.err
        assert home.cli("status", request, "--output", "json").json["state"] != "completed"
    finally:
        tokens.rmdir()
        away.rename(tokens)
    wait_until(lambda: key_finding(home) == "ok release: ready", what="the token is back", seconds=40)
    request, file = submit(home, tmp_path)
    approve(desk, home, request)
    assert home.cli("wait", request).code == 0
    assert home.cli("fetch", request, file, "--in-place").code == 0


def test_wrong_pin_is_tried_once_and_never_again_until_the_file_changes(
    lasting: tuple[Desk, RunningHome], tmp_path: Path
) -> None:
    desk, home = lasting
    (pin,) = (home.folder / "signer").rglob("release.pin")
    assert home.cli("down", "--home", home.folder).code == 0
    pin.write_text("00000000\n", encoding="utf-8")
    try:
        before = desk.token.pins_offered()
        up(home)
        assert "bad release: quarantined (the token refused the PIN" in key_finding(home)
        request, _ = submit(home, tmp_path)
        approve(desk, home, request)
        ran = home.cli("wait", request, "--timeout", "5")
        assert ran.code != 0
        assert home.cli("status", request, "--output", "json").json["state"] != "completed"
        assert home.cli("down", "--home", home.folder).code == 0
        up(home)
        assert "its secret was refused before" in key_finding(home)
        assert desk.token.pins_offered() == before + 1
    finally:
        pin.write_text(f"{PIN}\n", encoding="utf-8")
        home.cli("down", "--home", home.folder)
        up(home)
    assert key_finding(home) == "ok release: ready"


def test_one_of_several_keys_has_to_be_named(desk: Desk) -> None:
    for label in ("one", "two"):
        desk.token.generate(label, "p256")
    desk.certify("two")
    ran, home = desk.init(*desk.store, *desk.pin, *desk.people, *desk.chain)
    assert ran.code == 2, ran.err
    assert "the token has 2 keys" in ran.err
    assert "1: one (EC, no certificate)" in ran.err
    assert "2: two (EC, with certificate)" in ran.err
    assert not list(home.iterdir())
    store = f"--release-store=pkcs11:token={desk.token.label};object=two"
    ran, home = desk.init(store, desk.store[1], *desk.pin, *desk.people, *desk.chain)
    assert ran.code == 0, ran.err
    assert "release key: two" in ran.err


def test_certificate_of_another_key_is_refused(desk: Desk) -> None:
    for label in ("release", "other"):
        desk.token.generate(label, "p256")
    desk.certify("release", key_of="other")
    store = f"--release-store=pkcs11:token={desk.token.label};object=release"
    ran, home = desk.init(store, desk.store[1], *desk.pin, *desk.people, *desk.chain)
    assert ran.code == 1, ran.err
    assert "certificate on the token is not the key's" in ran.err
    assert not list(home.iterdir())


def test_key_that_can_leave_the_token_is_refused(desk: Desk) -> None:
    desk.token.generate("release", "p256", extractable=True)
    desk.certify("release")
    ran, home = desk.init(*desk.store, *desk.pin, *desk.people, *desk.chain)
    assert ran.code == 1, ran.err
    assert "extractable True" in ran.err
    assert not list(home.iterdir())


def test_one_approver_is_too_few_and_a_key_without_certificate_too_little(desk: Desk) -> None:
    desk.token.generate("release", "p256")
    ran, _ = desk.init(*desk.store, *desk.pin, *desk.people[:2])
    assert ran.code == 2
    assert "1 approvers; a release wants two" in ran.err
    ran, home = desk.init(*desk.store, *desk.pin, *desk.people)
    assert ran.code == 2
    assert "has no certificate" in ran.err
    assert not list(home.iterdir())


def test_wrong_pin_at_init_leaves_nothing_behind(desk: Desk) -> None:
    desk.token.generate("release", "p256")
    ran, home = desk.init(*desk.store, "--pin-file", desk.token.pin_file("00000000"), *desk.people)
    assert ran.code == 1, ran.err
    assert "PinIncorrect" in ran.err
    assert not list(home.iterdir())


def test_init_asks_which_token_who_approves_and_which_address(desk: Desk) -> None:
    """On a terminal without flags: the three questions, and the PIN, which is not shown."""
    desk.token.generate("release", "p256")
    desk.certify("release")
    home = desk.folder / "asked"
    command = [*CLI, "init", "--home", str(home), "--module", desk.token.module, *desk.chain]
    environment = {k: v for k, v in desk.environment.items() if k != "CI"}
    with on_terminal(command, env=environment) as terminal:
        terminal.expect("which token holds the release key?")
        terminal.expect("0: none, make a TRIAL")
        terminal.expect(f"1: {desk.token.label} (serial")
        terminal.expect("token")
        terminal.type("1")
        for number, name in enumerate(PEOPLE, 1):
            terminal.expect(f"approver {number}")
            terminal.type(f"{name}={desk.folder / name}.pub")
        terminal.expect("address that clients reach")
        terminal.type("")
        terminal.expect("PIN of the token")
        terminal.type(PIN)
        code, out = terminal.end()
    assert code == 0, terminal.text
    assert PIN not in terminal.text
    assert out == f"{home}\n"
    described = json.loads((home / "home.json").read_text(encoding="utf-8"))
    assert described["trial"] is False
    assert described["url"].startswith("http://127.0.0.1:")
    people = (home / "policy" / "people.yaml").read_text(encoding="utf-8")
    assert all(f"  {name}:" in people for name in PEOPLE)
