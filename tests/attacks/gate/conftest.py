# SPDX-License-Identifier: Apache-2.0
"""A gate's site on disk, and one warm zygote for all tests of a session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from signwright.signer.start import signer_command
from signwright.signer.worker.pool import WorkerPool
from tests.support.gates import GateSite, unused_pool
from tests.support.workers import ROOT, worker_environment


@pytest.fixture
def site(tmp_path: Path) -> Iterator[GateSite]:
    made = GateSite(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def lying_pool() -> Iterator[WorkerPool]:
    """Workers that say what the artifact tells them to (`tests.support.lying_worker`)."""
    command = signer_command("tests.support.lying_worker", [], environment=worker_environment(), extra_path=[ROOT])
    with WorkerPool(command) as started:
        yield started


@pytest.fixture(scope="session")
def pool() -> Iterator[WorkerPool]:
    with unused_pool() as warm:
        yield warm
