# SPDX-License-Identifier: Apache-2.0
"""Migrations, group commits, and the chain of events."""

from __future__ import annotations

import dataclasses

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from hypothesis import given
from hypothesis import strategies as st

from signwright.errors import NotFoundError, VerificationError
from signwright.hub.adapters.database.database import (
    _MIGRATIONS,
    NEWEST_REVISION,
    migrate,
    open_engine,
    revision_of,
    stored_events,
)
from signwright.hub.adapters.database.events import EMPTY, Event, Head, chained, verify_events
from signwright.hub.adapters.database.schema import metadata
from tests.support.records import database


def test_migrations_make_the_tables_that_the_code_knows(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path}/x.sqlite3")
    migrate(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    migrate(engine)
    engine.dispose()


def test_newest_migration_is_the_one_that_a_start_looks_for(tmp_path):
    """Else a hub would pass over a migration that is due, or load the library for them at every start."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [NEWEST_REVISION]
    engine = open_engine(f"sqlite:///{tmp_path}/x.sqlite3")
    with engine.connect() as connection:
        assert revision_of(connection) is None
    migrate(engine)
    with engine.connect() as connection:
        assert revision_of(connection) == NEWEST_REVISION
    engine.dispose()


def test_writes_are_durable_and_in_wal_mode(tmp_path):
    with database(tmp_path) as db:
        connection = db.engine.raw_connection()
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        connection.close()


def test_failed_work_takes_nobody_with_it(tmp_path):
    def fail(records):
        records.jobs.put("sign", "r-bad", run_after=0)
        records.event("never", who="x")
        raise NotFoundError("no")

    with database(tmp_path) as db:
        futures = []
        for n in range(50):
            futures.append(db.database.submit(lambda r, n=n: r.jobs.put("sign", f"r-{n}", run_after=0)))
            futures.append(db.database.submit(fail))
            futures.append(db.database.submit(lambda r: r.event("fine", who="x")))
        for n, future in enumerate(futures):
            if n % 3 == 1:
                with pytest.raises(NotFoundError):
                    future.result()
            else:
                future.result()
        jobs = db.do(lambda r: r.jobs.claim("sign", owner="c", now=1, lease=1, most=100))
        assert {job.request_id for job in jobs} == {f"r-{n}" for n in range(50)}
        with db.engine.connect() as connection:
            events = stored_events(connection)
        assert [event.kind for event in events] == ["fine"] * 50
        assert verify_events(events) == db.database.head


def test_chain_goes_on_after_a_restart(tmp_path):
    for _ in range(2):
        with database(tmp_path) as db:
            db.do(lambda r: r.event("submit", who="a", request_id="r-1", details={"b": 1, "a": 2}))
            with db.engine.connect() as connection:
                events = stored_events(connection)
    assert verify_events(events).count == 2
    assert events[0].details == '{"a":2,"b":1}'


def chain(length: int) -> list[Event]:
    events: list[Event] = []
    head = EMPTY
    for n in range(length):
        events.append(chained(head, time=n, kind="k", who="w", request_id=None, details="{}"))
        head = Head(events[-1].number, events[-1].sha256)
    return events


CHAIN = chain(12)
HEAD = Head(12, CHAIN[-1].sha256)


def test_whole_chain_verifies():
    assert verify_events(CHAIN, expected=HEAD) == HEAD
    assert verify_events(CHAIN, expected=Head(5, CHAIN[4].sha256)) == HEAD


@given(
    st.integers(0, 11),
    st.sampled_from(
        [("time", 99), ("kind", "x"), ("who", "x"), ("request_id", "r-x"), ("details", "[]"), ("number", 77)]
    ),
)
def test_any_edit_is_found(at, change):
    edited = [*CHAIN[:at], dataclasses.replace(CHAIN[at], **{change[0]: change[1]}), *CHAIN[at + 1 :]]
    with pytest.raises(VerificationError):
        verify_events(edited)


@given(st.integers(0, 11))
def test_any_removal_is_found(at):
    with pytest.raises(VerificationError):
        verify_events([*CHAIN[:at], *CHAIN[at + 1 :]], expected=HEAD)


@given(st.permutations(CHAIN))
def test_any_other_order_is_found(shuffled):
    if shuffled != CHAIN:
        with pytest.raises(VerificationError):
            verify_events(shuffled)


def test_chain_rewritten_from_the_middle_is_found_by_the_published_head():
    head = Head(5, CHAIN[4].sha256)
    rewritten = [*CHAIN[:5], chained(head, time=1, kind="other", who="w", request_id=None, details="{}")]
    verify_events(rewritten)
    with pytest.raises(VerificationError):
        verify_events(rewritten, expected=HEAD)
