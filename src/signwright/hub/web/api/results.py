# SPDX-License-Identifier: Apache-2.0
"""What belongs to a request: its evidence, its artifacts, its results. Every download is an event."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from signwright.errors import NotFoundError
from signwright.hub.adapters.database.records import SqlRecords
from signwright.hub.service import Hub
from signwright.hub.web.auth import Caller
from signwright.hub.web.views import base64_text, caller_of, hub_of, json_response, may_see
from signwright.hub.workflow.ports import RequestRecord
from signwright.hub.workflow.results import SignedArtifact, open_result
from signwright.model.framing import Frame

BINARY = "application/octet-stream"


async def get_evidence(request: Request) -> Response:
    """The signed request, approvals and verdicts, as they came."""
    hub, caller, reference = hub_of(request), caller_of(request), str(request.path_params["reference"])

    def work(records: SqlRecords) -> dict[str, object]:
        record = may_see(records.find(reference), caller, reference)
        return {
            "request": base64_text(record.envelope),
            "approvals": [base64_text(content) for content in records.words("approval", record.id)],
            "evidence": [base64_text(content) for content in records.words("evidence", record.id)],
        }

    return json_response(await hub.database.read(work))


async def get_artifact(request: Request) -> Response:
    """The bytes that wait for a signature, for approvers; ranges are served."""
    hub = hub_of(request)
    record = await _seen(request)
    index = int(request.path_params["index"])
    if index >= len(record.artifacts) or record.mode != "artifact":
        raise NotFoundError(f"request {record.id} has no artifact {index} here", code="no-such-artifact")
    missing = await hub.database.read(partial(SqlRecords.missing, record=record))
    sha256 = str(record.artifacts[index]["sha256"])
    if sha256 in missing or record.purged is not None or not hub.store.has(sha256):
        raise NotFoundError(f"artifact {index} of {record.id} is not stored", code="artifact-gone")
    await _note_download(hub, caller_of(request), record, f"artifacts/{index}")
    return FileResponse(hub.store.path_of(sha256), media_type=BINARY, headers={"cache-control": "no-store"})


async def get_receipt(request: Request) -> Response:
    """The receipt bundle of one artifact."""
    artifact, frame = await _result(request, "receipt")
    return Response(frame.parts[artifact.bundle], media_type="application/vnd.signwright.receipt+json")


async def get_patch(request: Request) -> Response:
    """What changes the artifact into the signed one."""
    artifact, frame = await _result(request, "patch")
    if artifact.patch is None:
        raise NotFoundError("this result has no patch; its envelopes are detached", code="no-such-result")
    return Response(frame.parts[artifact.patch], media_type="application/vnd.signwright.patch")


async def get_envelope(request: Request) -> Response:
    """One signature envelope of one artifact, in the order of its operations."""
    number = int(request.path_params["number"])
    artifact, frame = await _result(request, f"envelopes/{number}")
    if number >= len(artifact.envelopes):
        raise NotFoundError(f"this result has no envelope {number}", code="no-such-result")
    return Response(frame.parts[artifact.envelopes[number]], media_type=BINARY)


async def _result(request: Request, what: str) -> tuple[SignedArtifact, Frame]:
    hub, index = hub_of(request), int(request.path_params["index"])
    record = await _seen(request)
    content = await hub.database.read(partial(SqlRecords.result, request_id=record.id))
    if content is None or index >= len(record.results):
        raise NotFoundError(f"request {record.id} is {record.state} and has no result {index}", code="no-such-result")
    result, frame = open_result(content)
    await _note_download(hub, caller_of(request), record, f"results/{index}/{what}")
    return result.artifacts[index], frame


async def _seen(request: Request) -> RequestRecord:
    reference, caller = str(request.path_params["reference"]), caller_of(request)
    record = await hub_of(request).database.read(partial(SqlRecords.find, reference=reference))
    return may_see(record, caller, reference)


async def _note_download(hub: Hub, caller: Caller, record: RequestRecord, what: str) -> None:
    note = partial(SqlRecords.event, kind="download", who=caller.name, request_id=record.id, details={"what": what})
    await hub.database.write(note)
