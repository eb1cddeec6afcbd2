# SPDX-License-Identifier: Apache-2.0
"""What a running home answers to nonsense: a clear word, the right exit code, nothing lost, nothing signed."""

from __future__ import annotations

import base64
import os
import resource
import secrets
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from signwright.client.http import problem_of
from signwright.client.submit import PreparedRequest
from signwright.client.upload import upload
from signwright.errors import SignwrightError
from tests.support.cut_line import CutLine
from tests.support.homes import RunningHome
from tests.support.outages import Site
from tests.support.pe_builder import Pe


@pytest.fixture
def site(home: RunningHome) -> Site:
    return Site(home)


@pytest.fixture
def unchanged_keys(site: Site) -> Iterator[None]:
    """No key is used by what follows."""
    before = site.claimed()
    yield
    assert site.claimed() == before


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


WHOLE = Pe(overlay=b"0123456789abcdef").build()


@pytest.mark.usefixtures("unchanged_keys")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (WHOLE[:64], "at offset"),
        (WHOLE[:0x180], "at offset"),
        (WHOLE[:0x400], "at offset"),
        (Pe(security=(1 << 20, 64)).build(), "certificate table"),
        (Pe(security=(0x600, 1 << 30)).build(), "certificate table"),
    ],
)
def test_damaged_program_is_rejected(home: RunningHome, tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "a.exe"
    file.write_bytes(content)
    ran = home.cli("sign", file, "--in-place")
    assert (ran.code, ran.out) == (9, ""), ran.err
    assert said in ran.err
    assert (names(tmp_path), file.read_bytes()) == ({"a.exe"}, content)


@pytest.mark.usefixtures("unchanged_keys")
@pytest.mark.parametrize("mode", ["artifact", "digest"])
def test_program_of_four_gibibytes_is_rejected(home: RunningHome, tmp_path: Path, mode: str) -> None:
    file = tmp_path / "huge.exe"
    file.write_bytes(WHOLE)
    os.truncate(file, 1 << 32)  # sparse
    ran = home.cli("sign", file, "--in-place", "--mode", mode)
    assert (ran.code, ran.out) == (9, ""), ran.err
    assert "4 GiB" in ran.err or "4294967296" in ran.err, ran.err
    assert names(tmp_path) == {"huge.exe"}


@pytest.mark.usefixtures("unchanged_keys")
def test_content_with_another_digest_than_declared_is_refused(site: Site) -> None:
    request = site.prepared()
    (file,) = request.files
    with site.hub() as hub:
        hub.submit(request.envelope, idempotency_key=None)
        other = bytearray(file.path.read_bytes())
        other[-1] ^= 1
        file.path.write_bytes(other)
        with file.path.open("rb") as opened, pytest.raises(SignwrightError) as refused:
            upload(
                hub,
                opened,
                sha256=file.prepared.source_sha256,
                size=file.prepared.source_size,
                progress=lambda *_: None,
            )
        assert file.prepared.source_sha256 in str(refused.value), refused.value
        assert hub.request(request.digest).state == "uploading"
        assert hub.stored(file.prepared.source_sha256) == 0
        other[-1] ^= 1
        file.path.write_bytes(other)
        hub.cancel(request.digest)
    assert site.home.cli("wait", request.digest).code == 1


def test_upload_that_breaks_off_goes_on_by_itself(home: RunningHome, site: Site, tmp_path: Path) -> None:
    file = tmp_path / "large.exe"
    file.write_bytes(Pe(overlay=secrets.token_bytes(6 << 20)).build())
    with CutLine(site.url, cuts=[3 << 20, 2 << 20]) as line:
        ran = home.cli("sign", file, "--in-place", "--hub", line.url)
        assert ran.code == 0, ran.err
        assert line.cut == 2
        assert line.carried < 9 << 20  # what had arrived was not sent again
    assert home.cli("verify", file).code == 0


def test_request_handed_in_again_is_the_same_and_signs_nothing_more(site: Site) -> None:
    request = site.prepared(mode="digest")
    site.send([request])
    assert [view.state for view in site.ended([request])] == ["completed"]
    before = site.claimed()
    (again,) = site.send([request])
    assert (again.state, again.request_sha256) == ("completed", request.digest)
    assert site.claimed() == before


@pytest.mark.usefixtures("unchanged_keys")
@pytest.mark.parametrize(
    ("off", "code", "said"),
    [
        (timedelta(days=-8), 1, "expire"),
        (timedelta(minutes=10), 3, "not ahead of the clock"),
    ],
    ids=["expired", "clock ten minutes ahead"],
)
def test_request_of_another_time_is_refused(site: Site, off: timedelta, code: int, said: str) -> None:
    request = site.prepared(mode="digest", now=datetime.now(UTC) + off)
    site.send([request])
    site.ended([request])
    waited = site.home.cli("wait", request.digest)
    assert waited.code == code, waited.err
    assert said in waited.err


def test_clock_ten_minutes_behind_may_still_ask(site: Site) -> None:
    """A request lives for hours; that it is ten minutes old says nothing against it."""
    request = site.prepared(mode="digest", now=datetime.now(UTC) - timedelta(minutes=10))
    site.send([request])
    assert [view.state for view in site.ended([request])] == ["completed"]


def _more_text(payload: bytes, text: bytes) -> bytes:
    return payload.replace(b'"name":"', b'"name":"' + text, 1)


MUTATIONS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "duplicate key": (lambda p: p.replace(b'"project":', b'"project":"default","project":', 1), "duplicate-member"),
    "float": (lambda p: p.replace(b'"size":', b'"size":1.0,"siz":', 1), "float"),
    "exponent": (lambda p: p.replace(b'"size":', b'"size":1e3,"siz":', 1), "float"),
    "65 KiB": (lambda p: _more_text(p, b"x" * (65 << 10)), "statement-too-large"),
    "ANSI escape": (lambda p: _more_text(p, b"\\u001b[31m"), "bad-text"),
    "RTL override": (lambda p: _more_text(p, "\u202e".encode()), "bad-text"),
    "unknown field": (lambda p: p.replace(b'"project":', b'"colour":"red","project":', 1), "bad-field"),
    "cut off": (lambda p: p[:-3], "bad-json"),
    "not UTF-8": (lambda p: _more_text(p, b"\xff"), "bad-json"),
}


