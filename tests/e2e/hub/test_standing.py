# SPDX-License-Identifier: Apache-2.0
"""Keepers' words at the hub: who may bring them, what it refuses, what it keeps, whom it wakes, what it forecasts."""

from __future__ import annotations

import base64
import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.hub.policies import write_bundle
from signwright.model.times import format_time
from signwright.policy import documents as d
from signwright.policy.policy import open_policy
from signwright.statements.dsse import Envelope, statement_digest
from signwright.statements.models import Halt, Resume, Strict
from signwright.statements.writing import statement_payload
from tests.support.hub import Caller, Courier, HubHome
from tests.support.world import key_id, sign_ssh


@pytest.fixture
def home(tmp_path):
    with HubHome(tmp_path, limits={"wait_seconds": 60}).running() as running:
        yield running


def signed(home: HubHome, statement: Strict, name: str, *, key: Ed25519PrivateKey | None = None) -> Envelope:
    payload = statement_payload(statement, [("policy-root", home.pinned)])
    return sign_ssh(payload, key or home.world.keeper, name)


def halt(home: HubHome, reason: str = "drill", **how: Any) -> Envelope:
    now = format_time(datetime.now(UTC))
    return signed(home, Halt(reason=reason, nonce=secrets.token_hex(16), created=now), "halt", **how)


def resume(home: HubHome, version: int, *halts: Envelope, **how: Any) -> Envelope:
    digests = tuple(statement_digest("halt", one) for one in halts)
    now = format_time(datetime.now(UTC))
    return signed(home, Resume(halts=digests, policy_version=version, reason="over", created=now), "resume", **how)


def post(caller: Caller, kind: str, envelope: Envelope) -> httpx.Response:
    path = {"freshness": "/v1/freshness", "halt": "/v1/halts", "resume": "/v1/resumes"}[kind]
    return caller.post(path, envelope.encode())


def standing(home: HubHome) -> Any:
    return home.tester().get("/v1/standing").json()


def words(courier: Courier, **asked: Any) -> Any:
    """What a poll of a courier that carries words brings of them."""
    body = {"max": 0, "wait": 0, "policy_sha256": None, "words_sha256": None, **asked}
    answer = courier.post("/v1/courier/poll", body)
    assert answer.status_code == 200, answer.text
    return answer.json().get("words")


def kinds(found: Any) -> list[str]:
    return [row["kind"] for row in found["envelopes"]]


def next_policy(home: HubHome, **organisation: Any) -> tuple[bytes, int]:
    """The next signed version, with other settings of the organisation."""
    before = home.world.documents()["organisation"]
    home.world.with_documents(organisation=before.model_copy(update=organisation))
    root, index, documents, pinned = home.world.policy_parts()
    policy = open_policy(root, index, documents, pinned_root_sha256=pinned)
    return write_bundle(policy, root.encode(), index.encode(), documents), policy.version


def reasons(home: HubHome, reference: str) -> set[str]:
    return {row["rule"] for row in home.releaser().view(reference)["reasons"] if row["effect"] == "await"}


def test_freshness_of_the_policy_folder_is_taken_up_and_a_newer_one_replaces_it(home):
    assert standing(home)["freshness"]["number"] == 1
    second = home.world.freshness(2, root_sha256=home.pinned)
    assert post(home.tester(), "freshness", second).status_code == 201
    assert post(home.tester(), "freshness", second).status_code == 201  # the same again changes nothing
    shown = standing(home)["freshness"]
    assert (shown["number"], base64.b64decode(shown["envelope"])) == (2, second.encode())
    older = post(home.tester(), "freshness", home.world.freshness(1, root_sha256=home.pinned))
    assert (older.status_code, older.json()["code"]) == (409, "freshness-old")
    another = home.world.freshness(2, root_sha256=home.pinned, minimum_policy_version=2)
    assert post(home.tester(), "freshness", another).json()["code"] == "freshness-old"


