# SPDX-License-Identifier: Apache-2.0
"""Freshness, revocation, halt and resume in a running home, as keepers use them; the gate's own word is what counts.

The tests build on each other's policy versions and freshness numbers; each leaves a home that signs.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from signwright.cli.gate_socket import ask_gate
from signwright.cli.home import Home
from signwright.cli.hubs import call_key
from signwright.client.credentials import load_credentials
from signwright.client.http import HubConnection
from signwright.client.hub import Hub
from signwright.client.keepers_words import draft_freshness
from signwright.client.ssh_keys import load_person_key, make_key_files
from signwright.client.trust import load_trust
from tests.support.homes import RunningHome, ok, running_home
from tests.support.pe_builder import Pe
from tests.support.processes import wait_until


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHome]:
    folder = tmp_path_factory.mktemp("standing")
    with running_home(folder / "h", folder / "state") as running:
        yield running


def keeper(home: RunningHome) -> Path:
    return home.folder / "keeper" / "keeper"


def gate(home: RunningHome) -> dict[str, Any]:
    """What the gate says of itself."""
    return ask_gate(Home(home.folder), {"type": "status"})


def standing(home: RunningHome) -> Any:
    return home.cli("freshness", "show", "--output", "json").json


def asked(home: RunningHome, folder: Path, policy: str = "release") -> str:
    """A request with a program that nobody has signed before, scanned."""
    file = folder / f"{secrets.token_hex(4)}.exe"
    file.write_bytes(Pe(overlay=secrets.token_bytes(16)).build())
    request = home.cli("sign", file, "--policy", f"default/{policy}", "--no-wait").out.strip()
    wait_until(lambda: view(home, request)["state"] not in ("uploading", "scanning"), what="scan", seconds=30)
    return request


def view(home: RunningHome, request: str) -> Any:
    return home.cli("status", request, "--output", "json").json


def waits_for(home: RunningHome, request: str) -> set[str]:
    return {row["rule"] for row in view(home, request)["reasons"] if row["effect"] == "await"}


def doctor(home: RunningHome, topic: str) -> set[str]:
    """The levels of what it says about ``topic``."""
    findings = home.cli("doctor", "--home", home.folder, "--output", "json").json["findings"]
    return {row["level"] for row in findings if row["topic"] == topic}


def old_freshness(home: RunningHome, number: int) -> None:
    """A keeper's statement of last week reaches the hub, as if nobody had renewed it since."""
    now = datetime.now(UTC) - timedelta(days=8)
    root = load_trust(home.folder / "trust.json").policy_root_sha256
    payload = draft_freshness(root, number=number, minimum_policy_version=1, now=now, hours=168)
    envelope = load_person_key(keeper(home), lambda _: "").sign_statement(payload, "freshness")
    credential = load_credentials(home.folder / "credentials" / "ci.json")[0]
    with HubConnection(home.env["SIGNWRIGHT_URL"], call_key(credential)) as connection:
        Hub(connection).carry("freshness", envelope)


def test_release_waits_without_freshness_and_goes_on_when_it_is_renewed(own: RunningHome, tmp_path: Path) -> None:
    assert standing(own)["freshness"]["number"] == 1
    old_freshness(own, 2)
    wait_until(lambda: gate(own)["freshness"] == 2, what="the gate has the old statement")
    said = own.cli("freshness", "show")
    assert "too old, no release can be signed" in said.err
    assert doctor(own, "freshness") == {"bad"}
    request = asked(own, tmp_path)
    ran = own.cli("approve", request, "--key", own.key("alice"), "--yes")
    assert "warning: freshness: created" in ran.err
    own.approve(request, "bob")
    assert waits_for(own, request) == {"freshness"}
    assert f"request {request} waiting: number 2, created" in own.cli("wait", request, "--timeout", "1").err
    assert view(own, asked(own, tmp_path, "test"))["state"] in ("authorized", "signing", "completed")

    told = ok(own, "freshness", "renew", "--home", own.folder, "--yes")
    assert "number 3" in told
    ok(own, "wait", request)
    assert gate(own)["freshness"] == 3
    assert doctor(own, "freshness") == {"ok"}
    assert (own.folder / "policy" / "signed" / "freshness.json").is_file()


