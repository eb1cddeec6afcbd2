# SPDX-License-Identifier: Apache-2.0
"""A request that waits for a custodian, as it is printed: every digest also in a form to read aloud."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from signwright.model.spoken import spoken
from signwright.model.times import parse_time

if TYPE_CHECKING:
    from signwright.client.custodian import Listed, WaitingRequest
    from signwright.statements.custodian import ShownRequest


def listed_json(listed: Listed) -> dict[str, Any]:
    """The list for ``--output json``. Members are added, never renamed."""
    rows = []
    for row in listed.rows:
        found = row.as_json()
        artifacts = [{**one, "spoken": spoken(one["sha256"])} for one in found["artifacts"]]
        rows.append({**found, "artifacts": artifacts, "spoken": spoken(row.shown.request)})
    status = listed.status
    policy = {"version": status.policy.version, "sha256": status.policy.sha256}
    return {"custodian": status.custodian, "policy": policy, "halts": list(status.halts), "requests": rows}


def request_lines(row: WaitingRequest, *, now: datetime) -> Iterator[str]:
    """One request in full, a blank line after it."""
    said = row.shown
    yield f"request    {row.hub_name} = {said.request}"
    yield f"  aloud    {spoken(said.request)}"
    address = f"{said.project}/{said.signing_policy} ({said.kind})"
    yield f"policy     {address}, key {said.key}, policy version {said.policy_version}"
    whose = f" of {said.submitter_person}" if said.submitter_person else ""
    yield f"asked by   {said.submitter_description}{whose} ({said.submitter})"
    if said.source is not None:
        ref = f" ({said.source.ref})" if said.source.ref else ""
        yield f"source     {said.source.repository} @ {said.source.commit}{ref} - the submitter's word"
    yield from _files(said)
    yield f"content    {'read by this signer' if said.content_read else 'NOT seen: digests alone'}"
    for approval in said.approvals:
        yield f"approval   {approval.person}: {approval.decision}, {approval.created}, until {approval.expires}"
    if not said.approvals:
        yield "approval   none; the policy wants none"
    for one in said.evidence:
        yield f"evidence   {one.kind}: {one.says} by {one.by}, {one.created}"
    yield f"derived    {'operations that depend on inner signatures' if said.derived else 'nothing'}"
    yield f"exceptions {', '.join(said.exceptions) or 'none'}"
    age, left = now - parse_time(said.created), parse_time(said.expires) - now
    yield f"age        {_long(age)}; waits since {row.since}; ends in {_long(left)} ({said.expires})"
    yield ""


def _files(said: ShownRequest) -> Iterator[str]:
    for artifact in said.artifacts:
        yield f"file       {artifact.name}: {artifact.format}, {artifact.size} bytes, {artifact.operations} to sign"
        yield f"  sha256   {artifact.sha256}"
        yield f"  aloud    {spoken(artifact.sha256)}"
        if artifact.options:
            options = ", ".join(f"{name}={value}" for name, value in sorted(artifact.options.items()))
            yield f"  options  {options}"


def _long(time: timedelta) -> str:
    minutes = max(0, int(time.total_seconds() // 60))
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
