# SPDX-License-Identifier: Apache-2.0
"""``python -m signwright.witness`` as a process: it cosigns what continues, and nothing else, for ever."""

from __future__ import annotations

import hashlib
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from signwright.cli.bench.distance import relay
from signwright.transparency.checkpoint import Checkpoint
from signwright.transparency.cosignature import LogTrust, Quorum
from signwright.transparency.merkle import EMPTY_ROOT
from signwright.transparency.note import Note, NoteSignature, parse_note
from signwright.transparency.signing import SignerKey, add_signatures, sign_checkpoint, sign_note
from signwright.transparency.witnessing import MAX_BODY, SIZE_TYPE, add_checkpoint_body, parse_size
from tests.support.logs import MemoryLog, log_key
from tests.support.witnesses import (
    NAME,
    RunningWitness,
    create_witness,
    run_witness,
    witness_command,
    write_settings,
)

ORIGINS = [f"log{number}.example" for number in range(12)]


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWitness]:
    """One process for all tests that can share it; each takes a log origin of its own."""
    folder = tmp_path_factory.mktemp("witness")
    settings = write_settings(folder, origins=ORIGINS)
    with run_witness(settings, create_witness(settings)) as running:
        yield running


def leaves(number: int, *, salt: bytes = b"") -> list[bytes]:
    return [b"%s %d" % (salt, n) for n in range(number)]


def monitored(witness: RunningWitness, origin: str) -> httpx.Response:
    return httpx.get(f"{witness.url}/{hashlib.sha256(origin.encode()).hexdigest()}/checkpoint", timeout=20)


def test_a_growing_log_is_cosigned_and_can_be_monitored(witness: RunningWitness):
    origin = ORIGINS[0]
    log = MemoryLog(leaves(3), origin=origin)
    trust = LogTrust(origin, (log_key(origin).verifier,), Quorum((witness.key,), outside=1, local=0))
    assert monitored(witness, origin).status_code == 404
    old_size = 0
    for batch in (0, 1, 7, 300):
        log.append(leaves(batch))
        lines = witness.cosign(log, old_size=old_size)
        old_size = log.size
        witnessed = trust.verify(add_signatures(log.note(), lines))
        assert witnessed.checkpoint == log.checkpoint()
        time = witnessed.cosigned.median_time
        assert time is not None
        assert abs(time - datetime.now(UTC)) < timedelta(minutes=1)
        latest = monitored(witness, origin)
        assert latest.headers["content-type"] == "text/plain; charset=utf-8"
        assert trust.verify(latest.content).checkpoint == log.checkpoint()


def test_the_same_checkpoint_is_cosigned_again(witness: RunningWitness):
    log = MemoryLog(leaves(3), origin=ORIGINS[1])
    witness.cosign(log, old_size=0)
    witness.cosign(log, old_size=3)


def test_a_wrong_old_size_is_answered_with_the_right_one(witness: RunningWitness):
    log = MemoryLog(leaves(5), origin=ORIGINS[2])
    assert parse_size(witness.offer(log, old_size=2).content) == 0
    witness.cosign(log, old_size=0)
    log.append(leaves(2))
    for old_size in (0, 4, 6):
        answer = witness.offer(log, old_size=old_size)
        assert answer.status_code == 409
        assert answer.headers["content-type"] == SIZE_TYPE
        assert answer.content == b"5\n"


def test_forked_and_shrunken_logs_and_replayed_checkpoints_are_refused(witness: RunningWitness):
    origin = ORIGINS[3]
    log = MemoryLog(leaves(9), origin=origin)
    witness.cosign(log, old_size=0, size=6)
    witness.cosign(log, old_size=6)
    fork = MemoryLog([*leaves(8), b"another ninth", b"and a tenth"], origin=origin)
    same_size = add_checkpoint_body(9, [], checkpoint=fork.note(9))
    grown = add_checkpoint_body(9, fork.tree().consistency(9), checkpoint=fork.note())
    shrunken = add_checkpoint_body(9, [], checkpoint=log.note(6))
    replayed = add_checkpoint_body(0, [], checkpoint=log.note(6))
    answers = [witness.post(body) for body in (same_size, grown, shrunken, replayed)]
    assert [answer.status_code for answer in answers] == [422, 422, 400, 409]
    assert "forked" in answers[0].text
    assert Checkpoint.parse(parse_note(monitored(witness, origin).content).text) == log.checkpoint()
    log.append([b"honest"])
    witness.cosign(log, old_size=9)


