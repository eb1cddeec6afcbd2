# SPDX-License-Identifier: Apache-2.0
"""A hub that keeps a keeper's word from the signer, or from the other keepers; the keepers' real command line."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.client.credentials import encode_credentials, new_credential
from signwright.client.keepers_words import draft_halt, draft_resume
from signwright.model.times import format_time
from signwright.statements.dsse import Envelope, parse_envelope, statement_digest
from signwright.statements.models import Freshness, Halt, parse_statement
from signwright.transparency.leaf import FreshnessLeaf, HaltLeaf, ResumeLeaf
from tests.support.homes import Ran
from tests.support.receipts import SignedWorld
from tests.support.served_log import Served
from tests.support.world import sign_ssh

PENDING, LIE, USAGE = 5, 8, 2


def write_key(file: Path, key: Ed25519PrivateKey) -> Path:
    """As ssh-keygen does."""
    form = serialization.PrivateFormat.OpenSSH
    file.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    file.chmod(0o600)
    return file


class Liar:
    """What the hub hands out and takes. ``passes_on``: what it does with a word that it was given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.served = Served(SignedWorld())
        self.world = self.served.world.world
        self.policy = self.served.world.policy
        self.taken: list[tuple[str, Envelope]] = []
        self.passes_on: Callable[[str, Envelope], None] = lambda *_: None
        self.standing: dict[str, Any] = {"policy_version": self.policy.version}
        self.refusal = b""
        self.key = write_key(folder / "keeper", self.world.keeper)
        credential = folder / "ci.json"
        credential.write_bytes(encode_credentials([new_credential("release")]))
        credential.chmod(0o600)
        (folder / "trust.json").write_bytes(self.served.world.trust().encode())
        self.show(self.freshness(1))
        self.log_freshness(self.freshness(1))

    def freshness(self, number: int, **changes: Any) -> Envelope:
        now = self.served.time
        times = {"created": format_time(now), "expires": format_time(now + timedelta(hours=24))}
        return self.world.freshness(number, root_sha256=self.policy.root_sha256, **(times | changes))

    def row(self, kind: str, envelope: Envelope, number: int) -> dict[str, Any]:
        text = base64.b64encode(envelope.encode()).decode()
        return {"sha256": statement_digest(kind, envelope), "number": number, "envelope": text}

    def show(self, envelope: Envelope) -> None:
        number = parse_statement(envelope, Freshness).predicate.number
        self.standing["freshness"] = self.row("freshness", envelope, number)

    def log(self, *leaves: Any) -> None:
        self.served.world.log.append(*(leaf.encode() for leaf in leaves))
        self.served.publish()

    def log_freshness(self, envelope: Envelope) -> None:
        said = parse_statement(envelope, Freshness)
        self.log(
            FreshnessLeaf(
                statement=said.digest,
                number=said.predicate.number,
                minimum_policy_version=1,
                revoked=0,
                time=format_time(self.served.time),
            )
        )

    def log_halt(self, digest: str, version: int = 1) -> None:
        self.log(HaltLeaf(statement=digest, policy_version=version, time=format_time(self.served.time)))

    def resume(self, *halts: str, version: int, key: Any = None) -> Envelope:
        payload = draft_resume(
            self.policy.root_sha256, halts=halts, policy_version=version, reason="answered", now=self.served.time
        )
        return sign_ssh(payload, key or self.world.keeper, "resume")

    def last(self) -> Freshness:
        """What was signed and sent last."""
        kind, envelope = self.taken[-1]
        assert kind == "freshness"
        return parse_statement(envelope, Freshness).predicate


Cli = Callable[..., Ran]


@pytest.fixture
def liar(tmp_path: Path) -> Iterator[Liar]:
    made = Liar(tmp_path)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            body = json.dumps(made.standing).encode() if path == "/v1/standing" else made.served.body(path)
            self._say(404 if body is None else 200, body or b'{"code": "not-found", "title": "not there"}')

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            kind = {"/v1/freshness": "freshness", "/v1/halts": "halt", "/v1/resumes": "resume"}[self.path]
            envelope = parse_envelope(content)
            made.taken.append((kind, envelope))
            made.passes_on(kind, envelope)
            self._say(*((422, made.refusal) if made.refusal else (201, b'{"sha256": "", "number": 1}')))

        def _say(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    made.served.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def cli(liar: Liar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """A verb of a keeper; ``client``: whose machine, each with a memory of its own."""
    from signwright.cli.main import run

    monkeypatch.setenv("SIGNWRIGHT_URL", liar.served.url)
    monkeypatch.setenv("SIGNWRIGHT_CREDENTIALS", str(tmp_path / "ci.json"))
    monkeypatch.setenv("SIGNWRIGHT_TRUST", str(tmp_path / "trust.json"))
    for name in ("SIGNWRIGHT_HOME", "SIGNWRIGHT_KEY", "SIGNWRIGHT_PERSON"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: object, client: str = "ann") -> Ran:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / client))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / client / "config"))
        code = run([*map(str, arguments), "--yes"])
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return call


