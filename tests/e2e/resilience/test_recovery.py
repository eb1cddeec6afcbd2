# SPDX-License-Identifier: Apache-2.0
"""Older copies of the gate's state, its tiles, a witness, a whole home: refused with a reason, then recovered from a
mirror where that is possible, and never below what an outside witness has seen.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from signwright.client.submit import PreparedRequest
from tests.support.outages import Books, Site, copy_of, made_home, restore, up, verb
from tests.support.processes import free_port, stop, wait_until


@dataclass
class Past:
    """A home with an outside witness. Between ``older`` and ``newer`` (copies) three requests were signed.

    ``mirror``: a copy of the published log; ``signed``: the last of the three; ``watch``: folder of the witness.
    """

    site: Site
    watch: Path
    older: Path
    newer: Path
    mirror: Path
    seen: Path
    remembered: Path
    signed: PreparedRequest
    books: Books

    @contextmanager
    def restored(self, *parts: str) -> Iterator[Site]:
        """Everything newer, but ``parts`` older; only the outside witness runs."""
        restore(self.newer, self.site.folder)
        restore(self.seen, self.watch)
        restore(self.remembered, self.site.home.state)  # each test is another future of one past
        for part in parts:
            restore(self.older, self.site.folder, part)
        with watching(self.watch):
            yield self.site

    def recover(self, *flags: object) -> subprocess.CompletedProcess[str]:
        return verb("signer", "recover", "--home", self.site.folder, *flags)

    def goes_on(self, *, forgotten: bool = False) -> Books:
        """After a recovery: what was signed stays signed once, something new is signed, the monitor is content.

        ``forgotten``: the hub has no result of the last request any more, so that it asks the gate once more.
        """
        with up(self.site) as site:
            site.send([self.signed])
            (view,) = site.ended([self.signed])
            assert view.state == ("denied" if forgotten else "completed"), view.reasons
            assert not forgotten or [reason["rule"] for reason in view.reasons] == ["attempts-used"], view.reasons
            assert site.home.cli("sign", site.program(), "--in-place", "--mode", "digest").code == 0
            books = site.settled(self.books.claimed)
            assert dict(list(books.intents.items())[: len(self.books.intents)]) == self.books.intents
            assert books.outcomes["signed"] == self.books.outcomes["signed"] + 1
            watched = site.monitor()
            assert watched.code == 0, watched.out
        return books


@contextmanager
def watching(folder: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "signwright.cli", "witness", "run", "--folder", str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"ready ")
        yield
    finally:
        stop(process)


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Past:
    folder = tmp_path_factory.mktemp("recovery")
    site, watch, port = made_home(folder / "h", folder / "state"), folder / "watch", free_port()
    flags = ("--name", "w.example", "--operator", "Other Ltd", "--url", f"http://127.0.0.1:{port}")
    made = verb("witness", "init", "--folder", watch, *flags, "--listen", f"127.0.0.1:{port}")
    joined = verb("witness", "join", made.stdout.strip(), "--outside", "1", "--home", site.folder)
    assert joined.returncode == 0, joined.stderr
    assert verb("witness", "add", "--folder", watch, joined.stdout.strip()).returncode == 0
    sign = ("sign", "--in-place", "--mode", "digest")
    with watching(watch):
        with up(site):
            applied = site.home.cli(
                "policy", "apply", "--home", site.folder, "--key", site.folder / "keeper/keeper", "--yes"
            )
            assert applied.code == 0, applied.err
            assert site.home.cli(*sign, site.program()).code == 0
            assert site.monitor().code == 0
        older = copy_of(site.folder, folder / "older")
        with up(site):
            assert site.home.cli(*sign, site.program()).code == 0
            assert site.home.cli("sign", "--in-place", site.program()).code == 0
            signed = site.prepared(mode="digest")
            site.send([signed])
            (ended,) = site.ended([signed])
            assert ended.state == "completed", ended.reasons
            books = site.settled()
            assert books.outcomes["signed"] == 4
            wait_until(lambda: "outside 1 / local 1" in site.home.cli("log", "show").err, what="an outside cosignature")
            assert site.monitor().code == 0
        newer = copy_of(site.folder, folder / "newer")
    mirror, seen = copy_of(site.folder / "hub/log", folder / "mirror"), copy_of(watch, folder / "seen")
    remembered = copy_of(site.home.state, folder / "remembered")
    return Past(site, watch, older, newer, mirror, seen, remembered, signed, books)


def refused_to_start(past: Past) -> str:
    done = verb("up", "--home", past.site.folder, "--detach")
    assert done.returncode == 7, (done.stdout, done.stderr)
    return done.stderr


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("signer/gate", "the keyholder has seen another log than the gate has"),
        ("signer/gate/gate.sqlite3", "the keyholder has seen another log than the gate has"),
        ("signer/gate/tiles", "tiles and database disagree"),
    ],
)
def test_older_gate_alone_is_refused_and_recovered(past: Past, part: str, said: str) -> None:
    with past.restored(part):
        assert said in refused_to_start(past)
        done = past.recover()
        assert done.returncode == 0, done.stderr
        past.goes_on()


def test_lost_gate_state_is_refused_and_recovered_from_the_log_alone(past: Past) -> None:
    with past.restored() as site:
        for file in (site.folder / "signer/gate").glob("gate.sqlite3*"):
            file.unlink()
        shutil.rmtree(site.folder / "signer/gate/tiles")
        assert "is missing" in refused_to_start(past)
        done = past.recover("--from", past.mirror, "--output", "json")
        assert done.returncode == 0, done.stderr
        past.goes_on()


def test_whole_older_home_ends_when_the_outside_witness_is_ahead_and_is_recovered(past: Past) -> None:
    """Nothing on the machine knows better: gate, keyholder, hub and local witness are all of the same yesterday."""
    with past.restored(".") as site:
        claimed = site.claimed()
        with up(site):
            log = site.folder / "run" / "signer.log"
            wait_until(lambda: b"[log-behind-witness]" in log.read_bytes(), what="the gate ends", seconds=30)
            said = log.read_text(encoding="utf-8")
            assert "witness w.example has cosigned" in said
            assert "signwright signer recover" in said
            assert site.claimed() == claimed
        behind = past.recover()
        assert behind.returncode == 8
        assert "mirror-behind-witness" in behind.stderr
        done = past.recover("--from", past.mirror)
        assert done.returncode == 0, done.stderr
        past.goes_on(forgotten=True)


def test_older_local_witness_is_led_forward(past: Past) -> None:
    with past.restored("witness"):
        past.goes_on()


def test_lost_local_witness_does_not_start_and_is_no_reason_to_recover(past: Past) -> None:
    with past.restored() as site:
        for file in (site.folder / "witness").glob("witness.sqlite3*"):
            file.unlink()
        assert "a witness without its state would cosign a forked log" in refused_to_start(past)
        # A round needs it too, so the other one alone is enough to say what was cosigned.
        done = past.recover("--without", "local")
        assert done.returncode == 0, done.stderr
        assert "witness local does not say" in done.stderr


def test_recovery_waits_for_a_home_that_is_down(past: Past) -> None:
    with past.restored(), up(past.site):
        done = past.recover()
        assert (done.returncode, "the home is up" in done.stderr) == (2, True)


@pytest.mark.parametrize("lie", ["entry", "cut", "missing"])
def test_mirror_that_lies_changes_nothing(past: Past, tmp_path: Path, lie: str) -> None:
    mirror = copy_of(past.mirror, tmp_path / "mirror")
    for file in filter(Path.is_file, list((mirror / "tile/entries").rglob("*"))):
        content = file.read_bytes()
        if lie == "entry":
            file.write_bytes(content.replace(b'"outcome":"signed"', b'"outcome":"failed"'))
        elif lie == "cut":
            file.write_bytes(content[:-5])
        else:
            file.unlink()
    with past.restored("signer/gate") as site:
        before = gate_files(site)
        done = past.recover("--from", mirror)
        assert done.returncode == 8, (done.stdout, done.stderr)
        assert gate_files(site) == before


@pytest.mark.parametrize("lie", ["signature", "origin", "garbage"])
def test_wrong_checkpoint_of_a_mirror_does_not_spoil_those_of_the_witnesses(
    past: Past, tmp_path: Path, lie: str
) -> None:
    mirror = copy_of(past.mirror, tmp_path / "mirror")
    file = mirror / "checkpoint"
    text, _, lines = file.read_text(encoding="utf-8").partition("\n\n")
    origin, first = text.split("\n", 1)[0], lines.splitlines()[0]
    spoilt = f"{first[:-8]}{'AAAAAAA=' if first.endswith('=') else 'AAAAAAAA'}"
    wrong = {
        "signature": f"{text}\n\n{lines.replace(first, spoilt)}",
        "origin": f"{text}\n\n{lines}".replace(origin, f"{origin}x"),
        "garbage": "no note at all\n",
    }
    file.write_text(wrong[lie], encoding="utf-8")
    with past.restored("signer/gate"):
        done = past.recover("--from", mirror)
        assert done.returncode == 0, done.stderr
        assert "a checkpoint that does not count" in done.stderr


def gate_files(site: Site) -> dict[str, bytes]:
    """What must stay; SQLite makes side files of its own when it is read."""
    folder = site.folder / "signer/gate"
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in files
        if not file.name.endswith(("-shm", "-wal", ".lock"))
    }