def test_a_wrong_proof_is_refused(witness: RunningWitness):
    log = MemoryLog(leaves(20), origin=ORIGINS[4])
    extra = add_checkpoint_body(0, [EMPTY_ROOT], checkpoint=log.note())
    assert witness.post(extra).status_code == 422
    witness.cosign(log, old_size=0, size=10)
    path = log.tree().consistency(10)
    for wrong in ([], path[:-1], [*path, EMPTY_ROOT], path[::-1], [EMPTY_ROOT] * 63):
        assert witness.post(add_checkpoint_body(10, wrong, checkpoint=log.note())).status_code == 422
    witness.cosign(log, old_size=10)


def test_an_empty_log_has_one_root(witness: RunningWitness):
    origin = ORIGINS[5]
    wrong = sign_checkpoint(Checkpoint(origin, 0, bytes(32)), log_key(origin))
    assert witness.post(add_checkpoint_body(0, [], checkpoint=wrong)).status_code == 422
    log = MemoryLog(origin=origin)
    witness.cosign(log, old_size=0)
    log.append([b"first"])
    witness.cosign(log, old_size=0)


def test_an_unknown_log_is_not_found(witness: RunningWitness):
    log = MemoryLog(leaves(1), origin="unknown.example/log")
    assert witness.offer(log, old_size=0).status_code == 404
    assert monitored(witness, "unknown.example/log").status_code == 404
    assert httpx.get(f"{witness.url}/{'0' * 64}/checkpoint").status_code == 404


def test_only_the_log_itself_is_believed(witness: RunningWitness):
    origin = ORIGINS[6]
    log = MemoryLog(leaves(4), origin=origin)
    text = log.checkpoint().text()
    forger = SignerKey(origin, 1, bytes(range(32)))
    other_log = log_key(ORIGINS[7])
    right = parse_note(log.note()).signatures[0]
    broken = NoteSignature(right.name, right.key_id, right.value[:-1] + bytes([right.value[-1] ^ 1]))
    for note in (
        sign_note(text, forger),
        sign_note(text, other_log),
        Note(text, (broken,)).encode(),
        Note(text, (right, broken)).encode(),
    ):
        assert witness.post(add_checkpoint_body(0, [], checkpoint=note)).status_code == 403
    assert monitored(witness, origin).status_code == 404
    unknown_line_first = Note(text, (NoteSignature("stranger", b"abcd", bytes(64)), right)).encode()
    assert witness.post(add_checkpoint_body(0, [], checkpoint=unknown_line_first)).status_code == 200
    assert b"stranger" not in monitored(witness, origin).content


def test_bodies_that_do_not_parse_are_bad_requests(witness: RunningWitness):
    log = MemoryLog(leaves(4), origin=ORIGINS[8])
    body = add_checkpoint_body(0, [], checkpoint=log.note())
    extension = sign_note(log.checkpoint().text() + b"extension\n", log_key(log.origin))
    for wrong in (
        b"",
        b"\n\n",
        body.replace(b"old 0", b"old 00"),
        body.replace(b"old 0", b"OLD 0"),
        body[:-1],
        b"\xff" + body,
        add_checkpoint_body(0, [], checkpoint=extension),
        add_checkpoint_body(5, [], checkpoint=log.note()),
    ):
        assert witness.post(wrong).status_code == 400, wrong
    assert witness.post(body + b"a" * MAX_BODY).status_code == 413
    assert httpx.get(f"{witness.url}/add-checkpoint").status_code == 405
    assert witness.post(body).status_code == 200


def test_of_many_checkpoints_at_once_only_one_continues_each_size(witness: RunningWitness):
    origin = ORIGINS[9]
    base = MemoryLog(leaves(4), origin=origin)
    witness.cosign(base, old_size=0)
    forks = [MemoryLog([*leaves(4), b"fork %d" % number], origin=origin) for number in range(16)]
    start = threading.Barrier(len(forks))

    def offer(fork: MemoryLog) -> int:
        start.wait(timeout=20)
        return witness.offer(fork, old_size=4).status_code

    with ThreadPoolExecutor(len(forks)) as pool:
        answers = list(pool.map(offer, forks))
    assert sorted(answers) == [200] + [409] * 15
    winner = forks[answers.index(200)]
    assert Checkpoint.parse(parse_note(monitored(witness, origin).content).text) == winner.checkpoint()


