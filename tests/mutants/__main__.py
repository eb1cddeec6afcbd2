# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.mutants`: take every check away, one at a time, and see whether a test notices.

Works on a copy of source and tests, so that nothing that changes meanwhile counts. Ends with 0 when every mutant is
killed or known to be equivalent (``equivalent.txt``), else with 1.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.mutants.equivalent import Equivalent, match, read_equivalent
from tests.mutants.find import Mutant, find, raising_functions
from tests.mutants.targets import ADVICE, LEFT_OUT, MODULES, TESTS
from tests.mutants.workers import Ending, Session

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("src", "tests", "testvectors", "pyproject.toml")
LINKED = (".venv", ".venv-signer")
#: Set in the process that works on the copy.
INSIDE = "SIGNWRIGHT_MUTANTS"

Trees = dict[str, tuple[ast.Module, list[Mutant]]]


def main() -> int:
    options = _options()
    if options.list:
        for one in _all(_mutants(ROOT / "src/signwright", options)):
            print(one)
        return 0
    if INSIDE in os.environ:
        return _run(options)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(folder)
        _copy(copy)
        environment = os.environ | {"PYTHONPATH": f"{copy}/src", INSIDE: "1", "HYPOTHESIS_PROFILE": "ci"}
        environment |= {"PYTHONDONTWRITEBYTECODE": "1"}
        arguments = [*sys.argv[1:], *(f"--module={m}" for m in _changed() if options.changed)]
        return subprocess.run(
            [sys.executable, "-m", "tests.mutants", *arguments], cwd=copy, env=environment, check=False
        ).returncode


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--module", action="append", default=[], help="only modules with this in their path")
    parser.add_argument("--only", default="", help="only mutants with this in their line of the list")
    parser.add_argument("--again", type=Path, help="only those that this earlier output has as alive or unreached")
    parser.add_argument("--tests", action="append", default=[], help="only tests of this file or folder below tests/")
    parser.add_argument("--changed", action="store_true", help="only modules that differ from the last commit")
    parser.add_argument("--list", action="store_true", help="print the mutants and stop")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--verbose", action="store_true", help="also say which test killed what")
    return parser.parse_args()


def _copy(folder: Path) -> None:
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, folder / name)
    for name in LINKED:
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)


def _changed() -> list[str]:
    answer = subprocess.run(
        ["git", "-C", ROOT, "diff", "--name-only", "HEAD", "--", "src/signwright"],
        capture_output=True,
        check=True,
        text=True,
    )
    return [line.removeprefix("src/signwright/") for line in answer.stdout.split()] or ["nothing has changed"]


def _mutants(source: Path, options: argparse.Namespace) -> Trees:
    advice = {source / name for name in ADVICE}
    files = [file for pattern in MODULES for file in sorted(source.glob(pattern)) if file not in advice]
    trees = {str(file.relative_to(source)): ast.parse(file.read_text(), str(file)) for file in files}
    checking = frozenset().union(*map(raising_functions, trees.values()))
    again = _left_over(options.again.read_text()) if getattr(options, "again", None) else None
    found: Trees = {}
    for module, tree in trees.items():
        if not options.module or any(word in module for word in options.module):
            rows = [one for one in find(module, tree, checking=checking) if options.only in str(one)]
            rows = [one for one in rows if again is None or (one.module, one.function, one.text) in again]
            if rows:
                found[module] = (tree, rows)
    return found


def _left_over(output: str) -> set[tuple[str, str, str]]:
    """(module, function, change) of each mutant that an earlier run did not kill; lines may have moved since."""
    rows = re.findall(r"^(?:alive|unreached) +([^:]+):\d+ (\S+) \| (.+)  \[\d+ tests, .*\] *$", output, re.MULTILINE)
    return set(rows)


def _all(trees: Trees) -> Iterable[Mutant]:
    return (one for _, rows in trees.values() for one in rows)


def _run(options: argparse.Namespace) -> int:
    """Inside the copy: one pytest session that tries them all."""
    source = Path.cwd() / "src/signwright"
    trees = _mutants(source, options)
    equivalent = match(read_equivalent(), _all(_mutants(source, argparse.Namespace(module=[], only=""))))
    skipped = {one: line for one, line in equivalent.items() if one in set(_all(trees))}
    todo = {module: (tree, [m for m in rows if m not in skipped]) for module, (tree, rows) in trees.items()}
    endings: list[Ending] = []

    def report(ending: Ending) -> None:
        endings.append(ending)
        if options.verbose or ending.verdict != "killed":
            print(
                f"{ending.verdict:9} {ending.mutant}  [{ending.tests} tests, {ending.seconds:.1f} s] {ending.by}",
                flush=True,
            )

    start = time.monotonic()
    session = Session(source, todo, options.jobs, report)
    left_out = [f"--ignore=tests/{name}" for name in LEFT_OUT]
    switches = ["-q", "-s", "-p", "no:cacheprovider", "-p", "no:cov", *left_out]
    status = pytest.main([*switches, *(f"tests/{name}" for name in options.tests or TESTS)], plugins=[session])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        return 1
    for name in session.measured.failed:
        print(f"failed without any mutant, and was not used: {name}")
    _summary(endings, skipped, seconds=time.monotonic() - start)
    return 0 if all(ending.verdict == "killed" for ending in endings) else 1


def _summary(endings: list[Ending], skipped: dict[Mutant, Equivalent], *, seconds: float) -> None:
    verdicts = Counter(ending.verdict for ending in endings)
    took: dict[str, float] = {}
    rows: dict[str, Counter[str]] = {}
    for ending in endings:
        rows.setdefault(ending.mutant.module, Counter())[ending.verdict] += 1
        took[ending.mutant.module] = took.get(ending.mutant.module, 0.0) + ending.seconds
    for one in skipped:
        rows.setdefault(one.module, Counter())["equivalent"] += 1
    print("\n| module | checks | killed | equivalent | alive | reached by no test | seconds |")
    print("|" + "---|" * 7)
    for module, row in sorted(rows.items()):
        cells = (row.total(), *(row[name] for name in ("killed", "equivalent", "alive", "unreached")))
        print(f"| {module} | {' | '.join(map(str, cells))} | {took.get(module, 0.0):.0f} |")
    print(
        f"\n{len(endings) + len(skipped)} mutants: {verdicts['killed']} killed, {len(skipped)} equivalent,"
        f" {verdicts['alive']} alive, {verdicts['unreached']} reached by no test; {seconds:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
