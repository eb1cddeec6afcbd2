# SPDX-License-Identifier: Apache-2.0
"""A request from its submission to its result, against a real hub process."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from signwright.model.framing import encode_frame
from signwright.model.times import format_time
from signwright.statements.models import Request, parse_statement
from signwright.statements.writing import sign_ed25519
from tests.support.hub import HubHome


def digest_request(hub: HubHome, **changes):
    return hub.world.request("test", mode="digest", **changes)


def drain(hub: HubHome) -> None:
    """End every request that waits for the signer."""
    courier = hub.courier()
    while jobs := courier.poll(policy=hub.policy.sha256)["jobs"]:
        for job in jobs:
            courier.result(job["id"], fence=job["fence"], outcome="failed")


def submit(hub: HubHome, envelope=None, **headers):
    answer = hub.tester().post("/v1/requests", (envelope or digest_request(hub)).encode(), **headers)
    assert answer.status_code == 202, answer.text
    return answer.json()


def test_digest_request_goes_to_the_signer_and_comes_back(hub):
    drain(hub)
    view = submit(hub)
    assert view["state"] == "authorized"
    (job,) = hub.courier().poll()["jobs"]
    assert job["id"] == view["id"]
    assert hub.tester().view(view["id"])["state"] == "signing"
    assert hub.courier().result(job["id"], fence=job["fence"]).json()["state"] == "completed"
    done = hub.tester().view(view["id"], "?include=results")
    assert [row["state"] for row in done["history"]] == ["submitted", "authorized", "signing", "completed"]
    assert done["results"][0]["receipt"]
    path = f"/v1/requests/{view['id']}/results/0"
    assert hub.tester().get(path + "/receipt").content == b"receipt 0"
    assert hub.tester().get(path + "/envelopes/0").content == b"envelope 0"
    assert hub.tester().get(path + "/patch").json()["code"] == "no-such-result"
    assert hub.tester().view(view["request_sha256"])["id"] == view["id"]


def test_waiting_submitter_and_waiting_courier_are_woken(hub):
    drain(hub)
    courier = hub.courier()
    answers = []

    def serve() -> None:
        (job,) = courier.poll(wait=20, policy=hub.policy.sha256)["jobs"]
        answers.append(courier.result(job["id"], fence=job["fence"]))

    thread = threading.Thread(target=serve)
    thread.start()
    answer = hub.tester().post("/v1/requests?wait=20&include=results", digest_request(hub).encode())
    thread.join()
    assert (answer.status_code, answer.json()["state"]) == (200, "completed")
    assert answer.json()["results"][0]["envelopes"]
    assert answers[0].status_code == 200


def test_release_waits_for_two_people(hub):
    drain(hub)
    content = b"MZ release"
    answer = hub.releaser().post("/v1/requests", hub.world.request("release", files={"a.exe": content}).encode()).json()
    assert (answer["state"], len(answer["missing"])) == ("uploading", 1)
    assert hub.releaser().put(content).status_code == 201
    assert hub.approve(answer["id"], "alice").status_code == 201
    view = hub.approve(answer["id"], "bob").json()
    assert [row["person"] for row in view["approvals"]] == ["alice", "bob"]
    assert view["state"] == "scanning"  # approvals do not stand for a verdict
    assert [reason["rule"] for reason in view["reasons"]] == ["scan"]


def test_same_word_twice_counts_once(hub):
    answer = hub.releaser().post("/v1/requests", hub.world.request("release").encode()).json()
    hub.approve(answer["id"], "alice")
    view = hub.approve(answer["id"], "alice").json()
    (reason,) = [r for r in view["reasons"] if r["rule"] == "approvals"]
    assert reason["found"].startswith("1 of 2")


def test_a_persons_no_ends_the_request(hub):
    answer = hub.releaser().post("/v1/requests", hub.world.request("release").encode()).json()
    assert hub.approve(answer["id"], "bob", decision="deny").json()["state"] == "rejected"
    late = hub.approve(answer["id"], "alice")
    assert (late.status_code, late.json()["code"]) == (409, "wrong-state")


def test_cancel_before_the_signer_has_it_and_not_after(hub):
    drain(hub)
    first = submit(hub)
    assert hub.tester().post(f"/v1/requests/{first['id']}/cancel").json()["state"] == "canceled"
    assert hub.courier().poll()["jobs"] == []
    second = submit(hub)
    assert len(hub.courier().poll()["jobs"]) == 1
    refused = hub.tester().post(f"/v1/requests/{second['id']}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "already-signing")


def test_denial_lists_every_reason(hub):
    envelope = hub.world.request("release", mode="digest", key=hub.world.test_credential, format_name="raw")
    view = submit(hub, envelope)
    assert view["state"] == "denied"
    rules = {reason["rule"] for reason in view["reasons"]}
    assert {"submitter", "submitter-kind", "mode", "artifact", "key-family"} <= rules
    assert all(reason["found"] and reason["wanted"] and reason["who"] for reason in view["reasons"])


@pytest.mark.parametrize(("project", "policy"), [("nowhere", "test"), ("default", "nothing")])
def test_unknown_project_or_policy_is_denied(hub, project, policy):
    key = hub.world.test_credential
    view = submit(hub, hub.world.request(policy, mode="digest", project=project, key=key))
    assert (view["state"], view["reasons"][0]["rule"]) == ("denied", "signing-policy")


def test_unknown_option_is_denied(hub):
    from signwright.statements.models import RequestedArtifact

    artifact = RequestedArtifact(size=8, format="pe", options={"colour": "red"}, operations=(hub.world.operation(),))
    view = submit(hub, digest_request(hub, artifacts=[artifact]))
    assert [r["rule"] for r in view["reasons"]] == ["option"]


def test_expired_request_is_refused_with_its_reason(hub):
    now = hub.world.now
    old = digest_request(
        hub, created=format_time(now - timedelta(hours=3)), expires=format_time(now - timedelta(hours=1))
    )
    view = submit(hub, old)
    assert (view["state"], view["reasons"][0]["rule"]) == ("expired", "request-expired")


def test_request_of_a_clock_that_runs_ahead_is_denied(hub):
    ahead = hub.world.now + timedelta(minutes=10)
    view = submit(hub, digest_request(hub, created=format_time(ahead), expires=format_time(ahead + timedelta(hours=1))))
    assert (view["state"], view["reasons"][0]["rule"]) == ("denied", "request-time")


def test_same_statement_again_is_the_same_request(hub):
    envelope = digest_request(hub)
    assert submit(hub, envelope)["id"] == submit(hub, envelope)["id"]
    drain(hub)


def test_idempotency_key_answers_with_the_earlier_request(hub):
    first = submit(hub, idempotency_key="job-1")
    assert submit(hub, idempotency_key="job-1")["id"] == first["id"]
    assert submit(hub, idempotency_key="job-2")["id"] != first["id"]
    other = digest_request(hub, files={"other.exe": b"artifact"})
    refused = hub.tester().post("/v1/requests", other.encode(), idempotency_key="job-1")
    assert (refused.status_code, refused.json()["code"]) == (409, "idempotency-key-reused")


def test_idempotency_key_starts_anew_after_a_bad_end(hub):
    first = submit(hub, idempotency_key="job-3")
    hub.tester().post(f"/v1/requests/{first['id']}/cancel")
    again = submit(hub, idempotency_key="job-3")
    assert again["id"] != first["id"]
    assert submit(hub, idempotency_key="job-3")["id"] == again["id"]


def test_submitter_must_be_the_signer_of_the_request(hub):
    stolen = hub.world.request("release")
    answer = hub.tester().post("/v1/requests", stolen.encode())
    assert (answer.status_code, answer.json()["code"]) == (401, "not-the-submitter")


def test_others_requests_do_not_exist(hub):
    view = submit(hub)
    for target in ("", "/evidence", "/artifacts/0", "/results/0/receipt"):
        answer = hub.releaser().get(f"/v1/requests/{view['id']}{target}")
        assert (answer.status_code, answer.json()["code"]) == (404, "no-such-request")
    assert hub.releaser().post(f"/v1/requests/{view['id']}/cancel").status_code == 404
    assert view["id"] not in hub.releaser().get("/v1/requests").text
    assert view["id"] in hub.person("carol").get("/v1/requests?limit=500").text


def test_statement_of_another_credential_signed_anew_shows_nothing_of_its_request(hub):
    """Receipts carry the request: whoever has one could sign the same statement and ask for it."""
    envelope = digest_request(hub)
    view = submit(hub, envelope)
    copied = sign_ed25519(envelope.payload, hub.world.release_credential)
    for target in ("/v1/requests", "/v1/requests?wait=1&include=results"):
        answer = hub.releaser().post(target, copied.encode())
        assert (answer.status_code, answer.json()["code"]) == (401, "not-the-submitter")
        assert view["id"] not in answer.text
    drain(hub)


def test_two_couriers_never_hold_the_same_job(hub):
    drain(hub)
    wanted = {submit(hub)["id"] for _ in range(12)}
    taken: list[str] = []

    def take() -> None:
        courier = hub.courier()
        while jobs := courier.poll(most=1, policy=hub.policy.sha256)["jobs"]:
            taken.extend(job["id"] for job in jobs)

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(wanted)


@pytest.mark.parametrize(("outcome", "state"), [("denied", "denied"), ("failed", "failed")])
def test_the_signers_refusal_ends_the_request_with_its_reasons(hub, outcome, state):
    drain(hub)
    view = submit(hub)
    (job,) = hub.courier().poll()["jobs"]
    reason = {"rule": "freshness", "effect": "deny", "found": "old", "wanted": "new", "who": "keepers"}
    hub.courier().result(job["id"], fence=job["fence"], outcome=outcome, reasons=[reason])
    done = hub.tester().view(view["id"])
    assert (done["state"], done["reasons"]) == (state, [reason])


def test_waiting_signer_sends_the_request_back(hub):
    drain(hub)
    view = submit(hub)
    (job,) = hub.courier().poll()["jobs"]
    hub.courier().result(job["id"], fence=job["fence"], outcome="waiting", code="no-witness", message="no quorum")
    back = hub.tester().view(view["id"])
    assert (back["state"], back["reasons"][0]["rule"]) == ("authorized", "no-witness")
    assert hub.courier().poll()["jobs"] == []  # not at once again
    hub.tester().post(f"/v1/requests/{view['id']}/cancel")


def test_result_under_an_old_fence_is_refused(hub):
    drain(hub)
    submit(hub)
    (job,) = hub.courier().poll()["jobs"]
    stale = hub.courier().result(job["id"], fence=job["fence"] - 1)
    assert (stale.status_code, stale.json()["code"]) == (409, "stale-lease")
    assert hub.courier().result(job["id"], fence=job["fence"]).status_code == 200
    assert hub.courier().result(job["id"], fence=job["fence"]).status_code == 200  # the same again changes nothing
    assert hub.courier().result(job["id"], fence=job["fence"], outcome="failed").status_code == 409


def test_result_and_progress_without_a_fence_are_refused(hub):
    drain(hub)
    submit(hub)
    courier = hub.courier()
    (job,) = courier.poll()["jobs"]
    alone = courier.result(job["id"], fence=None, outcome="failed")
    assert (alone.status_code, alone.json()["code"]) == (400, "bad-parameter")
    several = encode_frame({"results": [{"id": job["id"]}]}, [courier.frame(outcome="failed")])
    assert courier.call("POST", "/v1/courier/results", several).status_code == 400
    assert courier.post("/v1/courier/progress", {"id": job["id"], "state": "signing"}).status_code == 400
    assert hub.tester().view(job["id"])["state"] == "signing"
    assert courier.result(job["id"], fence=job["fence"], outcome="failed").status_code == 200


def test_result_with_other_parts_than_it_names_is_refused(hub):
    drain(hub)
    submit(hub)
    (job,) = hub.courier().poll()["jobs"]
    for wrong in ({"artifacts": 2}, {"intent": [9]}):
        assert hub.courier().result(job["id"], fence=job["fence"], **wrong).json()["code"] == "bad-result"
    path = f"/v1/courier/results/{job['id']}?fence={job['fence']}"
    assert hub.courier().call("PUT", path, b"\0\0\0\5hello").json()["code"] == "malformed"
    hub.courier().result(job["id"], fence=job["fence"], outcome="failed")


def test_several_results_are_taken_or_refused_each_by_itself(hub):
    drain(hub)
    good, stale, broken = (submit(hub)["id"] for _ in range(3))
    fences = {job["id"]: job["fence"] for job in hub.courier().poll()["jobs"]}
    frame = hub.courier().frame()
    answer = hub.courier().results(
        (good, fences[good], frame),
        (stale, fences[stale] - 1, frame),
        (broken, fences[broken], b"\0\0\0\5hello"),
        ("r-none", 1, frame),
    )
    rows = answer.json()["results"]
    assert [(row["id"], row["status"]) for row in rows] == [(good, 200), (stale, 409), (broken, 400), ("r-none", 404)]
    assert [row.get("code") for row in rows[1:]] == ["stale-lease", "malformed", "no-such-request"]
    assert hub.tester().view(good)["state"] == "completed"
    assert hub.tester().view(stale)["state"] == "signing"
    for name in (stale, broken):
        hub.courier().result(name, fence=fences[name], outcome="failed")


def test_several_results_need_a_frame_for_each(hub):
    courier = hub.courier()
    assert courier.call("POST", "/v1/courier/results", b"no frame").status_code in {400, 413}
    missing = encode_frame({"results": [{"id": "r-a", "fence": 1}, {"id": "r-b", "fence": 1}]}, [courier.frame()])
    assert courier.call("POST", "/v1/courier/results", missing).json()["code"] == "bad-result"
    assert courier.call("POST", "/v1/courier/results", encode_frame({"results": []}, [])).status_code == 400


def test_progress_keeps_the_lease_and_says_what_is_lost(hub):
    drain(hub)
    submit(hub)
    (job,) = hub.courier().poll()["jobs"]
    courier = hub.courier()
    row = {"id": job["id"], "state": "signing", "fence": job["fence"]}
    assert courier.post("/v1/courier/progress", row).json() == {"lost": []}
    jobs = {"jobs": [row, row | {"fence": 1}, {"id": "r-none", "state": "x", "fence": 1}]}
    assert courier.post("/v1/courier/progress", jobs).json() == {"lost": [job["id"], "r-none"]}


def test_request_that_waits_for_the_custodian_says_so_while_it_does(hub):
    drain(hub)
    submit(hub)
    (job,) = hub.courier().poll()["jobs"]

    def told(state: str, fence: int) -> list[str]:
        hub.courier().post("/v1/courier/progress", {"id": job["id"], "state": state, "fence": fence})
        view = hub.tester().view(job["id"])
        assert view["state"] == "signing"
        return [reason["rule"] for reason in view["reasons"]]

    assert told("verifying", job["fence"]) == []
    assert told("custodian", job["fence"] - 1) == [], "who has lost the job is not heard"
    assert told("custodian", job["fence"]) == ["custodian"]
    assert told("custodian", job["fence"]) == ["custodian"]
    assert told("logging", job["fence"]) == []


def test_head_of_the_events_is_offered_once_an_hour(tmp_path):
    with HubHome(tmp_path).running() as home:
        head = home.courier().poll(policy=home.policy.sha256)["events_head"]
        assert head["count"] >= 1
        assert len(head["head"]) == 64
        assert "events_head" not in home.courier().poll(policy=home.policy.sha256)


def test_view_tells_what_was_asked(hub):
    envelope = digest_request(hub)
    view = submit(hub, envelope)
    assert view["request_sha256"] == parse_statement(envelope, Request).digest
    assert (view["project"], view["signing_policy"], view["mode"]) == ("default", "test", "digest")


def test_list_goes_on_page_by_page_and_misses_none(hub):
    """Several of one second, so that the order within it counts too."""
    made = [submit(hub)["id"] for _ in range(5)]
    whole = [view["id"] for view in hub.tester().get("/v1/requests?limit=500").json()["requests"]]
    assert set(made) <= set(whole)
    paged, last = [], ""
    while page := hub.tester().get(f"/v1/requests?limit=2{last}").json()["requests"]:
        paged += [view["id"] for view in page]
        last = f"&before={paged[-1]}"
    assert paged == whole
    assert hub.tester().get("/v1/requests?before=r-aaaaaaaaaaaaaaaa").status_code == 404
    assert hub.releaser().get(f"/v1/requests?before={made[0]}").status_code == 404
    drain(hub)
