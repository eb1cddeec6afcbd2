# SPDX-License-Identifier: Apache-2.0
"""One hub for the tests of a file; those that kill or starve it start their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.hub import HubHome


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubHome]:
    """A running hub without a scanner."""
    with HubHome(tmp_path_factory.mktemp("hub")).running() as home:
        yield home
