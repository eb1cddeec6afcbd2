# SPDX-License-Identifier: Apache-2.0
"""A JAR of some files in this process, signed with a P-256 key in software."""

from __future__ import annotations

from functools import partial

from signwright.cli.bench.figures import Figure
from signwright.cli.bench.jar_file import small_jar
from signwright.cli.bench.scale import Bench
from signwright.cli.bench.small import Signer, figure
from signwright.envelopes.jar import Jar
from signwright.formats.jar import JarFormat, JarOptions

FILES, SIZE = 20, 4 << 10


def signer() -> Signer:
    return Signer(JarFormat(), JarOptions(), Jar())


def measure(bench: Bench) -> Figure:
    title = f"JAR of {FILES} files of {SIZE >> 10} KB in process, P-256"
    return figure(bench, signer(), partial(small_jar, FILES, SIZE), name="jar-small", title=title)
