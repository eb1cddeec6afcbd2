# SPDX-License-Identifier: Apache-2.0
"""Sends one timestamp query over HTTP (RFC 3161 3.4). Carries bytes: the caller verifies the token."""

from __future__ import annotations

import time

import httpx

from signwright.errors import TimestampError
from signwright.timestamps.codes import Check
from signwright.timestamps.query import QUERY_TYPE, REPLY_TYPE
from signwright.timestamps.structure import MAX_TOKEN


def post_query(url: str, query: bytes, seconds: float, *, client: httpx.Client | None = None) -> bytes:
    """POST the DER of a query to ``url`` and return the reply's bytes, within ``seconds`` in all.

    ``client``: an open one to be used again (connections are kept). Redirects are not followed. Raises `TimestampError`
    with `Check.UNREACHABLE`, `TIMED_OUT`, `HTTP_STATUS`, `MEDIA_TYPE` or `SIZE`.
    """
    deadline = time.monotonic() + seconds
    try:
        if client is not None:
            return _post(client, url, query=query, deadline=deadline)
        with httpx.Client(follow_redirects=False) as own:
            return _post(own, url, query=query, deadline=deadline)
    except httpx.TimeoutException as problem:
        raise TimestampError(f"{url}: no reply within {seconds:.1f} s", code=Check.TIMED_OUT) from problem
    except (httpx.HTTPError, httpx.InvalidURL) as problem:
        raise TimestampError(f"{url}: {type(problem).__name__}", code=Check.UNREACHABLE) from problem


def _post(client: httpx.Client, url: str, *, query: bytes, deadline: float) -> bytes:
    headers = {"content-type": QUERY_TYPE, "accept": REPLY_TYPE, "accept-encoding": "identity"}
    limit = max(deadline - time.monotonic(), 0.001)
    with client.stream("POST", url, content=query, headers=headers, timeout=limit, follow_redirects=False) as response:
        if response.status_code != httpx.codes.OK:
            raise TimestampError(f"{url}: HTTP status {response.status_code}; wanted 200", code=Check.HTTP_STATUS)
        found = response.headers.get("content-type", "")
        if found.partition(";")[0].strip().lower() != REPLY_TYPE:
            raise TimestampError(f"{url}: content type {found[:80]!r}; wanted {REPLY_TYPE}", code=Check.MEDIA_TYPE)
        reply = bytearray()
        for block in response.iter_raw():
            reply += block
            if len(reply) > MAX_TOKEN:
                raise TimestampError(f"{url}: a reply of more than {MAX_TOKEN} bytes", code=Check.SIZE)
            if time.monotonic() > deadline:  # httpx counts from each block anew
                raise TimestampError(f"{url}: the reply came too slowly", code=Check.TIMED_OUT)
    return bytes(reply)
