# SPDX-License-Identifier: Apache-2.0
"""The bytes of a query."""

from __future__ import annotations

import pytest

from signwright.errors import UsageError
from signwright.model.digest import Digest
from signwright.timestamps.issue import Query, parse_query
from signwright.timestamps.query import timestamp_query

IMPRINT = Digest.of(b"content", "sha384")


@pytest.mark.parametrize("nonce", [0, 127, 128, 2**63, 2**64 - 1])
def test_a_query_asks_for_the_certificate_and_carries_imprint_and_nonce(nonce: int) -> None:
    wanted = Query(imprint=IMPRINT, nonce=nonce, certificates_wanted=True, policy_oid="1.2.3")
    assert parse_query(timestamp_query(IMPRINT, nonce, policy_oid="1.2.3")) == wanted


@pytest.mark.parametrize("nonce", [-1, 2**64])
def test_a_nonce_of_another_size_is_refused(nonce: int) -> None:
    with pytest.raises(UsageError):
        timestamp_query(IMPRINT, nonce)


@pytest.mark.parametrize("policy_oid", ["", "abc", "1", "1..2", "9.9.9", "sha256", "1.40.1"])
def test_a_policy_that_is_no_object_identifier_is_refused(policy_oid: str) -> None:
    with pytest.raises(UsageError):
        timestamp_query(IMPRINT, 1, policy_oid=policy_oid)
