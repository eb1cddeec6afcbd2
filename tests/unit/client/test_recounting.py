# SPDX-License-Identifier: Apache-2.0
"""Authorisations counted again, as a credential and as a person see them, through a real connection."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import timedelta

import pytest

from signwright.client.alarms.base import Severity
from signwright.client.alarms.history import Use
from signwright.client.http import HubConnection
from signwright.client.hub import Hub
from signwright.client.log_reader import LogReader, open_log
from signwright.client.recounting import Counted, Recounter
from signwright.errors import UnavailableError
from signwright.model.times import format_time
from tests.support.receipts import Made
from tests.support.served_log import Served, served_log

GRACE = timedelta(minutes=15)


@pytest.fixture
def served(tmp_path, monkeypatch) -> Iterator[Served]:
    with served_log(tmp_path, monkeypatch) as found:
        yield found


@pytest.fixture
def hub(served) -> Iterator[Hub]:
    with HubConnection(served.url, None) as connection:
        yield Hub(connection)


def show(served: Served, made: Made, bundle: bytes | None = None) -> str:
    """Have the hub tell of a request; its digest."""
    assert made.bundle is not None
    digest = made.receipt.request
    view = {
        "id": f"r-{digest[:16]}",
        "state": "completed",
        "request_sha256": digest,
        "results": [{"artifact": 0, "receipt": base64.b64encode(bundle or made.bundle.encode()).decode()}],
    }
    served.answers[f"/v1/requests/{digest}"] = view
    listed = served.answers["/v1/requests"]
    assert isinstance(listed, dict)
    listed["requests"].append(view)
    served.publish()
    return digest


def reader(served: Served) -> LogReader:
    return open_log(served.world.trust().log_trust, served.files["checkpoint"], dict(served.files).__getitem__)


def recounter(served: Served, *before: str) -> Recounter:
    return Recounter(served.world.trust(), lambda: reader(served), frozenset(before), GRACE, pause=lambda _: None)


def counted(
    served: Served, hub: Hub, *digests: str, before: tuple[str, ...] = (), minutes: float = 0, release: bool = True
) -> Counted:
    """As a person, who goes by what the log says was signed."""
    use = Use(attempt=1, time=format_time(served.time), signed=2, release=release)
    signed = dict.fromkeys(digests, use)
    now = served.time + timedelta(minutes=minutes)
    return recounter(served, *before).count_logged(reader(served), hub, signed, now=now)


def test_requests_of_a_credential_are_counted_once(served, hub):
    digest = show(served, served.world.make("pe"))
    first = recounter(served).count_listed(reader(served), [hub])
    assert (first.requests, first.receipts, first.standing) == ([digest], 1, [])
    again = recounter(served, digest).count_listed(reader(served), [hub])
    assert (again.requests, again.receipts) == ([digest], 0)


def test_person_counts_what_the_log_says_whatever_the_hub_lists(served, hub):
    digest = show(served, served.world.make("pe"))
    served.answers["/v1/requests"] = {"requests": []}
    found = counted(served, hub, digest)
    assert (found.requests, found.receipts, found.standing) == ([digest], 1, [])
    again = counted(served, hub, digest, before=(digest,))
    assert (again.requests, again.receipts) == ([digest], 0)


def test_receipt_that_the_hub_does_not_show_is_an_alarm_after_its_grace(served, hub):
    digest = show(served, served.world.make("pe"))
    assert counted(served, hub, digest, minutes=16).standing == []
    for answer in ({"id": "r-x", "state": "signing", "request_sha256": digest, "results": []}, [1], None):
        served.answers[f"/v1/requests/{digest}"] = answer
        if answer is None:
            del served.answers[f"/v1/requests/{digest}"]
        early = counted(served, hub, digest, minutes=15)
        assert (early.requests, early.standing) == ([], [])
        late = counted(served, hub, digest, minutes=16)
        assert [alarm.code for alarm in late.standing] == ["no-receipt"]


@pytest.mark.parametrize(("release", "severity"), [(False, Severity.WARNING), (True, Severity.ERROR)])
def test_purged_test_is_a_warning_and_a_purged_release_is_not_believed(served, hub, release, severity):
    digest = show(served, served.world.make("pe"))
    purged = {"id": "r-x", "state": "completed", "request_sha256": digest, "results": [], "purged": True}
    served.answers[f"/v1/requests/{digest}"] = purged
    found = counted(served, hub, digest, minutes=16, release=release)
    assert [(alarm.code, alarm.severity) for alarm in found.standing] == [("no-receipt", severity)]


def test_receipt_of_another_request_is_no_answer(served, hub):
    honest, other = served.world.make("pe"), served.world.make("pe")
    digest = show(served, other, bundle=honest.bundle.encode())
    found = counted(served, hub, digest)
    assert ([alarm.code for alarm in found.standing], found.requests) == (["wrong-receipt"], [])


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"approvals": ()}, "not-authorised"), ({"evidence": ()}, "not-authorised"), ({"policy": "AAAA"}, "bad-json")],
)
def test_receipt_that_does_not_hold_stands_until_it_does(served, hub, changes, code):
    made = served.world.make("pe")
    digest = show(served, made, bundle=made.with_authorisation(**changes).bundle.encode())
    for _ in range(2):
        found = counted(served, hub, digest)
        assert (found.requests, found.receipts) == ([], 0)
        assert [(alarm.code, alarm.severity) for alarm in found.standing] == [(code, Severity.ERROR)]


def test_receipt_whose_leaf_never_is_published_is_withheld(served, hub):
    made = served.world.make("pe")
    before = dict(served.files)
    digest = show(served, made)
    served.files = before
    assert [alarm.code for alarm in counted(served, hub, digest).standing] == ["log-withheld"]


def test_shareable_receipt_is_attested_and_not_counted_against_anybody(served, hub):
    made = served.world.make("pe")
    digest = show(served, made, bundle=made.bundle.public().encode())
    found = counted(served, hub, digest)
    assert (found.requests, found.standing) == ([digest], [])


def test_hub_that_is_gone_is_an_error_and_no_alarm(served):
    with HubConnection("http://127.0.0.1:1", None) as connection:
        with pytest.raises(UnavailableError):
            counted(served, Hub(connection), "a" * 64)


def test_keeper_who_signed_the_policy_and_approved_under_it_is_told_once(served, hub):
    world = served.world
    world.world.keeper = world.world.people["alice"]
    world.load()
    digest = show(served, world.make("pe"))
    found = counted(served, hub, digest)
    assert (found.requests, found.standing) == ([digest], [])
    assert [(alarm.code, alarm.severity) for alarm in found.alarms] == [("keepers-approve", Severity.WARNING)]
    assert counted(served, hub, digest, before=(digest,)).alarms == []
