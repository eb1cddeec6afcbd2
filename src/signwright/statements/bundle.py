# SPDX-License-Identifier: Apache-2.0
"""The ``.swreceipt`` file: a receipt with everything that is needed to count its authorisation again, offline.

JSON, strict, at most 16 MiB. Envelopes, leaves and documents are base64 of their exact bytes; proofs are C2SP
tlog-proof text. The shareable form (`public`) keeps receipt, intents and proofs, and drops requests, approvals,
evidence and policy. The receipt itself still says project, signing policy and approvers by the names that the policy
gives them.
"""

from __future__ import annotations

import base64
import json
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from signwright.model.base64text import strict_base64
from signwright.model.operation import Many, Strict
from signwright.statements.dsse import Envelope, parse_envelope
from signwright.statements.parse import MAX_MANIFEST, parse_model

Blob = Annotated[str, StringConstraints(max_length=MAX_MANIFEST)]


class LoggedLeaf(Strict):
    """``leaf``: base64 of the exact leaf bytes; ``proof``: tlog-proof text (with line breaks, hence base64 too)."""

    leaf: Blob
    proof: Blob

    def leaf_bytes(self) -> bytes:
        return strict_base64(self.leaf)

    def proof_text(self) -> bytes:
        return strict_base64(self.proof)


class Wave(Strict):
    """One intent: its leaf with proof, and the exact operation list that the leaf names by digest."""

    intent: LoggedLeaf
    operations: Blob


class Authorisation(Strict):
    """What the gate and the keyholder decided from."""

    request: Blob
    approvals: Many[Blob] = ()
    evidence: Many[Blob] = ()
    policy_root: Blob
    policy: Blob
    documents: dict[str, Blob]


class ReceiptBundle(Strict):
    """``authorisation`` is absent in the shareable form: then the authorisation is attested, not re-checked."""

    format: Literal["signwright-receipt/1"] = "signwright-receipt/1"
    receipt: Blob
    waves: Many[Wave] = Field(min_length=1, max_length=8)
    authorisation: Authorisation | None = None

    @classmethod
    def decode(cls, content: bytes) -> ReceiptBundle:
        """Raises `MalformedError` or `LimitError`; verifies nothing."""
        return parse_model(cls, content, limit=MAX_MANIFEST)

    def encode(self) -> bytes:
        return _indented(self.model_dump(mode="json"), "\n").encode() + b"\n"

    def public(self) -> ReceiptBundle:
        """The form for publishing: whoever has it believes the signer's word, and cannot count again."""
        return self.model_copy(update={"authorisation": None})


def _indented(value: object, line: str) -> str:
    """What ``json.dumps(value, indent=1, sort_keys=True)`` writes, in a fraction of its time. ``line``: its start."""
    below = f"{line} "
    if isinstance(value, dict) and value:
        members = [f"{json.dumps(name)}: {_indented(value[name], below)}" for name in sorted(value)]
        return "{" + below + f",{below}".join(members) + line + "}"
    if isinstance(value, list) and value:
        return "[" + below + f",{below}".join(_indented(member, below) for member in value) + line + "]"
    return json.dumps(value)


def blob(content: bytes) -> str:
    return base64.b64encode(content).decode()


def envelope_blob(envelope: Envelope) -> str:
    return blob(envelope.encode())


def open_envelope(text: str) -> Envelope:
    """A base64 envelope back; raises `MalformedError`."""
    return parse_envelope(strict_base64(text))
