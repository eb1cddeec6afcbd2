# SPDX-License-Identifier: Apache-2.0
"""A pytest session that collects once and then forks: one child measures which test runs which line, then one child
for each mutant puts the mutant into the loaded functions and runs the tests that could notice.

A test that starts a process of its own with a fresh interpreter tests the real code there, not the mutant.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import importlib
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import coverage
import pytest

from tests.mutants.find import Mutant
from tests.mutants.targets import FORKED

#: Seconds for each test: so many, and so many times what it took unchanged.
PATIENCE, FACTOR = 15.0, 6.0
#: So many tests that noticed other mutants of the same module are tried first.
RECENT = 8


@dataclass(frozen=True)
class Ending:
    """How a mutant ended. ``by``: the test that failed, or what else happened; empty when all passed."""

    mutant: Mutant
    verdict: str
    by: str = ""
    tests: int = 0
    seconds: float = 0.0


@dataclass
class Measured:
    """``seconds``: test → duration, for those that pass; ``tests``: (module, line) → tests that run it."""

    seconds: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    tests: dict[str, dict[int, list[str]]] = field(default_factory=dict)

    def noticing(self, mutant: Mutant) -> list[str]:
        """The tests that could notice, in files' order, files with the quickest test first."""
        lines = self.tests.get(mutant.module, {})
        found = {name for line in mutant.reached for name in lines.get(line, ()) if name in self.seconds}
        for parent in _parents(mutant.module):
            found |= {name for rows in self.tests.get(parent, {}).values() for name in rows if name in self.seconds}
        if mutant.rule is not None:
            found = {name for name in self.seconds if "unit/policy/" in name or "attacks/test_" in name}
        quickest: dict[str, float] = {}
        for name in found:
            file = name.partition("::")[0]
            quickest[file] = min(quickest.get(file, 1e9), self.seconds[name])
        order = {name: at for at, name in enumerate(self.seconds)}
        return sorted(found, key=lambda n: (quickest[n.partition("::")[0]], n.partition("::")[0], order[n]))


