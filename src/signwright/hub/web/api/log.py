# SPDX-License-Identifier: Apache-2.0
"""``/v1/log``: checkpoint, tiles and entry bundles, for any authenticated caller."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from signwright.hub.logfiles import CHECKPOINT, read_log_file
from signwright.hub.web.views import hub_of


async def get_log_file(request: Request) -> Response:
    """One file, as the gate published it."""
    hub, path = hub_of(request), str(request.path_params["path"])
    content = await hub.in_thread(partial(read_log_file, hub.log_folder, path))
    kind = "text/plain; charset=utf-8" if path == CHECKPOINT else "application/octet-stream"
    return Response(content, media_type=kind)
