# SPDX-License-Identifier: Apache-2.0
"""YARA-X in a sandboxed child of its own: one for each artifact, because the library maps whole files and parses
many formats.

The rules are compiled in the zygote (`signwright.scanner.jobs`); this is the asker's side.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from signwright.errors import ConfigurationError, UnavailableError
from signwright.scanner.engines.base import EICAR, EngineInfo
from signwright.signer.worker.pool import JobLimits, RunningJob, WorkerPool
from signwright.signer.worker.wire import printable

RULES = Path(__file__).resolve().parent.parent / "rules"


def rule_files(extra: Sequence[Path] = ()) -> list[Path]:
    """The rules shipped and every ``*.yar`` in the folders ``extra``, in a fixed order."""
    return sorted(RULES.glob("*.yar")) + [path for folder in extra for path in sorted(folder.glob("*.yar"))]


class YaraX:
    """``pool``: workers with the scanner's jobs, started with the same ``extra`` rule folders."""

    name = "yara-x"

    def __init__(self, pool: WorkerPool, *, limits: JobLimits, extra: Sequence[Path] = ()) -> None:
        self._pool = pool
        self._limits = limits
        self._extra = extra

    def info(self) -> EngineInfo:
        digest = hashlib.sha256()
        for path in rule_files(self._extra):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        known = f"{len(rule_files(self._extra))} rule files {digest.hexdigest()}"
        return EngineInfo(self.name, version("yara-x"), known)

    def prove(self) -> None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(EICAR)
            file.flush()
            with open(file.name, "rb") as again, self.session([again.fileno()]) as session:
                if not session.scan(0):
                    raise ConfigurationError("yara-x does not find the EICAR test file", code="engine-blind")

    @contextmanager
    def session(self, files: Sequence[int]) -> Iterator[_YaraSession]:
        with self._pool.job("match", {}, views=files, limits=self._limits) as running:
            yield _YaraSession(running)


class _YaraSession:
    def __init__(self, running: RunningJob) -> None:
        self._running = running

    def scan(self, index: int) -> tuple[str, ...]:
        self._running.send({"view": index})
        kind, frame = self._running.answer()
        rules = frame.message.get("rules")
        if kind != "part" or not isinstance(rules, list) or not all(isinstance(rule, str) for rule in rules):
            raise UnavailableError("the yara-x worker gave no answer", code="engine-failed")
        return tuple(printable(rule) for rule in rules[:100])
