# SPDX-License-Identifier: Apache-2.0
"""Who may be called an outside witness: somebody else, with a key that serves nothing else. A policy and a trust file
obey the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from signwright.errors import SignwrightError
from signwright.policy.documents import LogIdentity, Quorum, Witness
from signwright.policy.log_trust import log_trust_of
from signwright.statements.keys import verifying_key
from signwright.transparency.cosignature import operator_of
from signwright.transparency.note import COSIGNATURE_V1, VerifierKey

#: Names, as `operator_of` writes them, that say "here" and not who.
NOBODY_ELSE = frozenset(
    {"thismachine", "thishost", "thisserver", "thiscomputer", "localhost", "localmachine", "local", "here"}
    | {"host", "machine", "server", "signer", "signerhost", "gate", "self", "ourselves", "us", "we", "own", "internal"}
    | {"builtin", "none", "nobody", "unknown", "operator", "outside", "witness", "127001", "1"}
)


def outside_problem(operator: str, organisation: str, local_operators: Sequence[str] = ()) -> str | None:
    """Why ``operator`` cannot be outside, in words; None when it may be."""
    name = operator_of(operator)
    if name == operator_of(organisation):
        return f"operator {operator!r} is this organisation's own"
    if not name or name in NOBODY_ELSE:
        return f"operator {operator!r} names nobody else"
    if name in {operator_of(local) for local in local_operators}:
        return f"operator {operator!r} runs a local witness too"
    return None


def witness_problems(
    organisation: str,
    log: LogIdentity,
    witnesses: Sequence[Witness],
    *,
    quorum: Quorum,
    own_keys: Iterable[tuple[str, str]] = (),
) -> Iterator[str]:
    """Every problem with log, witnesses and quorum, in words. ``own_keys``: owner and written key of
    everything else that signs.
    """
    try:
        log_trust_of(log, tuple(witnesses), quorum)
    except SignwrightError as problem:
        yield problem.message
        return
    if quorum.outside + quorum.local < 1:
        yield "a quorum of no witness at all"
    own = {VerifierKey.parse(log.key).public_key: "the log", **_raw(own_keys)}
    local = [witness.operator for witness in witnesses if not witness.outside]
    for witness in witnesses:
        raw = VerifierKey.parse(witness.key, algorithm=COSIGNATURE_V1).public_key
        if raw in own:
            yield f"witness {witness.name}: its key is also that of {own[raw]}"
        wrong = outside_problem(witness.operator, organisation, local) if witness.outside else None
        if wrong:
            yield f"witness {witness.name} cannot be outside: {wrong}"


def _raw(keys: Iterable[tuple[str, str]]) -> dict[bytes, str]:
    """From bare public keys to owners; what cannot be read is reported where it belongs."""
    found: dict[bytes, str] = {}
    for owner, text in keys:
        try:
            found[verifying_key(text).material] = owner
        except SignwrightError:
            continue
    return found
