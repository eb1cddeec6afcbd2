# SPDX-License-Identifier: Apache-2.0
"""A session lends a name for at most 8 h."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.errors import AuthenticationError
from signwright.identity.sessions import open_session, session_holds, session_subject
from signwright.model.times import format_time
from signwright.policy import documents as d
from signwright.statements.session import Session
from signwright.statements.writing import public_text, statement_payload
from tests.support.world import NOW, World, sign_ssh, ssh_line


def session(
    world: World, *, hours: float = 8, key: Ed25519PrivateKey | None = None, subject: str | None = None, **changes
):
    public = changes.pop("public_key", public_text(Ed25519PrivateKey.generate()))
    values = {
        "person": "alice",
        "public_key": public,
        "created": format_time(NOW),
        "expires": format_time(NOW + timedelta(hours=hours)),
    }
    name, digest = session_subject(public)
    payload = statement_payload(Session(**(values | changes)), [(name, subject or digest)])
    return sign_ssh(payload, key or world.people["alice"], "session")


def test_session_of_an_enrolled_person_opens():
    world = World()
    opened = open_session(world.policy(), session(world), now=NOW)
    assert opened.person == "alice"
    assert opened.expires == NOW + timedelta(hours=8)


@pytest.mark.parametrize(
    "changes",
    [
        {"hours": 8.1},
        {"person": "mallory"},
        {"key": Ed25519PrivateKey.generate()},
        {"subject": "00" * 32},
        {"created": format_time(NOW + timedelta(minutes=6))},
        {"created": format_time(NOW - timedelta(hours=9)), "hours": -1},
        {"public_key": ssh_line(Ed25519PrivateKey.generate())},
    ],
)
def test_any_other_session_is_refused(changes):
    world = World()
    with pytest.raises(AuthenticationError):
        open_session(world.policy(), session(world, **changes), now=NOW)


def test_session_ends_with_its_time_and_with_the_person():
    world = World()
    opened = open_session(world.policy(), session(world), now=NOW)
    assert session_holds(world.policy(), opened, now=NOW + timedelta(hours=7))
    assert not session_holds(world.policy(), opened, now=NOW + timedelta(hours=8))
    people = {"alice": d.Person(keys=(ssh_line(world.people["alice"]),), disabled=True)}
    others = {n: d.Person(groups=("release", "qa"), keys=(ssh_line(world.people[n]),)) for n in ("bob", "carol")}
    assert not session_holds(world.with_documents(people=d.People(people=people | others)).policy(), opened, now=NOW)


def test_session_of_a_person_who_is_out_of_use_does_not_open():
    world = World()
    people = world.documents()["people"]
    assert isinstance(people, d.People)
    dave = Ed25519PrivateKey.generate()
    rows = {**people.people, "dave": d.Person(keys=(ssh_line(dave),), disabled=True)}
    policy = world.with_documents(people=d.People(people=rows)).policy()
    with pytest.raises(AuthenticationError, match="not enrolled"):
        open_session(policy, session(world, person="dave", key=dave), now=NOW)
