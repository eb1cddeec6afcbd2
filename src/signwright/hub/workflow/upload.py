# SPDX-License-Identifier: Apache-2.0
"""Where an upload stands, and what its end sets going. The bytes pass by in `signwright.hub.web.api.artifacts`.

Access is by request: a credential may send, and ask about, what an open request of its own names. What others have sent
changes no answer, so that nobody learns what is stored here.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from signwright.errors import ConflictError, LimitError, NotFoundError
from signwright.hub.workflow.decide import advance
from signwright.hub.workflow.ports import Records, Upload
from signwright.policy.policy import Policy


class UploadRecords(Records, Protocol):
    """`Records`, and what is known of uploads."""

    def upload(self, submitter: str, sha256: str) -> Upload | None: ...
    def put_upload(self, upload: Upload, *, now: int) -> None: ...
    def wanted_size(self, submitter: str, sha256: str) -> int | None: ...


def upload_status(
    records: UploadRecords, *, caller: str, sha256: str, received: Callable[[str], int]
) -> tuple[int, int]:
    """(offset, size) of a content that an open request of ``caller`` names; raises `NotFoundError` for any other."""
    size = records.wanted_size(caller, sha256)
    if size is None:
        raise NotFoundError("no open request of this credential names this artifact", code="artifact-not-wanted")
    upload = records.upload(caller, sha256)
    if upload is None:
        return 0, size
    return (size if upload.partial is None else received(upload.partial)), size


def begin_upload(
    records: UploadRecords,
    *,
    caller: str,
    sha256: str,
    offset: int,
    length: int,
    received: Callable[[str], int],
    new_name: Callable[[], str],
    limit: int,
    now: datetime,
) -> Upload:
    """The upload that may go on at ``offset``; complete ones have no partial file."""
    there, size = upload_status(records, caller=caller, sha256=sha256, received=received)
    if size > limit:
        raise LimitError(f"an artifact of {size} bytes; at most {limit} are stored", code="artifact-too-large")
    if offset != there:
        raise ConflictError(
            f"the upload goes on at {there}, not at {offset}", code="wrong-offset", details={"upload_offset": there}
        )
    if offset + length > size:
        raise LimitError(f"{offset + length} bytes; the request says {size}", code="artifact-too-large")
    upload = records.upload(caller, sha256)
    if upload is None:
        upload = Upload(caller, sha256, size, new_name())
        records.put_upload(upload, now=int(now.timestamp()))
    return upload


def finish_upload(records: UploadRecords, policy: Policy, upload: Upload, *, now: datetime) -> list[str]:
    """The content is stored: every request of this credential that waited for it is decided again."""
    done = Upload(upload.submitter, upload.sha256, upload.size, None)
    records.put_upload(done, now=int(now.timestamp()))
    waiting = records.waiting_for(upload.submitter, upload.sha256)
    for record in waiting:
        advance(records, policy, record, now=now, who=upload.submitter)
    return [record.id for record in waiting]
