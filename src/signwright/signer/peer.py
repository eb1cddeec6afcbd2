# SPDX-License-Identifier: Apache-2.0
"""The keyholder's door where gate and keyholder are two users: a listening Unix socket, and behind it one keyholder.

Runs as the keyholder's user and holds nothing but its listening socket. Whoever connects must be the gate's user, by
the kernel's word; then the keyholder is started on that connection, in a process of its own that ends with it. One
gate at a time: another is hung up on, unless the one before ends within `HANDOVER_SECONDS`.

The socket is inherited from the service manager (``LISTEN_FDS``, sd_listen_fds(3)) or made here.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import MutableMapping
from pathlib import Path

from signwright.errors import ConfigurationError, SignwrightError
from signwright.signer.credentials import take_credentials
from signwright.signer.start import own_command
from signwright.signer.users import Users, demand_own_user, load_users, peer_user

KEYHOLDER = "signwright.signer.keyholder"
#: For a keyholder whose gate has just gone away to notice it.
HANDOVER_SECONDS = 10.0
STOP_SECONDS = 10.0
_FIRST_INHERITED = 3


class Peer:
    """``listener``: bound and listening; ``command``: the keyholder's, without its descriptor."""

    def __init__(
        self, listener: socket.socket, users: Users, command: list[str], *, handover: float = HANDOVER_SECONDS
    ) -> None:
        self._listener = listener
        self._handover = handover
        self._users = users
        self._command = command
        self._keyholder: subprocess.Popen[bytes] | None = None
        self._stopping = False

    def stop(self, *_: object) -> None:
        self._stopping = True

    def serve(self) -> int:
        """Until `stop`; 0 then, or the exit status of a keyholder that failed."""
        self._listener.setblocking(False)
        try:
            while not self._stopping:
                status = self._ended()
                if status:
                    return status
                if select.select([self._listener], [], [], 0.2)[0]:
                    self._take()
            return 0
        finally:
            self._end()

    def _ended(self) -> int | None:
        """Exit status of a keyholder that has ended, once."""
        if self._keyholder is None or (status := self._keyholder.poll()) is None:
            return None
        self._keyholder = None
        return status

    def _take(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # whoever it was has gone already
        with connection:
            user = peer_user(connection)
            if user != self._users.gate:
                _say(f"hung up on user {user}; only the gate's user {self._users.gate} is heard")
            elif not self._free():
                _say("hung up on a second gate; one is connected")
            else:
                connection.setblocking(True)
                self._start(connection)

    def _free(self) -> bool:
        if self._keyholder is None:
            return True
        try:
            self._keyholder.wait(self._handover)
        except subprocess.TimeoutExpired:
            return False
        self._keyholder = None
        return True

    def _start(self, connection: socket.socket) -> None:
        descriptor = connection.fileno()
        self._keyholder = subprocess.Popen(
            [*self._command, "--gate-fd", str(descriptor)], stdin=subprocess.DEVNULL, pass_fds=[descriptor]
        )

    def _end(self) -> None:
        if self._keyholder is None:
            return
        self._keyholder.terminate()
        try:
            self._keyholder.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._keyholder.kill()
            self._keyholder.wait()


def listening_socket(path: Path, environment: MutableMapping[str, str]) -> socket.socket:
    """The one that the service manager gave us, else a new one at ``path``, mode 0660; `ConfigurationError`.

    ``environment``: the LISTEN_* variables are taken out of it, so that no child believes them to be its own.
    """
    count, for_pid = environment.pop("LISTEN_FDS", ""), environment.pop("LISTEN_PID", "")
    environment.pop("LISTEN_FDNAMES", None)
    if not count or for_pid != str(os.getpid()):
        return _bound(path)
    if count != "1":
        raise ConfigurationError(f"{count} sockets were handed over; wanted one", code="listen")
    given = socket.socket(fileno=_FIRST_INHERITED)
    listens = given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if given.family != socket.AF_UNIX or given.type != socket.SOCK_STREAM or not listens:
        raise ConfigurationError("what was handed over is no listening Unix stream socket", code="listen")
    os.set_inheritable(given.fileno(), False)
    return given


def _bound(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o117)
    try:
        if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
            raise ConfigurationError("something else is there")
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen(8)
    except (OSError, ConfigurationError) as problem:
        listener.close()
        raise ConfigurationError(f"keyholder socket {path}: {problem}", code="listen") from problem
    finally:
        os.umask(before)
    return listener


def _say(line: str) -> None:
    print(f"keyholder: {line}", file=sys.stderr, flush=True)


def create_state(command: list[str]) -> int:
    """Start the keyholder once with a gate that hangs up at once: it makes its state, and ends. Its exit status."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ours.close()
    with theirs:
        descriptor = str(theirs.fileno())
        done = subprocess.run([*command, "--gate-fd", descriptor], pass_fds=[theirs.fileno()], check=False)
    return done.returncode


def main(arguments: list[str]) -> int:
    """Exit status 0 after SIGTERM, 1 when it cannot run; otherwise that of a keyholder that failed."""
    parser = argparse.ArgumentParser(prog="signwright.signer.peer")
    parser.add_argument("--settings", type=Path, required=True, metavar="FILE", help="signer.toml")
    parser.add_argument("--credentials", type=Path, metavar="DIR", help="copy the service manager's credentials here")
    parser.add_argument(
        "--salt", type=Path, metavar="FILE", help="wanted with --credentials; made when it is not there"
    )
    parser.add_argument("--genesis", metavar="ROOT-DIGEST", help="make new state under this policy root, then end")
    options = parser.parse_args(arguments)
    os.umask(0o077)
    try:
        users = load_users(options.settings)
        if users is None:
            raise ConfigurationError(f"{options.settings} has no table [users]", code="bad-settings")
        demand_own_user(users.keyholder, "keyholder")
        command = own_command(KEYHOLDER, ["--settings", str(options.settings.absolute())])
        if options.genesis is not None:
            return create_state([*command, "--genesis", options.genesis])
        given = os.environ.pop("CREDENTIALS_DIRECTORY", None)
        if options.credentials is not None and options.salt is not None and given is not None:
            take_credentials(Path(given), options.credentials, salt_file=options.salt)
        with listening_socket(users.keyholder_socket, os.environ) as listener:
            peer = Peer(listener, users, command)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, peer.stop)
            print(f"ready {users.keyholder_socket}", flush=True)
            return peer.serve()
    except SignwrightError as problem:
        _say(f"error: {problem.message}" + (f" ({problem.hint})" if problem.hint else ""))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
