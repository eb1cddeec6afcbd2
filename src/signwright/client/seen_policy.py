# SPDX-License-Identifier: Apache-2.0
"""The newest policy that this client has verified from each pinned root: a hub cannot bring an older one back, nor an
older policy root, whose keys may have been taken from somebody for a reason.

What was remembered never goes back; deleting the file means that this client starts to watch anew.
"""

from __future__ import annotations

from pathlib import Path

from signwright.client.files import write_private
from signwright.client.sessions import state_folder
from signwright.errors import ConfigurationError, SignwrightError, VerificationError
from signwright.model.operation import Strict
from signwright.policy.policy import Policy
from signwright.statements.parse import parse_model


class _Seen(Strict):
    """``root_sha256``: the pinned root; ``newest_root``: the one in force then, None in what older versions wrote."""

    root_sha256: str
    newest_root: str | None = None
    version: int
    sha256: str


def follow_policy(policy: Policy, *, folder: Path | None = None) -> None:
    """Remember ``policy``, which was verified from its pinned root.

    Raises `VerificationError` (``policy-rollback`` when a newer one was seen before, ``policy-fork`` when another one
    of the same version was, ``root-rollback`` when its root does not come from the newest one that was seen).
    """
    base = folder or state_folder() / "policies"
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    pinned = policy.roots[0]
    file = base / f"{pinned[:24]}.json"
    before = _remembered(file, pinned)
    if before is not None and policy.version < before.version:
        raise VerificationError(
            f"the hub shows policy version {policy.version}, and version {before.version} was seen before",
            code="policy-rollback",
            hint="do not sign anything; tell whoever runs the hub",
        )
    if before is not None and policy.version == before.version and policy.sha256 != before.sha256:
        raise VerificationError(
            f"policy version {policy.version} is not the version {policy.version} that was seen before",
            code="policy-fork",
            hint="two policies with one version were signed: ask the policy keepers",
        )
    if before is not None and before.newest_root not in (None, *policy.roots):
        raise VerificationError(
            f"policy version {policy.version} is under policy root {policy.root.version}, and a root that does not "
            "lead to it was seen before",
            code="root-rollback",
            hint="do not sign anything; tell the policy keepers",
        )
    if before is None or before.version < policy.version:
        seen = _Seen(root_sha256=pinned, newest_root=policy.root_sha256, version=policy.version, sha256=policy.sha256)
        write_private(file, seen.model_dump_json().encode())


def _remembered(file: Path, pinned: str) -> _Seen | None:
    """Unreadable memory is an error, not a fresh start."""
    try:
        kept = parse_model(_Seen, file.read_bytes())
    except FileNotFoundError:
        return None
    except SignwrightError as problem:
        raise ConfigurationError(f"{file}: the remembered policy does not read", code="bad-state") from problem
    return kept if kept.root_sha256 == pinned else None
