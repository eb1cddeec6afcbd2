# SPDX-License-Identifier: Apache-2.0
"""From documents to the bytes that a policy keeper signs. The keyholder never imports this."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from signwright.model.operation import Strict
from signwright.model.times import format_time
from signwright.statements.models import DocumentRef, PolicyIndex, PolicyRoot
from signwright.statements.writing import statement_payload


@dataclass(frozen=True, slots=True)
class PolicyDraft:
    """``payload``: what is signed; ``documents``: name → the exact bytes that it names."""

    payload: bytes
    documents: dict[str, bytes]


def document_bytes(document: Strict) -> bytes:
    """The written form of a document: sorted members, UTF-8, one line."""
    return json.dumps(
        document.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    ).encode()


def draft_policy(
    documents: Mapping[str, Strict],
    *,
    root: PolicyRoot,
    root_sha256: str,
    version: int,
    created: datetime,
    expires: datetime,
    older_roots: Mapping[str, bytes] | None = None,
) -> PolicyDraft:
    """The policy statement over ``documents`` (``organisation``, ``services``, …, ``projects/<name>``).

    ``older_roots``: every root before ``root`` as the document ``roots/<version>``, exact envelope bytes.
    """
    written = {name: document_bytes(document) for name, document in documents.items()} | dict(older_roots or {})
    references = {n: DocumentRef(sha256=hashlib.sha256(b).hexdigest(), size=len(b)) for n, b in written.items()}
    index = PolicyIndex(
        version=version,
        root_version=root.version,
        root_sha256=root_sha256,
        documents=references,
        created=format_time(created),
        expires=format_time(expires),
    )
    return PolicyDraft(statement_payload(index, [("policy-root", root_sha256)]), written)


def draft_root(root: PolicyRoot) -> bytes:
    """The policy-root statement. Its subject is the organisation, named by the SHA-256 of its name."""
    return statement_payload(root, [(root.organisation, hashlib.sha256(root.organisation.encode()).hexdigest())])
