# SPDX-License-Identifier: Apache-2.0
"""A service that is down, a disk that is full: requests wait or fail with their reason, nothing is signed meanwhile."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.outages import Site
from tests.support.processes import wait_until


@pytest.mark.parametrize(
    ("service", "said", "key_used"),
    [("tsa", "no-timestamp", True), ("witness", "no-quorum", False)],
)
def test_service_that_is_down_is_named_and_nothing_is_delivered(
    hurt: Site, tmp_path: Path, service: str, said: str, key_used: bool
) -> None:
    """Without a witness no key is used. Without a timestamp one is, and what it signed never leaves the gate."""
    out, before = tmp_path / "out.exe", hurt.claimed()
    file = hurt.program()
    with hurt.down(service):
        ran = hurt.home.cli("sign", file, "-o", out, "--output", "json")
        assert ran.code == 1, ran.err
        assert ran.json["error"]["code"] == said
        assert service in ran.err or "authority" in ran.err
        assert not list(tmp_path.iterdir())
        assert (len(hurt.claimed()) > len(before)) is key_used
    again = hurt.home.cli("sign", file, "-o", out)
    assert again.code == 0, again.err
    books = hurt.settled()
    newest = max(books.intents)
    assert books.results[newest] == ["signed"]
    assert hurt.monitor().code == 0


def test_authority_that_failed_often_is_left_alone_and_no_key_is_used(hurt: Site, tmp_path: Path) -> None:
    with hurt.down("tsa"):
        for _ in range(3):
            assert hurt.home.cli("sign", hurt.program(), "-o", tmp_path / "x.exe").code == 1
        before = hurt.claimed()
        ran = hurt.home.cli("sign", hurt.program(), "-o", tmp_path / "x.exe")
        assert ran.code == 1
        assert "no-timestamp" in ran.err
        if hurt.claimed() == before:  # unless this very one was the try after the pause
            assert "is asked again in" in ran.err
    assert hurt.home.cli("sign", hurt.program(), "-o", tmp_path / "x.exe").code == 0


def test_release_waits_for_a_scanner_that_is_down(hurt: Site) -> None:
    before = hurt.claimed()
    file = hurt.program()
    with hurt.down("scanner"):
        out = file.with_suffix(".out")
        ran = hurt.home.cli("sign", file, "--policy", "default/release", "-o", out, "--timeout", "3")
        assert (ran.code, ran.out) == (5, ""), ran.err
        request = ran.err.split("signwright wait ", 1)[1].split(",", 1)[0].strip()
        shown = hurt.home.cli("status", request, "--output", "json").json
        assert shown["state"] == "scanning"
        assert "scanner" in str(shown["reasons"])
        # A person cannot make up for it.
        hurt.home.cli("approve", request, "--key", hurt.home.key("alice"), "--yes")
        hurt.home.cli("approve", request, "--key", hurt.home.key("bob"), "--yes")
        assert hurt.home.cli("status", request, "--output", "json").json["state"] == "scanning"
        assert hurt.claimed() == before
    wait_until(lambda: "scan" not in _state(hurt, request), what="scan", seconds=30)


def _state(site: Site, request: str) -> str:
    return str(site.home.cli("status", request, "--output", "json").json["state"])


@contextmanager
def full_disk(site: Site, process: str) -> Iterator[None]:
    """``process`` can make no file longer than it is: every write past the first byte fails."""
    pid = site.pid(process)
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        if site.pid(process) == pid:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("process", ["gate", "keyholder", "witness", "tsa"])
def test_full_disk_signs_nothing_and_is_forgotten_when_there_is_room(hurt: Site, process: str) -> None:
    request = hurt.prepared()
    with full_disk(hurt, process):
        hurt.send([request])
        wait_until(lambda: hurt.state(request) != "authorized", what="an attempt", seconds=20)
        wait_until(lambda: hurt.pid(process) != 0, what="it runs", seconds=20)
    (view,) = hurt.ended([request])
    hurt.serves_again()
    books = hurt.settled()
    own = [index for index, leaf in books.intents.items() if leaf["request"] == request.digest]
    outcomes = [books.results[index][0] for index in own]
    assert outcomes.count("signed") == (view.state == "completed")
    assert view.state == "completed" or (view.state == "failed" and view.reasons), view
    assert hurt.monitor().code == 0
