# SPDX-License-Identifier: Apache-2.0
"""What a log accounts for, leaf by leaf."""

from __future__ import annotations

import pytest

from signwright.client.orphans import ledger
from signwright.client.orphans.found import Found, Proof
from signwright.client.orphans.ledger import Ledger, keys_of
from signwright.errors import LimitError
from tests.support.leaves import BEAT, HONEST, OTHER, REQUEST, genesis, intent, key_operation, policy, result

BEGUN = (genesis(), policy(), BEAT)


def written(*leaves):
    return list(enumerate(leaf if isinstance(leaf, bytes) else leaf.encode() for leaf in leaves))


def left(*leaves, value=OTHER, key=OTHER) -> int:
    book = Ledger([Found("file", value, key, Proof.MADE), Found("copy", value, key, Proof.MADE)])
    book.see(written(*leaves))
    return len(book.missing())


def test_a_listed_value_is_accounted_for_in_every_file_that_has_it():
    assert left(*HONEST) == 0
    assert left(*BEGUN) == 2
    assert left(*HONEST, value="e" * 64) == 2
    assert left(*HONEST, key="e" * 64) == 2


@pytest.mark.parametrize(
    "last", [result(3, outcome="unknown"), result(3, outcome="failed"), result(3, request=OTHER), result(4)]
)
def test_other_results_account_for_nothing(last):
    assert left(*BEGUN, intent(), last) == 2


def test_an_unknown_outcome_may_become_known_and_a_known_one_not_another():
    assert left(*BEGUN, intent(), result(3, outcome="unknown"), result(3)) == 0
    assert left(*BEGUN, intent(), result(3, outcome="failed"), result(3)) == 2


def test_leaves_that_do_not_read_change_nothing():
    assert left(b"", *BEGUN, intent(), b"nonsense", result(4)) == 0


def test_an_operation_that_is_no_release_accounts_for_its_signature():
    assert left(*BEGUN, key_operation(), result(3, request="8" * 64)) == 0


def test_keys_are_those_of_every_intent_that_ever_was():
    leaves = written(*HONEST, key_operation(key="7" * 64), b'{"key":"nonsense"}', intent(key="6" * 64, request=REQUEST))
    assert keys_of(leaves) == {OTHER, "7" * 64, "6" * 64}


def test_too_many_folded_results_are_refused():
    book = Ledger([Found("file", "e" * 64, OTHER, Proof.MADE, content="sha256:" + "e" * 64)])
    assert ledger.MAX_FOLDED == 100_000
    book.folded = [None] * ledger.MAX_FOLDED  # type: ignore[list-item]
    with pytest.raises(LimitError):
        book.see(written(*BEGUN, intent(), result(3, listed=False)))
