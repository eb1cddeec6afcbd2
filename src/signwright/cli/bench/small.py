# SPDX-License-Identifier: Apache-2.0
"""A small file in this process: prepared, signed with a P-256 key in software, embedded."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signwright.cli.bench.figures import Bound, Figure, Row, Sample
from signwright.cli.bench.pe_file import self_signed
from signwright.cli.bench.scale import Bench
from signwright.envelopes.base import SignerContext, Template, check_seen
from signwright.formats.base import Format, FormatOptions
from signwright.model.patch import sealed
from signwright.model.view import BytesView

LIMIT_MS = 5.0
ROW = "prepare, sign, embed"
_PER_REQUEST, _WARM_UP = 8, 10


class Signer:
    """A throwaway key with its certificate, and what it does to one file of ``one``."""

    def __init__(self, one: Format, options: FormatOptions, template: Template) -> None:
        self._one, self._options, self._template = one, options, template
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._chain = (self_signed(self._key).public_bytes(Encoding.DER),)
        self._public_key = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def sign_once(self, content: bytes) -> tuple[Sample, bytes]:
        """Milliseconds from the bytes of an unsigned file to its sealed patch, and the patch on the wire."""
        view, one, template = BytesView(content), self._one, self._template
        start = time.perf_counter()
        prepared = one.prepare(view, self._chain, self._options)
        after_prepare = time.perf_counter()
        context = SignerContext(self._chain, self._public_key, datetime.now(UTC))
        operation = prepared.operations[0]
        if template.check_content is not None:
            check_seen(template, operation, prepared.contents[0])
        value = self._key.sign(template.to_be_signed(operation, context).content, ec.ECDSA(SHA256()))
        after_key = time.perf_counter()
        patch = sealed(view, one.embed(prepared, [template.envelope(operation, context, value, None)]))
        end = time.perf_counter()
        extra = {"prepare ms": 1000 * (after_prepare - start), "embed ms": 1000 * (end - after_key)}
        return Sample(1000 * (end - start), extra), patch.encode()


def figure(bench: Bench, signer: Signer, make: Callable[[], bytes], *, name: str, title: str) -> Figure:
    """Every file that ``make`` gives is another one."""
    count = _PER_REQUEST * bench.scale.requests + _WARM_UP
    samples = tuple(signer.sign_once(make())[0] for _ in range(count))[_WARM_UP:]
    row = Row(ROW, "ms", samples)
    notes = (
        "in memory, in one process: no hub, no log, no approval, no timestamp, no file",
        "embedding includes the digest of the result",
    )
    return Figure(name, title, (row,), (Bound(ROW, row.median, LIMIT_MS, unit="ms"),), notes)
