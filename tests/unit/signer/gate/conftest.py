# SPDX-License-Identifier: Apache-2.0
"""A gate's site on disk, and one warm zygote for all tests of a session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from signwright.signer.worker.pool import WorkerPool
from tests.support.gates import GateSite, unused_pool


@pytest.fixture
def site(tmp_path: Path) -> Iterator[GateSite]:
    made = GateSite(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def pool() -> Iterator[WorkerPool]:
    with unused_pool() as warm:
        yield warm