def test_words_of_strangers_and_for_other_roots_are_refused(home):
    stranger = Ed25519PrivateKey.generate()
    for kind, envelope in (
        ("halt", halt(home, key=stranger)),
        ("resume", resume(home, 2, halt(home), key=stranger)),
        ("freshness", home.world.freshness(5, root_sha256=home.pinned, key=stranger)),
    ):
        answer = post(home.tester(), kind, envelope)
        assert (answer.status_code, answer.json()["code"]) == (422, "too-few-keepers"), kind
    other_root = home.world.freshness(5, root_sha256="00" * 32)
    assert post(home.tester(), "freshness", other_root).json()["code"] == "unknown-policy-root"
    assert post(home.tester(), "halt", home.world.freshness(5, root_sha256=home.pinned)).status_code == 400
    assert standing(home)["halts"] == []
    assert standing(home)["freshness"]["number"] == 1


def test_nobody_who_is_not_enrolled_may_bring_words(home):
    nobody = Caller(home.url, Ed25519PrivateKey.generate())
    assert post(nobody, "halt", halt(home)).status_code == 401
    assert post(home.courier(), "halt", halt(home)).status_code == 403
    assert post(home.person("alice"), "halt", halt(home)).status_code == 201


@pytest.mark.parametrize("most", [0, 1])
def test_halt_wakes_a_courier_that_waits(home, most):
    """The poll would wait longer than its caller does: only being woken answers it in time."""
    courier = home.courier()
    known = words(courier)["sha256"]
    courier.poll()  # takes the head of the events
    asked = {"max": most, "wait": 60, "words_sha256": known, "policy_sha256": home.policy.sha256}
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(words, courier, **asked)
        assert post(home.tester(), "halt", halt(home)).status_code == 201
        assert kinds(waiting.result()) == ["freshness", "halt"]


def test_courier_that_has_every_word_gets_none_again_and_one_that_carries_none_gets_none(home):
    courier = home.courier()
    assert post(home.tester(), "resume", resume(home, 2, halt(home))).status_code == 201
    assert post(home.tester(), "halt", halt(home)).status_code == 201
    found = words(courier)
    assert kinds(found) == ["freshness", "halt", "resume"]
    assert words(courier, words_sha256=found["sha256"]) is None
    assert "words" not in courier.poll()


def test_restarted_hub_keeps_words(home):
    open_halt = halt(home, "a key was copied")
    ended = halt(home)
    post(home.tester(), "halt", open_halt)
    post(home.tester(), "halt", ended)
    post(home.tester(), "resume", resume(home, 2, ended))
    post(home.tester(), "freshness", home.world.freshness(7, root_sha256=home.pinned, revoked_people=("bob",)))
    before, carried = standing(home), words(home.courier())
    home.kill()
    home.start()
    assert standing(home) == before
    assert words(home.courier()) == carried
    with pytest.raises(AssertionError, match="revoked"):
        home.person("bob")


def test_halt_holds_every_request_until_its_resume_and_a_newer_policy(home):
    first = halt(home)
    request = home.tester().post("/v1/requests", home.world.request("test", mode="digest").encode()).json()
    assert request["state"] == "authorized"
    post(home.tester(), "halt", first)
    assert home.tester().view(request["id"])["state"] == "awaiting-approval"
    assert [row["rule"] for row in home.tester().view(request["id"])["reasons"]] == ["halted"]
    assert home.courier().poll()["jobs"] == []
    post(home.tester(), "resume", resume(home, 2, first))
    assert home.tester().view(request["id"])["state"] == "awaiting-approval"
    bundle, _ = next_policy(home)
    assert home.tester().post("/v1/policy", bundle).status_code == 201
    assert home.tester().view(request["id"])["state"] == "authorized"
    assert standing(home)["halts"] == []


def test_halt_that_comes_after_its_own_resume_halts_nothing(home):
    """It went to the gate's socket, and somebody carries a copy of it to the hub when all is over."""
    late = halt(home)
    post(home.tester(), "resume", resume(home, 2, late))
    bundle, _ = next_policy(home)
    home.tester().post("/v1/policy", bundle)
    post(home.tester(), "halt", late)
    assert standing(home)["halts"] == []
    home.kill()
    home.start()
    assert standing(home)["halts"] == []


