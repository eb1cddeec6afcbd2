# SPDX-License-Identifier: Apache-2.0
"""A running home whose processes are stopped, killed and taken back: who runs, what is in flight, what the log says."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from signwright.cli.hubs import call_key
from signwright.client.credentials import MachineCredential, load_credentials
from signwright.client.http import HubConnection
from signwright.client.hub import Hub, RequestView
from signwright.client.submit import Order, PreparedRequest, prepare_request, submit
from signwright.client.trust import TrustFile, load_trust
from signwright.errors import SignwrightError
from tests.support.homes import Ran, RunningHome
from tests.support.pe_builder import Pe
from tests.support.processes import wait_until

SERVICES = ("witness", "tsa", "scanner", "signer", "hub", "courier")
#: Short enough that a test can wait for them. Appended to the settings of `init`.
IMPATIENT = {
    "signer": "\n[gate.limits]\nwitness_seconds = 2\ntimestamp_seconds = 3\ntimestamp_attempt_seconds = 2\n"
    "timestamp_cool_down_seconds = 1\n"
    "order_seconds = 3\n",
    "hub": "sweep_seconds = 1\n\n[limits]\nlease_seconds = 3\n",
}


@dataclass(frozen=True, slots=True)
class Life:
    """One process: a number is given out again, a number with its start time is not."""

    pid: int
    started: int

    @property
    def goes_on(self) -> bool:
        """False for a zombie."""
        row = _row(self.pid)
        return row is not None and row[2] == self.started and row[0] != "Z"


def _row(pid: int) -> tuple[str, int, int] | None:
    """(state, parent, start time) from /proc."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[1]), int(fields[19])


def family(pid: int) -> set[Life]:
    """``pid`` and everything below it."""
    rows = {int(p.name): _row(int(p.name)) for p in Path("/proc").iterdir() if p.name.isdigit()}
    found, waiting = set(), [pid]
    while waiting:
        one = waiting.pop()
        row = rows.get(one)
        if row is not None:
            found.add(Life(one, row[2]))
            waiting += [child for child, other in rows.items() if other is not None and other[1] == one]
    return found


def gone(lives: set[Life], *, seconds: float = 15.0) -> None:
    """AssertionError when one of ``lives`` is still there after so long."""
    wait_until(lambda: not any(life.goes_on for life in lives), what=f"the end of {lives}", seconds=seconds)


@dataclass(frozen=True, slots=True)
class Books:
    """The log in numbers. ``results``: intent → outcomes; ``claimed``: what the keyholder let at a key, or read."""

    size: int
    intents: dict[int, dict[str, Any]]
    results: dict[int, list[str]]
    claimed: list[int]
    refused: list[dict[str, Any]]

    @property
    def outcomes(self) -> Counter[str]:
        return Counter(outcome for outcomes in self.results.values() for outcome in outcomes)


