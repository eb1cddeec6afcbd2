# SPDX-License-Identifier: Apache-2.0
"""The database: many readers, one writer thread that commits whatever waits together.

SQLite in WAL mode with ``synchronous=FULL``: what was answered is on the disk. One fsync serves a whole group; a piece
of work that fails is rolled back to its own savepoint and takes nobody with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select, text
from sqlalchemy.exc import DBAPIError

from signwright.errors import SignwrightError, UnavailableError
from signwright.hub.adapters.database.events import EMPTY, Event, Head, chained
from signwright.hub.adapters.database.hot import Hot, driver_of, run_plain
from signwright.hub.adapters.database.records import Notices, PendingEvent, SqlRecords
from signwright.hub.adapters.database.schema import events

T = TypeVar("T")

MAX_GROUP = 256
#: After a group of several the next one waits so long for company: where many work, others follow soon.
COMPANY_SECONDS = 0.002
READERS = 2
_MIGRATIONS = Path(__file__).with_name("migrations")
#: The newest migration; a database that has it needs none, and the library for them is not loaded.
NEWEST_REVISION = "0002"
_LAST_EVENT = select(events.c.number, events.c.sha256).order_by(events.c.number.desc()).limit(1)
_ADD_EVENTS = Hot(insert(events))


@dataclass(slots=True)
class _Work:
    """One piece of work for the writer. ``loop``: where ``answer`` belongs; None: to no event loop."""

    run: Callable[[SqlRecords], Any]
    answer: Future[Any] | asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop | None = None
    result: Any = None
    error: Exception | None = None


def open_engine(url: str) -> Engine:
    """An engine with SQLite's settings where it is SQLite. Transactions are begun by us, not by the driver."""
    engine = create_engine(url, pool_size=READERS + 2, max_overflow=2)

    @event.listens_for(engine, "connect")
    def _settings(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        run_plain(driver_of(connection), connection.get_execution_options().get("begin", "BEGIN"))

    return engine


def migrate(engine: Engine) -> None:
    """Bring the tables up to date; does nothing when they are."""
    with engine.connect() as connection:
        if revision_of(connection) == NEWEST_REVISION:
            return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def revision_of(connection: Connection) -> str | None:
    """The newest migration that was made here, None for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


class Database:
    """``clock``: seconds since 1970. ``on_commit`` is called in the writer's thread with what a group changed."""

    def __init__(self, engine: Engine, *, clock: Callable[[], int]) -> None:
        self._engine = engine
        self._clock = clock
        self._waiting: queue.SimpleQueue[list[_Work] | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="hub-read")
        self._writer = threading.Thread(target=self._run, name="hub-write", daemon=True)
        self.on_commit: Callable[[Notices], None] = lambda _notices: None
        with engine.connect() as connection:
            last = connection.execute(_LAST_EVENT).first()
        self.head = Head(last.number, last.sha256) if last else EMPTY
        self._writer.start()

    def submit(self, run: Callable[[SqlRecords], T]) -> Future[T]:
        """Queue work for the writer; the future is set after the commit. Works in the order of calls."""
        answer: Future[T] = Future()
        self._waiting.put([_Work(run, answer)])
        return answer

    async def write(self, run: Callable[[SqlRecords], T]) -> T:
        """`submit`, awaited. Queued before the first suspension."""
        (answer,) = self._queue([run])
        return await answer

    async def write_each(self, runs: Sequence[Callable[[SqlRecords], T]]) -> list[T | BaseException]:
        """Several pieces of work for one commit; each holds or fails by itself, and its result or error is returned."""
        return await asyncio.gather(*self._queue(runs), return_exceptions=True)

    def _queue(self, runs: Sequence[Callable[[SqlRecords], T]]) -> list[asyncio.Future[T]]:
        loop = asyncio.get_running_loop()
        answers: list[asyncio.Future[T]] = [loop.create_future() for _ in runs]
        self._waiting.put([_Work(run, answer, loop) for run, answer in zip(runs, answers, strict=True)])
        return answers

    async def read(self, run: Callable[[SqlRecords], T]) -> T:
        """``run`` in a reader's thread, on one snapshot."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, run)

    def _read(self, run: Callable[[SqlRecords], T]) -> T:
        with self._engine.connect() as connection, connection.begin():
            return run(SqlRecords(connection))

    def close(self) -> None:
        """Finish what is queued, then end the threads."""
        self._waiting.put(None)
        self._writer.join()
        self._readers.shutdown()
        self._engine.dispose()

    def _run(self) -> None:
        with self._engine.connect().execution_options(begin="BEGIN IMMEDIATE") as connection:
            going, pause = True, 0.0
            while going:
                group, going = self._next_group(pause)
                pause = COMPANY_SECONDS if len(group) > 1 else 0.0
                if group:
                    self._commit(connection, group)

    def _next_group(self, pause: float) -> tuple[list[_Work], bool]:
        group: list[_Work] = []
        works = self._waiting.get()
        if pause and works is not None:
            time.sleep(pause)
        while works is not None:
            group += works
            if len(group) >= MAX_GROUP or self._waiting.empty():
                return group, True
            works = self._waiting.get()
        return group, False

    def _commit(self, connection: Connection, group: list[_Work]) -> None:
        notices, pending = Notices(), list[PendingEvent]()
        try:
            with connection.begin():
                for work in group:
                    self._perform(connection, work, notices, pending, alone=len(group) == 1)
                new, head = self._chain(pending)
                _store(connection, new)
        except Exception as problem:  # noqa: BLE001 - whatever it was, nothing was written and everybody is told
            error = _clean_error(problem)
            for work in group:
                work.error = work.error or error
            _answer(group)
            return
        self.head = head
        self.on_commit(notices)
        _answer(group)

    def _perform(
        self, connection: Connection, work: _Work, notices: Notices, pending: list[PendingEvent], *, alone: bool
    ) -> None:
        """Run one piece of work, in a savepoint of its own unless it is alone; collect its events and changes."""
        records = SqlRecords(connection)
        try:
            with contextlib.nullcontext() if alone else _savepoint(driver_of(connection)):
                work.result = work.run(records)
                records.flush()
        except Exception as problem:
            work.error = _clean_error(problem)
            if alone or isinstance(problem, DBAPIError):
                raise
            return
        pending += records.events
        notices.records.update(records.changed)
        notices.results.update(records.new_results)
        notices.job_kinds |= records.jobs.put_kinds

    def _chain(self, pending: Sequence[PendingEvent]) -> tuple[list[Event], Head]:
        new, now, head = [], self._clock(), self.head
        for one in pending:
            row = chained(head, time=now, kind=one.kind, who=one.who, request_id=one.request_id, details=one.details)
            new.append(row)
            head = Head(row.number, row.sha256)
        return new, head


def _answer(group: Sequence[_Work]) -> None:
    """Tell everybody what became of their work; an event loop is woken once for the whole group."""
    waiting: dict[asyncio.AbstractEventLoop, list[_Work]] = {}
    for work in group:
        if work.loop is None:
            _settle([work])
        else:
            waiting.setdefault(work.loop, []).append(work)
    for loop, works in waiting.items():
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is there to be told
            loop.call_soon_threadsafe(_settle, works)


def _settle(works: Sequence[_Work]) -> None:
    for work in works:
        if work.answer.done():  # whoever waited was cancelled
            continue
        if work.error is not None:
            work.answer.set_exception(work.error)
        else:
            work.answer.set_result(work.result)


@contextlib.contextmanager
def _savepoint(driver: sqlite3.Connection) -> Iterator[None]:
    """Undo what happens within when it fails. SQLAlchemy's own compiles its statements anew each time."""
    run_plain(driver, "SAVEPOINT work")
    try:
        yield
    except Exception:
        # A full disk ends the whole transaction, and the savepoint with it.
        with contextlib.suppress(DBAPIError):
            run_plain(driver, "ROLLBACK TO SAVEPOINT work")
            run_plain(driver, "RELEASE SAVEPOINT work")
        raise
    run_plain(driver, "RELEASE SAVEPOINT work")


def _store(connection: Connection, new: Sequence[Event]) -> None:
    if new:
        names = Event.__slots__
        _ADD_EVENTS.run_many(driver_of(connection), [{name: getattr(row, name) for name in names} for row in new])


def _clean_error(problem: Exception) -> Exception:
    """Database errors as ours: a full disk is not the caller's fault and not a programming error."""
    if isinstance(problem, SignwrightError) or not isinstance(problem, DBAPIError):
        return problem
    text = str(problem.orig).lower()
    full = "full" in text or "disk i/o" in text
    code = "storage-full" if full else "database"
    return UnavailableError("the database cannot be written" + (": the disk is full" if full else ""), code=code)


def stored_events(connection: Connection) -> list[Event]:
    """The whole chain, in order."""
    rows = connection.execute(select(events).order_by(events.c.number))
    return [Event(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's documented name
