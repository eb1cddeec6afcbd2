# SPDX-License-Identifier: Apache-2.0
"""Hypothesis profiles, the fixtures every folder may use, and marks that follow from a test's folder."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import Popen

import pytest
from hypothesis import HealthCheck, settings

from tests.support.processes import child_process
from tests.support.processes import free_port as find_free_port

# No deadline: how long an example takes says more about the machine than about the code.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dev", max_examples=50, **_COMMON)
settings.register_profile("ci", max_examples=50, derandomize=True, database=None, **_COMMON)
settings.register_profile("thorough", max_examples=2000, **_COMMON)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI", "").lower() == "true" else "dev")
)

# A shell that starts us in the background has SIGINT ignored, and every child would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

_FOLDER_MARKS = ("attacks", "interop", "e2e")
_TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test below ``tests/attacks``, ``tests/interop`` and ``tests/e2e`` with its folder's name."""
    for item in items:
        top = item.path.relative_to(_TESTS).parts[0] if item.path.is_relative_to(_TESTS) else ""
        if top in _FOLDER_MARKS:
            item.add_marker(getattr(pytest.mark, top))


@pytest.fixture
def free_port() -> int:
    """A TCP port on 127.0.0.1 that was free a moment ago."""
    return find_free_port()


@pytest.fixture
def start_process() -> Iterator[Callable[..., Popen[bytes]]]:
    """Start child processes (arguments of ``child_process``); all are ended by pid when the test is over."""
    with ExitStack() as children:

        def start(*args: object, **kwargs: object) -> Popen[bytes]:
            return children.enter_context(child_process(*args, **kwargs))  # type: ignore[arg-type]

        yield start
