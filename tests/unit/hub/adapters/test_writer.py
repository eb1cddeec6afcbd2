# SPDX-License-Identifier: Apache-2.0
"""The writer as the event loop sees it: several pieces of work in one commit, and callers that went away."""

from __future__ import annotations

import asyncio
import threading

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import DBAPIError

from signwright.errors import NotFoundError
from signwright.hub.adapters.database.hot import Hot, driver_of
from signwright.hub.adapters.database.schema import policies
from tests.support.records import database


def put(name):
    return lambda records: records.jobs.put("sign", name, run_after=0)


def fail(records):
    records.jobs.put("sign", "r-bad", run_after=0)
    raise NotFoundError("no")


def claimed(db):
    return {job.request_id for job in db.do(lambda r: r.jobs.claim("sign", owner="c", now=1, lease=1, most=9))}


def test_each_of_several_pieces_holds_or_fails_by_itself(tmp_path):
    with database(tmp_path) as db:
        commits = []
        db.database.on_commit = commits.append
        outcomes = asyncio.run(db.database.write_each([put("r-1"), fail, put("r-2")]))
        assert len(commits) == 1
        assert [type(one) for one in outcomes] == [type(None), NotFoundError, type(None)]
        assert claimed(db) == {"r-1", "r-2"}


def test_writer_goes_on_when_a_caller_went_away(tmp_path):
    """The work of a cancelled caller is done all the same, and so is what comes after it."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(records):
        begun.set()
        go_on.wait(10)
        records.jobs.put("sign", "r-1", run_after=0)

    async def leave(db):
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(db.database.write(slow))
        await loop.run_in_executor(None, begun.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        await db.database.write(put("r-2"))

    with database(tmp_path) as db:
        asyncio.run(leave(db))
        assert claimed(db) == {"r-1", "r-2"}


def test_writer_goes_on_when_a_callers_loop_is_gone(tmp_path):
    begun, go_on = threading.Event(), threading.Event()

    def slow(records):
        begun.set()
        go_on.wait(10)
        records.jobs.put("sign", "r-1", run_after=0)

    async def leave(db):
        task = asyncio.create_task(db.database.write(slow))
        await asyncio.get_running_loop().run_in_executor(None, begun.wait, 10)
        task.cancel()

    with database(tmp_path) as db:
        asyncio.run(leave(db))
        go_on.set()
        assert claimed(db) == {"r-1"}


def test_driver_errors_are_those_of_sqlalchemy(tmp_path):
    add = Hot(insert(policies))
    row = {"version": 1, "sha256": "a", "bundle": b"b", "adopted": 1, "waits_since": None}
    with database(tmp_path) as db, db.engine.connect() as connection:
        add.run(driver_of(connection), row)
        with pytest.raises(DBAPIError):
            add.run(driver_of(connection), row)
        with pytest.raises(DBAPIError):
            add.run_many(driver_of(connection), [row])


def test_large_result_is_not_kept_for_those_who_wait(tmp_path):
    small, large = b"x" * (1 << 20), b"x" * ((1 << 20) + 1)
    with database(tmp_path) as db:
        commits = []
        db.database.on_commit = commits.append
        db.do(lambda r: (r.set_result("r-1", small), r.set_result("r-2", large), r.set_result("r-3", b"one")))
        db.do(lambda r: r.set_result("r-3", b"another"))
        assert [notices.results for notices in commits] == [{"r-1": small, "r-3": b"one"}, {}]
        assert db.do(lambda r: [r.result(name) for name in ("r-2", "r-3")]) == [large, b"one"]


def test_work_that_follows_a_group_of_several_is_a_group_too(tmp_path):
    """Where many work at once, one commit serves those who come within a moment."""

    async def work(db):
        await db.database.write_each([put("r-1"), put("r-2")])
        await asyncio.gather(db.database.write(put("r-3")), db.database.write(put("r-4")))

    with database(tmp_path) as db:
        commits = []
        db.database.on_commit = commits.append
        asyncio.run(work(db))
        assert len(commits) == 2
        assert claimed(db) == {"r-1", "r-2", "r-3", "r-4"}
