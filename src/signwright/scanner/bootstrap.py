# SPDX-License-Identifier: Apache-2.0
"""Where the scanner is put together: key file, zygote, engines, socket."""

from __future__ import annotations

import os
import signal
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.containers.base import ArchiveLimits
from signwright.errors import ConfigurationError
from signwright.scanner.engines.base import Engine
from signwright.scanner.engines.clamd import Clamd
from signwright.scanner.engines.yara import YaraX, rule_files, rules_digest
from signwright.scanner.scan import ScanLimits, Scanner
from signwright.scanner.service import Service, listen
from signwright.scanner.settings import ScannerSettings
from signwright.signer.start import signer_command
from signwright.signer.worker.pool import JobLimits, WorkerPool
from signwright.statements.keyfile import load_seed, seed_text
from signwright.statements.writing import public_text

_MAX_KEY_FILE = 1024


def create_key(settings: ScannerSettings) -> str:
    """Make the key file unless it is there. Returns the written form of the public key, for the policy."""
    path = Path(settings.key_file)
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(seed_text(Ed25519PrivateKey.generate()))
            file.flush()
            os.fsync(file.fileno())
    return public_text(read_key(settings))


def read_key(settings: ScannerSettings) -> Ed25519PrivateKey:
    """The scanner's key; raises `ConfigurationError` when the file is missing, wrong, or readable by others."""
    path = Path(settings.key_file)
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_MAX_KEY_FILE)
    except OSError as problem:
        raise ConfigurationError(f"scanner key {path}: {problem.strerror}", code="bad-key-file") from problem
    if mode & 0o077:
        raise ConfigurationError(f"scanner key {path}: mode {mode & 0o777:o}; wanted 600", code="bad-key-file")
    return load_seed(content.decode("ascii", "replace"))


def rules_in_force(settings: ScannerSettings) -> tuple[str, int]:
    """Digest and number of the rule files as they are now; raises `ConfigurationError` when one cannot be read."""
    try:
        sources = [path.read_bytes() for path in rule_files([Path(folder) for folder in settings.rules])]
    except OSError as problem:
        raise ConfigurationError(f"rule files: {problem}", code="bad-rules") from problem
    return rules_digest(sources), len(sources)


def make_pool(settings: ScannerSettings, rules: tuple[str, int]) -> WorkerPool:
    """The zygote in this environment (where yara-x is), isolated like the signer's; it compiles exactly ``rules``."""
    folders = [part for folder in settings.rules for part in ("--rules", folder)]
    arguments = [*folders, "--rules-digest", rules[0]]
    command = signer_command("signwright.scanner.jobs", arguments, environment=Path(sys.prefix))
    # For each scan one child that matches and up to ``depth`` that unpack, each waiting for the one inside it.
    parallel = settings.parallel * (settings.limits.depth + 2)
    return WorkerPool(
        command, sandbox_none=settings.sandbox == "none", parallel=parallel, limits=worker_limits(settings)
    )


def worker_limits(settings: ScannerSettings, *, reopen: bool = False) -> JobLimits:
    limits = settings.limits
    return JobLimits(seconds=limits.seconds, cpu_seconds=limits.seconds, memory=limits.memory, reopen=reopen)


def make_scanner(settings: ScannerSettings, pool: WorkerPool, rules: tuple[str, int]) -> Scanner:
    engines: list[Engine] = []
    for name in settings.engines:
        if name == "yara-x":
            engines.append(YaraX(pool, limits=worker_limits(settings, reopen=True), rules=rules))
        else:
            clamd = settings.clamd
            age = timedelta(hours=clamd.max_age_hours) if clamd.max_age_hours else None
            engines.append(Clamd(clamd.address, seconds=clamd.seconds, max_age=age))
    limits = settings.limits
    archive = ArchiveLimits(members=limits.members, total=limits.total, ratio=limits.ratio, depth=limits.depth)
    scan_limits = ScanLimits(artifact=limits.artifact, archive=archive, worker=worker_limits(settings))
    return Scanner(pool, engines, spool=Path(settings.spool), limits=scan_limits)


def serve(settings: ScannerSettings) -> None:
    """Run until SIGTERM or SIGINT. Prints ``ready SOCKET`` once every engine has proved itself and the socket
    listens.
    """
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    stopping = threading.Event()
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: stopping.set())
    key = read_key(settings)
    Path(settings.spool).mkdir(mode=0o700, parents=True, exist_ok=True)
    rules = rules_in_force(settings)
    with make_pool(settings, rules) as pool:
        scanner = make_scanner(settings, pool, rules)
        for info in scanner.prove():
            structlog.get_logger().info("engine", name=info.name, version=info.version, definitions=info.definitions)
        users = frozenset({os.getuid(), *settings.users})
        service = Service(scanner, key, lambda: datetime.now(UTC), users, settings.parallel)
        path = Path(settings.socket)
        with listen(path) as listener:
            print(f"ready {path}", flush=True)
            service.serve(listener, stopping)
        path.unlink(missing_ok=True)
