# SPDX-License-Identifier: Apache-2.0
"""The scanner as a process: real engines, real archives, its signed verdicts."""

from __future__ import annotations

import io
import os
import random
import signal
import socket
import subprocess
import zipfile
from pathlib import Path

import pytest

from signwright.model.framing import encode_frame
from signwright.scanner.bootstrap import create_key
from signwright.scanner.engines.base import EICAR
from signwright.scanner.settings import load_settings
from tests.support.clamd import running_clamd
from tests.support.pe_builder import Pe
from tests.support.processes import pid_is_alive, wait_until
from tests.support.scanner import RunningScanner, rules_of, running_scanner, scanner_command, write_settings, zipped
from tests.support.tools import require_tool

pytestmark = pytest.mark.e2e

NOISE = random.Random(7).randbytes(300_000)


def nested(levels: int, content: bytes) -> bytes:
    for level in range(levels, 0, -1):
        content = zipped((f"{level}.zip" if level < levels else "inner", content), method=zipfile.ZIP_STORED)
    return content


def zygote_of(scanner: RunningScanner) -> int:
    return int(Path(f"/proc/{scanner.process.pid}/task/{scanner.process.pid}/children").read_text())


def is_scanning(scanner: RunningScanner) -> bool:
    """The spool files of a scan are open."""
    maps = [_link(entry) for entry in Path(f"/proc/{scanner.process.pid}/fd").iterdir()]
    return sum("(deleted)" in link for link in maps) >= 9


def _link(entry: Path) -> str:
    try:
        return os.readlink(entry)
    except OSError:
        return ""  # closed meanwhile


def test_a_long_scan_says_that_it_is_alive(scanner: RunningScanner) -> None:
    zygote = zygote_of(scanner)
    os.kill(zygote, signal.SIGSTOP)
    try:
        with scanner.begin(NOISE) as channel:
            first = scanner.receive(channel)
            os.kill(zygote, signal.SIGCONT)
            assert scanner.finish(channel).message == {"verdict": "clean"}
    finally:
        os.kill(zygote, signal.SIGCONT)
    assert set(first.message["progress"]) == {"scanned", "members"}  # type: ignore[call-overload]


def test_a_clean_file_is_clean(scanner: RunningScanner) -> None:
    evidence = scanner.evidence(NOISE, "app.exe")
    assert evidence.verdict == "clean"
    assert evidence.findings == ()
    assert evidence.members == 0
    assert "seccomp" in evidence.sandbox
    assert [engine.name for engine in evidence.engines] == ["yara-x"]


def test_an_empty_file_is_clean(scanner: RunningScanner) -> None:
    assert scanner.evidence(b"").verdict == "clean"


@pytest.mark.parametrize("name", ["eicar.com", "harmless.txt"])
def test_the_test_file_is_found_whatever_it_is_called(scanner: RunningScanner, name: str) -> None:
    evidence = scanner.evidence(EICAR, name)
    assert evidence.verdict == "infected"
    assert rules_of(evidence) == [(name, "eicar_test_file", "yara-x")]


def test_the_test_file_at_the_end_of_a_large_file_is_found(scanner: RunningScanner) -> None:
    assert scanner.evidence(NOISE * 30 + EICAR).verdict == "infected"


def test_a_zip_in_a_zip_is_searched_and_the_inner_path_named(scanner: RunningScanner) -> None:
    content = zipped(("ok.txt", b"fine"), ("b.zip", zipped(("x/readme", NOISE), ("x/eicar.com", EICAR))))
    evidence = scanner.evidence(content, "a.zip")
    assert evidence.verdict == "infected"
    assert rules_of(evidence) == [("a.zip/b.zip/x/eicar.com", "eicar_test_file", "yara-x")]
    assert evidence.members == 4


def test_clean_members_are_counted_and_clean(scanner: RunningScanner) -> None:
    evidence = scanner.evidence(zipped(*[(f"{n}.txt", b"%d" % n) for n in range(200)]), "a.zip")
    assert (evidence.verdict, evidence.members) == ("clean", 200)


def test_an_archive_behind_a_program_is_searched(scanner: RunningScanner) -> None:
    assert scanner.evidence(NOISE + zipped(("eicar.com", EICAR)), "setup.exe").verdict == "infected"


def test_eight_zips_in_each_other_are_opened_and_nine_are_not(scanner: RunningScanner) -> None:
    packed = zipped(("eicar.com", EICAR))
    assert scanner.evidence(nested(7, packed), "a.zip").verdict == "infected"
    deep = scanner.evidence(nested(8, zipped(("clean", b"clean"))), "a.zip")
    assert deep.verdict == "unscannable"
    assert [row[1:] for row in rules_of(deep)] == [("unscannable: archive-depth", "unpack")]


