# SPDX-License-Identifier: Apache-2.0
"""Each process of a running home killed and hung with requests in flight: all end, honestly, and the log adds up."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from signwright.client.approve import Review, review, say_word
from signwright.client.hub import Hub
from signwright.client.sessions import open_known
from signwright.client.ssh_keys import PersonKey, load_person_key
from signwright.client.submit import PreparedRequest
from tests.support.outages import Site, gone
from tests.support.processes import wait_until

VICTIMS = ("hub", "courier", "scanner", "witness", "tsa", "signer", "gate", "keyholder")
#: How a request may end whose way was cut off, beside being signed: the rule that its reason names.
HONEST = {
    "hub": {"errand-failed", "artifact-incomplete"},  # the artifact was being fetched from it: no intent yet
    "witness": {"no-quorum"},
    "tsa": {"no-timestamp"},
    "courier": {"no-quorum", "no-timestamp", "no-courier", "errand-timeout", "artifact-incomplete"},
    "keyholder": {"outcome-unknown", "no-keyholder"},
}


class Approver:
    """bob, who has looked at a request and whose word is all that is missing."""

    def __init__(self, site: Site, request: PreparedRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(site.home.state))
        site.home.approve(request.digest, "alice")
        self.key: PersonKey = load_person_key(site.folder / "people" / "bob", lambda _: "")
        self.hub: Hub = open_known(site.url, "bob", self.key, now=datetime.now(UTC))
        self.seen: Review = review(self.hub, request.digest, trust=site.trust, now=datetime.now(UTC))

    def say_yes(self) -> None:
        say_word(self.hub, self.seen, self.key, word="approve", comment=None, now=datetime.now(UTC))
        self.hub.connection.close()


def batch(site: Site) -> list[PreparedRequest]:
    return [site.prepared(), site.prepared(), site.prepared(mode="digest"), site.prepared("test-raw")]


def check_books(site: Site, requests: list[PreparedRequest], victim: str) -> None:
    """Everything ended; what failed says why, and asking again works; the log adds up."""
    views = site.ended(requests)
    for view in views:
        rules = {reason["rule"] for reason in view.reasons}
        honest = view.state == "failed" and rules <= HONEST.get(victim, set()) and rules
        assert view.state == "completed" or honest, (victim, view.state, view.reasons)
    site.serves_again()
    books = site.settled()
    for request, view in zip(requests, views, strict=True):
        own = [index for index, leaf in books.intents.items() if leaf["request"] == request.digest]
        outcomes = [books.results[index][0] for index in own]
        assert outcomes.count("signed") == (1 if view.state == "completed" else 0), (view.state, outcomes)
    watched = site.monitor()
    assert (watched.code, watched.out) == (0, ""), watched.out + watched.err


@pytest.mark.parametrize("victim", VICTIMS)
def test_killed_with_requests_in_flight(hurt: Site, victim: str, monkeypatch: pytest.MonkeyPatch) -> None:
    release = hurt.waiting_release()
    approver = Approver(hurt, release, monkeypatch)
    requests, unscanned = batch(hurt), hurt.prepared("release")
    if victim != "hub":  # it answers nobody while it hangs: there it is stopped with everything handed in
        hurt.stop(victim)
    approver.say_yes()
    hurt.send([*requests, unscanned])
    if victim == "hub":
        hurt.stop(victim)
    lives = hurt.kill(victim)
    gone(lives)
    check_books(hurt, [*requests, release], victim)
    wait_until(lambda: hurt.state(unscanned) == "awaiting-approval", what="scan", seconds=30)


@pytest.mark.parametrize("victim", VICTIMS)
def test_hung_for_a_while_with_requests_in_flight(hurt: Site, victim: str) -> None:
    requests = [hurt.prepared(), hurt.prepared(mode="digest")]
    if victim != "hub":
        hurt.stop(victim)
    hurt.send(requests)
    if victim == "hub":
        hurt.stop(victim)
    needed = {"witness": "failed", "tsa": "failed", "keyholder": "failed"}.get(victim)
    if needed is not None:  # their answer is waited for in vain, for as long as the settings say
        wait_until(lambda: all(hurt.state(request) == needed for request in requests), what=needed, seconds=20)
    hurt.go_on(victim)
    check_books(hurt, requests, victim)