def test_health_is_answered(witness: RunningWitness):
    assert httpx.get(f"{witness.url}/healthz").json() == {"status": "ok"}


def test_distance_is_what_it_says(witness: RunningWitness):
    host, port = witness.url.removeprefix("http://").split(":")
    with relay(host, int(port), round_trip_seconds=0.03) as near, httpx.Client() as client:
        answer = client.get(f"http://127.0.0.1:{near}/healthz")
    assert answer.status_code == 200
    assert answer.elapsed >= timedelta(seconds=0.03)


def test_two_processes_on_one_state_never_cosign_a_fork(tmp_path: Path):
    settings = write_settings(tmp_path)
    key = create_witness(settings)
    with run_witness(settings, key) as first, run_witness(settings, key) as second:
        first.cosign(MemoryLog(leaves(4)), old_size=0)
        forks = [MemoryLog([*leaves(4), b"fork %d" % number]) for number in range(8)]
        start = threading.Barrier(len(forks))

        def offer(number: int) -> int:
            start.wait(timeout=20)
            return (first, second)[number % 2].offer(forks[number], old_size=4).status_code

        with ThreadPoolExecutor(len(forks)) as pool:
            answers = list(pool.map(offer, range(len(forks))))
    assert sorted(answers) == [200] + [409] * 7


def test_what_was_cosigned_is_remembered_after_sigkill_and_restart(tmp_path: Path):
    settings = write_settings(tmp_path)
    key = create_witness(settings)
    log = MemoryLog(leaves(6))
    with run_witness(settings, key) as running:
        running.cosign(log, old_size=0)
        running.process.kill()
        running.process.wait(timeout=20)
    with run_witness(settings, key) as running:
        assert running.offer(log, old_size=0, size=3).content == b"6\n"
        fork = MemoryLog(leaves(8, salt=b"fork"))
        assert running.offer(fork, old_size=6).status_code == 422
        log.append([b"next"])
        running.cosign(log, old_size=6)


def test_sigterm_ends_it_cleanly(tmp_path: Path):
    settings = write_settings(tmp_path)
    with run_witness(settings, create_witness(settings)) as running:
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(timeout=20) == 0
        assert running.process.stdout is not None
        assert running.process.stdout.read() == f"ready {running.url}\n".encode()


def test_without_its_state_it_refuses_to_start(tmp_path: Path):
    settings = write_settings(tmp_path)
    create_witness(settings)
    (tmp_path / "witness.sqlite3").unlink()
    started = _run(settings)
    assert started.returncode == 1
    assert "witness.sqlite3 is missing" in started.stderr


def test_state_and_key_are_never_made_twice(tmp_path: Path):
    settings = write_settings(tmp_path)
    create_witness(settings)
    key = (tmp_path / "witness.key").read_bytes()
    again = _run(settings, "--create")
    assert again.returncode == 1
    assert "cannot be made" in again.stderr
    assert (tmp_path / "witness.key").read_bytes() == key


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path):
    settings = write_settings(tmp_path)
    create_witness(settings)
    (tmp_path / "witness.key").chmod(0o644)
    started = _run(settings)
    assert started.returncode == 1
    assert "mode 644; wanted 600" in started.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a signer key"),
        (b"PRIVATE+KEY+nonsense", "not a signer key"),
        (SignerKey(NAME, 1, bytes(32)).encode().encode(), "not a signer key"),
        (SignerKey("another.example", 4, bytes(32)).encode().encode(), "of 'another.example'; wanted"),
    ],
)
def test_a_wrong_key_file_is_refused_without_showing_it(tmp_path: Path, content: bytes, message: str):
    settings = write_settings(tmp_path)
    create_witness(settings)
    (tmp_path / "witness.key").write_bytes(content)
    started = _run(settings)
    assert started.returncode == 1
    assert message in started.stderr
    assert "PRIVATE" not in started.stderr


def test_a_taken_port_is_a_clear_error(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = write_settings(tmp_path, port=taken.getsockname()[1])
        create_witness(settings)
        started = _run(settings)
    assert started.returncode == 1
    assert "cannot listen" in started.stderr


def test_a_client_that_sends_nothing_does_not_hold_up_others(tmp_path: Path):
    settings = write_settings(tmp_path)
    with run_witness(settings, create_witness(settings)) as running:
        host, port = running.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(b"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nold")
            running.cosign(MemoryLog(leaves(2)), old_size=0)


def _run(settings: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        witness_command(settings, *arguments), capture_output=True, text=True, timeout=30, check=False
    )
