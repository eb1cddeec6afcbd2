# SPDX-License-Identifier: Apache-2.0
"""Digest mode, where the gate sees no content: one operation of a whole file, for approvers who saw its log."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from signwright.errors import DeniedError, LimitError, MalformedError
from signwright.signer.gate.derive import check_room
from signwright.signer.gate.verify import MAX_APPROVALS, MAX_EVIDENCE, check_digest_mode, open_job
from signwright.statements.models import Request, RequestedArtifact, SeenCheckpoint, parse_statement
from tests.support.gates import GateSite, digest_request
from tests.support.world import ORIGIN, World

CONTENT = b"any content"


def refused(site: GateSite, request: Any, approvals: Any = ()) -> str:
    async def scenario() -> str:
        async with site.run() as (_, courier):
            answer = await courier.sign(request, approvals=list(approvals))
            assert answer.message["outcome"] == "denied" or answer.message["outcome"] == "failed", answer.message
            return str(answer.message["code"])

    code = asyncio.run(scenario())
    assert site.keyholder.operations == 0
    return code


def test_two_operations_on_one_digest_are_refused(site: GateSite) -> None:
    operation = site.world.operation(CONTENT, "authenticode-pe")
    artifact = RequestedArtifact(size=len(CONTENT), format="pe", operations=(operation, operation))
    request = site.world.request("test", files={"a.exe": CONTENT}, artifacts=[artifact], mode="digest")
    assert refused(site, request) == "digest-mode"


def test_content_that_must_be_seen_and_is_not_there_is_refused_before_an_attempt(site: GateSite) -> None:
    """Nobody on the signer's side has the table of page hashes: it could say anything."""
    artifact = RequestedArtifact(
        size=len(CONTENT), format="pe", operations=(site.world.operation(CONTENT, "authenticode-pe-pages"),)
    )
    request = site.world.request("test", files={"a.exe": CONTENT}, artifacts=[artifact], mode="digest")
    assert refused(site, request) == "digest-mode"


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (SeenCheckpoint(origin="elsewhere", size=1, root="11" * 32), "wrong-origin"),
        (SeenCheckpoint(origin=ORIGIN, size=1000, root="11" * 32), "log-rollback"),
    ],
    ids=["another log", "a longer log"],
)
def test_approver_who_saw_another_log_stops_it(site: GateSite, seen: SeenCheckpoint, code: str) -> None:
    request = digest_request(site)
    word = site.world.approval(request, "alice", policy=site.policy, checkpoint=seen)
    assert refused(site, request, [word]) == code


@pytest.mark.parametrize(
    ("format_name", "changes"),
    [("nothing", {}), ("pe", {"inner_path": "lib/a.dll"})],
    ids=["unknown format", "part of a file"],
)
def test_what_is_not_one_whole_file_of_a_known_format_is_refused(format_name: str, changes: dict[str, str]) -> None:
    world = World()
    operation = world.operation(CONTENT, "authenticode-pe").model_copy(update=changes)
    artifact = RequestedArtifact(size=len(CONTENT), format=format_name, operations=(operation,))
    request = world.request("test", files={"a.exe": CONTENT}, artifacts=[artifact], mode="digest")
    with pytest.raises(DeniedError) as problem:
        check_digest_mode(parse_statement(request, Request))
    assert problem.value.code == "digest-mode"


def test_more_approvals_or_verdicts_than_anybody_needs_are_not_read() -> None:
    request = World().request("test").encode()
    assert not open_job(request, [b"x"] * MAX_APPROVALS, [b"x"] * MAX_EVIDENCE).approvals
    with pytest.raises(MalformedError, match="too many"):
        open_job(request, [b"x"] * (MAX_APPROVALS + 1), [])
    with pytest.raises(MalformedError, match="too many"):
        open_job(request, [], [b"x"] * (MAX_EVIDENCE + 1))


@pytest.mark.parametrize("contents", [[bytes(16 << 20), b"x"], [b""] * 257], ids=["bytes", "number"])
def test_more_content_than_an_order_carries_is_refused_before_an_attempt(contents: list[bytes]) -> None:
    check_room([bytes(8 << 20)] * 2)
    with pytest.raises(LimitError):
        check_room(contents)
