# SPDX-License-Identifier: Apache-2.0
"""The keyholder's door: one gate at a time, of the right user, and a keyholder that ends with it."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from signwright.errors import AuthenticationError, ConfigurationError, UnavailableError
from signwright.signer.gate.reach import reach_keyholder
from signwright.signer.peer import Peer, create_state, listening_socket, main
from signwright.signer.users import Users
from tests.support.processes import wait_until

#: Stands in for the keyholder: tells its process id, echoes, ends with the line. "fail" makes it end with status 3.
KEYHOLDER = """
import os, socket, sys
line = socket.socket(fileno=int(sys.argv[2]))
line.sendall(str(os.getpid()).encode() + b"\\n")
while said := line.recv(100):
    if said == b"fail":
        sys.exit(3)
    line.sendall(said)
"""
COMMAND = [sys.executable, "-I", "-c", KEYHOLDER]


def users(socket_path: Path, *, gate: int | None = None, keyholder: int | None = None) -> Users:
    own = os.getuid()
    return Users(own if gate is None else gate, own if keyholder is None else keyholder, 3, frozenset({0}), socket_path)


@contextmanager
def serving(path: Path, who: Users, *, handover: float = 0.3) -> Iterator[Callable[[], int | None]]:
    """A peer in a thread; its exit status once it has ended."""
    status: list[int] = []
    with listening_socket(path, {}) as listener:
        peer = Peer(listener, who, COMMAND, handover=handover)
        thread = threading.Thread(target=lambda: status.append(peer.serve()))
        thread.start()
        try:
            yield lambda: status[0] if status else None
        finally:
            peer.stop()
            thread.join(30)
    assert not thread.is_alive()


def connected(path: Path) -> socket.socket:
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(20)
    line.connect(str(path))
    return line


def test_the_gates_user_gets_a_keyholder_that_ends_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "k.sock"
    with serving(path, users(path)):
        with connected(path) as gate:
            pid = int(gate.recv(100))
            gate.sendall(b"order")
            assert gate.recv(100) == b"order"
        wait_until(lambda: not Path(f"/proc/{pid}/fd/0").exists(), what="the keyholder's end")
        with connected(path) as gate:
            assert int(gate.recv(100)) != pid, "the next gate has a keyholder of its own"


@pytest.mark.attacks
def test_another_user_is_hung_up_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "k.sock"
    with serving(path, users(path, gate=os.getuid() + 1)), connected(path) as stranger:
        assert stranger.recv(100) == b""
    assert f"hung up on user {os.getuid()}" in capfd.readouterr().err


@pytest.mark.attacks
def test_a_second_gate_is_hung_up_on_and_the_first_goes_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "k.sock"
    with serving(path, users(path)), connected(path) as first:
        first.recv(100)
        with connected(path) as second:
            assert second.recv(100) == b""
        first.sendall(b"still here")
        assert first.recv(100) == b"still here"
    assert "a second gate" in capfd.readouterr().err


def test_a_gate_that_comes_back_at_once_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "k.sock"
    with serving(path, users(path), handover=20):
        for _ in range(3):
            with connected(path) as gate:
                assert gate.recv(100).strip().isdigit()


def test_a_keyholder_that_fails_ends_the_door_with_its_status(tmp_path: Path) -> None:
    path = tmp_path / "k.sock"
    with serving(path, users(path)) as status, connected(path) as gate:
        gate.recv(100)
        gate.sendall(b"fail")
        wait_until(lambda: status() is not None, what="the end")
        assert status() == 3


def test_the_socket_lets_the_group_in_and_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "k.sock"
    for _ in range(2):  # a file that was left behind is replaced
        with listening_socket(path, {}):
            assert path.stat().st_mode & 0o777 == 0o660


def test_something_else_at_the_sockets_place_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "k.sock"
    path.write_text("precious", encoding="ascii")
    with pytest.raises(ConfigurationError, match="something else is there"):
        listening_socket(path, {})
    assert path.read_text(encoding="ascii") == "precious"


INHERIT = """
import os, socket, sys
from pathlib import Path
from signwright.errors import SignwrightError
from signwright.signer.peer import listening_socket
kind, count = sys.argv[1:]
kinds = {"datagrams": socket.SOCK_DGRAM, "packets": socket.SOCK_SEQPACKET}
made = socket.socket(socket.AF_INET if kind == "inet" else socket.AF_UNIX, kinds.get(kind, socket.SOCK_STREAM))
if kind != "inet":
    made.bind("inherited.sock")
if kind not in ("silent", "datagrams"):
    made.listen()
