# SPDX-License-Identifier: Apache-2.0
"""One home for each worker, made by ``init`` and started once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.homes import RunningHome, running_home


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHome]:
    """A running trial home; tests share it, so each signs files of its own."""
    folder: Path = tmp_path_factory.mktemp("home")
    with running_home(folder / "h", folder / "state") as running:
        yield running
