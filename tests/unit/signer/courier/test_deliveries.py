# SPDX-License-Identifier: Apache-2.0
"""Results that wait together go home together, and one that the hub refuses does not take the others along."""

from __future__ import annotations

import asyncio
import io
import json
import ssl
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.errors import ConflictError, UnavailableError
from signwright.model.framing import Frame, read_frame
from signwright.signer.courier.deliveries import Deliveries
from signwright.signer.courier.http import HttpClient
from signwright.signer.courier.hub import CarriedJob, Hub
from tests.support.small_hub import Call, Reply, small_hub

RESULT = Frame({"type": "result", "outcome": "signed"}, (b"receipt",))


def jobs(count: int) -> list[CarriedJob]:
    return [CarriedJob(f"r-{n}", n, 60, b"", (), ()) for n in range(count)]


def delivered(answer: Callable[[str], Reply], count: int) -> tuple[list[Call], list[object]]:
    """The calls that reached the hub, and what became of each result. ``answer``: from a path."""

    async def run(url: str) -> list[object]:
        async with HttpClient(tls=ssl.create_default_context(), base=url) as client:
            deliveries = Deliveries(Hub(client, Ed25519PrivateKey.generate()))
            waiting = [asyncio.create_task(deliveries.deliver(job, RESULT)) for job in jobs(count)]
            await asyncio.sleep(0)  # all of them wait before the first call begins
            running = asyncio.create_task(deliveries.run())
            outcomes: list[object] = list(await asyncio.gather(*waiting, return_exceptions=True))
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            return outcomes

    with small_hub(lambda call, _: answer(call.path)) as hub:
        return hub.calls, asyncio.run(run(hub.url))


def told(*status: int, name: str = "r-{}") -> Reply:
    rows = [{"id": name.format(number), "status": code} for number, code in enumerate(status)]
    return Reply(body=json.dumps({"results": rows}).encode())


def test_results_that_wait_together_are_one_call():
    calls, outcomes = delivered(lambda _: told(200, 200, 200, 200, 200), 5)
    assert [(call.method, call.path) for call in calls] == [("POST", "/v1/courier/results")]
    assert outcomes == [None] * 5
    frame = read_frame(io.BytesIO(calls[0].body).read)
    assert frame.message == {"results": [{"id": f"r-{n}", "fence": n} for n in range(5)]}
    assert [read_frame(io.BytesIO(part).read) for part in frame.parts] == [RESULT] * 5


def test_each_result_has_its_own_outcome():
    _, outcomes = delivered(lambda _: told(200, 409, 503), 3)
    assert outcomes[0] is None
    assert isinstance(outcomes[1], ConflictError)
    assert isinstance(outcomes[2], UnavailableError)


def test_hub_that_does_not_take_several_gets_them_one_by_one():
    calls, outcomes = delivered(lambda path: Reply(status=404) if path == "/v1/courier/results" else Reply(), 3)
    alone = [(call.method, call.path) for call in calls[1:]]
    assert sorted(alone) == [("PUT", f"/v1/courier/results/r-{n}?fence={n}") for n in range(3)]
    assert outcomes == [None] * 3


def test_answer_about_other_results_is_no_success():
    _, outcomes = delivered(lambda _: told(200, 200, name="r-other-{}"), 2)
    assert all(isinstance(outcome, UnavailableError) for outcome in outcomes)


def test_result_that_waits_when_the_courier_stops_is_not_taken_for_delivered():
    async def run() -> object:
        async with HttpClient(tls=ssl.create_default_context(), base="http://127.0.0.1:9") as client:
            deliveries = Deliveries(Hub(client, Ed25519PrivateKey.generate()))
            running = asyncio.create_task(deliveries.run())
            await asyncio.sleep(0)
            waiting = asyncio.create_task(deliveries.deliver(jobs(1)[0], RESULT))
            await asyncio.sleep(0)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            return (await asyncio.gather(waiting, return_exceptions=True))[0]

    assert isinstance(asyncio.run(run()), UnavailableError)


def test_result_waits_a_moment_for_those_of_other_jobs_under_way():
    async def run(url: str) -> None:
        async with HttpClient(tls=ssl.create_default_context(), base=url) as client:
            deliveries = Deliveries(Hub(client, Ed25519PrivateKey.generate()), under_way=lambda: 2)
            running = asyncio.create_task(deliveries.run())
            waiting = []
            for job in jobs(2):
                waiting.append(asyncio.create_task(deliveries.deliver(job, RESULT)))
                for _ in range(5):
                    await asyncio.sleep(0)
            await asyncio.gather(*waiting)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    with small_hub(lambda *_: told(200, 200)) as hub:
        asyncio.run(run(hub.url))
        assert [(call.method, call.path) for call in hub.calls] == [("POST", "/v1/courier/results")]
