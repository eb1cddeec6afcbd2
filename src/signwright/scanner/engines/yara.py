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


def rules_digest(sources: Sequence[bytes]) -> str:
    """Hex SHA-256 over the digests of the rule files, in their order."""
    return hashlib.sha256(b"".join(hashlib.sha256(source).digest() for source in sources)).hexdigest()


class YaraX:
    """``pool``: workers with the scanner's jobs; ``rules``: the digest and number of rule files that they compiled."""

    name = "yara-x"

    def __init__(self, pool: WorkerPool, *, limits: JobLimits, rules: tuple[str, int]) -> None:
        self._pool = pool
        self._limits = limits
        self._digest, self._count = rules

    def info(self) -> EngineInfo:
        return EngineInfo(self.name, version("yara-x"), f"{self._count} rule files sha256:{self._digest}")

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
