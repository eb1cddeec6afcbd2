# SPDX-License-Identifier: Apache-2.0
"""``/v1/policy``, ``/v1/signing-policies``, ``/v1/sessions``, ``/v1/health``."""

from __future__ import annotations

from functools import partial

import structlog
from starlette.requests import Request
from starlette.responses import Response

from signwright.errors import DeniedError
from signwright.hub.adapters.database.keeping import add_session
from signwright.hub.web.views import body_of, caller_of, hub_of, json_response, signing_policies
from signwright.identity.sessions import OpenSession
from signwright.model.times import format_time

log = structlog.get_logger()


async def get_health(_request: Request) -> Response:
    """The hub answers."""
    return json_response({"status": "ok"})


async def get_policy(request: Request) -> Response:
    """The signed policy in force, to be verified by whoever reads it."""
    current = hub_of(request).current
    headers = {"etag": f'"{current.policy.sha256}"'}
    return Response(current.bundle, media_type="application/json", headers=headers)


async def post_policy(request: Request) -> Response:
    """A new signed policy: accepted when the keepers' signatures hold and its version is higher."""
    policy = await hub_of(request).adopt(body_of(request), who=caller_of(request).name)
    return json_response({"version": policy.version, "sha256": policy.sha256}, status=201)


async def get_signing_policies(request: Request) -> Response:
    """What may be asked for."""
    return json_response(signing_policies(hub_of(request).policy))


async def post_session(request: Request) -> Response:
    """Open a session; the call is signed by the session's own key, the body by the person's."""
    hub = hub_of(request)
    session: OpenSession | None = getattr(request.state, "session", None)
    now = hub.clock()
    if session is None:  # the key is known already: the same session again
        session = hub.keyring.open(body_of(request), now=now)
    if session.key.key_id != caller_of(request).key_id:
        raise DeniedError("a session is opened by its own key", code="wrong-door")
    store = partial(add_session, session=session, envelope=body_of(request), now=int(now.timestamp()))
    await hub.database.write(store)
    hub.keyring.add(session, now=now)
    log.info("login", person=session.person, session_key=session.key.key_id)
    answer = {"key_id": session.key.key_id, "person": session.person, "expires": format_time(session.expires)}
    return json_response(answer, status=201)