os.dup2(made.fileno(), 3)
environment = {"LISTEN_FDS": count, "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "x", "KEPT": "1"}
try:
    print(listening_socket(Path("own.sock"), environment).getsockname(), environment)
except SignwrightError as problem:
    print(problem.message)
"""


@pytest.mark.parametrize(
    ("kind", "count", "said"),
    [
        ("listens", "1", "inherited.sock {'KEPT': '1'}"),
        ("listens", "2", "2 sockets were handed over"),
        ("silent", "1", "no listening Unix stream socket"),
        ("inet", "1", "no listening Unix stream socket"),
        ("datagrams", "1", "no listening Unix stream socket"),
        ("packets", "1", "no listening Unix stream socket"),
    ],
)
def test_a_socket_of_the_service_manager_is_used(tmp_path: Path, kind: str, count: str, said: str) -> None:
    command = [sys.executable, "-c", INHERIT, kind, count]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, timeout=30)
    assert said in done.stdout
    assert not (tmp_path / "own.sock").exists()


def test_a_socket_that_was_handed_to_another_process_is_not_used(tmp_path: Path) -> None:
    with listening_socket(tmp_path / "k.sock", {"LISTEN_FDS": "1", "LISTEN_PID": "1"}) as listener:
        assert listener.getsockname() == str(tmp_path / "k.sock")


def test_state_is_made_by_a_keyholder_whose_gate_hangs_up(tmp_path: Path) -> None:
    mark = tmp_path / "made"
    code = "import socket, sys; line = socket.socket(fileno=int(sys.argv[2])); assert line.recv(1) == b''\n"
    code += f"open({str(mark)!r}, 'w').close()"
    assert create_state([sys.executable, "-I", "-c", code]) == 0
    assert mark.exists()


def test_the_gate_reaches_its_keyholder_by_the_socket(tmp_path: Path) -> None:
    path = tmp_path / "k.sock"
    with serving(path, users(path)), socket.socket(fileno=reach_keyholder(users(path))) as gate:
        assert gate.recv(100).strip().isdigit()


def test_a_keyholder_that_is_not_there_is_waited_for_and_then_missed(tmp_path: Path) -> None:
    path = tmp_path / "k.sock"
    began = time.monotonic()
    with pytest.raises(UnavailableError) as caught:
        reach_keyholder(users(path), patience=0.3)
    assert caught.value.code == "no-keyholder"
    assert time.monotonic() - began >= 0.3


@pytest.mark.attacks
def test_a_strangers_socket_at_the_keyholders_place_gets_no_order() -> None:
    with tempfile.TemporaryDirectory(prefix="signwright-") as folder:
        os.chmod(folder, 0o777)
        path = Path(folder) / "k.sock"
        with listening_stranger(path):
            # As root the listener is a user of its own; else it is us, and the settings want somebody else.
            with pytest.raises(AuthenticationError) as caught:
                reach_keyholder(users(path, keyholder=os.getuid() + 2))
            assert caught.value.code == "wrong-user"


@contextmanager
def listening_stranger(path: Path) -> Iterator[None]:
    """A process that listens at ``path``; ended by its pid."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if os.getuid() == 0:
                os.setuid(1)
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
                listener.listen()
                path.chmod(0o666)
                os.write(write, b"x")
                signal.pause()
        finally:
            os._exit(0)
    try:
        assert os.read(read, 1) == b"x"
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(read)
        os.close(write)


def test_a_keyholder_that_the_gate_may_not_reach_is_not_waited_for(tmp_path: Path) -> None:
    """A wrong group does not mend itself."""
    with tempfile.TemporaryDirectory(prefix="signwright-") as folder:
        os.chmod(folder, 0o755)
        path = Path(folder) / "k.sock"
        own = os.geteuid()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(1)
            path.chmod(0)
            began = time.monotonic()
            if own == 0:
                os.seteuid(65534)  # root may connect to everything
            try:
                with pytest.raises(UnavailableError, match="Permission denied"):
                    reach_keyholder(users(path), patience=60)
            finally:
                os.seteuid(own)
            assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", "has no table [users]"),
        (
            '[users]\ngate = "{0}"\nkeyholder = "{1}"\ncourier = "{2}"\nkeyholder_socket = "/nowhere/k"\n',
            "runs as user",
        ),
    ],
    ids=["one user for everything", "another user"],
)
def test_a_door_that_is_not_the_keyholders_own_is_not_opened(
    tmp_path: Path, table: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file, before = tmp_path / "signer.toml", os.umask(0o022)
    names = [row.pw_name for row in pwd.getpwall() if row.pw_uid not in (0, os.getuid())][:3]
    file.write_text(table.format(*names) + "[gate]\nprofile = 1\n", encoding="utf-8")
    try:
        assert main(["--settings", str(file)]) == 1
    finally:
        os.umask(before)
    assert said in capsys.readouterr().err
