# SPDX-License-Identifier: Apache-2.0
"""Nonces: once in the whole clock window, also for a process that was killed."""

from __future__ import annotations

import base64
import secrets

import pytest

from signwright.errors import AuthenticationError
from signwright.hub.web.auth import Nonces
from signwright.identity.messages import CLOCK_WINDOW, SignedMessage

NOW = 1_700_000_000


def message(*, created: int = NOW) -> SignedMessage:
    nonce = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
    return SignedMessage("swk_" + "a" * 20, created, nonce, b"", b"")


@pytest.mark.parametrize("off", [-CLOCK_WINDOW, 0, CLOCK_WINDOW])
@pytest.mark.parametrize("later", [0, 299, 599])
def test_nonce_is_used_once_as_long_as_its_call_could_be_sent_again(tmp_path, off, later):
    nonces, call = Nonces(tmp_path, now=NOW), message(created=NOW + off)
    nonces.use(call, now=NOW)
    for now in (NOW, min(NOW + later, call.created + CLOCK_WINDOW)):
        nonces.use(message(created=now), now=now)
        with pytest.raises(AuthenticationError, match="before"):
            nonces.use(call, now=now)
    nonces.close()


def test_another_process_knows_what_the_killed_one_saw(tmp_path):
    call = message()
    Nonces(tmp_path, now=NOW).use(call, now=NOW)  # never closed
    again = Nonces(tmp_path, now=NOW + 10)
    with pytest.raises(AuthenticationError):
        again.use(call, now=NOW + 10)
    again.close()


def test_journal_does_not_grow_for_ever(tmp_path):
    nonces = Nonces(tmp_path, now=NOW)
    for minute in range(60):
        nonces.use(message(created=NOW + 60 * minute), now=NOW + 60 * minute)
    assert len(list(tmp_path.iterdir())) <= 2 + CLOCK_WINDOW // 120 + 1
    nonces.close()
