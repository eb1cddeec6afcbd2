# SPDX-License-Identifier: Apache-2.0
"""Jobs with lease and fence. Each method runs in its caller's transaction, so a job and a state change commit together.

A job is free when its lease is over and its time has come. A claim takes it and raises its fence; whoever still holds
an older fence is told so by `Leases.holds` and `Leases.extend`. A process that dies leaves a lease that simply ends.
"""

from __future__ import annotations

import sqlite3
import time

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from signwright.hub.adapters.database.hot import Hot
from signwright.hub.adapters.database.schema import jobs
from signwright.hub.workflow.ports import Claim

_PUT = (
    insert(jobs)
    .values(kind=bindparam("kind"), request_id=bindparam("request_id"), run_after=bindparam("run_after"))
    .values(lease_until=0, owner=None, fence=bindparam("fence"), attempt=0)
)
#: Putting a job that is there frees it; the fence stays, so that an old owner is still known for what it is.
_PUT_FREE = Hot(
    _PUT.on_conflict_do_update(
        index_elements=[jobs.c.kind, jobs.c.request_id],
        set_={"run_after": _PUT.excluded.run_after, "lease_until": 0, "owner": None},
    )
)
_READY = (
    select(jobs.c.request_id)
    .where(
        jobs.c.kind == bindparam("b_kind"),
        jobs.c.lease_until <= bindparam("b_now"),
        jobs.c.run_after <= bindparam("b_now"),
    )
    .order_by(jobs.c.run_after, jobs.c.request_id)
    .limit(bindparam("b_most"))
)
_CLAIM = Hot(
    update(jobs)
    .where(jobs.c.kind == bindparam("b_kind"), jobs.c.request_id.in_(_READY))
    .values(
        lease_until=bindparam("b_until"), owner=bindparam("b_owner"), fence=jobs.c.fence + 1, attempt=jobs.c.attempt + 1
    )
    .returning(jobs.c.request_id, jobs.c.fence, jobs.c.attempt)
)
_ONE = (jobs.c.kind == bindparam("b_kind"), jobs.c.request_id == bindparam("b_request"))
_READY_IDS = Hot(_READY)
_HOLDS = Hot(select(jobs.c.fence, jobs.c.lease_until).where(*_ONE))
_PROLONG = update(jobs).where(*_ONE, jobs.c.lease_until > 0).values(lease_until=bindparam("b_until"))
_EXTEND = Hot(_PROLONG.where(jobs.c.fence == bindparam("b_fence")))
_REMOVE = Hot(delete(jobs).where(jobs.c.request_id == bindparam("b_request")))
_EXPIRED = Hot(
    select(jobs.c.request_id).where(
        jobs.c.kind == bindparam("b_kind"), jobs.c.lease_until > 0, jobs.c.lease_until <= bindparam("b_now")
    )
)


class Leases:
    """The `Jobs` port on one connection. ``put_kinds`` collects what became ready, for wake-ups after the commit."""

    def __init__(self, driver: sqlite3.Connection) -> None:
        self._driver = driver
        self.put_kinds: set[str] = set()

    def put(self, kind: str, request_id: str, *, run_after: int) -> None:
        """Make a job, or free the one that is there."""
        # A job that was removed and made again must not reach the fences of the first one.
        fence = time.time_ns() // 1000
        _PUT_FREE.run(self._driver, {"kind": kind, "request_id": request_id, "run_after": run_after, "fence": fence})
        self.put_kinds.add(kind)

    put_back = put

    def claim(self, kind: str, *, owner: str, now: int, lease: int, most: int) -> list[Claim]:
        """Up to ``most`` free jobs, oldest first, leased to ``owner`` until ``now + lease``."""
        values = {"b_kind": kind, "b_now": now, "b_until": now + lease, "b_owner": owner, "b_most": most}
        return [Claim(*row) for row in _CLAIM.run(self._driver, values).fetchall()]

    def holds(self, kind: str, request_id: str, *, fence: int) -> bool:
        """True while ``fence`` is the newest and the job was not freed."""
        row = _HOLDS.run(self._driver, {"b_kind": kind, "b_request": request_id}).fetchone()
        return row is not None and row[0] == fence and row[1] > 0

    def extend(self, kind: str, request_id: str, *, fence: int, until: int) -> bool:
        """Heartbeat; False when the job is gone, free, or somebody else's."""
        values = {"b_kind": kind, "b_request": request_id, "b_until": until, "b_fence": fence}
        return _EXTEND.run(self._driver, values).rowcount == 1

    def remove(self, request_id: str) -> None:
        """Every job of a request."""
        _REMOVE.run(self._driver, {"b_request": request_id})

    def expired(self, kind: str, *, now: int) -> list[str]:
        """Requests whose lease is over: the reaper's list."""
        return [name for (name,) in _EXPIRED.run(self._driver, {"b_kind": kind, "b_now": now})]

    def ring_ready(self, *, now: int) -> None:
        """Have whoever waits woken for jobs whose time has come meanwhile."""
        for kind in ("examine", "sign"):
            ready = _READY_IDS.run(self._driver, {"b_kind": kind, "b_now": now, "b_most": 1})
            if ready.fetchone() is not None:
                self.put_kinds.add(kind)