def renew(liar: Liar, cli: Cli, *arguments: object, client: str = "ann") -> Ran:
    return cli("freshness", "renew", "--key", liar.key, *arguments, client=client)


def follow(liar: Liar) -> None:
    """From here on the hub is honest about freshness: shown, and logged by the signer."""

    def passes_on(kind: str, envelope: Envelope) -> None:
        if kind == "freshness":
            liar.show(envelope)
            liar.log_freshness(envelope)

    liar.passes_on = passes_on


# ── a halt that is held back


def test_who_halts_is_told_that_it_never_reached_the_log_and_renews_no_more_without_it(liar: Liar, cli: Cli) -> None:
    ran = cli("halt", "--reason", "a key was copied", "--key", liar.key, "--wait", 1)
    assert ran.code == PENDING
    assert "is not in the witnessed log" in ran.err
    assert "freshness renew --halt" in ran.err
    halt = ran.out.strip()
    follow(liar)
    told = renew(liar, cli)
    assert told.code == 0, told.err
    assert liar.last().halts == (halt,)
    assert renew(liar, cli, client="ben").code == 0  # who saw only the statement before
    assert liar.last().halts == (halt,)


def test_halt_that_reached_the_log_needs_nobody_to_tell(liar: Liar, cli: Cli) -> None:
    def passes_on(kind: str, envelope: Envelope) -> None:
        if kind == "halt":
            liar.log_halt(statement_digest("halt", envelope))

    liar.passes_on = passes_on
    ran = cli("halt", "--reason", "drill", "--key", liar.key, "--wait", 20)
    assert ran.code == 0, ran.err
    follow(liar)
    assert renew(liar, cli, client="ben").code == 0
    assert liar.last().halts == (ran.out.strip(),)


def test_halt_is_handed_to_another_keeper_as_a_file(liar: Liar, cli: Cli, tmp_path: Path) -> None:
    assert cli("halt", "--reason", "drill", "--key", liar.key, "--no-wait").code == 0
    (file,) = (tmp_path / "ann").rglob("halt-*.json")
    follow(liar)
    assert renew(liar, cli, "--halt", file, client="ben").code == 0
    assert liar.last().halts == (parse_statement(parse_envelope(file.read_bytes()), Halt).digest,)


def test_halt_of_a_stranger_is_refused_as_a_file(liar: Liar, cli: Cli, tmp_path: Path) -> None:
    payload = draft_halt(liar.policy.root_sha256, reason="x", now=liar.served.time)
    file = tmp_path / "halt.json"
    file.write_bytes(sign_ssh(payload, liar.world.people["alice"], "halt").encode())
    assert renew(liar, cli, "--halt", file).code != 0
    assert liar.taken == []


@pytest.mark.parametrize("way", ["hub", "file"])
def test_signed_resume_ends_it_and_nothing_else_does(liar: Liar, cli: Cli, tmp_path: Path, way: str) -> None:
    halt = cli("halt", "--reason", "drill", "--key", liar.key, "--no-wait").out.strip()
    follow(liar)
    liar.served.world.world.version = liar.policy.version
    stranger = liar.resume(halt, version=2, key=liar.world.people["alice"])
    early = liar.resume(halt, version=liar.policy.version + 1)
    liar.standing["resumes"] = [liar.row("resume", one, 2) for one in (stranger, early)]
    assert renew(liar, cli).code == 0
    assert liar.last().halts == (halt,)
    newer_policy(liar)
    good = liar.resume(halt, version=liar.policy.version)
    if way == "hub":
        liar.standing["resumes"] = [liar.row("resume", good, liar.policy.version)]
        ran = renew(liar, cli)
    else:
        liar.standing["resumes"] = []
        assert renew(liar, cli).code == 0
        assert liar.last().halts == (halt,)  # a resume that the hub withholds
        file = tmp_path / "resume.json"
        file.write_bytes(good.encode())
        ran = renew(liar, cli, "--resume", file)
    assert ran.code == 0, ran.err
    assert liar.last().halts == ()
    liar.standing["resumes"] = []
    assert renew(liar, cli).code == 0
    assert liar.last().halts == ()  # and it does not come back


def newer_policy(liar: Liar) -> None:
    """Version 2 is in force."""
    liar.served.world.load()
    liar.policy = liar.served.world.policy
    liar.served.publish_policy()
    liar.standing["policy_version"] = liar.policy.version


def test_resume_leaf_ends_a_halt_that_is_known_from_the_log_alone(liar: Liar, cli: Cli) -> None:
    halt = "ab" * 32
    liar.log_halt(halt)
    follow(liar)
    assert renew(liar, cli).code == 0
    assert liar.last().halts == (halt,)
    newer_policy(liar)
    leaf = ResumeLeaf(statement="cd" * 32, halts=(halt,), policy_version=2, time=format_time(liar.served.time))
    liar.log(leaf)
    assert renew(liar, cli, client="ben").code == 0
    assert liar.last().halts == (halt,)  # the statement before names it: a signed resume is wanted now
    assert renew(liar, cli, "--over", halt[:12], client="ben").code == 0
    assert liar.last().halts == ()


