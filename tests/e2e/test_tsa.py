# SPDX-License-Identifier: Apache-2.0
"""``python -m signwright.tsa`` as a process: starts, stamps, limits, refuses, ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from signwright.errors import TimestampError
from signwright.model.digest import Digest
from signwright.timestamps.query import QUERY_TYPE, REPLY_TYPE, timestamp_query
from signwright.timestamps.reply import token_of_reply
from signwright.timestamps.token import TimestampInfo, verify_token
from signwright.tsa.client import post_query
from signwright.tsa.keys import Authority, make_authority
from tests.support.processes import stop, wait_until

IMPRINT = Digest.of(b"a signature value")


def write_home(folder: Path, authority: Authority, extra: str = "") -> Path:
    (folder / "key.pem").write_bytes(authority.key_pem)
    (folder / "key.pem").chmod(0o600)
    (folder / "chain.pem").write_bytes(authority.chain_pem)
    settings = folder / "tsa.toml"
    settings.write_text(
        f'key_file = "key.pem"\nchain_file = "chain.pem"\nstate_file = "serials.sqlite"\n{extra}', encoding="utf-8"
    )
    return settings


def start(settings: Path, ready_file: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "signwright.tsa", "--settings", str(settings), "--ready-file", str(ready_file)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


class Running:
    """A started authority."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.authority = authority
        self.settings = write_home(folder, authority)
        self.ready_file = folder / "ready"
        self.process = start(self.settings, self.ready_file)
        wait_until(lambda: self.ready_file.exists() or self.process.poll() is not None, what="the authority is ready")
        assert self.process.poll() is None
        self.url = self.ready_file.read_text(encoding="ascii").strip()

    def stamp(self, nonce: int = 1) -> TimestampInfo:
        reply = post_query(f"{self.url}/any/path", timestamp_query(IMPRINT, nonce), 10)
        now = datetime.now(UTC)
        return verify_token(
            token_of_reply(reply),
            imprint=IMPRINT,
            nonce=nonce,
            anchors=[self.authority.root],
            not_before=now - timedelta(seconds=30),
            not_after=now,
        )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    tsa = Running(tmp_path_factory.mktemp("tsa"), make_authority("Example TSA", now=datetime.now(UTC)))
    try:
        yield tsa
    finally:
        stop(tsa.process)


def test_it_stamps_with_the_present_time_and_new_serial_numbers(running: Running) -> None:
    numbers = {running.stamp(nonce).serial_number for nonce in range(20)}
    assert len(numbers) == 20


def test_a_rejected_query_is_a_reply_with_status_200(running: Running) -> None:
    response = httpx.post(running.url, content=b"garbage", headers={"content-type": QUERY_TYPE})
    assert (response.status_code, response.headers["content-type"]) == (200, REPLY_TYPE)
    with pytest.raises(TimestampError, match="bad_data_format"):
        token_of_reply(response.content)


@pytest.mark.parametrize("size", [8193, 1 << 20])
def test_a_large_body_is_refused(running: Running, size: int) -> None:
    response = httpx.post(running.url, content=bytes(size), headers={"content-type": QUERY_TYPE})
    assert response.status_code == 413


def test_another_content_type_and_another_method_are_refused(running: Running) -> None:
    query = timestamp_query(IMPRINT, 1)
    assert httpx.post(running.url, content=query, headers={"content-type": "text/plain"}).status_code == 415
    assert httpx.get(running.url).status_code == 405


def test_it_says_that_it_is_well(running: Running) -> None:
    assert httpx.get(f"{running.url}/healthz").text == "ok\n"


def test_it_announces_itself_ends_on_sigterm_and_goes_on_with_new_numbers(tmp_path: Path) -> None:
    authority = make_authority("Example TSA", now=datetime.now(UTC))
    numbers = []
    for _ in range(2):
        (tmp_path / "ready").unlink(missing_ok=True)
        tsa = Running(tmp_path, authority)
        try:
            assert tsa.process.stdout is not None
            assert tsa.process.stdout.readline() == f"ready {tsa.url}\n".encode()
            numbers.append(tsa.stamp().serial_number)
            os.kill(tsa.process.pid, signal.SIGTERM)
            assert tsa.process.wait(timeout=20) == 0
        finally:
            stop(tsa.process)
    assert numbers[0] < numbers[1]


def test_it_does_not_start_with_an_expired_certificate(tmp_path: Path) -> None:
    old = make_authority("Example TSA", now=datetime.now(UTC) - timedelta(days=1000))
    assert_refused(write_home(tmp_path, old), "bad-certificate")


def test_it_does_not_start_with_a_setting_it_does_not_know(tmp_path: Path) -> None:
    authority = make_authority("Example TSA", now=datetime.now(UTC))
    assert_refused(write_home(tmp_path, authority, "colour = 1\n"), "bad-settings")


def assert_refused(settings: Path, code: str) -> None:
    command = [sys.executable, "-m", "signwright.tsa", "--settings", str(settings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert code in done.stderr
    assert done.stdout == ""
