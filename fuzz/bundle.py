# SPDX-License-Identifier: Apache-2.0
"""Receipt bundles: what is read can be written, and every part of it is opened as a verifier opens it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from signwright.errors import SignwrightError
from signwright.statements.bundle import ReceiptBundle, open_envelope
from signwright.transparency.leaf import parse_leaf
from signwright.transparency.proof import TlogProof


def one_input(data: bytes) -> None:
    bundle = ReceiptBundle.decode(data)
    if ReceiptBundle.decode(bundle.encode()) != bundle:
        raise AssertionError("another bundle was written than was read")
    for read in _parts(bundle):
        try:
            read()
        except SignwrightError:
            continue


def _parts(bundle: ReceiptBundle) -> Iterator[Callable[[], object]]:
    texts = [bundle.receipt]
    if bundle.authorisation is not None:
        inner = bundle.authorisation
        texts += [inner.request, inner.policy_root, inner.policy, *inner.approvals, *inner.evidence]
    for text in texts:
        yield lambda text=text: open_envelope(text)
    for wave in bundle.waves:
        yield lambda wave=wave: parse_leaf(wave.intent.leaf_bytes())
        yield lambda wave=wave: TlogProof.parse(wave.intent.proof_text())