@pytest.mark.parametrize("honest", [True, False])
def test_halt_that_the_hub_calls_unsigned_is_forgotten_when_that_is_true(
    liar: Liar, cli: Cli, tmp_path: Path, honest: bool
) -> None:
    key = write_key(tmp_path / "somebody", liar.world.people["alice"]) if honest else liar.key
    liar.refusal = b'{"code": "too-few-keepers", "title": "signed by 0 of its keepers; 1 wanted", "status": 422}'
    ran = cli("halt", "--reason", "drill", "--key", key)
    assert ran.code != 0
    halt = statement_digest("halt", liar.taken[-1][1])
    liar.refusal = b""
    follow(liar)
    assert renew(liar, cli).code == 0
    assert liar.last().halts == (() if honest else (halt,))


# ── a freshness statement that is held back, or shown to one keeper and not to another


def test_keeper_from_whom_another_ones_statement_is_hidden_does_not_sign(liar: Liar, cli: Cli) -> None:
    """Ann revoked; the hub shows Ben the statement before hers."""
    liar.log_freshness(liar.freshness(2, revoked_people=("mallory",)))
    ran = renew(liar, cli, client="ben")
    assert ran.code == LIE, ran.err
    assert "the log has freshness number 2, and the hub shows 1" in ran.err
    assert liar.taken == []
    told = renew(liar, cli, "--number", 3, "--revoke-person", "alice", "--no-wait", client="ben")
    assert told.code == 0, told.err
    assert (liar.last().number, liar.last().revoked_people) == (3, ("alice",))


def test_keeper_who_is_shown_another_statement_of_that_number_does_not_sign(liar: Liar, cli: Cli) -> None:
    liar.log_freshness(liar.freshness(2, revoked_people=("mallory",)))
    liar.show(liar.freshness(2))
    ran = renew(liar, cli, client="ben")
    assert (ran.code, "another freshness statement of number 2" in ran.err) == (LIE, True), ran.err
    assert liar.taken == []


def test_hub_that_hides_the_newest_log_too_is_noticed_by_its_age(liar: Liar, cli: Cli) -> None:
    liar.served.files["checkpoint"] = liar.served.world.log.note(liar.served.time - timedelta(hours=3))
    ran = renew(liar, cli)
    assert (ran.code, "--without-log" in ran.err) == (LIE, True), ran.err
    assert liar.taken == []
    told = renew(liar, cli, "--without-log")
    assert told.code == 0, told.err
    assert "nobody can tell" in told.err


def test_log_does_not_go_back_under_a_keeper(liar: Liar, cli: Cli) -> None:
    old = dict(liar.served.files)
    liar.log_freshness(liar.freshness(2, revoked_people=("mallory",)))
    liar.show(liar.freshness(2, revoked_people=("mallory",)))
    assert renew(liar, cli, "--no-wait").code == 0
    liar.served.files = old
    ran = renew(liar, cli)
    assert (ran.code, "it was taken back" in ran.err) == (LIE, True), ran.err


def test_who_revokes_is_told_that_it_never_reached_the_log(liar: Liar, cli: Cli) -> None:
    ran = renew(liar, cli, "--revoke-person", "alice", "--wait", 1)
    assert ran.code == PENDING
    assert "tell the other freshness keepers" in ran.err
    assert liar.last().revoked_people == ("alice",)


def test_who_revokes_is_told_that_another_statement_took_its_place(liar: Liar, cli: Cli) -> None:
    liar.passes_on = lambda *_: liar.log_freshness(liar.freshness(2))
    ran = renew(liar, cli, "--revoke-person", "alice", "--wait", 20)
    assert ran.code == LIE, ran.err
    assert "another freshness statement of number 2" in ran.err


def test_statement_that_is_in_the_log_is_good(liar: Liar, cli: Cli) -> None:
    follow(liar)
    ran = renew(liar, cli, "--minimum-policy", 7)
    assert ran.code == 0, ran.err
    assert "freshness: in the witnessed log" in ran.err
    assert liar.last().minimum_policy_version == 7


def test_mistyped_lowest_policy_is_refused(liar: Liar, cli: Cli) -> None:
    """It never goes down again."""
    assert renew(liar, cli, "--minimum-policy", 700).code == USAGE
    assert liar.taken == []


@pytest.mark.parametrize("number", [1, 1 << 52])
def test_number_is_a_higher_one_that_leaves_room(liar: Liar, cli: Cli, number: int) -> None:
    ran = renew(liar, cli, "--number", number)
    assert ran.code == USAGE, ran.err
    assert liar.taken == []