@dataclass
class Site:
    """``home``: how to speak to it as a user; ``seen``: every process that was ever noticed."""

    home: RunningHome
    seen: set[Life] = field(default_factory=set)

    @property
    def folder(self) -> Path:
        return self.home.folder

    @property
    def trust(self) -> TrustFile:
        return load_trust(self.folder / "trust.json")

    def credential(self, kind: str) -> MachineCredential:
        rows = load_credentials(self.folder / "credentials" / "ci.json")
        return next(row for row in rows if row.kind == kind)

    @property
    def url(self) -> str:
        return self.home.env["SIGNWRIGHT_URL"]

    @contextmanager
    def hub(self, kind: str = "test") -> Iterator[Hub]:
        with HubConnection(self.url, call_key(self.credential(kind)), read_seconds=20) as connection:
            yield Hub(connection)

    # -- processes

    def pid(self, name: str) -> int:
        """Of a service, of ``supervisor``, or of the signer's ``gate`` and ``keyholder``."""
        if name in ("gate", "keyholder"):
            parent = self.pid("signer")
            children = [life.pid for life in family(parent) if (_row(life.pid) or ("", 0, 0))[1] == parent]
            named = [pid for pid in children if f"signwright.signer.{name}".encode() in _words(pid)]
            return named[0] if named else 0
        file = self.folder / "run" / ("up.pid" if name == "supervisor" else f"{name}.pid")
        return int(file.read_text(encoding="ascii"))

    def look(self) -> set[Life]:
        """Every process of the home that runs now; they are remembered."""
        try:
            found = family(self.pid("supervisor"))
        except FileNotFoundError:
            found = set()
        self.seen |= found
        return found

    def stop(self, name: str) -> None:
        os.kill(self.pid(name), signal.SIGSTOP)

    def go_on(self, name: str) -> None:
        os.kill(self.pid(name), signal.SIGCONT)

    def kill(self, name: str) -> set[Life]:
        """SIGKILL; the process and everything that was below it."""
        pid = self.pid(name)
        lives = family(pid)
        self.seen |= lives
        os.kill(pid, signal.SIGKILL)
        return lives

    @contextmanager
    def down(self, name: str) -> Iterator[None]:
        """``name`` is gone while this lasts: nobody starts it again."""
        self.stop("supervisor")
        try:
            self.kill(name)
            yield
        finally:
            self.go_on("supervisor")
        self.serves_again()

    def serves_again(self) -> None:
        """Wait until a digest can be signed again, through everything."""

        def signs() -> bool:
            self.look()
            try:
                with self.hub() as hub:
                    view = submit(hub, self.prepared(mode="digest"), idempotency_key=None, wait=5, progress=_silent)
            except SignwrightError:
                return False
            return view.state == "completed"

        wait_until(signs, what="serve again", seconds=40)

    # -- requests

    def program(self) -> Path:
        """One that nobody has signed before."""
        folder = self.home.state / "programs"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"p{len(list(folder.iterdir()))}.exe"
        file.write_bytes(Pe(overlay=os.urandom(16)).build())
        return file

    def prepared(
        self, policy: str = "test", *, mode: str | None = None, file: Path | None = None, now: datetime | None = None
    ) -> PreparedRequest:
        kind = "release" if policy.startswith("release") else "test"
        with self.hub(kind) as hub:
            opened = hub.policy().open(pinned_root_sha256=self.trust.policy_root_sha256)
        order = Order(project="default", signing_policy=policy, mode=mode)  # type: ignore[arg-type]
        path = file or self.program()
        credentials = [self.credential(kind)]
        return prepare_request([path], order, policy=opened, credentials=credentials, now=now or datetime.now(UTC))

    def send(self, requests: Sequence[PreparedRequest]) -> list[RequestView]:
        """All of them at once, each on a connection of its own, in the order given."""

        def one(request: PreparedRequest) -> RequestView:
            with self.hub(request.credential.kind) as hub:
                return submit(hub, request, idempotency_key=None, wait=None, progress=_silent)

        with ThreadPoolExecutor(len(requests)) as threads:
            return list(threads.map(one, requests))

    def view(self, request: PreparedRequest) -> RequestView:
        with self.hub(request.credential.kind) as hub:
            return hub.request(request.digest)

    def state(self, request: PreparedRequest) -> str:
        return self.view(request).state

    def ended(self, requests: Sequence[PreparedRequest], *, seconds: float = 150.0) -> list[RequestView]:
        """The final views."""
        wait_until(lambda: all(map(self._is_final, requests)), what="the end of every request", seconds=seconds)
        return [self.view(request) for request in requests]

    def _is_final(self, request: PreparedRequest) -> bool:
        try:
            return self.view(request).is_final
        except SignwrightError:
            return False  # the hub is away

    def waiting_release(self, file: Path | None = None) -> PreparedRequest:
        """A release request, scanned, that waits for approvals."""
        request = self.prepared("release", file=file)
        self.send([request])
        wait_until(lambda: self.state(request) == "awaiting-approval", what="scan", seconds=30)
        return request

    # -- the log

    def claimed(self) -> list[int]:
        """Leaf indexes of every intent that the keyholder took, read beside it."""
        file = self.folder / "signer" / "keyholder" / "keyholder.sqlite3"
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as database:
            return [row[0] for row in database.execute("SELECT leaf_index FROM claim ORDER BY leaf_index")]

    def books(self) -> Books:
        """As published and verified by ``log show``."""
        claimed = self.claimed()  # before the log: whoever reads it later finds at least these there
        shown = self.home.cli("log", "show", "--from", "0", "--limit", "100000", "--output", "json")
        assert shown.code == 0, shown.err
        rows = shown.json["leaves"]
        results: dict[int, list[str]] = {}
        for row in rows:
            if row["type"] == "result":
                results.setdefault(row["intent"], []).append(row["outcome"])
        intents = {row["index"]: row for row in rows if row["type"] == "intent"}
        refused = [row for row in rows if row["type"] == "deny"]
        return Books(shown.json["size"], intents, results, claimed, refused)

    def settled(self, forgotten: Collection[int] = ()) -> Books:
        """The books once every intent has its result; then what must hold whatever happened before.

        ``forgotten``: claims that were taken from the keyholder's memory.
        """

        kept = [self.books()]

        def closed() -> bool:
            kept[0] = self.books()
            return set(kept[0].intents) == set(kept[0].results) and set(kept[0].claimed) <= set(kept[0].intents)

        wait_until(closed, what="a published result for each intent that was claimed", seconds=20)
        books = kept[0]
        assert len(set(books.claimed)) == len(books.claimed)
        signed = {index for index, outcomes in books.results.items() if "signed" in outcomes}
        assert signed <= {*books.claimed, *forgotten}
        # What the keyholder let at a key ended signed, or failed or unknown and says so; each outcome once.
        assert all(len(outcomes) == 1 for outcomes in books.results.values()), books.results
        requests = Counter((books.intents[index]["request"], books.intents[index]["wave"]) for index in signed)
        assert all(count == 1 for count in requests.values()), "signed twice"
        return books

    def monitor(self) -> Ran:
        return self.home.cli("monitor", "--once")


