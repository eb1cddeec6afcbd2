# SPDX-License-Identifier: Apache-2.0
"""One pass, several consumers: every byte once, in order, and failures come out."""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from signwright.errors import FormatError
from signwright.model.one_pass import THREADS_FROM, one_pass, update
from signwright.model.view import BytesView

SIZES = [0, 1, THREADS_FROM - 1, THREADS_FROM, THREADS_FROM + 12345]


class Collector:
    def __init__(self) -> None:
        self.content = bytearray()

    def __call__(self, block: memoryview, offset: int) -> None:
        assert offset == len(self.content)
        self.content += block


@pytest.mark.parametrize("size", SIZES)
def test_every_consumer_gets_every_byte_in_order(size):
    content = os.urandom(size)
    consumers = [Collector() for _ in range(3)]
    one_pass(BytesView(content), consumers[:2], consumers[2])
    assert [bytes(c.content) for c in consumers] == [content] * 3


@pytest.mark.parametrize("size", [100, THREADS_FROM * 2])
@pytest.mark.parametrize("inline", [True, False])
def test_a_failing_consumer_is_reported_and_no_thread_stays(size, inline):
    def fail(block: memoryview, offset: int) -> None:
        raise FormatError("this consumer fails", offset=offset)

    before = threading.active_count()
    consumers = ([Collector()], fail) if inline else ([fail], Collector())
    with pytest.raises(FormatError, match="this consumer fails"):
        one_pass(BytesView(bytes(size)), *consumers)
    assert threading.active_count() == before


def test_large_artifact_is_read_by_each_consumer_in_a_thread_of_its_own():
    seen: list[str] = []

    def consumer(block: memoryview, offset: int) -> None:
        if offset == 0:
            seen.append(threading.current_thread().name)

    one_pass(BytesView(bytes(THREADS_FROM)), [consumer, consumer], consumer)
    assert len(set(seen)) == 3


def test_hash_is_fed_in_a_pool_without_one_and_where_threads_are_forbidden(monkeypatch):
    def forbidden(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    running = hashlib.sha256()
    with ThreadPoolExecutor(1) as pool:
        waiting = update(running, b"a", pool)
        assert waiting is not None
        waiting.result()
        assert update(running, b"b", None) is None
        monkeypatch.setattr(pool, "submit", forbidden)
        assert update(running, b"c", pool) is None
    assert running.digest() == hashlib.sha256(b"abc").digest()
