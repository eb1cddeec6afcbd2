# SPDX-License-Identifier: Apache-2.0
"""Policies that keepers signed and this gate may not follow."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.policy import documents as d
from signwright.signer.gate.bootstrap import create
from signwright.transparency.note import ED25519 as NOTE_ED25519
from signwright.transparency.note import VerifierKey
from tests.support.gates import CountingKeyholder, GateSite
from tests.support.gates import organisation as world_of_now
from tests.support.roots import Keepers
from tests.support.world import ORIGIN, World


def organisation(site: GateSite, **changes: Any) -> None:
    own = site.world.documents()["organisation"]
    site.world.overrides["organisation"] = own.model_copy(update=changes)


def services(site: GateSite, **changes: Any) -> None:
    own = site.world.services()
    site.world.overrides["services"] = own.model_copy(update=changes)


@pytest.mark.parametrize(
    ("profile", "change", "code"),
    [
        (1, lambda site: organisation(site, freshness_hours=48), "profile-freshness"),
        (1, lambda site: services(site, quorum=d.Quorum(outside=0, local=1, window_minutes=60)), "profile-window"),
    ],
    ids=["freshness", "window"],
)
def test_policy_that_the_profile_does_not_allow_is_refused_before_it_is_logged(
    tmp_path: Path, profile: int, change: Any, code: str
) -> None:
    site = GateSite(tmp_path, settings_changes={"profile": profile})
    site.keyholder = CountingKeyholder(site.world, site.root_sha256, profile=profile, now=site.now)

    async def scenario() -> None:
        async with site.run() as (gate, courier):
            size = gate.parts.log.size
            change(site)
            refused = await courier.policy(site.world.policy_parts())
            assert (refused.message["ok"], refused.message["code"]) == (False, code)
            assert gate.parts.policies.in_force.policy.version == 1
            assert gate.parts.policies.waiting is None
            assert gate.parts.log.size == size

    try:
        asyncio.run(scenario())
    finally:
        site.close()


def test_policy_that_waits_has_no_twin_and_no_older_one_after_it(tmp_path: Path) -> None:
    """While it waits for its time, nothing else of its version is logged in its place."""
    world = world_of_now()
    world.overrides["organisation"] = world.documents()["organisation"].model_copy(update={"live": True})
    site = GateSite(tmp_path, world)

    async def scenario() -> None:
        async with site.run() as (gate, courier):
            older = site.world.policy_parts()
            organisation(site, freshness_hours=48)
            taken = await courier.policy(site.world.policy_parts())
            assert (taken.message["ok"], taken.message["version"]) == (True, 3), taken.message
            waiting = gate.parts.policies.waiting
            assert waiting is not None
            size = gate.parts.log.size
            site.world.version -= 1
            twin = await courier.policy(site.world.policy_parts(expires=site.world.now + timedelta(days=20)))
            assert (twin.message["ok"], twin.message["code"]) == (False, "policy-fork")
            back = await courier.policy(older)
            assert (back.message["ok"], back.message["code"]) == (False, "policy-rollback")
            assert gate.parts.policies.waiting is waiting
            assert gate.parts.policies.in_force.policy.version == 1
            assert gate.parts.log.size == size

    try:
        asyncio.run(scenario())
    finally:
        site.close()


def test_policy_under_an_older_root_is_refused_before_it_is_logged(tmp_path: Path) -> None:
    """Whoever has the keys of the first root alone makes no policy after the second."""
    keepers = Keepers(world_of_now())
    site = GateSite(tmp_path, keepers.world, create_state=False)
    site.root_sha256 = keepers.pinned
    site.keyholder = CountingKeyholder(keepers.world, keepers.pinned, now=site.now)
    create(site.settings, root_sha256=keepers.pinned)
    offers = [keepers.first(), keepers.second()]
    stolen = keepers.policy(keepers.genesis, keepers.root(1, ("anna",)), "anna", version=3)

    async def scenario() -> None:
        async with site.run(policy=False) as (gate, courier):
            for offer in offers:
                taken = await courier.policy((offer.root, offer.policy, offer.documents, ""))
                assert taken.message["ok"], taken.message
            size = gate.parts.log.size
            refused = await courier.policy((stolen.root, stolen.policy, stolen.documents, ""))
            assert (refused.message["ok"], refused.message["code"]) == (False, "root-rollback")
            assert gate.parts.log.size == size
            assert gate.parts.policies.in_force.policy.version == 2

    try:
        asyncio.run(scenario())
    finally:
        site.close()


def another_gate(world: World) -> None:
    world.gate = Ed25519PrivateKey.generate()


def other_receipts(world: World) -> None:
    world.receipts = Ed25519PrivateKey.generate()


def another_log_key(world: World) -> None:
    raw = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    world.log_key = str(VerifierKey(ORIGIN, NOTE_ED25519, raw))


def another_log(world: World) -> None:
    raw = world.log_private.public_key().public_bytes_raw()
    own = world.services()
    log = d.LogIdentity(origin="another.test/log", key=str(VerifierKey("another.test/log", NOTE_ED25519, raw)))
    world.overrides["services"] = own.model_copy(update={"log": log})


def another_name_in_the_key(world: World) -> None:
    own = world.services()
    raw = world.log_private.public_key().public_bytes_raw()
    log = d.LogIdentity(origin=ORIGIN, key=str(VerifierKey("another.test/log", NOTE_ED25519, raw)))
    world.overrides["services"] = own.model_copy(update={"log": log})


@pytest.mark.parametrize(
    "change", [another_gate, other_receipts, another_log_key, another_log, another_name_in_the_key]
)
def test_policy_of_another_signer_is_refused_before_it_is_logged(site: GateSite, change: Any) -> None:
    change(site.world)
    parts = site.world.policy_parts()

    async def scenario() -> None:
        async with site.run() as (gate, courier):
            size = gate.parts.log.size
            refused = await courier.policy(parts)
            assert (refused.message["ok"], refused.message["code"]) == (False, "other-signer")
            assert gate.parts.log.size == size

    asyncio.run(scenario())