@dataclass(eq=False)
class Session:
    """A pytest plugin that takes the place of the loop over the tests."""

    source: Path
    mutants: dict[str, tuple[ast.Module, list[Mutant]]]
    jobs: int
    report: Callable[[Ending], None]
    measured: Measured = field(default_factory=Measured)
    #: Module → tests that noticed, the latest first.
    _noticed: dict[str, list[str]] = field(default_factory=dict)
    _failures: list[str] = field(default_factory=list)
    _seconds: dict[str, float] = field(default_factory=dict)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Measure, then try every mutant."""
        items = {item.nodeid: item for item in session.items}
        for module in self.mutants:
            importlib.import_module(_dotted(module))
        functions = _functions(self.source)
        folder = Path(tempfile.mkdtemp(prefix="mut-"))
        try:
            self._measure(session, items, folder)
            todo = ((module, tree, one) for module, (tree, found) in self.mutants.items() for one in found)
            self._try_all(session, items, folder, functions=functions, todo=iter(list(todo)))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self._failures.append(report.nodeid)

    # ── measuring ──────────────────────────────────────────────────────────────────────────────────────────────

    def _measure(self, session: pytest.Session, items: dict[str, pytest.Item], folder: Path) -> None:
        """In a child, so that nothing it leaves behind reaches a mutant."""
        answer = folder / "measured.json"
        child = os.fork()
        if child == 0:
            with _ending_here(folder / "measured.log"):
                answer.write_text(json.dumps(self._measure_here(session, list(items.values()), folder)))
        os.waitpid(child, 0)
        if not answer.exists():
            raise pytest.UsageError((folder / "measured.log").read_text())
        content = json.loads(answer.read_text())
        lines = {m: {int(line): names for line, names in rows.items()} for m, rows in content["tests"].items()}
        self.measured = Measured(content["seconds"], content["failed"], lines)

    def _measure_here(self, session: pytest.Session, items: list[pytest.Item], folder: Path) -> dict[str, Any]:
        measured = {*self.mutants, *(parent for module in self.mutants for parent in _parents(module))}
        files = {str(self.source / module): module for module in measured}
        measuring = coverage.Coverage(data_file=None, config_file=False, include=list(files))
        measuring.start()
        self._run(session, items, folder / "base", before=lambda item: measuring.switch_context(item.nodeid))
        measuring.stop()
        found = measuring.get_data()
        tests = {
            module: {line: [n for n in names if n] for line, names in found.contexts_by_lineno(file).items()}
            for file, module in files.items()
        }
        failed = sorted(set(self._failures))
        seconds = {name: took for name, took in self._seconds.items() if name not in failed}
        return {"seconds": seconds, "failed": failed, "tests": tests}

    def _run(
        self,
        session: pytest.Session,
        items: list[pytest.Item],
        folder: Path,
        *,
        before: Callable[[pytest.Item], object] = lambda _: None,
        stop: bool = False,
    ) -> None:
        """Run tests in this process; temporary folders below ``folder``."""
        folder.mkdir()
        session.config._tmp_path_factory._basetemp = folder  # type: ignore[attr-defined]
        for item, after in zip(items, [*items[1:], None], strict=True):
            before(item)
            item.ihook.pytest_runtest_protocol(item=item, nextitem=after)
            if stop and self._failures:
                session._setupstate.teardown_exact(None)
                return

    # ── mutants ────────────────────────────────────────────────────────────────────────────────────────────────

    def _try_all(
        self,
        session: pytest.Session,
        items: dict[str, pytest.Item],
        folder: Path,
        *,
        functions: dict[tuple[str, str, int], list[FunctionType]],
        todo: Iterator[tuple[str, ast.Module, Mutant]],
    ) -> None:
        running: dict[int, _Child] = {}
        for number, (module, tree, mutant) in enumerate(todo):
            names = self.measured.noticing(mutant)
            if not names:
                self.report(Ending(mutant, "unreached"))
                continue
            swap = _swap(self.source / module, tree, mutant, functions)
            while len(running) >= self.jobs:
                self._collect(running)
            place = folder / str(number)
            recent = [name for name in self._noticed.get(module, ()) if name in names][:RECENT]
            chosen = [items[name] for name in dict.fromkeys([*recent, *names])]
            patience = PATIENCE + FACTOR * sum(self.measured.seconds[name] for name in names)
            child = self._start(session, chosen, place, swap)
            now = time.monotonic()
            running[child] = _Child(mutant, place, now, now + patience, len(names))
        while running:
            self._collect(running)

    def _start(self, session: pytest.Session, items: list[pytest.Item], place: Path, swap: Callable[[], None]) -> int:
        child = os.fork()
        if child == 0:
            os.setsid()
            with _ending_here(place.with_suffix(".log")):
                swap()
                self._run(session, items, place, before=self._limit, stop=True)
                place.with_suffix(".json").write_text(json.dumps(self._failures[:1]))
        return child

    def _limit(self, item: pytest.Item) -> None:
        """A test that takes far longer than it should ends its process: somebody would have noticed."""
        signal.setitimer(signal.ITIMER_REAL, PATIENCE + FACTOR * self.measured.seconds[item.nodeid])

    def _collect(self, running: dict[int, _Child]) -> None:
        """Wait until one of them has ended or used up its time, and report it."""
        while True:
            for pid, child in list(running.items()):
                ended, _ = os.waitpid(pid, os.WNOHANG)
                late = not ended and time.monotonic() > child.deadline
                if not ended and not late:
                    continue
                # Its own session: whatever its tests started and did not end goes with it.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                if late:
                    os.waitpid(pid, 0)
                del running[pid]
                ending = child.ending(late=late)
                if ending.by in self.measured.seconds:
                    noticed = self._noticed.setdefault(ending.mutant.module, [])
                    noticed[:] = [ending.by, *(name for name in noticed if name != ending.by)]
                self.report(ending)
                return
            select.select([], [], [], 0.01)


@dataclass(frozen=True)
class _Child:
    mutant: Mutant
    place: Path
    started: float
    deadline: float
    tests: int

    def ending(self, *, late: bool) -> Ending:
        verdict, by = self._verdict(late=late)
        return Ending(self.mutant, verdict, by, self.tests, time.monotonic() - self.started)

    def _verdict(self, *, late: bool) -> tuple[str, str]:
        answer = self.place.with_suffix(".json")
        failures = json.loads(answer.read_text()) if answer.exists() else None
        shutil.rmtree(self.place, ignore_errors=True)
        if late:
            return "killed", "out of time"
        if failures is None:
            return "killed", "the test process ended, by itself or because a test took too long"
        return ("killed", failures[0]) if failures else ("alive", "")


@contextlib.contextmanager
def _ending_here(log: Path) -> Iterator[None]:
    """A forked child: output goes to a file, and nothing of the parent's exit runs."""
    try:
        with log.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield
    except BaseException as problem:  # noqa: BLE001 - this process ends here, whatever it was
        os.write(2, repr(problem).encode())
        os._exit(1)
    os._exit(0)


def _parents(module: str) -> list[str]:
    """What forks ``module`` away."""
    return [parent for forked, parent in FORKED if module.startswith(forked)]


def _dotted(module: str) -> str:
    return "signwright." + module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _functions(source: Path) -> dict[tuple[str, str, int], list[FunctionType]]:
    """Every loaded function below ``source``, also those that only a decorator or a validator still holds."""
    found: dict[tuple[str, str, int], list[FunctionType]] = {}
    for one in gc.get_objects():
        if isinstance(one, FunctionType) and one.__code__.co_filename.startswith(str(source)):
            code = one.__code__
            found.setdefault((code.co_filename, code.co_qualname, code.co_firstlineno), []).append(one)
    return found


def _swap(
    file: Path, tree: ast.Module, mutant: Mutant, functions: dict[tuple[str, str, int], list[FunctionType]]
) -> Callable[[], None]:
    """What makes the mutant the running code. Raises `LookupError` when its function is not loaded."""
    if mutant.rule is not None:
        module = importlib.import_module(_dotted(mutant.module))
        rules = tuple(rule for index, rule in enumerate(module.RULES) if index != mutant.rule)
        return lambda: setattr(module, "RULES", rules)
    assert mutant.change is not None
    mutant.change.make()
    try:
        code = compile(tree, str(file), "exec", dont_inherit=True)
    finally:
        mutant.change.undo()
    key = (str(file), mutant.function, mutant.function_line)
    new = next(c for c in _codes(code) if (c.co_qualname, c.co_firstlineno) == key[1:])
    loaded = functions[key]

    def swap() -> None:
        for function in loaded:
            function.__code__ = new

    return swap


def _codes(code: CodeType) -> Iterable[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)
