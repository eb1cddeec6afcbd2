# SPDX-License-Identifier: Apache-2.0
"""Across the gap and back: how many trips a release takes, and that bundles which come twice or late sign nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from signwright.signer.courier.media import index
from tests.support.bundles import sha256
from tests.support.vaults import Release, result_of

if TYPE_CHECKING:
    from tests.attacks.media.conftest import Running

pytestmark = pytest.mark.attacks


def test_two_round_trips_bring_several_releases_back(running: Running) -> None:
    async def story() -> None:
        site = running.site
        before = site.operations
        releases = [Release(site), Release(site)]
        made, blobs = await site.round_trip(*releases)
        assert [result_of(release, made, blobs) for release in releases] == [None, None]
        assert {row.state for row in made.held} == {"logging"}
        assert site.operations == before
        made, blobs = await site.round_trip(*releases)
        answers = [result_of(release, made, blobs) for release in releases]
        assert [answer and answer.message["outcome"] for answer in answers] == ["signed", "signed"], answers
        assert site.operations == before + 2

    running.do(story())


def test_a_bundle_that_comes_again_is_answered_with_the_same_result(running: Running) -> None:
    async def story() -> None:
        site = running.site
        before = site.operations
        release = Release(site)
        first = site.honest(release)
        await site.carry_in(first)
        await site.carry_in(first)
        site.cosign(*await site.carry_out())
        second = site.honest(release)
        await site.carry_in(second)
        one = result_of(release, *await site.carry_out())
        await site.carry_in(second)
        await site.carry_in(first)  # older than what came before
        two = result_of(release, *await site.carry_out())
        assert one is not None
        assert one == two
        assert one.message["outcome"] == "signed"
        assert site.operations == before + 1

    running.do(story())


def test_a_medium_that_was_lost_is_made_again(running: Running) -> None:
    async def story() -> None:
        site = running.site
        before = site.operations
        release = Release(site)
        await site.carry_in(site.honest(release))
        await site.carry_out()  # lost on its way
        site.cosign(*await site.carry_out())
        made, blobs = await site.round_trip(release)
        assert result_of(release, made, blobs) is not None
        again, contents = await site.carry_out()  # the results were lost too
        assert result_of(release, again, contents) == result_of(release, made, blobs)
        assert site.operations == before + 1

    running.do(story())


def test_what_is_over_outside_is_carried_no_more(running: Running) -> None:
    async def story() -> None:
        site = running.site
        release = Release(site)
        await site.round_trip(release)
        await site.round_trip(release)
        await site.carry_in(site.honest())  # nothing is open there any more
        made, _ = await site.carry_out()
        assert release.job.request not in {row.request for row in (*made.results, *made.held)}
        assert sha256(release.content) not in {path.name for path in (site.folder / "media/blobs").iterdir()}

    running.do(story())


def test_a_request_without_its_approvals_goes_back_to_the_hub(running: Running) -> None:
    async def story() -> None:
        site = running.site
        before = site.operations
        release = Release(site, people=("alice",))
        made, blobs = await site.round_trip(release)
        answer = result_of(release, made, blobs)
        assert answer is not None
        assert answer.message["outcome"] == "waiting"
        assert release.job.request not in {row.request for row in made.held}
        release.approvals.append(release.approval("bob"))
        await site.round_trip(release)
        made, blobs = await site.round_trip(release)
        answer = result_of(release, made, blobs)
        assert answer is not None
        assert answer.message["outcome"] == "signed"
        assert site.operations == before + 1

    running.do(story())


def test_a_question_of_today_is_the_only_one_that_goes_out(running: Running) -> None:
    """Witnesses see trees in order: of all that the gate asks, the largest is carried."""

    async def story() -> None:
        site = running.site
        await site.carry_in(site.honest(Release(site)))
        await site.carry_in(site.honest(Release(site)))
        made, blobs = await site.carry_out()
        asked = [row for row in made.questions if row.kind == "cosign"]
        assert len(asked) == 1
        assert isinstance(made, index.VaultIndex)
        site.cosign(made, blobs)
        await site.carry_in(site.honest())
        made, _ = await site.carry_out()
        assert made.signer is not None
        assert made.signer.policy_version == site.policy.version

    running.do(story())
