# SPDX-License-Identifier: Apache-2.0
"""Several consumers of one pass over an artifact, each in a thread of its own.

`hashlib` releases the interpreter lock, so that two digests of the same bytes run on two cores. Each lane holds at
most two blocks (one in work, one waiting): memory does not grow with the artifact.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import Queue

from signwright.model.view import BLOCK, View, blocks

#: Takes a block and its offset in the artifact.
Consumer = Callable[[memoryview, int], None]

#: Below this size a thread costs more than it saves.
THREADS_FROM = 4 * BLOCK


class _Lane:
    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._waiting: Queue[tuple[memoryview, int] | None] = Queue(maxsize=1)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            if self._failure is not None:
                continue  # keep taking blocks, or the reader of the artifact would wait for ever
            try:
                self._consumer(*item)
            except BaseException as problem:  # noqa: BLE001 - carried to the caller's thread by finish
                self._failure = problem

    def put(self, block: memoryview, offset: int) -> None:
        self._waiting.put((block, offset))

    def close(self) -> None:
        self._waiting.put(None)
        self._thread.join()

    def raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


@contextmanager
def _lanes(consumers: Sequence[Consumer]) -> Iterator[list[_Lane]]:
    lanes = _started(consumers)
    try:
        yield lanes
    finally:
        for lane in lanes:
            lane.close()
    for lane in lanes:
        lane.raise_failure()


def _started(consumers: Sequence[Consumer]) -> list[_Lane]:
    """One lane for each consumer, or none at all."""
    lanes: list[_Lane] = []
    for consumer in consumers:
        try:
            lanes.append(_Lane(consumer))
        except RuntimeError:
            for lane in lanes:
                lane.close()
            return []
    return lanes


def one_pass(view: View, parallel: Sequence[Consumer], inline: Consumer) -> None:
    """Read ``view`` once in blocks of 1 MiB and give every block, in order, to each consumer.

    ``inline`` runs in the calling thread and should be the cheapest. What a consumer or ``view.read`` raises is raised.
    """
    with _lanes(parallel if view.size >= THREADS_FROM else ()) as lanes:
        # Where a sandbox forbids threads there are no lanes either: slower, the same result.
        here = (inline,) if lanes else (*parallel, inline)
        offset = 0
        for content in blocks(view, 0, view.size):
            block = memoryview(content)
            for lane in lanes:
                lane.put(block, offset)
            for consumer in here:
                consumer(block, offset)
            offset += len(block)


def update(running: hashlib._Hash, block: bytes, pool: ThreadPoolExecutor | None) -> Future[None] | None:
    """Feed ``block`` to a hash on another thread; here and now without a pool, or where a sandbox forbids threads."""
    if pool is not None:
        try:
            return pool.submit(running.update, block)
        except RuntimeError:
            pass
    running.update(block)
    return None
