# SPDX-License-Identifier: Apache-2.0
"""One signer home with a liar in front of it for each worker, and a count of key operations around every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.lying_site import LyingSite, lying_site


@pytest.fixture(scope="session")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LyingSite]:
    with lying_site(tmp_path_factory.mktemp("liar")) as site:
        yield site


@pytest.fixture
def site(shared_site: LyingSite) -> Iterator[LyingSite]:
    """No test of this folder may use a key, whatever else it proves."""
    shared_site.refresh()
    before = shared_site.used
    yield shared_site
    assert shared_site.used.since(before) == 0, "key operations"
