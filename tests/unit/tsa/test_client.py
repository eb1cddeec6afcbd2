# SPDX-License-Identifier: Apache-2.0
"""The way over HTTP to a timestamp authority that misbehaves, and on to the next one."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator

import pytest

from signwright.errors import TimestampError
from signwright.model.digest import Digest
from signwright.timestamps.authorities import Authorities, Obtained, Patience, Wanted, obtain
from signwright.timestamps.codes import Check
from signwright.timestamps.query import timestamp_query
from signwright.tsa.client import post_query
from tests.support.faulty_tsa import FaultyTsa, serving
from tests.support.pki import NOW, default_pki
from tests.support.processes import free_port

IMPRINT = Digest.of(b"a signature value")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(FaultyTsa(default_pki())) as url:
        yield url


def over_http(url: str, names: list[str], patience: Patience | None = None) -> Obtained:
    """Ask the modes ``names`` in rank order."""
    ask: Callable[[str, bytes, float], bytes] = lambda name, query, seconds: post_query(f"{url}/{name}", query, seconds)  # noqa: E731
    return obtain(
        IMPRINT,
        authorities=Authorities(names, patience=patience),
        wanted=Wanted(anchors=[default_pki().root]),
        ask=ask,
        now=lambda: NOW,
        monotonic=time.monotonic,
        random_bytes=secrets.token_bytes,
    )


FAULTS = {
    "http-500": Check.HTTP_STATUS,
    "http-302": Check.HTTP_STATUS,
    "html": Check.MEDIA_TYPE,
    "too-large": Check.SIZE,
    "garbage": Check.REPLY,
    "padded-length": Check.REPLY,
    "granted-without-token": Check.REPLY,
    "rejection": Check.REJECTED,
    "waiting": Check.REJECTED,
    "wrong-nonce": Check.NONCE,
    "no-nonce": Check.NONCE,
    "wrong-imprint": Check.IMPRINT,
    "sha1": Check.ALGORITHM,
    "expired": Check.VALIDITY,
    "no-certificate": Check.NO_CERTIFICATE,
    "unsorted": Check.SET_ORDER,
    "eku-not-critical": Check.KEY_USAGE,
    "eku-not-alone": Check.KEY_USAGE,
    "wrong-signer": Check.SIGNATURE,
    "ess-mismatch": Check.SIGNING_CERTIFICATE,
    "future": Check.TIME,
    "past": Check.TIME,
    "untrusted": Check.CHAIN,
}


@pytest.mark.parametrize(("mode", "code"), FAULTS.items(), ids=FAULTS.keys())
def test_each_fault_has_its_code_and_the_next_authority_is_asked(address: str, mode: str, code: Check) -> None:
    obtained = over_http(address, [mode, "good"])
    assert obtained.name == "good"
    assert [(f.name, f.code) for f in obtained.earlier_failures] == [(mode, code)]


def test_a_slow_authority_is_left_when_its_time_is_over(address: str) -> None:
    obtained = over_http(address, ["slow", "good"], Patience(deadline=20, attempt=0.2))
    assert [(f.name, f.code) for f in obtained.earlier_failures] == [("slow", Check.TIMED_OUT)]


def test_a_closed_port_is_unreachable(address: str) -> None:
    with pytest.raises(TimestampError) as failure:
        post_query(f"http://127.0.0.1:{free_port()}", b"", 5)
    assert failure.value.code == Check.UNREACHABLE


def test_an_address_that_is_none_is_unreachable() -> None:
    with pytest.raises(TimestampError) as failure:
        post_query("file:///etc/passwd", b"", 5)
    assert failure.value.code == Check.UNREACHABLE


def test_a_redirect_is_not_followed(address: str) -> None:
    with pytest.raises(TimestampError, match="HTTP status 302"):
        post_query(f"{address}/http-302", timestamp_query(IMPRINT, 1), 5)


def test_when_all_fail_the_error_names_all(address: str) -> None:
    with pytest.raises(TimestampError) as failure:
        over_http(address, list(FAULTS))
    assert all(f"{mode}: " in failure.value.message for mode in FAULTS)
