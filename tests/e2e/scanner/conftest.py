# SPDX-License-Identifier: Apache-2.0
"""One scanner process for the tests of a module."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.scanner import RunningScanner, running_scanner


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="scan-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def own_folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="scan-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def scanner(folder: Path) -> Iterator[RunningScanner]:
    with running_scanner(folder, limits={"total": 20_000_000, "seconds": 60}) as running:
        yield running