def test_a_bomb_is_unscannable(scanner: RunningScanner) -> None:
    evidence = scanner.evidence(zipped(("zeros", bytes(10 << 20)), ("small", b"ok")), "bomb.zip")
    assert evidence.verdict == "unscannable"
    assert ("bomb.zip/zeros", "unscannable: archive-ratio", "unpack") in rules_of(evidence)


def test_a_bomb_of_many_small_members_is_unscannable(scanner: RunningScanner) -> None:
    evidence = scanner.evidence(zipped(*[(str(n), bytes(900_000)) for n in range(20)]), "bomb.zip")
    assert evidence.verdict == "unscannable"
    assert rules_of(evidence) == [("bomb.zip", "unscannable: archive-ratio", "unpack")]


def test_more_than_the_total_is_unscannable(scanner: RunningScanner) -> None:
    evidence = scanner.evidence(zipped(("a", NOISE * 40), ("b", NOISE * 40)), "big.zip")
    assert evidence.verdict == "unscannable"
    assert rules_of(evidence) == [("big.zip", "unscannable: archive-total", "unpack")]


def test_an_encrypted_member_is_unscannable(scanner: RunningScanner, own_folder: Path) -> None:
    tool = require_tool("zip", "zip")
    (own_folder / "secret").write_bytes(EICAR)
    subprocess.run([tool, "-q", "-P", "password", "e.zip", "secret"], cwd=own_folder, check=True)
    evidence = scanner.evidence((own_folder / "e.zip").read_bytes(), "e.zip")
    assert evidence.verdict == "unscannable"
    assert rules_of(evidence) == [("e.zip/secret", "unscannable: zip-encrypted", "unpack")]


def test_a_broken_zip_is_unscannable(scanner: RunningScanner) -> None:
    content = zipped(("a", NOISE))
    assert scanner.evidence(content[:-30], "b.zip").verdict == "unscannable"
    assert scanner.evidence(b"PK\x03\x04" + NOISE, "b.zip").verdict == "unscannable"


@pytest.mark.parametrize("behind", [b"\0", b"signature" * 100])
def test_a_zip_between_other_bytes_is_not_passed_over(scanner: RunningScanner, behind: bytes) -> None:
    """A self-extracting program with something appended: other readers open it, so it is no clean file here."""
    content = Pe().build() + zipped(("eicar.com", EICAR)) + behind
    assert zipfile.ZipFile(io.BytesIO(content)).namelist() == ["eicar.com"]
    evidence = scanner.evidence(content, "setup.exe")
    assert evidence.verdict == "infected"
    assert ("setup.exe", "unscannable: zip-end", "unpack") in rules_of(evidence)
    assert ("setup.exe/eicar.com", "eicar_test_file", "yara-x") in rules_of(evidence)
    clean = scanner.evidence(Pe().build() + zipped(("a", b"a")) + behind, "setup.exe")
    assert rules_of(clean) == [("setup.exe", "unscannable: zip-end", "unpack")]
    assert (clean.verdict, clean.members) == ("unscannable", 1)


def test_archives_in_the_middle_of_a_file_are_searched(scanner: RunningScanner) -> None:
    """Some unpackers open an archive wherever it stands, however much is behind it."""
    first, second = zipped(("clean", b"clean")), zipped(("eicar.com", EICAR))
    content = NOISE + first + NOISE + second + NOISE
    evidence = scanner.evidence(content, "setup.exe")
    assert evidence.verdict == "infected"
    assert ("setup.exe/eicar.com") in {row[0] for row in rules_of(evidence)}
    assert scanner.evidence(NOISE + second + NOISE + first, "setup.exe").verdict == "infected"
    harmless = scanner.evidence(NOISE + first + NOISE + first + NOISE, "setup.exe")
    assert (harmless.verdict, harmless.members) == ("clean", 2)


def test_infected_outweighs_unscannable(scanner: RunningScanner) -> None:
    evidence = scanner.evidence(zipped(("bomb", bytes(10 << 20)), ("eicar.com", EICAR)), "a.zip")
    assert evidence.verdict == "infected"
    assert len(evidence.findings) == 2


def test_many_long_names_still_fit_a_statement(scanner: RunningScanner) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(120):
            archive.writestr('"名' * 400 + str(number), EICAR)
    evidence = scanner.evidence(buffer.getvalue(), "a.zip")
    assert (evidence.verdict, evidence.members) == ("infected", 120)


def test_bytes_that_are_not_the_claimed_ones_get_no_verdict(scanner: RunningScanner) -> None:
    for frame in (
        scanner.ask(NOISE, sha256="0" * 64),
        scanner.ask(NOISE, size=len(NOISE) - 1),
        scanner.ask(NOISE, size=len(NOISE) + 1),
    ):
        assert frame.message["error"]["code"] == "digest-mismatch"  # type: ignore[index]
        assert frame.parts == ()


