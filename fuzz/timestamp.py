# SPDX-License-Identifier: Apache-2.0
"""RFC 3161: replies and tokens of an authority that may send anything."""

from __future__ import annotations

from signwright.errors import SignwrightError
from signwright.timestamps.reply import token_of_reply
from signwright.timestamps.structure import parse_token, parse_tst_info
from signwright.timestamps.token import imprint_of_token


def one_input(data: bytes) -> None:
    for attempt in (_reply, _token, parse_tst_info):
        try:
            attempt(data)
        except SignwrightError:
            continue


def _reply(data: bytes) -> None:
    timestamp_token = token_of_reply(data)
    assert timestamp_token in data
    _token(timestamp_token)


def _token(data: bytes) -> None:
    parse_token(data)
    imprint_of_token(data)
