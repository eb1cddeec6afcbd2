# SPDX-License-Identifier: Apache-2.0
"""A use of a key that is no release: keepers' statement in, leaf, cosignatures, key, result leaf, certification request
out.
"""

from __future__ import annotations

import base64
import hashlib

from signwright.envelopes.base import SignerContext
from signwright.envelopes.certification_request import certification_request
from signwright.errors import DeniedError, SignwrightError
from signwright.model.times import parse_time
from signwright.policy.key_operations import key_operation_leaf, opened_key_operation
from signwright.policy.policy import Policy, spki_sha256
from signwright.signer.gate.cycle import MAX_ATTEMPTS, Parts, result_leaf
from signwright.signer.gate.keyholder import KeyOperationParts, OutcomeUnknownError
from signwright.signer.gate.state import OpenIntent, Usage, add_intent, close_intent
from signwright.statements.dsse import parse_envelope
from signwright.statements.models import KeyOperation, Statement

#: Counted under this name beside the key: no signing policy has a space in its own.
COUNTED = "key operations"


async def run_key_operation(parts: Parts, content: bytes) -> dict[str, object]:
    """``{"ok": True, "request": base64 DER, "leaf_index": n}``; raises `SignwrightError`."""
    opened = parts.policies.in_force
    now = parts.now().replace(microsecond=0)
    statement = opened_key_operation(opened.policy, parse_envelope(content), now=now)
    parts.words.check_may_sign()
    if not parts.keyholder.started:
        await parts.policies.start_keyholder(parts.log, parts.keyholder)
        return await run_key_operation(parts, content)  # a newer policy may have come into force
    attempt = parts.state.last_attempt(statement.digest) + 1
    if attempt > MAX_ATTEMPTS:
        raise DeniedError(f"{MAX_ATTEMPTS} attempts were made on this key operation", code="attempts-used")
    leaf = key_operation_leaf(opened.policy, statement, attempt=attempt, now=now)
    key = opened.policy.keys.keys[statement.predicate.key]
    usage = Usage(spki_sha256(key), COUNTED, 1, int(now.timestamp()))
    index = await parts.log.append(
        leaf, lambda index: (add_intent(OpenIntent(index, statement.digest, 0, attempt), usage),)
    )
    parts.counters.add(usage)
    ending, value, made = "failed", b"", b""
    try:
        signed = await parts.keyholder.order(parts.log, index, KeyOperationParts(content, leaf))
        (value,) = signed.values
        made = _request(opened.policy, statement, value)
        ending = "signed"
    except SignwrightError as problem:
        ending = "unknown" if isinstance(problem, OutcomeUnknownError) else "failed"
        raise
    finally:
        signatures = [hashlib.sha256(value).hexdigest()] if value else []
        digests = [hashlib.sha256(made).hexdigest()] if made else []
        done = OpenIntent(index, statement.digest, 0, attempt)
        result = result_leaf(done, ending, now=parts.now(), signatures=signatures, digests=digests).encode()
        await parts.log.append(result, lambda _: (close_intent(index, ending),))
    return {"ok": True, "request": base64.b64encode(made).decode(), "leaf_index": index}


def _request(policy: Policy, statement: Statement[KeyOperation], value: bytes) -> bytes:
    key = policy.keys.keys[statement.predicate.key]
    context = SignerContext((), base64.b64decode(key.public_key), parse_time(statement.predicate.created))
    return certification_request(statement.predicate.parameters, context, value)