def _words(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def _silent(_name: str, _sent: int, _size: int) -> None:
    """Nobody watches the upload."""


def verb(*arguments: object) -> subprocess.CompletedProcess[str]:
    """A verb in a process of its own, without any variable of ours."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("SIGNWRIGHT_") or k == "SIGNWRIGHT_SIGNER_ENV"}
    command = [sys.executable, "-m", "signwright.cli", *map(str, arguments)]
    return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def made_home(folder: Path, state: Path, settings: Mapping[str, str] | None = None) -> Site:
    """``init``, with ``settings`` appended to the settings file of each process named. Nothing runs."""
    made = verb("init", "--home", folder)
    assert made.returncode == 0, made.stderr
    for name, more in (settings or {}).items():
        with (folder / "settings" / f"{name}.toml").open("a", encoding="utf-8") as file:
            file.write(more)
    return Site(RunningHome(folder, state))


def start(site: Site) -> None:
    done = verb("up", "--home", site.folder, "--detach")
    assert done.returncode == 0, done.stderr
    site.look()


def end(site: Site) -> None:
    """``down``, and nothing that ever ran is left."""
    lives = site.look()
    done = verb("down", "--home", site.folder)
    assert done.returncode == 0, done.stderr
    gone(lives | site.seen)
    site.seen.clear()


@contextmanager
def up(site: Site) -> Iterator[Site]:
    start(site)
    try:
        yield site
    finally:
        try:  # a process that a failed test left stopped would keep the others from ending
            for life in site.look():
                os.kill(life.pid, signal.SIGCONT)
        finally:
            end(site)


def copy_of(folder: Path, target: Path) -> Path:
    """A whole copy of a stopped home, without its sockets."""

    def sockets(at: str, names: list[str]) -> list[str]:
        return [name for name in names if (Path(at) / name).is_socket()]

    shutil.copytree(folder, target, symlinks=True, ignore=sockets)
    return target


def restore(copy: Path, folder: Path, part: str = ".") -> None:
    """Put ``part`` of a copy back where it came from: nothing newer is left there."""
    source, target = copy / part, folder / part
    if source.is_dir():
        shutil.rmtree(target)
        shutil.copytree(source, target, symlinks=True)
    else:
        for newer in target.parent.glob(target.name + "*"):
            newer.unlink()
        for older in source.parent.glob(source.name + "*"):
            shutil.copy2(older, target.parent / older.name)
