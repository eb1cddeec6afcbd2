# SPDX-License-Identifier: Apache-2.0
"""Requests and results as verbs print them. The JSON forms are stable: members are added, never renamed."""

from __future__ import annotations

from signwright.cli.console import result, table
from signwright.client.hub import RequestView
from signwright.client.results import SavedResult


def request_json(view: RequestView) -> dict[str, object]:
    """A request for ``--output json``."""
    return {
        "request": view.id,
        "request_sha256": view.request_sha256,
        "state": view.state,
        "final": view.is_final,
        "policy": view.address,
        "mode": view.mode,
        "submitter": view.submitter,
        "created": str(view.created),
        "reasons": [dict(reason) for reason in view.reasons],
        "artifacts": [a.model_dump(mode="json") for a in view.artifacts],
        "approvals": [a.model_dump(mode="json") for a in view.approvals],
        "history": [{"state": h.state, "time": str(h.time), "who": h.who} for h in view.history],
    }


def signed_json(view: RequestView, saved: list[SavedResult]) -> dict[str, object]:
    """A signed request for ``--output json``."""
    return {**request_json(view), "files": [_file_json(one) for one in saved]}


def _file_json(one: SavedResult) -> dict[str, object]:
    said = one.receipt.predicate
    return {
        "source": str(one.target.source) if one.target.source else None,
        "output": str(one.target.output),
        "receipt": str(one.target.receipt),
        "source_sha256": said.source_sha256,
        "sha256": one.sha256,
        "format": said.format,
        "trial": said.trial,
        "grade": said.grade,
        "people": list(said.people),
        "intents": list(said.intents),
        "timestamp": said.timestamp,
        "verified": bool(one.checks),
    }


def show_request(view: RequestView) -> None:
    """A request in full, on stdout."""
    result(f"request    {view.id} ({view.request_sha256})")
    result(f"state      {view.state}")
    result(f"policy     {view.address}, {view.mode} mode")
    result(f"submitter  {view.submitter}, {view.created}")
    for artifact in view.artifacts:
        result(f"artifact   {artifact.name}, {artifact.format}, {artifact.size} bytes, sha256:{artifact.sha256}")
    for approval in view.approvals:
        result(f"word       {approval.person}: {approval.decision}, {approval.created}")
    for reason in view.reasons:
        found, wanted, who = (reason.get(name, "?") for name in ("found", "wanted", "who"))
        result(f"reason     {reason.get('rule', '?')}: found {found}; wanted {wanted} ({who})")
    for row in view.history:
        result(f"history    {row.time} {row.state} ({row.who})")


def list_requests(views: list[RequestView]) -> None:
    """One line for each request, on stdout."""
    rows = [(v.id, v.state, v.address, str(v.created), ", ".join(a.name for a in v.artifacts[:3])) for v in views]
    for line in table(("request", "state", "policy", "created", "files"), rows):
        result(line)
