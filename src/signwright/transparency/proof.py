# SPDX-License-Identifier: Apache-2.0
"""C2SP tlog-proof: a text file that proves, offline, that a leaf stands in a log. Source: c2sp.org/tlog-proof.

It holds the leaf's index, its inclusion path and a cosigned checkpoint, but not the leaf.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime

from signwright.errors import LimitError, MalformedError
from signwright.model.base64text import strict_base64
from signwright.transparency.checkpoint import Checkpoint, parse_number
from signwright.transparency.cosignature import LogTrust, Witnessed
from signwright.transparency.merkle import HASH_SIZE, MAX_PATH, leaf_hash, verify_inclusion
from signwright.transparency.note import MAX_NOTE

MAX_EXTRA = 16 << 10
MAX_PROOF = MAX_NOTE + 2 * MAX_EXTRA + (8 << 10)
_HEADER = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True)
class TlogProof:
    """``path``: hashes from the leaf's sibling upwards; ``checkpoint``: the note as received; ``extra``: unsigned."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = b""

    def encode(self) -> bytes:
        extra = [f"extra {base64.b64encode(self.extra).decode()}"] if self.extra else []
        path = [base64.b64encode(value).decode() for value in self.path]
        return "\n".join([_HEADER, *extra, f"index {self.index}", *path, "", ""]).encode() + self.checkpoint

    @classmethod
    def parse(cls, content: bytes) -> TlogProof:
        """Read a proof; raises `MalformedError` and `LimitError`. Nothing in it is verified."""
        if len(content) > MAX_PROOF:
            raise LimitError(f"tlog-proof: {len(content)} bytes; at most {MAX_PROOF} are read", code="proof-too-large")
        head, separator, checkpoint = content.partition(b"\n\n")
        lines = head.decode("ascii", errors="replace").split("\n")
        if not separator or not checkpoint or lines.pop(0) != _HEADER:
            raise MalformedError(
                f"tlog-proof: wanted {_HEADER!r}, an index, hashes and a checkpoint", code="bad-tlog-proof"
            )
        extra = b""
        if lines and lines[0].startswith("extra ") and lines[0] != "extra ":
            extra = strict_base64(lines.pop(0).removeprefix("extra "), "tlog-proof extra")
        if not lines or not lines[0].startswith("index ") or len(lines) > MAX_PATH + 1 or len(extra) > MAX_EXTRA:
            raise MalformedError("tlog-proof: wanted an index and at most 63 hashes", code="bad-tlog-proof")
        path = tuple(strict_base64(line, "tlog-proof hash") for line in lines[1:])
        if any(len(value) != HASH_SIZE for value in path):
            raise MalformedError(f"tlog-proof: a hash that is not {HASH_SIZE} bytes", code="bad-tlog-proof")
        return cls(parse_number(lines[0].removeprefix("index "), "tlog-proof index"), path, checkpoint, extra)

    def verify(self, leaf: bytes, trust: LogTrust, *, latest: datetime | None = None) -> Witnessed:
        """``leaf`` (its content) stands at ``index`` in the log of ``trust``, under a quorum of cosignatures.

        Raises `MalformedError`, `LimitError`, `VerificationError`. ``extra`` is never believed.
        """
        witnessed = trust.verify(self.checkpoint, latest=latest)
        self.check(leaf, witnessed.checkpoint)
        return witnessed

    def check(self, leaf: bytes, checkpoint: Checkpoint) -> None:
        """``leaf`` stands at ``index`` in the tree of a checkpoint that somebody verified."""
        verify_inclusion(leaf_hash(leaf), self.index, size=checkpoint.size, root=checkpoint.root, path=self.path)
