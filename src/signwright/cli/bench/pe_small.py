# SPDX-License-Identifier: Apache-2.0
"""A PE of 3 KB in this process, signed with a P-256 key in software."""

from __future__ import annotations

from functools import partial

from signwright.cli.bench.figures import Figure
from signwright.cli.bench.pe_file import small_pe
from signwright.cli.bench.scale import Bench
from signwright.cli.bench.small import Signer, figure
from signwright.envelopes.authenticode import Authenticode
from signwright.formats.pe import PeFormat, PeOptions

SIZE = 3 << 10


def signer() -> Signer:
    return Signer(PeFormat(), PeOptions(), Authenticode("pe"))


def measure(bench: Bench) -> Figure:
    title = f"PE of {SIZE >> 10} KB in process, P-256"
    return figure(bench, signer(), partial(small_pe, SIZE), name="pe-small", title=title)
