# SPDX-License-Identifier: Apache-2.0
"""A courier that asks for more than the gate does at once."""

from __future__ import annotations

import asyncio

from signwright.model.framing import encode_frame
from tests.support.gates import GateSite, digest_request

LIMIT, ASKED = 4, 60


def test_burst_of_requests_meets_the_limit_and_signs_nothing_beyond_it(site: GateSite) -> None:
    """All in one piece, so that the gate reads them without ever waiting."""
    limits = site.settings.limits.model_copy(update={"requests": LIMIT})
    site.settings = site.settings.model_copy(update={"limits": limits})
    requests = [digest_request(site, b"content %d" % number).encode() for number in range(ASKED)]

    async def scenario() -> None:
        async with site.run() as (_, courier):
            replies = {1000 + n: asyncio.get_running_loop().create_future() for n in range(ASKED)}
            courier._replies.update(replies)
            sign = {"type": "sign", "request": 0, "approvals": [], "evidence": []}
            frames = [encode_frame({**sign, "id": 1000 + n}, [request]) for n, request in enumerate(requests)]
            courier.channel.writer.write(b"".join(frames))
            await courier.channel.writer.drain()
            async with asyncio.timeout(60):
                answers = [(await reply).message for reply in replies.values()]
            codes = [answer.get("code") for answer in answers]
            assert codes.count("busy") >= ASKED // 2, codes
            assert site.keyholder.operations == sum(answer["outcome"] == "signed" for answer in answers) > 0

    asyncio.run(scenario())
