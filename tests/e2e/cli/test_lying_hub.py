# SPDX-License-Identifier: Apache-2.0
"""A hub that lies to clients: what they sign, save and show is not what it likes."""

from __future__ import annotations

import json
import secrets
import stat
from pathlib import Path

import pytest

from tests.support.homes import RunningHome
from tests.support.middle import in_the_middle
from tests.support.pe_builder import Pe
from tests.support.processes import wait_until


def program(folder: Path, name: str = "setup.exe") -> Path:
    file = folder / name
    file.write_bytes(Pe(overlay=secrets.token_bytes(16)).build())
    return file


def waiting(home: RunningHome, file: Path) -> str:
    """A release request that wants approvals."""
    request = home.cli("sign", file, "--policy", "default/release", "--no-wait").out.strip()
    wait_until(lambda: "awaiting-approval" in home.cli("status", request).out, what="scan")
    return request


def url(home: RunningHome) -> str:
    return home.env["SIGNWRIGHT_URL"]


@pytest.mark.parametrize("word", ["approve", "deny"])
def test_a_word_about_one_request_is_not_said_about_another(home: RunningHome, tmp_path: Path, word: str) -> None:
    """The hub answers the question for one request with another, sound one."""
    asked, other = (waiting(home, program(tmp_path, name)) for name in ("asked.exe", "other.exe"))
    view = home.cli("status", other, "--output", "json").json

    def change(method: str, path: str, body: bytes) -> bytes | None:
        if method == "GET" and path.startswith(f"/v1/requests/{asked}"):
            return true_view
        return None

    true_view = json.dumps(
        {"id": other, "request_sha256": view["request_sha256"], "state": "awaiting-approval"}
    ).encode()
    with in_the_middle(url(home), change) as address:
        ran = home.changed(SIGNWRIGHT_URL=address).cli(word, asked, "--key", home.key("alice"), "--yes")
    assert ran.code == 8, ran.err
    assert "another request" in ran.err
    assert home.cli("status", other, "--output", "json").json["approvals"] == []


def test_an_earlier_request_that_asked_for_something_else_is_not_taken_for_this_one(
    home: RunningHome, tmp_path: Path
) -> None:
    """The same file, signed before under another description: the hub says that it is what is asked for now."""
    file, out = program(tmp_path), tmp_path / "out.exe"
    ran = home.cli("sign", file, "-o", tmp_path / "first.exe", "--description", "Beta", "--output", "json")
    earlier = {name: ran.json[name] for name in ("request_sha256", "state")} | {"id": ran.json["request"]}

    def change(method: str, path: str, body: bytes) -> bytes | None:
        return json.dumps(earlier).encode() if method == "POST" and path.startswith("/v1/requests") else None

    with in_the_middle(url(home), change) as address:
        ran = home.changed(SIGNWRIGHT_URL=address).cli("sign", file, "--description", "Release", "-o", out)
    assert ran.code == 8, ran.err
    assert "something else" in ran.err
    assert not out.exists()


def test_what_the_hub_says_cannot_steer_a_terminal(home: RunningHome, tmp_path: Path) -> None:
    """Escape sequences, line breaks and direction overrides in a hub's own words are shown as what they are."""
    request = waiting(home, program(tmp_path))
    evil = "\x1b[2J\x1b[1;1Hall is well\u202e\nsignwright: approved"

    def change(method: str, path: str, body: bytes) -> bytes | None:
        if method == "GET" and path.startswith("/v1/requests"):
            told = json.loads(body)
            for view in told.get("requests", [told]):
                if "history" in view:
                    view["history"].append({"state": evil, "time": evil, "who": evil})
                    view["reasons"].append(
                        {"rule": evil, "effect": "await", "found": evil, "wanted": evil, "who": evil}
                    )
                    view["artifacts"][0]["name"] = evil
            return json.dumps(told).encode()
        return None

    with in_the_middle(url(home), change) as address:
        seen = home.changed(SIGNWRIGHT_URL=address)
        shown = [
            seen.cli("status", request),
            seen.cli("requests"),
            seen.cli("status", request, "--output", "json"),
            seen.cli("approve", "--key", home.key("alice")),
            seen.cli("wait", request, "--timeout", "1"),
        ]
    for ran in shown:
        text = ran.out + ran.err
        assert not any(c in text for c in ("\x1b", "\u202e"))
        assert "\nsignwright: approved" not in text


def test_an_error_of_the_hub_cannot_steer_a_terminal(home: RunningHome) -> None:
    problem = {"code": "\x1b[31m", "detail": "no\x1b[2J\r\nsignwright: signed", "hint": "\u2066x", "reasons": [7]}

    def change(method: str, path: str, body: bytes) -> bytes | None:
        return json.dumps(problem).encode() if "/r-nosuchrequest" in path else None

    with in_the_middle(url(home), change) as address:
        ran = home.changed(SIGNWRIGHT_URL=address).cli("status", "r-nosuchrequest00")
    assert ran.code == 1
    assert not any(c in ran.err for c in ("\x1b", "\r", "\u2066"))
    assert "\nsignwright: signed" not in ran.err


def test_more_bytes_than_the_request_says_are_not_taken(home: RunningHome, tmp_path: Path) -> None:
    """Neither an approver's nor a fetcher's disk is filled by a hub that goes on sending."""
    request = waiting(home, program(tmp_path))

    def change(method: str, path: str, body: bytes) -> bytes | None:
        return body + bytes(1 << 20) if path.endswith("/artifacts/0") else None

    with in_the_middle(url(home), change) as address:
        ran = home.changed(SIGNWRIGHT_URL=address).cli("approve", request, "--key", home.key("alice"), "--yes")
    assert ran.code == 8, ran.err
    assert "more than" in ran.err


def test_in_place_does_not_hand_on_setuid(home: RunningHome, tmp_path: Path) -> None:
    file = program(tmp_path)
    file.chmod(0o4755)
    assert home.cli("sign", file, "--in-place").code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o755