def test_revoked_person_and_credential_are_refused_at_the_door(home):
    alice, releaser = home.person("alice"), home.releaser()
    assert alice.get("/v1/policy").status_code == releaser.get("/v1/policy").status_code == 200
    gone = key_id(home.world.release_credential)
    fresh = home.world.freshness(2, root_sha256=home.pinned, revoked_people=("alice",), revoked_credentials=(gone,))
    post(home.tester(), "freshness", fresh)
    for caller in (alice, releaser):
        answer = caller.get("/v1/policy")
        assert (answer.status_code, answer.json()["code"]) == (401, "revoked")
    post(home.tester(), "freshness", home.world.freshness(3, root_sha256=home.pinned))
    assert alice.get("/v1/policy").status_code == releaser.get("/v1/policy").status_code == 200


def test_release_without_a_fresh_statement_is_forecast_to_wait(home):
    old = format_time(datetime.now(UTC) - timedelta(days=9))
    stale = home.world.freshness(2, root_sha256=home.pinned, created=old, expires=old)
    post(home.tester(), "freshness", stale)
    request = home.releaser().post("/v1/requests", home.world.request("release").encode()).json()
    assert "freshness" in {row["rule"] for row in request["reasons"]}
    post(home.tester(), "freshness", home.world.freshness(3, root_sha256=home.pinned))
    assert "freshness" not in reasons(home, request["id"])


def live(home: HubHome) -> d.Organisation:
    bundle, version = next_policy(home, live=True)
    assert home.tester().post("/v1/policy", bundle).json()["version"] == version
    found = home.world.documents()["organisation"]
    assert isinstance(found, d.Organisation)
    return found


def test_weaker_policy_of_a_live_organisation_waits_until_the_signer_has_it_in_force(home):
    minimums = live(home).release
    bundle, version = next_policy(home, release=minimums.model_copy(update={"approvals": 1}))
    assert home.tester().post("/v1/policy", bundle).status_code == 201
    in_force = home.tester().get("/v1/policy").json()
    assert in_force["version"] == version - 1
    waiting = standing(home)["waiting_policy"]
    assert (waiting["version"], waiting["delay_hours"]) == (version, 24)

    courier = home.courier()
    assert courier.poll(policy=None)["policy"]["version"] == version - 1
    assert courier.poll(policy=in_force["sha256"])["policy"]["version"] == version
    assert courier.poll(policy=waiting["sha256"])["policy"] is None

    home.kill()
    home.start()
    assert home.tester().get("/v1/policy").json()["version"] == version - 1
    assert standing(home)["waiting_policy"] == waiting

    said = {"policy_version": version - 1, "waiting_policy": version, "freshness": 1, "halts": []}
    words(courier := home.courier(), signer=said)
    assert home.tester().get("/v1/policy").json()["version"] == version - 1
    words(courier, signer={**said, "policy_version": version, "waiting_policy": None})
    assert home.tester().get("/v1/policy").json()["version"] == version
    assert standing(home)["waiting_policy"] is None
    home.kill()
    home.start()
    assert home.tester().get("/v1/policy").json()["version"] == version


def test_policy_that_does_not_weaken_takes_the_place_of_one_that_waits(home):
    minimums = live(home).release
    weaker, _ = next_policy(home, release=minimums.model_copy(update={"approvals": 1}))
    home.tester().post("/v1/policy", weaker)
    better, version = next_policy(home, release=minimums)
    assert home.tester().post("/v1/policy", better).status_code == 201
    assert home.tester().get("/v1/policy").json()["version"] == version
    assert standing(home)["waiting_policy"] is None
    assert home.tester().post("/v1/policy", weaker).json()["code"] == "policy-version"
    home.kill()
    home.start()
    assert home.tester().get("/v1/policy").json()["version"] == version
    assert standing(home)["waiting_policy"] is None


def test_flood_of_halts_by_one_key_leaves_room_for_others(home):
    caller = home.tester()
    answers = [post(caller, "halt", halt(home, f"drill {number}")) for number in range(12)]
    assert answers[0].status_code == 201
    refused = [answer for answer in answers if answer.status_code != 201]
    assert {answer.json()["code"] for answer in refused} == {"halted-enough"}
    taken = [answer.json()["sha256"] for answer in answers if answer.status_code == 201]
    assert sorted(row["sha256"] for row in standing(home)["halts"]) == sorted(taken)
    assert len(taken) < 12
