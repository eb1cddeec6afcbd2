# SPDX-License-Identifier: Apache-2.0
"""Fuzz our parsers: ``python fuzz/run.py --seconds 60 [harness ...]``.

A harness is a module ``fuzz/NAME.py`` with ``one_input(data: bytes) -> None``, which feeds one parser and checks what
must hold of whatever it accepts. It may raise ``SignwrightError`` (a clean refusal); anything else is a find, and so is
an input that takes longer than ten seconds. Finds are written to ``fuzz/crashes/`` and make the exit status 1. Mended,
they move to ``fuzz/corpus/NAME/``, from where every later run, ``make test`` included, starts.

With ``atheris`` installed (extra ``fuzz``) the run is guided by coverage, else the corpus is mutated blindly.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from fuzz.mutate import mutations  # noqa: E402  # found through the line above
from signwright.errors import SignwrightError  # noqa: E402

OneInput = Callable[[bytes], None]
INPUT_SECONDS = 10
NO_HARNESS = {"run", "mutate"}


@dataclass(frozen=True)
class Find:
    """An input that a parser did not survive, and how."""

    input_bytes: bytes
    report: str


def harness_names(folder: Path = HERE) -> list[str]:
    """Names of the harnesses in ``folder``."""
    return sorted(
        path.stem for path in folder.glob("*.py") if path.stem not in NO_HARNESS and not path.stem.startswith("_")
    )


def load(name: str, folder: Path = HERE) -> OneInput:
    """Return ``one_input`` of a harness."""
    spec = importlib.util.spec_from_file_location(f"fuzz_harness_{name}", folder / f"{name}.py")
    if spec is None or spec.loader is None:
        message = f"harness {name!r} is not in {folder}"
        raise LookupError(message)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    one_input: OneInput = module.one_input
    return one_input


def corpus_of(name: str, folder: Path = HERE) -> list[bytes]:
    """The committed inputs of a harness, in the order of their names."""
    return [path.read_bytes() for path in sorted((folder / "corpus" / name).glob("*")) if path.is_file()]


class TooSlowError(Exception):
    """One input took longer than it may."""


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise ``TooSlowError`` in the main thread after ``seconds``; without SIGALRM (Windows) there is no limit."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def expired(_signal: int, _frame: FrameType | None) -> None:
        message = f"longer than {seconds} s"
        raise TooSlowError(message)

    before = signal.signal(signal.SIGALRM, expired)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def try_one(one_input: OneInput, input_bytes: bytes, *, seconds: int = INPUT_SECONDS) -> Find | None:
    """Feed one input; None when it was accepted or cleanly refused."""
    try:
        with time_limit(seconds):
            one_input(input_bytes)
    except SignwrightError:
        return None
    except Exception:  # noqa: BLE001  # whatever it is, it is the find we look for
        return Find(input_bytes, traceback.format_exc(limit=-6))
    return None


def try_all(one_input: OneInput, inputs: Iterable[bytes]) -> tuple[int, Find | None]:
    """Feed inputs until one is a find; return how many were fed and the find."""
    fed = 0
    for input_bytes in inputs:
        fed += 1
        if find := try_one(one_input, input_bytes):
            return fed, find
    return fed, None


def inputs_for(seconds: float, corpus: list[bytes], seed: int) -> Iterator[bytes]:
    """The corpus itself, then mutations of it until the time is over."""
    yield from corpus
    deadline = time.monotonic() + seconds
    for mutated in mutations(corpus, seed):
        if time.monotonic() > deadline:
            return
        yield mutated


def keep(name: str, find: Find, folder: Path) -> Path:
    """Write a find below ``folder/crashes`` and return its path."""
    path = folder / "crashes" / f"{name}-{hashlib.sha256(find.input_bytes).hexdigest()[:16]}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(find.input_bytes)
    return path


def fuzz_blindly(name: str, seconds: float, *, seed: int, folder: Path = HERE) -> bool:
    """Mutate the corpus for ``seconds``; True when nothing was found."""
    fed, find = try_all(load(name, folder), inputs_for(seconds, corpus_of(name, folder), seed))
    if find is None:
        print(f"{name}: {fed} inputs, nothing found")
        return True
    print(f"{name}: input {fed} is a find, kept as {keep(name, find, folder)} ({len(find.input_bytes)} bytes)")
    print(find.report)
    return False


def fuzz_guided(name: str, seconds: float, *, folder: Path = HERE) -> bool:
    """Run atheris on one harness in a process of its own (it never returns); True when nothing was found."""
    corpus = folder / "corpus" / name
    crashes = folder / "crashes"
    crashes.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as fresh:
        command = [
            *(sys.executable, str(Path(__file__).resolve()), "--folder", str(folder), "--guided-child", name, "--"),
            *(f"-max_total_time={max(1, int(seconds))}", f"-artifact_prefix={crashes}/{name}-"),
            *(f"-timeout={INPUT_SECONDS}", "-rss_limit_mb=2048", "-verbosity=0", "-print_final_stats=1"),
            *(fresh, *([str(corpus)] if corpus.is_dir() else [])),
        ]
        clean = subprocess.run(command, check=False).returncode == 0
    print(f"{name}: " + ("nothing found" if clean else f"a find, kept in {crashes}"))
    return clean


def guided_child(name: str, options: list[str], folder: Path) -> None:
    """Hand this process to atheris; it ends here."""
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["signwright"]):
        one_input = load(name, folder)

    def test_one_input(input_bytes: bytes) -> None:
        try:
            one_input(input_bytes)
        except SignwrightError:
            return

    atheris.Setup([name, *options], test_one_input)
    atheris.Fuzz()


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Fuzz our parsers.")
    parser.add_argument("harness", nargs="*", help="names of harnesses; all without any")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each harness (60)")
    parser.add_argument("--seed", type=int, default=None, help="of the blind mutations (a new one each time)")
    parser.add_argument("--blind", action="store_true", help="do not use atheris even where it is installed")
    parser.add_argument("--folder", type=Path, default=HERE, help=argparse.SUPPRESS)
    parser.add_argument("--guided-child", default=None, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the chosen harnesses; 0 when nothing was found, 1 with finds, 2 for an unknown harness."""
    options = parse_arguments(arguments)
    if options.guided_child:
        guided_child(options.guided_child, options.harness, options.folder)
    known = harness_names(options.folder)
    unknown = set(options.harness) - set(known)
    if unknown or not known:
        print(f"no such harness: {', '.join(sorted(unknown))}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    guided = not options.blind and importlib.util.find_spec("atheris") is not None
    seed = options.seed if options.seed is not None else int(time.time())
    print("guided by coverage (atheris)" if guided else f"blind mutations, --seed {seed}")
    clean = True
    for name in options.harness or known:
        if guided:
            clean &= fuzz_guided(name, options.seconds, folder=options.folder)
        else:
            clean &= fuzz_blindly(name, options.seconds, seed=seed, folder=options.folder)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