@pytest.mark.parametrize(
    "message",
    [{}, {"scan": {}}, {"scan": {"name": "a\u202eb", "sha256": "0" * 64, "size": 1}}, {"scan": {"name": "a", "size":
    1}},
     {"scan": {"name": "a", "sha256": "0" * 64, "size": True}}, {"scan": {"name": "a", "sha256": "A" * 64, "size": 1}}],
)  # fmt: skip
def test_a_malformed_question_is_refused(scanner: RunningScanner, message: dict[str, object]) -> None:
    with socket.socket(socket.AF_UNIX) as channel, open(os.devnull) as nothing:
        channel.connect(os.fspath(scanner.socket_path))
        socket.send_fds(channel, [b"\0"], [nothing.fileno()])
        channel.sendall(encode_frame(message))
        assert "error" in scanner.finish(channel).message


def test_a_question_without_a_plain_file_is_refused(scanner: RunningScanner) -> None:
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(os.fspath(scanner.socket_path))
        channel.sendall(b"\0" + encode_frame({"scan": {"name": "a", "sha256": "0" * 64, "size": 1}}))
        assert scanner.finish(channel).message["error"]["code"] == "bad-descriptor"  # type: ignore[index]
    reading, writing = os.pipe()
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(os.fspath(scanner.socket_path))
        socket.send_fds(channel, [b"\0"], [reading])
        channel.sendall(encode_frame({"scan": {"name": "a", "sha256": "0" * 64, "size": 1}}))
        assert scanner.finish(channel).message["error"]["code"] == "bad-descriptor"  # type: ignore[index]
    os.close(reading)
    os.close(writing)


