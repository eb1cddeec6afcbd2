# SPDX-License-Identifier: Apache-2.0
"""Jobs with lease and fence. Each method runs in its caller's transaction, so a job and a state change commit together.

A job is free when its lease is over and its time has come. A claim takes it and raises its fence; whoever still holds
an older fence is told so by `Leases.holds` and `Leases.extend`. A process that dies leaves a lease that simply ends.
"""

from __future__ import annotations

import time

from sqlalchemy import Connection, bindparam, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from signwright.hub.adapters.database.schema import jobs
from signwright.hub.workflow.ports import Claim

_PUT = (
    insert(jobs)
    .values(kind=bindparam("kind"), request_id=bindparam("request_id"), run_after=bindparam("run_after"))
    .values(lease_until=0, owner=None, fence=bindparam("fence"), attempt=0)
)
#: Putting a job that is there frees it; the fence stays, so that an old owner is still known for what it is.
_PUT_FREE = _PUT.on_conflict_do_update(
    index_elements=[jobs.c.kind, jobs.c.request_id],
    set_={"run_after": _PUT.excluded.run_after, "lease_until": 0, "owner": None},
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
_CLAIM = (
    update(jobs)
    .where(jobs.c.kind == bindparam("b_kind"), jobs.c.request_id.in_(_READY))
    .values(
        lease_until=bindparam("b_until"), owner=bindparam("b_owner"), fence=jobs.c.fence + 1, attempt=jobs.c.attempt + 1
    )
    .returning(jobs.c.request_id, jobs.c.fence, jobs.c.attempt)
)
_ONE = (jobs.c.kind == bindparam("b_kind"), jobs.c.request_id == bindparam("b_request"))
_HOLDS = select(jobs.c.fence, jobs.c.lease_until).where(*_ONE)
_EXTEND = update(jobs).where(*_ONE, jobs.c.lease_until > 0).values(lease_until=bindparam("b_until"))
_EXTEND_FENCED = _EXTEND.where(jobs.c.fence == bindparam("b_fence"))
_REMOVE = delete(jobs).where(jobs.c.request_id == bindparam("b_request"))
_EXPIRED = select(jobs.c.request_id).where(
    jobs.c.kind == bindparam("b_kind"), jobs.c.lease_until > 0, jobs.c.lease_until <= bindparam("b_now")
)


class Leases:
    """The `Jobs` port on one connection. ``put_kinds`` collects what became ready, for wake-ups after the commit."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.put_kinds: set[str] = set()

    def put(self, kind: str, request_id: str, *, run_after: int) -> None:
        """Make a job, or free the one that is there."""
        # A job that was removed and made again must not reach the fences of the first one.
        fence = time.time_ns() // 1000
        self._connection.execute(
            _PUT_FREE, {"kind": kind, "request_id": request_id, "run_after": run_after, "fence": fence}
        )
        self.put_kinds.add(kind)

    put_back = put

    def claim(self, kind: str, *, owner: str, now: int, lease: int, most: int) -> list[Claim]:
        """Up to ``most`` free jobs, oldest first, leased to ``owner`` until ``now + lease``."""
        values = {"b_kind": kind, "b_now": now, "b_until": now + lease, "b_owner": owner, "b_most": most}
        return [Claim(*row) for row in self._connection.execute(_CLAIM, values)]

    def holds(self, kind: str, request_id: str, *, fence: int) -> bool:
        """True while ``fence`` is the newest and the job was not freed."""
        row = self._connection.execute(_HOLDS, {"b_kind": kind, "b_request": request_id}).first()
        return row is not None and row.fence == fence and row.lease_until > 0

    def extend(self, kind: str, request_id: str, *, fence: int | None, until: int) -> bool:
        """Heartbeat; False when the job is gone, free, or somebody else's."""
        values: dict[str, object] = {"b_kind": kind, "b_request": request_id, "b_until": until}
        if fence is None:
            return self._connection.execute(_EXTEND, values).rowcount == 1
        return self._connection.execute(_EXTEND_FENCED, values | {"b_fence": fence}).rowcount == 1

    def remove(self, request_id: str) -> None:
        """Every job of a request."""
        self._connection.execute(_REMOVE, {"b_request": request_id})

    def expired(self, kind: str, *, now: int) -> list[str]:
        """Requests whose lease is over: the reaper's list."""
        return list(self._connection.execute(_EXPIRED, {"b_kind": kind, "b_now": now}).scalars())

    def ring_ready(self, *, now: int) -> None:
        """Have whoever waits woken for jobs whose time has come meanwhile."""
        for kind in ("examine", "sign"):
            if self._connection.execute(_READY, {"b_kind": kind, "b_now": now, "b_most": 1}).first() is not None:
                self.put_kinds.add(kind)
