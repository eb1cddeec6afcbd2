# SPDX-License-Identifier: Apache-2.0
"""``/v1/artifacts/sha256:HEX``: how far an upload got, and its bytes: constant memory, resumable, hashed on the way."""

from __future__ import annotations

import asyncio
from functools import partial

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from signwright.errors import ConflictError, DeniedError, MalformedError, SignwrightError
from signwright.hub.adapters.artifacts import BLOCK, SYNC_EVERY, ArtifactStore, PartialFile
from signwright.hub.adapters.database.records import SqlRecords
from signwright.hub.service import Hub
from signwright.hub.web.views import caller_of, hub_of
from signwright.hub.workflow.ports import Upload
from signwright.hub.workflow.upload import begin_upload, finish_upload, upload_status
from signwright.model.digest import Digest

log = structlog.get_logger()

#: Pieces of a body below this are copied together, in bytes.
_SMALL = 16 << 10


async def head_artifact(request: Request) -> Response:
    """``Upload-Offset``: where this credential's upload goes on; equal to ``Upload-Length`` when it is complete."""
    hub, caller = hub_of(request), _credential(request)
    offset, size = await hub.database.read(
        partial(upload_status, caller=caller, sha256=_sha256(request), received=hub.store.received)
    )
    return Response(headers={"upload-offset": str(offset), "upload-length": str(size), "cache-control": "no-store"})


async def put_artifact(request: Request) -> Response:
    """Bytes from ``Upload-Offset`` on: 201 when the content is complete and right, 204 when more is wanted."""
    hub, caller, sha256 = hub_of(request), _credential(request), _sha256(request)
    if request.state.sha256 != sha256:
        raise MalformedError("repr-digest is not the digest in the path", code="bad-digest-field")
    offset, length = _number(request, "upload-offset"), _number(request, "content-length")
    now = hub.clock()
    begin = partial(
        begin_upload,
        caller=caller,
        sha256=sha256,
        offset=offset,
        length=length,
        received=hub.store.received,
        new_name=hub.store.new_partial,
        limit=hub.settings.limits.artifact_bytes,
        now=now,
    )
    upload = await hub.database.write(begin)
    if upload.partial is None:
        return Response(status_code=201, headers={"upload-offset": str(upload.size)})
    if upload.partial in hub.busy_uploads:
        raise ConflictError("another call is sending this artifact", code="upload-busy")
    hub.busy_uploads.add(upload.partial)
    try:
        return await _take(hub, request, upload, offset=offset, length=length)
    finally:
        hub.busy_uploads.discard(upload.partial)


async def _take(hub: Hub, request: Request, upload: Upload, *, offset: int, length: int) -> Response:
    """Receive the body into the partial file, and publish it when it is whole."""
    store = hub.store
    assert upload.partial is not None
    partial_file = await hub.in_thread(partial(store.open_partial, upload.partial))
    try:
        if partial_file.offset != offset:
            details = {"upload_offset": partial_file.offset}
            raise ConflictError("the upload moved on", code="wrong-offset", details=details)
        await _receive(hub, request, partial_file, length=length)
    except (SignwrightError, ClientDisconnect, asyncio.CancelledError):
        store.leave(partial_file)
        raise
    if partial_file.offset < upload.size:
        store.leave(partial_file)
        return Response(status_code=204, headers={"upload-offset": str(partial_file.offset)})
    await _publish(hub, partial_file, upload)
    log.info("uploaded", sha256=upload.sha256, size=upload.size, who=upload.submitter)
    return Response(status_code=201, headers={"upload-offset": str(upload.size)})


async def _receive(hub: Hub, request: Request, partial_file: PartialFile, *, length: int) -> None:
    """One block is hashed and written in threads while the next arrives; syncing goes on beside it."""
    store, block, waiting, received = hub.store, list[bytes | bytearray](), 0, 0
    writing: asyncio.Future[None] | None = None
    syncing: asyncio.Future[None] | None = None
    try:
        async for piece in request.stream():
            received += len(piece)
            if received > length:
                raise MalformedError("more bytes than content-length says", code="bad-length")
            _add(block, piece)
            waiting += len(piece)
            if waiting < BLOCK:
                continue
            if writing is not None:
                await writing
            writing, block, waiting = _start(hub, partial(store.append, partial_file, block)), [], 0
            if partial_file.unsynced >= SYNC_EVERY and (syncing is None or syncing.done()):
                syncing = _start(hub, partial(store.sync, partial_file))
    finally:
        await _settle(hub, store, partial_file, block=block, jobs=(writing, syncing))
    if received != length:
        raise MalformedError(f"{received} bytes came; content-length says {length}", code="bad-length")


def _add(block: list[bytes | bytearray], piece: bytes) -> None:
    """Large pieces as they are; small ones are put together, so that there are never many."""
    if len(piece) >= _SMALL:
        block.append(piece)
    elif block and isinstance(block[-1], bytearray):
        block[-1] += piece
    else:
        block.append(bytearray(piece))


async def _settle(
    hub: Hub,
    store: ArtifactStore,
    partial_file: PartialFile,
    *,
    block: list[bytes | bytearray],
    jobs: tuple[asyncio.Future[None] | None, asyncio.Future[None] | None],
) -> None:
    """Whatever arrived is kept, also when the caller went away: the next call goes on there."""
    for job in jobs:
        if job is not None:
            await asyncio.shield(job)
    if block:
        await asyncio.shield(_start(hub, partial(store.append, partial_file, block)))


def _start(hub: Hub, call: partial[None]) -> asyncio.Future[None]:
    return asyncio.get_running_loop().run_in_executor(hub.threads, call)


async def _publish(hub: Hub, partial_file: PartialFile, upload: Upload) -> None:
    """Check the digest, link the file, wake what waited. Wrong content is removed, and the upload starts anew."""
    try:
        await hub.in_thread(partial(hub.store.finish, partial_file, sha256=upload.sha256))
    except MalformedError:
        anew = Upload(upload.submitter, upload.sha256, upload.size, hub.store.new_partial())
        now = int(hub.clock().timestamp())
        await hub.database.write(partial(SqlRecords.put_upload, upload=anew, now=now))
        raise
    await hub.database.write(partial(finish_upload, policy=hub.policy, upload=upload, now=hub.clock()))


def _credential(request: Request) -> str:
    caller = caller_of(request)
    if caller.kind != "credential":
        raise DeniedError("only a credential may send artifacts", code="wrong-door")
    return caller.name


def _sha256(request: Request) -> str:
    """The digest in the path."""
    digest = Digest.parse(str(request.path_params["digest"]))
    if digest.algorithm != "sha256":
        raise MalformedError("artifacts are named by SHA-256", code="bad-digest")
    return digest.hex


def _number(request: Request, name: str) -> int:
    text = request.headers.get(name, "")
    if not text.isdecimal() or not text.isascii() or len(text) > 15:
        raise MalformedError(f"header {name}: {text[:20]!r}; wanted a number of bytes", code="bad-header")
    return int(text)
