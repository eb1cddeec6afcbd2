# SPDX-License-Identifier: Apache-2.0
"""A pool whose zygote has hostile jobs, started exactly as the gate starts the real one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from signwright.signer.start import signer_command, signer_environment
from signwright.signer.worker.pool import JobLimits, WorkerPool

ROOT = Path(__file__).resolve().parent.parent.parent
SHORT = JobLimits(seconds=20, cpu_seconds=20, memory=256 << 20)


def worker_environment() -> Path:
    """The signer's environment, or this one where the signer's is not there (never in CI)."""
    environment = signer_environment()
    if environment.is_dir():
        return environment
    if os.environ.get("CI") == "true":
        pytest.fail(f"no signer environment at {environment}")
    return Path(sys.prefix)


def hostile_command() -> list[str]:
    return signer_command("tests.support.hostile_zygote", [], environment=worker_environment(), extra_path=[ROOT])


def hostile_pool(*, sandbox_none: bool = False, parallel: int | None = None) -> WorkerPool:
    return WorkerPool(hostile_command(), sandbox_none=sandbox_none, parallel=parallel, limits=SHORT)
