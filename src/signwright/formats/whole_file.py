# SPDX-License-Identifier: Apache-2.0
"""What detached formats share: digests of the whole content in one pass, and a patch that leaves only the envelope."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, NoReturn

from signwright.errors import FormatError
from signwright.formats.base import FormatOptions, Prepared
from signwright.formats.content import OtherPurposes
from signwright.model.digest import Digest
from signwright.model.operation import Operation
from signwright.model.patch import Patch, Splice
from signwright.model.view import View, blocks


class WholeFileOptions(FormatOptions):
    """``digest``: over the content, and of the signature."""

    digest: Literal["sha256", "sha384", "sha512"] = "sha256"


def prepare_whole_file(view: View, options: FormatOptions, *, name: str, template: str) -> Prepared:
    """One operation over all bytes; refuses content of another purpose."""
    if not isinstance(options, WholeFileOptions):
        raise FormatError(f"options of another format than {name}", code="bad-options")
    others = OtherPurposes(view)
    running = {algorithm: hashlib.new(algorithm) for algorithm in {"sha256", options.digest}}
    for block in blocks(view, 0, view.size):
        others.take(block)
        for digest in running.values():
            digest.update(block)
    others.refuse()
    content = Digest(options.digest, running[options.digest].digest())
    return Prepared(
        format=name,
        source_sha256=running["sha256"].hexdigest(),
        source_size=view.size,
        operations=(Operation(template=template, digest=str(content)),),
    )


def replace_by_envelope(prepared: Prepared, envelopes: Sequence[bytes], *, name: str) -> Patch:
    """The result is the signature file: the envelope and nothing else."""
    if prepared.format != name or len(envelopes) != 1 or not envelopes[0]:
        raise FormatError(f"{name}: exactly one envelope is wanted, {len(envelopes)} came", code="bad-envelopes")
    splice = Splice(0, prepared.source_size, envelopes[0])
    return Patch(prepared.source_sha256, prepared.source_size, "", len(envelopes[0]), (splice,))


def refuse_to_remove(name: str) -> NoReturn:
    """A signature beside a file is removed by deleting it."""
    raise FormatError(f"{name}: the signature is a file of its own, nothing of it is inside", code="not-signed")
