# SPDX-License-Identifier: Apache-2.0
"""``signwright witness``: one operator makes a witness, another takes it into their policy, each with one line."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from signwright.client.trust import load_trust
from signwright.client.witness_latest import latest_of
from signwright.client.witness_lines import LogLine, WitnessLine
from signwright.errors import UnavailableError, VerificationError
from signwright.transparency.note import VerifierKey
from tests.support.homes import Ran, RunningHome
from tests.support.logs import MemoryLog, log_key
from tests.support.outages import verb
from tests.support.processes import stop
from tests.support.witnesses import RunningWitness

ORIGIN = "log.example/signer"
OURS = LogLine(ORIGIN, str(log_key(ORIGIN).verifier))


def made_witness(folder: Path, *, operator: str = "Other Ltd") -> WitnessLine:
    flags = ("--name", "witness.example/w1", "--operator", operator, "--url", "https://witness.example")
    done = verb("witness", "init", "--folder", folder, *flags, "--listen", "127.0.0.1:0")
    assert done.returncode == 0, done.stderr
    return WitnessLine.parse(done.stdout.strip())


@contextmanager
def running(folder: Path, line: WitnessLine) -> Iterator[RunningWitness]:
    """``witness run`` as its operator runs it."""
    from signwright.transparency.cosignature import WitnessKey

    command = [sys.executable, "-m", "signwright.cli", "witness", "run", "--folder", str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        said = process.stdout.readline().decode().split()
        assert said[:1] == ["ready"], said
        key = WitnessKey(line.verifier.name, line.verifier.public_key, line.operator, outside=True)
        yield RunningWitness(said[1], key, process)
    finally:
        stop(process)


def test_witness_is_made_told_of_a_log_cosigns_it_and_shows_its_latest(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    line = made_witness(folder)
    assert (line.name, line.operator, line.url) == ("witness.example-w1", "Other Ltd", "https://witness.example")
    assert (folder / "witness.key").stat().st_mode & 0o777 == 0o600
    assert verb("witness", "add", "--folder", folder, str(OURS)).returncode == 0
    again = verb("witness", "add", "--folder", folder, str(OURS))
    assert (again.returncode, "is there already" in again.stderr) == (2, True)
    log = MemoryLog([b"a", b"b", b"c"], origin=ORIGIN)
    keys = (log_key(ORIGIN).verifier,)
    with running(folder, line) as witness:
        assert latest_of(witness.url, line.verifier, origin=ORIGIN, log_keys=keys).size == 0
        witness.cosign(log, old_size=0)
        found = latest_of(witness.url, line.verifier, origin=ORIGIN, log_keys=keys)
        assert (found.size, found.checkpoint) == (3, log.checkpoint())
        other = VerifierKey.parse(line.key, algorithm=4)
        with pytest.raises(VerificationError, match="not cosigned by it"):
            wrong = VerifierKey(other.name, 4, log_key("x").verifier.public_key)
            latest_of(witness.url, wrong, origin=ORIGIN, log_keys=keys)
        with pytest.raises(VerificationError, match="not signed by a known key"):
            latest_of(witness.url, line.verifier, origin=ORIGIN, log_keys=(log_key("y").verifier,))
        port = witness.url.rsplit(":", 1)[1]
        text = (folder / "witness.toml").read_text(encoding="utf-8").replace("port = 0", f"port = {port}")
        (folder / "witness.toml").write_text(text, encoding="utf-8")
        shown = verb("witness", "show", "--folder", folder, "--output", "json")
        assert json.loads(shown.stdout) == {
            "line": str(line),
            "logs": [{"origin": ORIGIN, "size": 3, "problem": None}],
        }
    assert f"log     {ORIGIN}: witness http" in verb("witness", "show", "--folder", folder).stdout
    with pytest.raises(UnavailableError):
        latest_of(witness.url, line.verifier, origin=ORIGIN, log_keys=keys)


def test_folder_of_a_witness_is_made_once_and_only_whole(tmp_path: Path) -> None:
    made_witness(tmp_path / "w")
    again = verb("witness", "init", "--folder", tmp_path / "w", "--name", "w", "--operator", "A", "--url", "https://w")
    assert (again.returncode, "is not empty" in again.stderr) == (2, True)
    wrong = verb("witness", "init", "--folder", tmp_path / "v", "--name", "w", "--operator", " ", "--url", "https://w")
    assert wrong.returncode == 2
    assert not list((tmp_path / "v").iterdir())
    gone = verb("witness", "run", "--folder", tmp_path / "nowhere")
    assert (gone.returncode, "signwright witness init" in gone.stderr) == (2, True)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> RunningHome:
    """Made, not running."""
    folder = tmp_path_factory.mktemp("join")
    done = verb("init", "--home", folder / "h", "--organisation", "Example Org")
    assert done.returncode == 0, done.stderr
    return RunningHome(folder / "h", folder / "state")


def files_of(home: RunningHome) -> dict[str, bytes]:
    names = ("policy/services.yaml", "settings/courier.toml", "trust.json")
    return {name: (home.folder / name).read_bytes() for name in names}


def line_of(name: str = "w2", operator: str = "Other Ltd", url: str = "https://w.example/x", seed: str = "a") -> str:
    key = VerifierKey(f"{name}.example", 4, log_key(seed).verifier.public_key)
    return f"witness {name} {key} {url} {operator}"


def join(home: RunningHome, *arguments: str) -> Ran:
    return home.cli("witness", "join", *arguments, "--home", home.folder)


def test_joined_witness_stands_in_policy_courier_and_trust_file(home: RunningHome) -> None:
    before = files_of(home)
    ran = join(home, line_of("w2"), "--outside", "1")
    assert ran.code == 0, ran.err
    ours = LogLine.parse(ran.out.strip())
    trust = load_trust(home.folder / "trust.json")
    assert (ours.origin, ours.key) == (trust.log.origin, trust.log.key)
    assert [(w.name, w.operator, w.outside) for w in trust.witnesses][1:] == [("w2", "Other Ltd", True)]
    assert trust.quorum.outside == 0
    courier = tomllib.loads((home.folder / "settings" / "courier.toml").read_text(encoding="utf-8"))
    assert courier["witnesses"]["w2"] == "https://w.example/x"
    after = files_of(home)
    for name in ("policy/services.yaml", "settings/courier.toml"):  # comments and everything else stay
        lines = set(after[name].decode().splitlines())
        assert {line for line in before[name].decode().splitlines() if "outside: 0" not in line} <= lines
    applied = home.cli("policy", "check", "--home", home.folder)
    assert applied.code == 0, applied.err
    assert home.cli("policy", "diff", "--home", home.folder).code == 0
    assert join(home, line_of("w2")).code == 2  # once


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (line_of("w3", "this host", seed="b"), "names nobody else"),
        (line_of("w3", "EXAMPLE ORG", seed="b"), "this organisation's own"),
        (line_of("local", "Third", seed="b"), "in the policy already"),
        (line_of("w3", "Third", url="http://w.example", seed="b"), "plain HTTP"),
        (line_of("w3", "Third", url="file:///etc", seed="b"), "wanted https://HOST"),
        (line_of("w3", "Third", url="https://u@w.example", seed="b"), "wanted https://HOST"),
        (line_of("W3", "Third", seed="b"), "lower-case"),
        (line_of("w3", "Third\u202e", seed="b"), "not allowed"),
        ("witness w3 key", "wanted: witness NAME"),
        (f"witness w3 {log_key('b').verifier} https://w.example Third", "wanted type 0x04"),
    ],
)
def test_witness_that_cannot_be_outside_changes_nothing(home: RunningHome, line: str, said: str) -> None:
    before = files_of(home)
    ran = join(home, line)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert files_of(home) == before


def test_key_of_the_local_witness_under_another_name_changes_nothing(home: RunningHome) -> None:
    before = files_of(home)
    local = load_trust(home.folder / "trust.json").witnesses[0].key
    flags = ("--name", "w4", "--key", local, "--url", "https://w.example", "--operator", "Third")
    ran = join(home, *flags)
    assert ran.code == 2
    assert "share a name or a key" in ran.err
    assert join(home, "--name", "w4", "--url", "https://w.example").code == 2
    assert files_of(home) == before


def test_quorum_that_no_operators_make_changes_nothing(home: RunningHome) -> None:
    before = files_of(home)
    ran = join(home, line_of("w5", "OTHER LTD.", seed="c"), "--outside", "2")
    assert (ran.code, "but there are 1 outside operators" in ran.err) == (2, True)
    assert files_of(home) == before
