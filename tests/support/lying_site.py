# SPDX-License-Identifier: Apache-2.0
"""A real signer home with a lying hub in front of it: courier, gate, keyholder, scanner, witness and TSA as processes.

There is no honest hub at all: what the signer gets is what the liar says, from the first policy on.
"""

from __future__ import annotations

import base64
import os
import socket
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from signwright.cli.demo.counting import KeyUse, key_use
from signwright.cli.demo.lies import Loot, people_of, told
from signwright.cli.demo.loopback import address_of
from signwright.cli.demo.lying_hub import LyingHub
from signwright.cli.demo.processes import Children
from signwright.cli.home import Home
from signwright.client.credentials import load_credentials
from signwright.client.policy_files import SignedPolicy, read_signed, sign_next
from signwright.client.ssh_keys import load_person_key, make_key_files
from signwright.client.trust import load_trust
from signwright.model.digest import sha256_hex
from signwright.model.framing import Frame, encode_frame, read_frame
from signwright.policy.documents import People, Person
from signwright.policy.weakening import documents_of
from signwright.statements.bundle import ReceiptBundle
from signwright.statements.dsse import Envelope, parse_envelope
from signwright.transparency.proof import TlogProof
from tests.support.pe_builder import Pe
from tests.support.processes import wait_until

PROCESSES = ("witness", "tsa", "scanner", "signer")
#: Enrolled, and in no group that may approve a release.
OUTSIDER = "carol"


@dataclass
class LyingSite:
    """``older`` and ``policy``: versions 1 and 2; ``loot``: after one honest release."""

    home: Home
    children: Children
    liar: LyingHub
    older: SignedPolicy
    policy: SignedPolicy
    loot: Loot

    @property
    def used(self) -> KeyUse:
        return key_use(self.home.folder)

    @property
    def courier_log(self) -> str:
        return (self.home.run / "courier.log").read_text(encoding="utf-8", errors="replace")

    @property
    def settings(self) -> dict[str, Any]:
        """Of the courier."""
        return tomllib.loads(self.home.settings("courier").read_text(encoding="utf-8"))

    def refresh(self) -> None:
        """What an approver sees now: at least as much as the keyholder has seen."""
        trust, wanted = self.loot.trust.log_trust, _size_seen(self.home)

        def is_published() -> bool:
            return trust.verify(self.liar.published["checkpoint"]).checkpoint.size >= wanted

        wait_until(is_published, what=f"a checkpoint of {wanted} leaves")
        self.loot = replace(self.loot, checkpoint=self.liar.published["checkpoint"])

    def scan(self, file: Path) -> Envelope:
        return scanned(self.home, file)


def _size_seen(home: Home) -> int:
    """Of the newest checkpoint that the keyholder accepted."""
    file = home / "signer" / "keyholder" / "keyholder.sqlite3"
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
        row = database.execute("SELECT value FROM fact WHERE name = 'log'").fetchone()
    return int(row[0].split()[0]) if row else 0


def policy_row(signed: SignedPolicy) -> Mapping[str, object]:
    """As a hub hands it to the courier."""

    def text(content: bytes) -> str:
        return base64.b64encode(content).decode()

    return {
        "root": text(signed.parts.root.encode()),
        "policy": text(signed.parts.policy.encode()),
        "documents": {name: text(content) for name, content in signed.parts.documents.items()},
        "version": signed.policy.version,
        "sha256": signed.policy.sha256,
    }


def scanned(home: Home, file: Path) -> Envelope:
    """The real scanner's verdict on ``file``, asked over its socket as a hub does."""
    content = file.read_bytes()
    path = tomllib.loads(home.settings("scanner").read_text(encoding="utf-8"))["socket"]
    about = {"name": file.name, "sha256": sha256_hex(content), "size": len(content)}
    with file.open("rb") as opened, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        channel.settimeout(60)
        channel.connect(path)
        socket.send_fds(channel, [b"\0"], [opened.fileno()])
        channel.sendall(encode_frame({"scan": about}))
        frame = _read(channel)
        while "progress" in frame.message:
            frame = _read(channel)
    assert "verdict" in frame.message, frame.message
    return parse_envelope(frame.parts[0])


