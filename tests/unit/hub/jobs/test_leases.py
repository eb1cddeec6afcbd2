# SPDX-License-Identifier: Apache-2.0
"""One owner at a time; who lost a lease is told so."""

from __future__ import annotations

from tests.support.records import database

NOW = 1000


def claim(db, *, now=NOW, most=10, lease=60):
    return db.do(lambda r: r.jobs.claim("sign", owner="c", now=now, lease=lease, most=most))


def put(db, name="r-1", *, run_after=NOW):
    db.do(lambda r: r.jobs.put("sign", name, run_after=run_after))


def test_job_is_claimed_once_until_its_lease_ends(tmp_path):
    with database(tmp_path) as db:
        put(db)
        (first,) = claim(db)
        assert claim(db, now=NOW + 59) == []
        (second,) = claim(db, now=NOW + 60)
        assert (second.request_id, second.attempt) == ("r-1", 2)
        assert second.fence > first.fence


def test_old_fence_holds_and_extends_nothing(tmp_path):
    with database(tmp_path) as db:
        put(db)
        (first,) = claim(db)
        (second,) = claim(db, now=NOW + 60)
        assert not db.do(lambda r: r.jobs.holds("sign", "r-1", fence=first.fence))
        assert not db.do(lambda r: r.jobs.extend("sign", "r-1", fence=first.fence, until=NOW + 999))
        assert db.do(lambda r: r.jobs.holds("sign", "r-1", fence=second.fence))
        assert db.do(lambda r: r.jobs.extend("sign", "r-1", fence=second.fence, until=NOW + 999))
        assert claim(db, now=NOW + 998) == []


def test_job_that_was_removed_and_made_again_has_a_higher_fence(tmp_path):
    with database(tmp_path) as db:
        put(db)
        (first,) = claim(db)
        db.do(lambda r: r.jobs.remove("r-1"))
        assert not db.do(lambda r: r.jobs.extend("sign", "r-1", fence=first.fence, until=NOW + 999))
        put(db)
        (second,) = claim(db)
        assert second.fence > first.fence


def test_oldest_job_comes_first_and_none_before_its_time(tmp_path):
    with database(tmp_path) as db:
        put(db, "r-later", run_after=NOW + 5)
        put(db, "r-new", run_after=NOW)
        put(db, "r-old", run_after=NOW - 5)
        assert [job.request_id for job in claim(db, most=1)] == ["r-old"]
        assert [job.request_id for job in claim(db)] == ["r-new"]
        assert [job.request_id for job in claim(db, now=NOW + 5)] == ["r-later"]


def test_reaper_lists_leases_that_ended(tmp_path):
    with database(tmp_path) as db:
        put(db)
        claim(db)
        assert db.do(lambda r: r.jobs.expired("sign", now=NOW + 59)) == []
        assert db.do(lambda r: r.jobs.expired("sign", now=NOW + 60)) == ["r-1"]
