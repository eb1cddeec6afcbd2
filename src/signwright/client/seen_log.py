# SPDX-License-Identifier: Apache-2.0
"""The newest checkpoint that this client has verified, for each log: what makes an approver's laptop a witness.

A checkpoint counts when the trust file's log key and quorum signed it and it continues the one remembered. What was
remembered never goes back; deleting the file means that this client starts to watch anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from signwright.client.files import write_private
from signwright.client.sessions import state_folder
from signwright.errors import ConfigurationError, SignwrightError, VerificationError
from signwright.model.operation import Strict
from signwright.statements.models import SeenCheckpoint
from signwright.statements.parse import parse_model
from signwright.transparency.checkpoint import Checkpoint
from signwright.transparency.cosignature import LogTrust
from signwright.transparency.merkle import verify_consistency
from signwright.transparency.tiles import TileTree

#: From a path of the log (``tile/…``) to the file's bytes.
ReadFile = Callable[[str], bytes]


class _Seen(Strict):
    key: str
    seen: SeenCheckpoint


def follow_log(
    trust: LogTrust, checkpoint: bytes, read_file: ReadFile, *, folder: Path | None = None
) -> SeenCheckpoint:
    """Verify ``checkpoint`` (a signed note), prove that it continues what was seen, and remember it.

    Raises `VerificationError` (``log-rollback`` when the log is shorter than it was, ``bad-proof`` when it was forked).
    """
    found = trust.verify(checkpoint).checkpoint
    file = _file(trust, folder)
    before = _remembered(file, trust)
    if before is not None:
        _continues(before, found, read_file)
    seen = SeenCheckpoint(origin=found.origin, size=found.size, root=found.root.hex())
    if before is None or before.size < found.size:
        write_private(file, _Seen(key=_key(trust), seen=seen).model_dump_json().encode())
    return seen


def was_seen(trust: LogTrust, *, folder: Path | None = None) -> bool:
    """Whether this client has followed the log before, so that there is something to continue."""
    return _remembered(_file(trust, folder), trust) is not None


def _continues(before: SeenCheckpoint, found: Checkpoint, read_file: ReadFile) -> None:
    if found.size < before.size:
        raise VerificationError(
            f"the log has {found.size} leaves, and {before.size} were seen before: it was taken back",
            code="log-rollback",
            hint="do not approve; tell whoever runs the signer",
        )
    path = [] if found.size == before.size else TileTree(found.size, read_file).consistency(before.size)
    root = bytes.fromhex(before.root)
    verify_consistency(before.size, root, new_size=found.size, new_root=found.root, path=path)


def _key(trust: LogTrust) -> str:
    return str(trust.keys[0])


def _file(trust: LogTrust, folder: Path | None) -> Path:
    return memory_file(trust, folder or state_folder() / "logs")


def memory_file(trust: LogTrust, folder: Path) -> Path:
    """Where in ``folder``, which is made, something about this log and no other is remembered."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / (hashlib.sha256(f"{trust.origin}\n{_key(trust)}".encode()).hexdigest()[:24] + ".json")


def _remembered(file: Path, trust: LogTrust) -> SeenCheckpoint | None:
    """Unreadable memory is an error, not a fresh start."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    try:
        kept = parse_model(_Seen, content)
    except SignwrightError as problem:
        raise ConfigurationError(f"{file}: the remembered checkpoint does not read", code="bad-state") from problem
    return kept.seen if kept.seen.origin == trust.origin else None
