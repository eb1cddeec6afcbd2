# SPDX-License-Identifier: Apache-2.0
"""A real home for end-to-end tests: made by ``init``, started by ``up``, spoken to through the command line."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from signwright.cli.main import run

PEOPLE = ("alice", "bob")


@dataclass(frozen=True, slots=True)
class Ran:
    """What a verb did. ``out`` and ``err``: text."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class RunningHome:
    """``folder``: the home; ``state``: what the client remembers between calls."""

    folder: Path
    state: Path
    changes: Mapping[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        """The variables of ``DIR/env``, without anything that the caller's own environment has set."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("SIGNWRIGHT_") or k == "SIGNWRIGHT_SIGNER_ENV"}
        lines = (self.folder / "env").read_text(encoding="utf-8").splitlines()
        rows = [line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export ")]
        found = kept | {name: value.strip("'") for name, value in rows}
        return found | {
            "XDG_STATE_HOME": str(self.state),
            "XDG_CONFIG_HOME": str(self.state / "config"),
            **self.changes,
        }

    def key(self, person: str) -> str:
        return str(self.folder / "people" / person)

    def cli(self, *arguments: object, cwd: Path | None = None) -> Ran:
        """Run a verb in this process, as a user would in a shell without a terminal."""
        out, err = io.StringIO(), io.StringIO()
        with _environment(self.env, cwd), redirect_stdout(out), redirect_stderr(err):
            code = run([str(argument) for argument in arguments])
        return Ran(code, out.getvalue(), err.getvalue())

    def command(self, *arguments: object) -> list[str]:
        """The same as a command for a process of its own; give it ``env``."""
        return [sys.executable, "-m", "signwright.cli", *map(str, arguments)]

    def changed(self, **changes: str) -> RunningHome:
        """The same home with other environment variables."""
        return RunningHome(self.folder, self.state, {**self.changes, **changes})

    def approve(self, request: str, *people: str) -> None:
        for person in people or PEOPLE:
            ran = self.cli("approve", request, "--key", self.key(person), "--yes")
            assert ran.code == 0, ran.err


def ok(home: RunningHome, *arguments: object) -> str:
    """What a verb says that does its work."""
    ran = home.cli(*arguments)
    assert ran.code == 0, ran.err
    return ran.out + ran.err


def edit(home: RunningHome, name: str, old: str, new: str) -> None:
    """Change one place in a document of the policy's folder."""
    file = home.folder / "policy" / name
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


@contextmanager
def _environment(env: Mapping[str, str], cwd: Path | None) -> Iterator[None]:
    before, folder = dict(os.environ), Path.cwd()
    os.environ.clear()
    os.environ.update(env)
    if cwd is not None:
        os.chdir(cwd)
    try:
        yield
    finally:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def running_home(
    folder: Path, state: Path, *init: str, prepare: Callable[[Path], object] = lambda _: None
) -> Iterator[RunningHome]:
    """``init`` with further flags, ``prepare(folder)``, ``up --detach``, and ``down`` at the end, whatever happens."""
    command = [sys.executable, "-m", "signwright.cli"]
    env = {k: v for k, v in os.environ.items() if not k.startswith("SIGNWRIGHT_") or k == "SIGNWRIGHT_SIGNER_ENV"}
    common: dict[str, Any] = {"stdin": subprocess.DEVNULL, "capture_output": True, "env": env}
    made = subprocess.run([*command, "init", "--home", str(folder), *init], check=False, **common)
    assert made.returncode == 0, made.stderr.decode()
    prepare(folder)
    try:
        up = subprocess.run([*command, "up", "--home", str(folder), "--detach"], check=False, **common)
        assert up.returncode == 0, up.stderr.decode() + _logs(folder)
        yield RunningHome(folder, state)
    finally:
        subprocess.run([*command, "down", "--home", str(folder)], check=True, **common)


def _logs(folder: Path) -> str:
    """The last lines of every process, for the message of a failing test."""
    files = sorted((folder / "run").glob("*.log"))
    return "\n".join(f"--- {f.name}\n{f.read_text(encoding='utf-8', errors='replace')[-2000:]}" for f in files)
