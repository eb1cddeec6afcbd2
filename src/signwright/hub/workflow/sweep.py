# SPDX-License-Identifier: Apache-2.0
"""What time alone changes: leases that ended, requests that expired, jobs that were lost."""

from __future__ import annotations

from datetime import datetime

from signwright.hub.workflow.decide import advance, enter
from signwright.hub.workflow.ports import Records
from signwright.hub.workflow.states import State
from signwright.policy.policy import Policy

#: How many requests one transaction decides again.
BATCH = 50


def return_leases(records: Records, *, now: datetime) -> int:
    """Requests whose courier went silent go back to ``authorized``; how many."""
    seconds = int(now.timestamp())
    silent = records.jobs.expired("sign", now=seconds)
    for request_id in silent:
        record = records.find(request_id)
        if record is None or record.state is not State.SIGNING:
            records.jobs.put_back("sign", request_id, run_after=seconds)
            continue
        enter(records, record, State.AUTHORIZED, now=now, who="hub", reasons=[])
    return len(silent)


def expire(records: Records, policy: Policy, *, now: datetime) -> int:
    """Decide again what is past its deadline; how many."""
    due = records.due(int(now.timestamp()))[:BATCH]
    return _again(records, policy, due, now=now)


def wake_lost(records: Records, *, now: datetime) -> int:
    """Put the job of every request whose state wants one and that has none; how many."""
    lost = records.without_job()
    for request_id in lost:
        record = records.find(request_id)
        if record is not None:
            kind = "examine" if record.state is State.SCANNING else "sign"
            records.jobs.put(kind, request_id, run_after=int(now.timestamp()))
    return len(lost)


def decide_again(records: Records, *, policy: Policy, request_ids: list[str], now: datetime) -> int:
    """After a new policy: what was open is decided under it."""
    return _again(records, policy, request_ids, now=now)


def _again(records: Records, policy: Policy, request_ids: list[str], *, now: datetime) -> int:
    for request_id in request_ids:
        record = records.find(request_id)
        if record is not None:
            advance(records, policy, record, now=now, who="hub")
    return len(request_ids)