def test_older_freshness_statement_is_refused_by_the_hub(own: RunningHome) -> None:
    number = standing(own)["freshness"]["number"]
    with pytest.raises(Exception, match="wanted one above") as refused:
        old_freshness(own, number - 1)
    assert refused.value.code == "freshness-old"  # type: ignore[attr-defined]
    assert standing(own)["freshness"]["number"] == number


def test_word_of_a_revoked_approver_counts_no_longer(own: RunningHome, tmp_path: Path) -> None:
    request = asked(own, tmp_path)
    own.approve(request, "alice")
    ok(own, "freshness", "renew", "--home", own.folder, "--yes", "--revoke-person", "alice")
    shut_out = own.cli("approve", request, "--key", own.key("alice"), "--yes")
    assert shut_out.code == 6
    assert "revoked" in shut_out.err
    own.approve(request, "bob")
    assert "approvals" in waits_for(own, request)
    ok(own, "freshness", "renew", "--home", own.folder, "--yes")  # what was revoked stays revoked
    assert standing(own)["freshness"]["revoked_people"] == ["alice"]
    assert "approvals" in waits_for(own, request)
    ok(own, "freshness", "renew", "--home", own.folder, "--yes", "--unrevoke", "alice")
    ok(own, "wait", request)


def test_revoked_credential_is_refused_at_the_door(own: RunningHome, tmp_path: Path) -> None:
    release = next(c for c in load_credentials(own.folder / "credentials" / "ci.json") if c.kind == "release")
    open_before = asked(own, tmp_path)
    ok(own, "freshness", "renew", "--home", own.folder, "--yes", "--revoke-credential", release.key_id)
    with (
        HubConnection(own.env["SIGNWRIGHT_URL"], call_key(release)) as connection,
        pytest.raises(Exception, match="revoked") as refused,
    ):
        Hub(connection).policy()
    assert refused.value.code == "revoked"  # type: ignore[attr-defined]
    shown = ok(own, "requests", "--key", own.key("bob"), "--output", "json")
    assert open_before in shown
    mistyped = own.cli("freshness", "renew", "--home", own.folder, "--yes", "--revoke-credential", "swk_nobody")
    assert mistyped.code == 2
    ok(own, "freshness", "renew", "--home", own.folder, "--yes", "--unrevoke", release.key_id)


def test_halt_through_the_hub_lasts_until_a_resume_and_a_newer_policy(own: RunningHome, tmp_path: Path) -> None:
    halt = own.cli("halt", "--reason", "a key was copied", "--key", keeper(own), "--yes").out.strip()
    wait_until(lambda: gate(own)["halts"] == [halt], what="the gate is halted")
    assert gate(own)["keyholder"]["halts"] == [halt]
    release, test = asked(own, tmp_path), asked(own, tmp_path, "test")
    own.approve(release)
    assert waits_for(own, release) == {"halted"}
    assert waits_for(own, test) == {"halted"}
    assert "a key was copied" in own.cli("freshness", "show").out
    assert "halted" in own.cli("requests", "--output", "json").out
    assert "signing is halted, 2 of these are held" in own.cli("requests").err
    assert "held, signing is halted" in own.cli("wait", release, "--timeout", "1").err

    assert doctor(own, "halted") == {"bad"}
    unnamed = own.cli("resume", "--key", keeper(own), "--yes")
    assert unnamed.code == 2
    assert "a key was copied" in unnamed.err
    stranger = own.cli("resume", "--key", own.key("alice"), "--yes", halt[:12])
    assert stranger.code == 3
    told = ok(own, "resume", "--key", keeper(own), "--yes", "--reason", "a new key is in place", halt[:12])
    assert "goes on when policy version" in told
    assert gate(own)["halts"] == [halt]
    ok(own, "policy", "apply", own.folder, "--yes")
    wait_until(lambda: gate(own)["halts"] == [], what="the end of the halt", seconds=30)
    assert gate(own)["keyholder"]["halts"] == []
    ok(own, "wait", test)
    own.approve(release)  # the words that were said lapsed with the policy
    ok(own, "wait", release)


