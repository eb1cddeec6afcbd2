# SPDX-License-Identifier: Apache-2.0
"""Who may be called an outside witness: somebody else, with a key that serves nothing else. A policy and a trust file
obey the same.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator

from signwright.errors import SignwrightError
from signwright.model.operation import Many
from signwright.policy.documents import LogIdentity, Quorum, Witness
from signwright.policy.log_trust import log_trust_of
from signwright.statements.keys import ED25519_PREFIX
from signwright.transparency.cosignature import operator_of

#: Names, as `operator_of` writes them, that say "here" and not who.
NOBODY_ELSE = frozenset(
    {"thismachine", "thishost", "thisserver", "thiscomputer", "localhost", "localmachine", "local", "here"}
    | {"host", "machine", "server", "signer", "signerhost", "gate", "self", "ourselves", "us", "we", "own", "internal"}
    | {"builtin", "none", "nobody", "unknown", "operator", "outside", "witness", "127001", "1"}
)


def outside_problem(operator: str, organisation: str) -> str | None:
    """Why ``operator`` cannot be outside, in words; None when it may be.

    That nobody is outside who runs a local witness as well, each `Quorum` sees to.
    """
    name = operator_of(operator)
    if name == operator_of(organisation):
        return f"operator {operator!r} is this organisation's own"
    if not name or name in NOBODY_ELSE:
        return f"operator {operator!r} names nobody else"
    return None


def witness_problems(
    organisation: str,
    log: LogIdentity,
    witnesses: Many[Witness],
    *,
    quorum: Quorum,
    own_keys: Iterable[tuple[str, str]],
) -> Iterator[str]:
    """Every problem with log, witnesses and quorum, in words.

    ``own_keys``: owner and written key of everything else that signs.
    """
    try:
        trust = log_trust_of(log, witnesses, quorum)
    except SignwrightError as problem:
        yield problem.message
        return
    if quorum.outside + quorum.local < 1:
        yield "a quorum of no witness at all"
    own = {text: owner for owner, text in own_keys} | {_written(trust.keys[0].public_key): "the log"}
    for witness, key in zip(witnesses, trust.quorum.witnesses, strict=True):
        if twin := own.get(_written(key.public_key)):
            yield f"witness {witness.name}: its key is also that of {twin}"
        if witness.outside and (wrong := outside_problem(witness.operator, organisation)):
            yield f"witness {witness.name} cannot be outside: {wrong}"


def _written(raw: bytes) -> str:
    return ED25519_PREFIX + base64.b64encode(raw).decode()
