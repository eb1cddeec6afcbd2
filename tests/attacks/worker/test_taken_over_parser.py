# SPDX-License-Identifier: Apache-2.0
"""A parser that does what its attacker wants: what it can reach from inside the sandbox, and what its askers
believe.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from signwright.errors import FormatError, SignwrightError, UnavailableError, VerificationError
from signwright.model.framing import encode_frame
from signwright.signer.start import signer_command
from signwright.signer.worker import sandbox
from signwright.signer.worker.pool import JobLimits, WorkerPool
from tests.support.processes import pid_is_alive, wait_until
from tests.support.workers import ROOT, SHORT, hostile_pool, worker_environment

pytestmark = pytest.mark.attacks


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with hostile_pool() as started:
        yield started


@pytest.fixture
def artifact(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "artifact"
    path.write_bytes(b"content")
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def code_of(pool: WorkerPool, job: str, message: dict[str, object] | None = None, **given: object) -> str:
    with pytest.raises(SignwrightError) as caught:
        pool.run(job, message or {}, **given)
    return caught.value.code


def still_works(pool: WorkerPool) -> bool:
    return pool.run("echo", {"say": "hello"}).message == {"said": "hello"}


def test_both_walls_stand_where_the_kernel_has_them(pool: WorkerPool) -> None:
    assert pool.sandbox == sandbox.available().text
    assert "seccomp" in pool.sandbox


def test_a_job_gets_its_message_parts_and_files(pool: WorkerPool, artifact: int) -> None:
    frame = pool.run("echo", {"say": 1}, parts=[b"part"], views=[artifact])
    assert frame.message == {"said": 1}
    assert frame.parts == (b"part", b"content")


def test_a_crash_is_an_error_about_the_artifact_and_the_next_job_runs(pool: WorkerPool) -> None:
    assert code_of(pool, "segfault") == "worker-crashed"
    assert still_works(pool)


@pytest.mark.parametrize("job", ["hang", "drip"])
def test_a_hanging_child_is_killed_at_its_time(pool: WorkerPool, job: str) -> None:
    started = time.monotonic()
    code = code_of(pool, job, limits=JobLimits(seconds=0.3, cpu_seconds=5))
    assert code in {"worker-timeout", "worker-answer"}
    assert time.monotonic() - started < 5
    assert still_works(pool)


def test_a_spinning_child_is_ended_by_its_processor_time(pool: WorkerPool) -> None:
    assert code_of(pool, "spin", limits=JobLimits(seconds=30, cpu_seconds=1)) == "worker-timeout"


def test_a_memory_bomb_ends_as_an_error_about_memory(pool: WorkerPool) -> None:
    assert code_of(pool, "memory_bomb") == "worker-memory"


def test_threads_are_bounded_by_memory(pool: WorkerPool) -> None:
    started = pool.run("thread_bomb", {}).message["started"]
    assert isinstance(started, int)
    assert 1 < started < 2000


def test_recursion_is_an_error(pool: WorkerPool) -> None:
    assert code_of(pool, "recursion") == "worker-crashed"


@pytest.mark.parametrize(
    "what",
    ["fork", "exec", "spawn", "tcp socket", "udp socket", "unix socket", "socket pair", "kill the parent",
     "signal everybody", "become root", "receive a descriptor"],
)  # fmt: skip
def test_a_child_that_tries_is_killed(pool: WorkerPool, what: str) -> None:
    zygote = pool.process
    assert code_of(pool, "attempt", {"what": what}) == "worker-violation"
    assert pool.process == zygote
    assert still_works(pool)


@pytest.mark.parametrize("what", ["read a file", "list a folder", "list descriptors", "executable memory"])
def test_a_child_that_tries_is_refused(pool: WorkerPool, what: str) -> None:
    assert pool.run("attempt", {"what": what}).message["refused"] == "PermissionError"


def test_a_file_cannot_be_written(pool: WorkerPool, tmp_path: Path) -> None:
    path = tmp_path / "made"
    frame = pool.run("attempt", {"what": "write a file", "path": str(path)})
    assert frame.message["refused"] == "PermissionError"
    assert not path.exists()


def test_the_artifact_cannot_be_written(pool: WorkerPool, artifact: int) -> None:
    frame = pool.run("attempt", {"what": "write the artifact"}, views=[artifact])
    assert "refused" in frame.message
    assert os.pread(artifact, 100, 0) == b"content"


def test_a_writable_descriptor_is_not_handed_to_a_child(pool: WorkerPool, tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "writable", os.O_RDWR | os.O_CREAT)
    try:
        assert code_of(pool, "echo", views=[descriptor]) == "worker-refused"
    finally:
        os.close(descriptor)


def test_threads_work(pool: WorkerPool) -> None:
    assert pool.run("attempt", {"what": "thread"}).message == {"done": "'hello'"}


def test_what_python_loads_late_is_there_already(pool: WorkerPool) -> None:
    assert pool.run("attempt", {"what": "late codec"}).message == {"done": repr("üxn--tda2026")}


@pytest.mark.parametrize(
    "call",
    ["ptrace", "kill", "process_vm_readv", "bpf", "userfaultfd", "mount", "keyctl", "memfd_create", "unshare",
     "io_uring_setup", "setns", "pidfd_getfd", "perf_event_open", "shmget", "execveat", "connect",
     0x40000000 + 39, 9999],
)  # fmt: skip
def test_a_forbidden_system_call_kills(pool: WorkerPool, call: str | int) -> None:
    assert code_of(pool, "system_call", {"call": call}) == "worker-violation"


def test_a_child_holds_only_what_it_was_given(pool: WorkerPool, artifact: int, tmp_path: Path) -> None:
    leak = os.open(tmp_path / "leak", os.O_RDWR | os.O_CREAT)
    os.set_inheritable(leak, True)
    try:
        with pool.job("held_open", {}, views=[artifact]) as running:
            kind, frame = running.answer()
            assert kind == "part"
            folder = f"/proc/{frame.message['process']}/fd"
            held = {int(name): os.readlink(f"{folder}/{name}") for name in os.listdir(folder)}
            running.send({})
            assert running.answer()[0] == "done"
    finally:
        os.close(leak)
    assert sorted(held) == [0, 1, 2, 3, 4]
    assert [held[n] for n in (0, 1, 2)] == ["/dev/null"] * 3
    assert held[3].startswith("socket:")
    assert held[4].endswith("/artifact")
    assert pool.run("probe_descriptors", {}, views=[artifact]).message == {"open": [0, 1, 2, 3, 4]}


def test_a_child_is_seen_from_outside_as_locked_up(pool: WorkerPool) -> None:
    with pool.job("held_open", {}) as running:
        process = running.answer()[1].message["process"]
        rows = dict(line.split(":\t", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    assert rows["Seccomp"] == "2"
    assert rows["NoNewPrivs"] == "1"
    assert {int(rows[name], 16) for name in ("CapEff", "CapPrm", "CapInh")} == {0}


def test_a_child_ends_when_its_asker_goes_away(pool: WorkerPool) -> None:
    with pool.job("held_open", {}) as running:
        process = running.answer()[1].message["process"]
        assert isinstance(process, int)
        assert pid_is_alive(process)
    wait_until(lambda: not pid_is_alive(process), what="the child's end", seconds=5)
    assert still_works(pool)


@pytest.mark.parametrize(
    ("job", "size"), [("long_answer", 2 << 20), ("long_attachment", 3 << 20), ("endless_answer", 0)]
)
def test_an_answer_beyond_its_limit_is_refused(pool: WorkerPool, job: str, size: int) -> None:
    limits = dataclasses.replace(SHORT, attachments=1 << 20)
    assert code_of(pool, job, {"bytes": size}, limits=limits) == "worker-answer"
    assert still_works(pool)


@pytest.mark.parametrize(
    "raw",
    [b"\x00\x00\x00\x00", b"\x00\x00\x00\x02{}", b"\x00\x00\x00\x05[1,2]", encode_frame({"done": 1}), encode_frame({}),
     encode_frame({"done": {}, "failed": {}}), encode_frame({"part": {}})],
)  # fmt: skip
def test_an_answer_that_is_none_is_refused(pool: WorkerPool, raw: bytes) -> None:
    assert code_of(pool, "raw_answer", parts=[raw]) == "worker-answer"


@pytest.mark.parametrize("raw", [b"", b"\x00", b"\x00\x00\x00\x10{", encode_frame({"done": {}}, [b"123"])[:-1]])
def test_an_answer_that_breaks_off_is_a_crash(pool: WorkerPool, raw: bytes) -> None:
    assert code_of(pool, "raw_answer", parts=[raw]) == "worker-crashed"


@pytest.mark.parametrize(
    "failed",
    [{"kind": "unavailable", "code": "x", "text": "t"}, {"kind": "format", "code": "A B", "text": "t"}, {}, 7,
     {"kind": ["format"], "code": "a", "text": "t"}, {"kind": "denied", "code": "denied", "text": "t"}],
)  # fmt: skip
def test_an_error_that_a_worker_may_not_raise_counts_as_a_crash(pool: WorkerPool, failed: object) -> None:
    assert code_of(pool, "answer_frame", {"frame": {"failed": failed}}) == "worker-crashed"


def test_an_error_text_cannot_move_the_cursor(pool: WorkerPool) -> None:
    failed = {"kind": "format", "code": "bad", "text": "\x1b[2J\u202etxt" + "x" * 9999, "offset": -1}
    with pytest.raises(FormatError) as caught:
        pool.run("answer_frame", {"frame": {"failed": failed}})
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 600
    assert caught.value.offset == 0


def test_an_honest_error_arrives_with_code_and_offset(pool: WorkerPool) -> None:
    with pytest.raises(FormatError) as caught:
        pool.run("fail", {"kind": "format"})
    assert (caught.value.code, caught.value.offset) == ("bad-table", 77)
    assert caught.value.message == "the table ends early (at offset 77)"
    with pytest.raises(VerificationError, match="the digest differs"):
        pool.run("fail", {"kind": "verification"})


def test_an_unexpected_exception_keeps_its_text_to_itself(pool: WorkerPool) -> None:
    with pytest.raises(FormatError) as caught:
        pool.run("fail", {"kind": "other"})
    assert caught.value.code == "worker-crashed"
    assert "ValueError" in caught.value.message
    assert "secret" not in caught.value.message


def test_an_unknown_job_is_refused(pool: WorkerPool) -> None:
    with pytest.raises(UnavailableError) as caught:
        pool.run("no-such-job", {})
    assert caught.value.code == "worker-refused"


def test_a_killed_zygote_fails_its_jobs_and_the_next_job_starts_another() -> None:
    with hostile_pool() as pool:
        before = pool.process
        with pool.job("held_open", {}) as running:
            child = running.answer()[1].message["process"]
            assert isinstance(child, int)
            os.kill(before, signal.SIGKILL)
            with pytest.raises(UnavailableError) as caught:
                running.answer()
        assert caught.value.code == "worker-unavailable"
        wait_until(lambda: not pid_is_alive(child), what="the child's end", seconds=5)
        assert still_works(pool)
        assert pool.process != before


def test_closing_the_pool_ends_zygote_and_children() -> None:
    pool = hostile_pool()
    pool.start()
    zygote = pool.process
    with pool.job("held_open", {}) as running:
        child = running.answer()[1].message["process"]
        assert isinstance(child, int)
        pool.close()
        wait_until(lambda: not pid_is_alive(child), what="the child's end", seconds=5)
    assert not pid_is_alive(zygote)
    with pytest.raises(UnavailableError):
        pool.run("echo", {})


def test_without_a_sandbox_nothing_hides_it() -> None:
    with hostile_pool(sandbox_none=True) as pool:
        assert pool.sandbox == "none"
        assert "done" in pool.run("attempt", {"what": "executable memory"}).message


def test_a_kernel_without_filters_is_refused_unless_the_setting_says_none() -> None:
    command = signer_command("tests.support.old_kernel_zygote", [], environment=worker_environment(), extra_path=[ROOT])
    with pytest.raises(UnavailableError) as caught:
        WorkerPool(command).start()
    assert caught.value.code == "sandbox-unavailable"
    assert "this kernel offers" in caught.value.message
    with WorkerPool(command, sandbox_none=True) as pool:
        assert pool.sandbox == "none"
        assert still_works(pool)


def test_the_zygote_holds_one_socket(pool: WorkerPool) -> None:
    table = Path(f"/proc/{pool.process}/fd")
    links = [os.readlink(entry) for entry in table.iterdir()]
    assert sum(link.startswith("socket:") for link in links) == 1


def test_the_zygote_has_one_thread(pool: WorkerPool) -> None:
    assert still_works(pool)
    assert len(os.listdir(f"/proc/{pool.process}/task")) == 1
