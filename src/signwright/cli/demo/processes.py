# SPDX-License-Identifier: Apache-2.0
"""A trial home that lives as long as the demonstration, commands run in it, and processes ended by their ids."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from signwright.cli.home import Home
from signwright.cli.processes import PROCESSES, command_of, environment_of
from signwright.client.credentials import load_credentials
from signwright.client.http import CallKey, HubConnection
from signwright.client.hub import Hub
from signwright.errors import UnavailableError

CLI = (sys.executable, "-P", "-m", "signwright.cli")
COMMAND_SECONDS = 120
READY_SECONDS = 60.0
STOP_SECONDS = 15.0
#: Stays from the caller's environment; every other SIGNWRIGHT_ variable could point somewhere else.
_KEPT = ("SIGNWRIGHT_SIGNER_ENV",)


@dataclass(frozen=True, slots=True)
class Ran:
    """A command of ours that came to its end."""

    code: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def answer(self) -> dict[str, Any]:
        """Its ``--output json``; empty when it printed none."""
        lines = self.stdout.strip().splitlines()
        found = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
        return found if isinstance(found, dict) else {}

    @property
    def error_code(self) -> str:
        """Of its error, or of the first check that failed."""
        failed = [row for row in self.answer.get("checks", []) if row["ok"] is False]
        found = self.answer.get("error") or (failed[0] if failed else {})
        return str(found.get("code", ""))


@dataclass
class TrialHome:
    """``folder``: everything lies below it. ``variables``: what the home's ``env`` exports, once it is made."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home = Home(self.folder / "home")
        self.work = self.folder / "work"
        self.work.mkdir(exist_ok=True)

    def run(self, *arguments: str | Path, who: str = "ci", offline: bool = False, **variables: str) -> Ran:
        """``signwright ARGUMENTS`` in the work folder. ``who``: whose machine; ``offline``: it is told of no hub."""
        known = {k: v for k, v in self.variables.items() if not (offline and k == "SIGNWRIGHT_URL")}
        environment = {**self._environment(who), **known, **variables}
        started = time.perf_counter()
        done = subprocess.run(
            [*CLI, *map(str, arguments)],
            cwd=self.work,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        out, err = (content.decode("utf-8", "replace") for content in (done.stdout, done.stderr))
        return Ran(done.returncode, out, err, time.perf_counter() - started)

    def must(self, *arguments: str | Path, **wishes: Any) -> Ran:
        """`run`, for what has to succeed; raises `UnavailableError` with what it said."""
        done = self.run(*arguments, **wishes)
        if done.code != 0:
            said = " / ".join(done.stderr.strip().splitlines()[-4:])
            raise UnavailableError(f"signwright {arguments[0]}: exit code {done.code}: {said}", code="demo-command")
        return done

    @contextmanager
    def hub(self) -> Iterator[Hub]:
        """The honest hub as the build server sees it: with the release credential."""
        credentials = load_credentials(self.home / "credentials" / "ci.json")
        credential = next(one for one in credentials if one.kind == "release")
        with HubConnection(
            self.variables["SIGNWRIGHT_URL"], CallKey(credential.key_id, credential.key.sign)
        ) as open_one:
            yield Hub(open_one)

    def _environment(self, who: str) -> dict[str, str]:
        """A machine of its own for each: what a client remembers stays below our folder."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("SIGNWRIGHT_") or k in _KEPT}
        machine = self.folder / "machines" / who
        folders = {"XDG_STATE_HOME": str(machine / "state"), "XDG_CONFIG_HOME": str(machine / "config")}
        return {**kept, **folders, "SIGNWRIGHT_NO_INPUT": "1"}

    def read_environment(self) -> None:
        """Take over what ``. DIR/env`` would."""
        for line in (self.home / "env").read_text(encoding="utf-8").splitlines():
            words = shlex.split(line, comments=True)
            if len(words) == 2 and words[0] == "export":
                name, _, value = words[1].partition("=")
                self.variables[name] = value


@contextmanager
def trial_home(*, keep: bool) -> Iterator[TrialHome]:
    """A fresh one; whatever happens it is taken down, and removed unless it is to be kept."""
    folder = Path(tempfile.mkdtemp(prefix="signwright-demo-"))
    trial = TrialHome(folder)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield trial
    finally:
        if (trial.home / "run" / "up.pid").exists():
            trial.run("down", "--home", trial.home.folder)
        end_all(processes_of(folder))
        if not keep:
            _remove(trial)
        signal.signal(signal.SIGTERM, before)


def _remove(trial: TrialHome) -> None:
    """The folder, and the one that ``init`` takes for sockets where our own path is too long for them."""
    try:
        settings = tomllib.loads(trial.home.settings("scanner").read_text(encoding="utf-8"))
        sockets = Path(settings["socket"]).parent
        if trial.folder not in sockets.parents:
            shutil.rmtree(sockets, ignore_errors=True)
    except OSError:
        pass  # interrupted before there were any
    shutil.rmtree(trial.folder, ignore_errors=True)


def end_all(pids: set[int]) -> None:
    """By their ids: SIGTERM, and SIGKILL for what does not listen."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            with suppress(OSError):
                os.kill(pid, number)
        if not still_running(pids, seconds=STOP_SECONDS):
            return


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


class Children:
    """Processes of a home that we start ourselves, without a supervisor; `close` ends each by its id."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._described = home.read()
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed(list(self._running)):
            self.stop(name)

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._running.values()]

    def start(self, *names: str) -> None:
        """Start all of ``names`` and wait until each says ``ready``; raises `UnavailableError`."""
        waiting = {name: self._start(name) for name in names}
        for name, ready in waiting.items():
            if not ready.wait(READY_SECONDS):
                raise UnavailableError(f"{name} does not get ready", code="not-ready")

    def _start(self, name: str) -> threading.Event:
        process = next(one for one in PROCESSES if one.name == name)
        log = (self._home.run / f"{name}.log").open("ab")
        with log:
            running = subprocess.Popen(
                command_of(process, self._home, self._described),
                env=environment_of(self._described),
                cwd=self._home.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._running[name] = running
        ready = threading.Event()
        threading.Thread(target=_wait_for_word, args=(running, ready), daemon=True).start()
        return ready

    def stop(self, name: str) -> None:
        """SIGTERM, then SIGKILL; nothing when it does not run."""
        running = self._running.pop(name, None)
        if running is None:
            return
        if running.poll() is None:
            running.terminate()
        try:
            running.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def _wait_for_word(running: subprocess.Popen[bytes], ready: threading.Event) -> None:
    assert running.stdout is not None
    with running.stdout:
        for line in running.stdout:
            if line.split(b" ", 1)[0].strip() == b"ready":
                ready.set()


def processes_of(home: Path, *, also: Sequence[int] = ()) -> set[int]:
    """Ids of what runs for a home: those in its pid files, our programs that were told of it, and all they started."""
    found = {pid for pid in [*_noted(home / "run"), *also] if is_running(pid)}
    table = _process_table()
    found |= {pid for pid, (_, words) in table.items() if _is_ours(words, home) and pid != os.getpid()}
    while True:
        more = {pid for pid, (parent, _) in table.items() if parent in found} - found
        if not more:
            return found
        found |= more


def still_running(pids: set[int], *, seconds: float = 5.0) -> list[int]:
    """Those of ``pids`` that do not end within ``seconds``."""
    deadline = time.monotonic() + seconds
    while (left := sorted(pid for pid in pids if is_running(pid))) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def is_running(pid: int) -> bool:
    """True for a process that exists and has not ended."""
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return not Path("/proc/self").exists()


def _is_ours(words: bytes, home: Path) -> bool:
    """A module of ours, and the home, stand in the command line; somebody who looks at a file of it is not ours."""
    found = words.split(b"\0")
    return any(word.startswith(b"signwright.") for word in found) and any(os.fsencode(home) in word for word in found)


def _noted(run: Path) -> list[int]:
    texts = [path.read_text(encoding="ascii", errors="replace").strip() for path in run.glob("*.pid")]
    return [int(text) for text in texts if text.isdigit()]


def _process_table() -> Mapping[int, tuple[int, bytes]]:
    """Id → (parent, command line), where the system has /proc."""
    table: dict[int, tuple[int, bytes]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text(encoding="latin-1").rpartition(")")[2].split()
            table[int(folder.name)] = (int(fields[1]), (folder / "cmdline").read_bytes())
        except OSError:
            continue
    return table
