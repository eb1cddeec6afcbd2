# SPDX-License-Identifier: Apache-2.0
"""A home whose gate wants a custodian for releases, as its people use it on one machine: fetch, check, sign, publish in
one step of the custodian's. The tests share one home and leave nothing that waits.
"""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from signwright.client.ssh_keys import make_key_files
from signwright.model.spoken import spoken
from tests.support.homes import Ran, RunningHome, running_home
from tests.support.pe_builder import Pe
from tests.support.processes import wait_until


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHome]:
    folder = tmp_path_factory.mktemp("custodian")
    with running_home(folder / "h", folder / "state") as home:
        again(home, "down")
        settings = home.folder / "settings" / "signer.toml"
        text = settings.read_text(encoding="utf-8")
        settings.write_text(text.replace("[gate]\n", '[gate]\ncustodian = "release"\n', 1), encoding="utf-8")
        make_key_files(home.folder / "people" / "carol", comment="carol")
        ok(home, "people", "add", "carol", "--key", home.key("carol") + ".pub", "--group", "custodian", *at(home))
        again(home, "up", "--detach")
        ok(home, "policy", "apply", *at(home), "--yes")
        wait_until(lambda: "carol" in console(home, "status").json["custodians"], what="the gate knows carol")
        yield home


def at(home: RunningHome) -> list[str]:
    return ["--home", str(home.folder)]


def again(home: RunningHome, *verb: str) -> None:
    subprocess.run(home.command(*verb, *at(home)), check=True, env=home.env, stdin=subprocess.DEVNULL, timeout=120)


def ok(home: RunningHome, *arguments: object) -> Ran:
    ran = home.cli(*arguments)
    assert ran.code == 0, ran.err
    return ran


def console(home: RunningHome, verb: str, *arguments: object) -> Ran:
    return home.cli("custodian", verb, *arguments, *at(home), "--output", "json")


def released(home: RunningHome, folder: Path) -> tuple[str, Path]:
    """An approved release that waits for the custodian, and its file."""
    file = folder / f"{secrets.token_hex(4)}.exe"
    file.write_bytes(Pe(overlay=secrets.token_bytes(16)).build())
    request = home.cli("sign", file, "--policy", "default/release", "--no-wait").out.strip()
    wait_until(lambda: view(home, request)["state"] == "awaiting-approval", what="scan", seconds=30)
    home.approve(request)
    wait_until(lambda: listed(home, request) is not None, what="the custodian's list", seconds=30)
    return request, file


def view(home: RunningHome, request: str) -> Any:
    return home.cli("status", request, "--output", "json").json


def listed(home: RunningHome, request: str) -> Any:
    rows = console(home, "list").json["requests"]
    return next((row for row in rows if row["id"] == request), None)


def shown_waiting(home: RunningHome, request: str) -> bool:
    return [row["rule"] for row in view(home, request)["reasons"]] == ["custodian"]


def test_release_waits_is_shown_and_goes_out_with_the_confirmation(own: RunningHome, tmp_path: Path) -> None:
    request, file = released(own, tmp_path)
    wait_until(lambda: shown_waiting(own, request), what="the hub says what it waits for")
    assert view(own, request)["state"] == "signing"
    waited = own.cli("wait", request, "--timeout", "1")
    assert waited.code == 5
    assert f"request {request} waiting for the custodian: the signer has verified it" in waited.err

    row = listed(own, request)
    sha256 = view(own, request)["artifacts"][0]["sha256"]
    assert [approval["person"] for approval in row["approvals"]] in (["alice", "bob"], ["bob", "alice"])
    assert (row["kind"], row["content_read"], row["artifacts"][0]["sha256"]) == ("release", True, sha256)
    told = ok(own, "custodian", "show", request, *at(own)).out
    assert f"  aloud    {spoken(sha256)}\n" in told
    assert f"file       {file.name}: pe, {file.stat().st_size} bytes, 1 to sign\n" in told
    assert ok(own, "sign", file, "--policy", "default/test", "-o", tmp_path / "test.exe").out, "tests do not wait"

    asked = own.cli("custodian", "confirm", request, "--key", own.key("carol"), *at(own))
    assert (asked.code, "nobody can be asked here" in asked.err) == (2, True)
    ran = console(own, "confirm", request, "--key", own.key("carol"), "--yes")
    assert ran.code == 0, ran.err
    assert ran.json["ends"] == {row["request"]: "published"}
    assert f"{request} signed, and the courier has the result" in ran.err
    ok(own, "wait", request, "--timeout", "30")
    signed = tmp_path / "signed.exe"
    ok(own, "fetch", request, file, "-o", signed)
    assert ok(own, "verify", signed).code == 0
    monitored = own.cli("monitor", "--custodian", "release", "--key", own.key("alice"))
    assert monitored.code == 0, monitored.out + monitored.err


def test_only_a_custodian_confirms_and_a_denial_ends_the_request(own: RunningHome, tmp_path: Path) -> None:
    request, _ = released(own, tmp_path)
    for name in ("alice", "bob"):
        ran = own.cli("custodian", "confirm", request, "--key", own.key(name), "--yes", *at(own))
        assert (ran.code, "is no custodian's" in ran.err) == (6, True), ran.err
    assert listed(own, request) is not None

    ran = own.cli(
        "custodian", "deny", request, "--reason", "not in the list by mail", "--key", own.key("carol"), *at(own)
    )
    assert ran.code == 0, ran.err
    wait_until(lambda: view(own, request)["state"] == "denied", what="the denial reaches the hub")
    (reason,) = view(own, request)["reasons"]
    assert (reason["rule"], reason["effect"]) == ("custodian", "deny")
    assert reason["found"] == "denied by custodian carol: not in the list by mail"
    assert own.cli("wait", request).code == 3
    assert listed(own, request) is None


def test_request_comes_back_to_the_list_after_the_signer_was_down(own: RunningHome, tmp_path: Path) -> None:
    request, file = released(own, tmp_path)
    again(own, "down")
    again(own, "up", "--detach")
    wait_until(lambda: listed(own, request) is not None, what="the courier offers it again", seconds=60)
    ran = own.cli("custodian", "confirm", "--all", "--key", own.key("carol"), "--yes", *at(own))
    assert ran.code == 0, ran.err
    ok(own, "wait", request, "--timeout", "30")
    ok(own, "fetch", request, file, "-o", tmp_path / "signed.exe")
    ok(own, "verify", tmp_path / "signed.exe")


def test_one_who_has_nothing_to_confirm_is_told(own: RunningHome) -> None:
    told = ok(own, "custodian", "list", *at(own))
    assert (told.out, "0 requests wait" in told.err) == ("", True)
    nothing = own.cli("custodian", "confirm", "--all", "--key", own.key("carol"), "--yes", *at(own))
    assert (nothing.code, "nothing waits for a custodian" in nothing.err) == (2, True)
    unknown = own.cli("custodian", "show", "r-abcdefgh", *at(own))
    assert (unknown.code, "0 waiting requests begin with" in unknown.err) == (2, True)
    status = ok(own, "custodian", "status", *at(own)).out
    assert "waits for a custodian  releases" in status
    assert "custodian              carol: SHA256:" in status