@pytest.mark.usefixtures("unchanged_keys")
@pytest.mark.parametrize("name", MUTATIONS)
def test_signed_statement_with_bad_text_is_refused(site: Site, name: str) -> None:
    change, code = MUTATIONS[name]
    request: PreparedRequest = site.prepared(mode="digest")
    payload = change(request.envelope.payload)
    assert payload != request.envelope.payload
    envelope = request.credential.sign_statement(payload)
    with site.hub() as hub:
        answer = hub.connection.call(
            "POST",
            "/v1/requests",
            body=envelope.encode(),
            headers={"content-type": "application/json"},
            expect=(202, 400, 413, 422),
        )
        assert answer.status in (400, 413), answer.body
        problem = problem_of(answer)
        assert problem.code == code, (problem.code, problem.message)
        assert all(c.isprintable() for c in problem.message)
        assert hub.health()["status"] == "ok"


@pytest.mark.usefixtures("unchanged_keys")
def test_garbage_in_an_envelope_is_refused(site: Site) -> None:
    with site.hub() as hub:
        for body in (b"[" * 10000, b"\x00" * 100, base64.b64encode(b"x" * 100), b'{"payload":1}'):
            answer = hub.connection.call("POST", "/v1/requests", body=body, expect=(400, 413, 422))
            assert problem_of(answer).code


def test_full_disk_of_the_client_leaves_nothing_half_written(home: RunningHome, tmp_path: Path) -> None:
    file = tmp_path / "a.exe"
    content = Pe(overlay=secrets.token_bytes(1 << 20)).build()
    file.write_bytes(content)

    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, 1 << 19))

    done = subprocess.run(
        home.command("sign", file, "--in-place"),
        env=home.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=small_disk,
    )
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert "nothing was written" in done.stderr
    assert (names(tmp_path), file.read_bytes()) == ({"a.exe"}, content)
    assert home.cli("sign", file, "--in-place").code == 0  # with room: the same request is fetched


def test_folder_that_cannot_be_written_is_a_usage_error(home: RunningHome, site: Site, tmp_path: Path) -> None:
    folder = Path("/sys") if os.geteuid() == 0 else tmp_path / "closed"  # root may write wherever files can be made
    if folder != Path("/sys"):
        folder.mkdir(mode=0o500)
    ran = home.cli("sign", site.program(), "-o", folder / "signed.exe")
    assert (ran.code, ran.out) == (2, ""), ran.err
    assert f"{folder}: " in ran.err
    assert not (folder / "signed.exe").exists()


def test_folder_and_pipe_are_no_files_to_be_signed(home: RunningHome, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path, tmp_path / "pipe", tmp_path / "absent.exe"):
        ran = home.cli("sign", file, "-o", tmp_path / "out.exe")
        assert (ran.code, ran.out) == (2, ""), ran.err
        assert str(file) in ran.err
    assert names(tmp_path) == {"pipe"}
