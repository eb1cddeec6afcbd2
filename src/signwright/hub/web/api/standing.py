# SPDX-License-Identifier: Apache-2.0
"""``/v1/freshness``, ``/v1/halts``, ``/v1/resumes``, ``/v1/standing``: what keepers say besides the policy.

Whoever is enrolled may carry such a statement here; the signatures in it decide.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from signwright.hub.service import Hub
from signwright.hub.web.views import base64_text, body_of, caller_of, hub_of, json_response
from signwright.hub.workflow.ports import Json, KeepersWord
from signwright.model.times import format_time


async def post_freshness(request: Request) -> Response:
    """A newer freshness statement; 409 for one that is not newer."""
    return await _post(request, "freshness")


async def post_halt(request: Request) -> Response:
    """A halt, signed by any one panic key: on its way to the gate when this answers."""
    return await _post(request, "halt")


async def post_resume(request: Request) -> Response:
    """The end of halts, signed by the threshold of policy keepers."""
    return await _post(request, "resume")


async def _post(request: Request, kind: str) -> Response:
    word = await hub_of(request).take_word(kind, body_of(request), who=caller_of(request).name)
    return json_response({"sha256": word.digest, "number": word.number}, status=201)


async def get_standing(request: Request) -> Response:
    """The newest freshness statement, open halts, resumes, a policy that waits, what the gate was said to say."""
    return json_response(standing_view(hub_of(request)))


def standing_view(hub: Hub) -> Json:
    """As `get_standing` answers."""
    standing, waiting = hub.standing, hub.waiting
    fresh = standing.freshness
    return {
        "policy_version": hub.policy.version,
        "freshness": _view(fresh) if fresh else None,
        "halts": [_view(halt) for halt in standing.halts(hub.policy.version)],
        "resumes": [_view(word) for word in standing.words if word.kind == "resume"],
        "waiting_policy": {
            "version": waiting.policy.version,
            "sha256": waiting.policy.sha256,
            "since": format_time(waiting.since),
            "delay_hours": hub.policy.organisation.weakening_delay_hours,
        }
        if waiting
        else None,
        "gate": hub.signer,
    }


def _view(word: KeepersWord) -> Json:
    return {"sha256": word.digest, "number": word.number, "envelope": base64_text(word.envelope)}
