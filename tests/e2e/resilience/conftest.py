# SPDX-License-Identifier: Apache-2.0
"""A home whose processes are hurt, and which does not wait long for anything."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.outages import IMPATIENT, Site, made_home, up


@pytest.fixture(scope="session")
def hurt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("hurt")
    with up(made_home(folder / "h", folder / "state", IMPATIENT)) as running:
        yield running