def _read(channel: socket.socket) -> Frame:
    def exactly(count: int) -> bytes:
        found = bytearray()
        while len(found) < count:
            piece = channel.recv(count - len(found))
            assert piece, "the scanner hung up"
            found += piece
        return bytes(found)

    return read_frame(exactly)


@contextmanager
def lying_site(folder: Path) -> Iterator[LyingSite]:
    """``init``, then the signer's processes with the liar in the hub's place; everything is ended by its id."""
    home = Home(folder / "home")
    command = [sys.executable, "-m", "signwright.cli", "init", "--home", str(home.folder)]
    env = {k: v for k, v in os.environ.items() if not k.startswith("SIGNWRIGHT_") or k == "SIGNWRIGHT_SIGNER_ENV"}
    made = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert made.returncode == 0, made.stderr.decode()
    described = home.read()
    older = read_signed(home / "policy" / "signed", pinned_root_sha256=described.policy_root_sha256)
    policy = _with_outsider(home, older)
    program = folder / "setup.exe"
    program.write_bytes(Pe(overlay=b"a program").build())
    with LyingHub(address_of(described.url)) as liar, Children(home) as children:
        children.start(*PROCESSES)
        home.genesis.unlink()
        children.start("courier")
        liar.serve_policy(policy_row(older))
        liar.serve_policy(policy_row(policy))
        liar.serve_words([("freshness", (home / "policy" / "signed" / "freshness.json").read_bytes())])
        unfinished = _loot(home, policy, program, liar)
        site = LyingSite(home, children, liar, older, policy, unfinished)
        site.loot = _released(site, unfinished)
        yield site


def _with_outsider(home: Home, current: SignedPolicy) -> SignedPolicy:
    """Version 2: one more person, who may not approve releases."""
    line = make_key_files(home / "people" / OUTSIDER, comment=OUTSIDER)
    documents = documents_of(current.policy)
    people = dict(current.policy.people.people)
    people[OUTSIDER] = Person(groups=("visitors",), keys=(line,))
    documents["people"] = People(people=people)
    keeper = load_person_key(home / "keeper" / "keeper", lambda _: "")
    return sign_next(current, documents, keeper=keeper, now=datetime.now(UTC))


def _loot(home: Home, signed: SignedPolicy, program: Path, liar: LyingHub) -> Loot:
    people = {name: key for name, key in people_of(home.folder).items() if name != OUTSIDER}
    nothing = ReceiptBundle.model_construct()
    credentials = load_credentials(home / "credentials" / "ci.json")
    trust, verdict = load_trust(home / "trust.json"), scanned(home, program)
    wait_until(lambda: "checkpoint" in liar.published, what="the log's first checkpoint")
    checkpoint = liar.published["checkpoint"]
    return Loot(trust, signed.policy, credentials, people, program, verdict, nothing, checkpoint)


def _released(site: LyingSite, loot: Loot) -> Loot:
    """Once the liar does what a hub should: what it then has is what it replays later."""
    request = loot.request()
    found, answer = told(site.liar, loot.job(request, loot.approved(request)))
    assert found == "signed", answer.message
    rows = answer.frame.message["artifacts"]
    assert isinstance(rows, list)
    bundle = ReceiptBundle.decode(answer.frame.parts[rows[0]["bundle"]])
    intent = TlogProof.parse(bundle.waves[0].intent.proof_text()).index
    trust = loot.trust.log_trust

    def is_published() -> bool:
        return trust.verify(site.liar.published["checkpoint"]).checkpoint.size > intent

    wait_until(is_published, what="a checkpoint over the release")
    return replace(loot, bundle=bundle, checkpoint=site.liar.published["checkpoint"])