def test_a_key_that_others_can_read_is_refused(own_folder: Path) -> None:
    settings = write_settings(own_folder)
    subprocess.run(scanner_command(settings, "--create"), check=True, capture_output=True, timeout=60)
    (own_folder / "key").chmod(0o644)
    done = subprocess.run(scanner_command(settings), capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert b"wanted 600" in done.stderr


def test_term_ends_the_scanner_and_its_children(own_folder: Path) -> None:
    with running_scanner(own_folder) as scanner:
        zygote = zygote_of(scanner)
        scanner.process.send_signal(signal.SIGTERM)
        assert scanner.process.wait(10) == 0
        assert not scanner.socket_path.exists()
        wait_until(lambda: not pid_is_alive(zygote), what="the zygote's end", seconds=5)


def test_a_scanner_killed_in_the_middle_gives_no_verdict_and_starts_again(own_folder: Path) -> None:
    with running_scanner(own_folder) as scanner:
        zygote = zygote_of(scanner)
        channel = scanner.begin(zipped(*[(str(n), NOISE) for n in range(60)], method=zipfile.ZIP_STORED))
        wait_until(lambda: is_scanning(scanner), what="the scan's start")
        scanner.process.kill()
        scanner.process.wait()
        with channel, pytest.raises((EOFError, ConnectionError)):
            scanner.finish(channel)
        wait_until(lambda: not pid_is_alive(zygote), what="the zygote's end", seconds=5)
        assert list((own_folder / "spool").iterdir()) == []
    with running_scanner(own_folder) as scanner:
        assert scanner.evidence(NOISE).verdict == "clean"


def test_a_killed_zygote_makes_that_scan_unscannable_and_the_next_one_work(own_folder: Path) -> None:
    with running_scanner(own_folder) as scanner:
        zygote = zygote_of(scanner)
        os.kill(zygote, signal.SIGSTOP)
        channel = scanner.begin(EICAR)
        wait_until(lambda: is_scanning(scanner), what="the scan's start")
        os.kill(zygote, signal.SIGKILL)
        with channel:
            # Found after all, when the job had not been handed over yet.
            assert scanner.finish(channel).message["verdict"] in {"unscannable", "infected"}
        assert scanner.evidence(EICAR).verdict == "infected"


def test_without_the_sandbox_the_verdict_says_so(own_folder: Path) -> None:
    with running_scanner(own_folder, sandbox="none") as scanner:
        evidence = scanner.evidence(NOISE * 20)
        assert (evidence.verdict, evidence.sandbox) == ("clean", "none")


@pytest.mark.parametrize("tcp", [False, True])
def test_clamd_and_yara_look_both(own_folder: Path, tcp: bool) -> None:
    with running_clamd(tcp=tcp) as address:
        clamd = {"address": address, "max_age_hours": 0}
        with running_scanner(own_folder, engines=["clamd", "yara-x"], clamd=clamd) as scanner:
            assert scanner.evidence(NOISE).verdict == "clean"
            evidence = scanner.evidence(zipped(("b.zip", zipped(("eicar.com", EICAR)))), "a.zip")
            assert evidence.verdict == "infected"
            found = {(row[0], row[2]) for row in rules_of(evidence)}
            assert {("a.zip/b.zip/eicar.com", "clamd"), ("a.zip/b.zip/eicar.com", "yara-x")} <= found
            assert {engine.name for engine in evidence.engines} == {"clamd", "yara-x"}


def test_clamd_that_goes_down_makes_the_verdict_unscannable(own_folder: Path) -> None:
    with running_clamd() as address:
        clamd = {"address": address, "max_age_hours": 0}
        with running_scanner(own_folder, engines=["yara-x", "clamd"], clamd=clamd) as scanner:
            assert scanner.evidence(NOISE).verdict == "clean"
            process = next(
                int(p.name) for p in Path("/proc").iterdir()
                if p.name.isdigit() and address.removeprefix("unix:").replace("socket", "clamd.conf").encode()
                in _command_line(p)
            )  # fmt: skip
            os.kill(process, signal.SIGKILL)
            evidence = scanner.evidence(NOISE)
            assert evidence.verdict == "unscannable"
            assert rules_of(evidence) == [("artifact", "unscannable: engine-unavailable", "clamd")]
            assert scanner.evidence(EICAR).verdict == "infected"


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def refused_start(folder: Path, **settings: object) -> str:
    path = write_settings(folder, **settings)
    create_key(load_settings(path))
    done = subprocess.run(scanner_command(path), capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert b"ready" not in done.stdout
    return done.stderr.decode()


def test_clamd_that_calls_oversize_files_clean_is_refused_at_the_start(own_folder: Path) -> None:
    with running_clamd(alert_exceeds_max=False) as address:
        clamd = {"address": address, "max_age_hours": 0}
        assert "AlertExceedsMax yes" in refused_start(own_folder, engines=["clamd"], clamd=clamd)


def test_clamd_without_a_date_is_refused_unless_the_settings_allow_it(own_folder: Path) -> None:
    with running_clamd() as address:
        assert "without a date" in refused_start(own_folder, engines=["clamd"], clamd={"address": address})


def test_clamd_that_is_not_there_is_refused_at_the_start(own_folder: Path) -> None:
    clamd = {"address": f"unix:{own_folder}/nobody"}
    assert "does not answer" in refused_start(own_folder, engines=["clamd"], clamd=clamd)


def test_a_file_beyond_clamds_limit_is_unscannable(own_folder: Path) -> None:
    with running_clamd(max_file_size="1M") as address:
        clamd = {"address": address, "max_age_hours": 0}
        with running_scanner(own_folder, engines=["clamd"], clamd=clamd) as scanner:
            assert scanner.evidence(NOISE).verdict == "clean"
            evidence = scanner.evidence(NOISE * 5)
            assert evidence.verdict == "unscannable"
            assert rules_of(evidence) == [("artifact", "unscannable: engine-limit", "clamd")]


def test_a_rule_folder_of_ones_own_is_used(own_folder: Path) -> None:
    rules = own_folder / "rules"
    rules.mkdir()
    (rules / "own.yar").write_text('rule own { strings: $a = "our secret word" condition: $a }')
    with running_scanner(own_folder, rules=["rules"]) as scanner:
        evidence = scanner.evidence(b"... our secret word ...", "x")
        assert rules_of(evidence) == [("x", "own", "yara-x")]


def test_rules_that_do_not_compile_are_refused_at_the_start(own_folder: Path) -> None:
    rules = own_folder / "rules"
    rules.mkdir()
    (rules / "own.yar").write_text("rule own { nonsense }")
    assert "did not start" in refused_start(own_folder, rules=["rules"])


def test_rules_that_change_under_a_running_scanner_are_never_used_under_the_old_digest(own_folder: Path) -> None:
    rules = own_folder / "rules"
    rules.mkdir()
    (rules / "own.yar").write_text('rule own { strings: $a = "our secret word" condition: $a }')
    with running_scanner(own_folder, rules=["rules"]) as scanner:
        (rules / "own.yar").write_text("rule own { condition: false }")
        assert scanner.evidence(b"our secret word").verdict == "infected"
        os.kill(zygote_of(scanner), signal.SIGKILL)
        assert scanner.evidence(b"our secret word").verdict == "unscannable"


def test_a_second_scanner_on_the_same_socket_is_refused(own_folder: Path) -> None:
    with running_scanner(own_folder) as scanner:
        assert "another scanner answers" in refused_start(own_folder)
        assert scanner.evidence(NOISE).verdict == "clean"


def test_create_makes_the_key_and_prints_its_public_half(own_folder: Path) -> None:
    settings = write_settings(own_folder)
    done = subprocess.run(scanner_command(settings, "--create"), check=True, capture_output=True, timeout=60)
    assert done.stdout.decode().strip() == create_key(load_settings(settings))
    assert (own_folder / "key").stat().st_mode & 0o777 == 0o600
