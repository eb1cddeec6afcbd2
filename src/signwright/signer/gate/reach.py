# SPDX-License-Identifier: Apache-2.0
"""The way from the gate to a keyholder that another user runs: its Unix socket, where the settings say it is."""

from __future__ import annotations

import socket
import time

from signwright.errors import AuthenticationError, UnavailableError
from signwright.signer.users import Users, peer_user

#: How long a keyholder that is not there yet is waited for.
PATIENCE_SECONDS = 30.0
_PAUSE = 0.1
_ROOT = 0


def reach_keyholder(users: Users, *, patience: float = PATIENCE_SECONDS) -> int:
    """Descriptor of a connection; raises `UnavailableError`, or `AuthenticationError` when somebody else listens.

    Under socket activation the listener is the service manager's, hence root's.
    """
    deadline = time.monotonic() + patience
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(users.keyholder_socket))
            break
        except OSError as problem:
            connection.close()
            if isinstance(problem, PermissionError) or time.monotonic() >= deadline:
                raise UnavailableError(
                    f"keyholder: {users.keyholder_socket}: {problem.strerror}", code="no-keyholder"
                ) from problem
        time.sleep(_PAUSE)
    listener = peer_user(connection)
    if listener not in (users.keyholder, _ROOT):
        connection.close()
        raise AuthenticationError(
            f"user {listener} listens on {users.keyholder_socket}; wanted {users.keyholder}, the keyholder's",
            code="wrong-user",
        )
    return connection.detach()
