# SPDX-License-Identifier: Apache-2.0
"""Witness protocol (c2sp.org/tlog-witness) against others' programs, each found on PATH or the test is skipped:

``litewitness`` (Go module filippo.io/torchwood 0.9) as an outside witness of a real home, and ``posix-oneshot`` (Go
module github.com/transparency-dev/tessera 1.0, cmd/examples) as a log that our witness cosigns. ``make test`` never
needs them.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from signwright.client.trust import load_trust
from signwright.client.witness_latest import latest_of
from signwright.client.witness_lines import LogLine
from signwright.errors import SignwrightError
from signwright.transparency.cosignature import LogTrust, Quorum, WitnessKey
from signwright.transparency.note import COSIGNATURE_V1, ED25519, VerifierKey
from signwright.transparency.signing import SignerKey
from signwright.transparency.witnessing import add_checkpoint_body
from tests.support.logs import MemoryLog, log_key
from tests.support.outages import Site, made_home, up, verb
from tests.support.processes import stop, wait_until
from tests.support.tools import find_tool, require_tools
from tests.support.witnesses import RunningWitness, create_witness, run_witness, write_settings


def other_program(name: str, module: str) -> str:
    """Skips, also in CI: these come from no distribution."""
    found = find_tool(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Go module {module})")
    return found


@dataclass(frozen=True)
class Litewitness:
    """``key``: its verifier key as it printed it; ``database``: where its known logs stand."""

    url: str
    key: str
    database: Path

    def know(self, line: LogLine) -> None:
        """What its ``witnessctl add-log`` and ``add-key`` do."""
        with closing(sqlite3.connect(self.database, timeout=10)) as database, database:
            empty = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="  # SHA-256 of nothing
            database.execute("INSERT INTO log VALUES (?, 0, ?)", (line.origin, empty))
            database.execute("INSERT INTO key VALUES (?, ?)", (line.origin, line.key))

    def size(self) -> int:
        with closing(sqlite3.connect(self.database, timeout=10)) as database:
            return int(database.execute("SELECT tree_size FROM log").fetchone()[0])


@contextmanager
def ssh_agent(folder: Path, key: Path) -> Iterator[Path]:
    agent, add = require_tools("ssh-agent", "ssh-add")
    socket = folder / "agent"
    process = subprocess.Popen([agent, "-D", "-a", str(socket)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(socket.exists, what="the agent")
        environment = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
        subprocess.run([add, "-q", str(key)], check=True, env=environment, capture_output=True)
        yield socket
    finally:
        stop(process)


@pytest.fixture
def litewitness(tmp_path: Path) -> Iterator[Litewitness]:
    program = other_program("litewitness", "filippo.io/torchwood")
    (keygen,) = require_tools("ssh-keygen")
    key, folder = tmp_path / "key", tmp_path
    subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    shown = subprocess.run([keygen, "-l", "-f", str(key)], check=True, capture_output=True, text=True).stdout
    from tests.support.processes import free_port

    address, log = f"127.0.0.1:{free_port()}", folder / "litewitness.log"
    with ssh_agent(folder, key) as socket, log.open("wb") as output:
        flags = ["-db", str(folder / "lite.db"), "-name", "lite.example/w", "-key", shown.split()[1]]
        command = [program, *flags, "-ssh-agent", str(socket), "-listen", address]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            wait_until(lambda: "listening" in log.read_text() or process.poll() is not None, what="litewitness listens")
            assert process.poll() is None, log.read_text()
            said = log.read_text().split("vkey=", 1)[1].split()[0].strip('"')
            yield Litewitness(f"http://{address}", said, folder / "lite.db")
        finally:
            stop(process)


def test_home_is_cosigned_by_litewitness_and_recovers_under_it(litewitness: Litewitness, tmp_path: Path) -> None:
    """Gate, courier and verifier as they are; the other witness has no monitoring endpoint, so it names a size."""
    site = made_home(tmp_path / "h", tmp_path / "state")
    flags = ("--key", litewitness.key, "--url", litewitness.url, "--operator", "Lite Operators", "--outside", "1")
    joined = verb("witness", "join", *flags, "--home", site.folder)
    assert joined.returncode == 0, joined.stderr
    ours = LogLine.parse(joined.stdout.strip())
    litewitness.know(ours)
    with up(site):
        applied = site.home.cli(
            "policy", "apply", "--home", site.folder, "--key", site.folder / "keeper/keeper", "--yes"
        )
        assert applied.code == 0, applied.err
        signed_under(site)
    seen = litewitness.size()
    assert seen > 0
    with up(site):  # started again: it says 409 and its size, and we are not behind
        signed_under(site)
    assert litewitness.size() > seen
    for file in (site.folder / "signer/gate").glob("gate.sqlite3*"):
        file.unlink()
    done = verb("signer", "recover", "--home", site.folder)
    assert done.returncode == 0, done.stderr
    assert f"has cosigned {litewitness.size()} leaves" in done.stderr
    with up(site):
        signed_under(site)


def signed_under(site: Site) -> None:
    """A request is signed, and the published checkpoint has the outside cosignature."""
    assert site.home.cli("sign", site.program(), "--in-place", "--mode", "digest").code == 0
    trust = load_trust(site.folder / "trust.json").log_trust
    strict = LogTrust(trust.origin, trust.keys, Quorum(trust.quorum.witnesses, outside=1, local=1))

    def published() -> bool:
        try:
            with site.hub() as hub:
                return strict.verify(hub.checkpoint()).cosigned.outside == 1
        except SignwrightError:
            return False

    wait_until(published, what="a checkpoint with the outside cosignature")


def test_litewitness_refuses_a_fork_of_ours_and_names_its_size(litewitness: Litewitness) -> None:
    log = MemoryLog([b"a", b"b", b"c"])
    keys = (log_key().verifier,)
    litewitness.know(LogLine(log.origin, str(keys[0])))
    witness = VerifierKey.parse(litewitness.key, algorithm=COSIGNATURE_V1)
    known = WitnessKey(witness.name, witness.public_key, "Lite Operators", outside=True)
    with_it = RunningWitness(litewitness.url, known, subprocess.Popen([sys.executable, "-c", ""]))
    with_it.process.wait()
    with_it.cosign(log, old_size=0)
    log.append([b"d"])
    with_it.cosign(log, old_size=3)
    found = latest_of(litewitness.url, witness, origin=log.origin, log_keys=keys, offer=log.note(3))
    assert (found.size, found.note) == (4, b"")
    fork = MemoryLog([b"a", b"b", b"c", b"x", b"y"])
    answer = with_it.post(add_checkpoint_body(4, fork.tree().consistency(4), checkpoint=fork.note()))
    assert answer.status_code == 422


def test_log_of_tessera_is_cosigned_by_our_witness(tmp_path: Path) -> None:
    program = other_program("posix-oneshot", "github.com/transparency-dev/tessera")
    origin = "tessera.example/log"
    key = SignerKey(origin, ED25519, bytes(range(32)))
    settings = write_settings(tmp_path, logs=[{"origin": origin, "keys": [str(key.verifier)]}])
    witness = create_witness(settings)
    (tmp_path / "log.key").write_text(key.encode(), encoding="ascii")
    trust = LogTrust(origin, (key.verifier,), Quorum((witness,), outside=1, local=0))
    with run_witness(settings, witness) as running:
        policy = f"log {key.verifier}\nwitness w {witness.key} {running.url}\nquorum w\n"
        (tmp_path / "policy").write_text(policy, encoding="ascii")
        for count, batch in ((3, "a"), (303, "b"), (304, "c")):  # the second round proves that the first is continued
            (tmp_path / batch).mkdir()
            before = {"a": 0, "b": 3, "c": 303}[batch]
            for number in range(before, count):
                (tmp_path / batch / f"{number}").write_bytes(b"leaf %d" % number)
            command = [program, "--storage_dir", str(tmp_path / "log"), "--entries", f"{tmp_path / batch}/*"]
            command += ["--private_key", str(tmp_path / "log.key"), "--witness_policy_file", str(tmp_path / "policy")]
            ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
            assert ran.returncode == 0, ran.stderr
            witnessed = trust.verify((tmp_path / "log" / "checkpoint").read_bytes())
            assert (witnessed.checkpoint.size, witnessed.cosigned.outside) == (count, 1)
            latest = latest_of(running.url, witness.key, origin=origin, log_keys=(key.verifier,))
            assert latest.checkpoint == witnessed.checkpoint
