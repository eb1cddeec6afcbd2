# SPDX-License-Identifier: Apache-2.0
"""The signed policy that this hub knows: read from a folder at first, replaced by higher versions, served to all."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from pydantic import Field

from signwright.errors import ConfigurationError, MalformedError
from signwright.model.base64text import strict_base64
from signwright.model.operation import Strict
from signwright.policy.policy import Policy, open_policy
from signwright.statements.dsse import parse_envelope
from signwright.statements.parse import parse_model

MAX_BUNDLE = 32 << 20


class PolicyBundle(Strict):
    """A policy as it travels: base64 of root envelope, policy envelope and each document."""

    root: str
    policy: str
    documents: dict[str, str] = Field(max_length=4096)
    version: int | None = None
    sha256: str | None = None


def open_bundle(content: bytes, *, pinned_root_sha256: str) -> tuple[Policy, bytes]:
    """Verify a bundle against the pinned root; the policy and the bundle in its written form."""
    bundle = parse_model(PolicyBundle, content, limit=MAX_BUNDLE, depth=4)
    root, index = strict_base64(bundle.root), strict_base64(bundle.policy)
    documents = {name: strict_base64(text) for name, text in bundle.documents.items()}
    policy = open_policy(parse_envelope(root), parse_envelope(index), documents, pinned_root_sha256=pinned_root_sha256)
    if bundle.version not in {None, policy.version} or bundle.sha256 not in {None, policy.sha256}:
        raise MalformedError("version or sha256 beside the policy is not the policy's", code="bad-field")
    kept = {name: content for name, content in documents.items() if name in policy.index.documents}
    return policy, write_bundle(policy, root, index, kept)


def write_bundle(policy: Policy, root: bytes, index: bytes, documents: dict[str, bytes]) -> bytes:
    """The answer of ``GET /v1/policy``."""
    body = {
        "root": base64.b64encode(root).decode(),
        "policy": base64.b64encode(index).decode(),
        "documents": {name: base64.b64encode(content).decode() for name, content in documents.items()},
        "version": policy.version,
        "sha256": policy.sha256,
    }
    return json.dumps(body, separators=(",", ":")).encode()


def read_folder(folder: Path, *, pinned_root_sha256: str) -> tuple[Policy, bytes]:
    """``root.json``, ``policy.json`` and ``documents/**/*.json``; raises `ConfigurationError` without them."""
    documents_folder = folder / "documents"
    try:
        root, index = ((folder / name).read_bytes() for name in ("root.json", "policy.json"))
        documents = {
            path.relative_to(documents_folder).with_suffix("").as_posix(): path.read_bytes()
            for path in sorted(documents_folder.rglob("*.json"))
        }
    except OSError as problem:
        raise ConfigurationError(f"policy folder {folder}: {problem.strerror}", code="no-policy") from problem
    policy = open_policy(parse_envelope(root), parse_envelope(index), documents, pinned_root_sha256=pinned_root_sha256)
    return policy, write_bundle(policy, root, index, documents)
