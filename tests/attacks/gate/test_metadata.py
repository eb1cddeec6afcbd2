# SPDX-License-Identifier: Apache-2.0
"""A hub, and approvers who did not look: the gate itself compares what an artifact says of itself with the policy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from signwright.policy import documents as d
from signwright.signer.worker.pool import WorkerPool
from tests.support.gates import GateSite, Release, organisation, pe_artifact, pe_program
from tests.support.pe_builder import version_resource

OURS = {"CompanyName": "Example Ltd", "ProductName": "Example Tool"}


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[GateSite]:
    """Releases are of one company."""
    world = organisation()
    project = world.documents()["projects/default"]
    assert isinstance(project, d.Project)
    rule = d.ArtifactRule(name="*", format="pe", metadata={"company_name": ("Example Ltd",)})
    rules = dict(project.signing_policies)
    rules["test"] = rules["test"].model_copy(update={"modes": ("artifact",)})
    changed = project.model_copy(
        update={
            "artifact_configurations": {
                **project.artifact_configurations,
                "programs": d.ArtifactConfiguration(rules=(rule,)),
            },
            "signing_policies": rules,
        }
    )
    site = GateSite(tmp_path, world=world.with_documents(projects_default=changed))
    yield site
    site.close()


def outcome_of(site: GateSite, pool: WorkerPool, content: bytes) -> tuple[object, object]:
    async def scenario() -> tuple[object, object]:
        async with site.run(pool) as (_, courier):
            release = Release(site, courier, content=content)
            request = release.make_request(artifacts=[pe_artifact(content)])
            words = [release.approval(person, request=request) for person in ("alice", "bob")]
            answer = await release.sign(request=request, approvals=words)
            return answer.message["outcome"], answer.message["code"]

    return asyncio.run(scenario())


def test_program_of_the_company_is_signed(limited: GateSite, pool: WorkerPool) -> None:
    assert outcome_of(limited, pool, pe_program(resource=version_resource(OURS)))[0] == "signed"
    assert limited.keyholder.operations == 1


@pytest.mark.parametrize(
    "strings",
    [
        {**OURS, "CompanyName": "Other Ltd"},
        {"ProductName": "Example Tool"},
        {**OURS, "CompanyName": "Example\u202eLtd"},
    ],
    ids=["another", "none", "unreadable"],
)
def test_approved_program_of_somebody_else_uses_no_key(
    limited: GateSite, pool: WorkerPool, strings: dict[str, str]
) -> None:
    assert outcome_of(limited, pool, pe_program(resource=version_resource(strings))) == ("denied", "metadata")
    assert limited.keyholder.operations == 0
