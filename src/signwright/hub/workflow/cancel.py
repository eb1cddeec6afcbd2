# SPDX-License-Identifier: Apache-2.0
"""Give a request up, before the signer has it."""

from __future__ import annotations

from datetime import datetime

from signwright.errors import ConflictError
from signwright.hub.workflow.decide import enter
from signwright.hub.workflow.ports import Records, RequestRecord
from signwright.hub.workflow.states import State


def cancel(records: Records, record: RequestRecord, *, who: str, now: datetime) -> RequestRecord:
    """Raises `ConflictError` for a request that the signer has or that ended otherwise; canceling twice is once."""
    if record.state is State.CANCELED:
        return record
    if record.state is State.SIGNING:
        raise ConflictError(f"request {record.id} is being signed", code="already-signing")
    enter(records, record, State.CANCELED, now=now, who=who, reasons=[])
    return record
