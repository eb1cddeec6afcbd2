# SPDX-License-Identifier: Apache-2.0
"""The hub's own sweeper and clock: what a policy wants kept for some days is there until then, and gone after."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from signwright.errors import NotFoundError
from signwright.hub.background import Background
from signwright.hub.bootstrap import assemble
from signwright.hub.service import Hub
from signwright.hub.settings import HubSettings, load_settings
from signwright.policy import documents as d
from tests.support.hub import HubHome
from tests.support.world import World

DAYS = {"test": 3, "test-file": 4}


def keeping(days: dict[str, int]) -> World:
    """A world whose signing policies keep what they signed for so many days."""
    world = World(now=datetime.now(UTC).replace(microsecond=0))
    project = world.project()
    rules = {
        name: rule.model_copy(update={"retention_days": days[name]} if name in days else {})
        for name, rule in project.signing_policies.items()
    }
    return world.with_documents(projects_default=d.Project(**{**project.__dict__, "signing_policies": rules}))


@pytest.fixture
def ended(tmp_path: Path) -> tuple[HubSettings, dict[str, str], datetime]:
    """A stopped hub with one ended request under each policy: settings, ids, and the time of the last end."""
    home = HubHome(tmp_path, world=keeping(DAYS))
    ids = {}
    with home.running():
        caller = home.tester()
        for name in DAYS:
            content = f"contents for {name}".encode()
            request = home.world.request(name, files={f"{name}.bin": content})
            ids[name] = caller.post("/v1/requests", request.encode()).json()["id"]
            assert caller.put(content).status_code == 201
            assert caller.post(f"/v1/requests/{ids[name]}/cancel").status_code == 200
    return load_settings(tmp_path / "hub.json"), ids, datetime.now(UTC)


def held(hub: Hub, name: str) -> bool:
    try:
        with open(hub.store.open(hashlib.sha256(f"contents for {name}".encode()).hexdigest()), "rb") as file:
            return file.read() == f"contents for {name}".encode()
    except NotFoundError:
        return False


async def swept(settings: HubSettings, *, at: datetime, gone: str) -> dict[str, bool]:
    """Start the background tasks at a time and wait for what must go; which contents are left."""
    hub = assemble(settings, clock=lambda: at)
    background = Background(hub)
    try:
        before = {name: held(hub, name) for name in DAYS}
        assert before[gone]
        background.start()
        async with asyncio.timeout(20):
            while held(hub, gone):
                await asyncio.sleep(0.01)
        return {name: held(hub, name) for name in DAYS}
    finally:
        hub.wakeups.close()
        await background.stop()
        hub.threads.shutdown()
        await asyncio.to_thread(hub.database.close)


def test_contents_go_when_their_days_are_over_and_not_before(
    ended: tuple[HubSettings, dict[str, str], datetime],
) -> None:
    settings, _, end = ended
    almost = end + timedelta(days=4) - timedelta(minutes=5)
    assert asyncio.run(swept(settings, at=almost, gone="test")) == {"test": False, "test-file": True}
    assert asyncio.run(swept(settings, at=end + timedelta(days=4), gone="test-file")) == {
        "test": False,
        "test-file": False,
    }