def test_halt_through_the_gates_own_socket_needs_no_hub(own: RunningHome, tmp_path: Path) -> None:
    somebody = tmp_path / "somebody"
    make_key_files(somebody, comment="somebody")
    refused = own.cli("halt", "--reason", "x", "--key", somebody, "--local", "--home", own.folder)
    assert refused.code != 0
    assert gate(own)["halts"] == []
    nowhere = own.changed(SIGNWRIGHT_URL="http://127.0.0.1:9", SIGNWRIGHT_CREDENTIALS="")
    halt = nowhere.cli("halt", "--reason", "drill", "--key", keeper(own), "--local", "--home", own.folder).out.strip()
    assert gate(own)["halts"] == [halt]
    request = asked(own, tmp_path, "test")
    wait_until(lambda: waits_for(own, request) == {"halted"}, what="the gate's reason", seconds=30)
    vague = own.cli("resume", "--key", keeper(own), "--yes", halt[:12])
    assert vague.code == 2  # the hub has not seen this one: the whole digest is wanted
    ok(own, "resume", "--key", keeper(own), "--yes", halt)
    ok(own, "policy", "apply", own.folder, "--yes")
    wait_until(lambda: gate(own)["halts"] == [], what="the end of the halt", seconds=30)
    ok(own, "wait", request, "--timeout", "60")


def test_resume_of_two_keepers_on_two_machines(own: RunningHome, tmp_path: Path) -> None:
    second = own.folder / "keeper" / "carol"
    make_key_files(second, comment="carol")
    ok(own, "root", "new", own.folder, "--add", f"keeper={second}.pub", "--threshold", "policy=2")
    ok(own, "root", "sign", own.folder, "--key", keeper(own), "--yes")
    ok(own, "root", "apply", own.folder, "--key", keeper(own), "--yes")
    ok(own, "policy", "sign", own.folder, "--key", second, "--yes")
    ok(own, "policy", "apply", own.folder, "--yes", "--key", keeper(own))
    halt = own.cli("halt", "--reason", "two are wanted", "--key", keeper(own), "--yes").out.strip()
    wait_until(lambda: gate(own)["halts"] == [halt], what="the gate is halted")

    alone = own.cli("resume", "--key", keeper(own), "--yes", halt)
    assert alone.code == 3
    assert "1 of 2 signed" in alone.err
    draft = tmp_path / "resume.json"
    assert "1 of 2" in ok(own, "resume", "--key", keeper(own), "--yes", "--sign-only", draft, halt)
    early = own.cli("resume", "--from", draft, "--yes")
    assert early.code == 3
    assert "2 of 2" in ok(own, "resume", "--key", second, "--yes", "--sign-only", draft)
    ok(own, "resume", "--from", draft, "--yes")
    ok(own, "policy", "sign", own.folder, "--key", keeper(own), "--yes")
    ok(own, "policy", "sign", own.folder, "--key", second, "--yes")
    ok(own, "policy", "apply", own.folder, "--yes")
    wait_until(lambda: gate(own)["halts"] == [], what="the end of the halt", seconds=30)
    ok(own, "wait", asked(own, tmp_path, "test"))


def test_weaker_policy_of_a_live_organisation_waits_in_hub_and_gate(own: RunningHome, tmp_path: Path) -> None:
    keys = [keeper(own), own.folder / "keeper" / "carol"]

    def apply() -> int:
        for key in keys:
            ok(own, "policy", "sign", own.folder, "--key", key, "--yes")
        return int(own.cli("policy", "apply", own.folder, "--yes").out.split()[1])

    ok(own, "go-live", own.folder, "--yes")
    live = apply()
    wait_until(lambda: gate(own)["policy"]["version"] == live, what="the signer takes the policy")
    file = own.folder / "policy" / "projects" / "default.yaml"
    before = file.read_text(encoding="utf-8")
    assert "scan:\n      required: true" in before
    file.write_text(before.replace("modes: [artifact, digest]", "modes: [artifact]", 1), encoding="utf-8")
    assert apply() == live + 1  # stronger: counts at once
    wait_until(lambda: gate(own)["policy"]["version"] == live + 1, what="the signer takes the policy")
    file.write_text(before, encoding="utf-8")
    assert apply() == live + 2
    wait_until(lambda: gate(own)["waiting_policy"] == live + 2, what="the signer has logged the weaker one")
    assert gate(own)["policy"]["version"] == live + 1
    shown = standing(own)
    assert (shown["policy_version"], shown["waiting_policy"]["version"]) == (live + 1, live + 2)
    assert doctor(own, "policy") >= {"weak"}
    request = asked(own, tmp_path)
    own.approve(request)  # under the one in force
    ok(own, "wait", request)
