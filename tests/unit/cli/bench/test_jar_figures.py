# SPDX-License-Identifier: Apache-2.0
"""The figures of JARs at small sizes: what they sign is what the reader accepts. Nothing here looks at a clock."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from signwright.cli.bench import jar, jar_small
from signwright.cli.bench.command import FIGURES
from signwright.cli.bench.figures import figure_json
from signwright.cli.bench.jar_file import make_jar, small_jar
from signwright.cli.bench.pe_file import make_key
from signwright.cli.bench.scale import Bench, Scale
from signwright.model.patch import Patch, Patched
from signwright.model.view import BytesView, FileView
from signwright.readers.jar import JarReader
from tests.support.tools import find_tool


def test_both_are_figures_of_the_command() -> None:
    assert {"jar", "jar-small"} <= set(FIGURES)


def test_large_jar_is_signed_beside_jarsigner(tmp_path: Path) -> None:
    figure = jar.measure(Bench(Scale(rounds=2, half_mib=6), tmp_path))
    others = [jar.OTHER] if find_tool("jarsigner") is not None else []
    assert [row.name for row in figure.rows] == [jar.OURS, *others]
    assert all(len(row.samples) == 2 for row in figure.rows)
    assert [bound.limit for bound in figure.bounds] == [*([jar.LIMIT] if others else []), jar.MEMORY_MIB]
    assert json.dumps(figure_json(figure))
    assert list(tmp_path.iterdir()) == []


def test_the_program_of_the_figure_signs_what_the_reader_accepts(tmp_path: Path) -> None:
    make_jar(tmp_path / "source", 5 << 20)
    make_key(tmp_path)
    command = [sys.executable, "-m", "signwright.cli.bench.once", "jar", str(tmp_path)]
    told = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    assert {"seconds", "cpu s", "prepare s", "write s", "peak MiB"} < set(told)
    with (tmp_path / "target").open("rb") as file:
        (found,) = JarReader().read(FileView(file)).signatures
    assert found.notes["entries"] == "1"


def test_small_jar_is_signed_in_process() -> None:
    content = small_jar(2, 500)
    sample, wire = jar_small.signer().sign_once(content)
    assert set(sample.extra) == {"prepare ms", "embed ms"}
    patched = Patched(BytesView(content), Patch.decode(wire))
    assert len(JarReader().read(patched).signatures) == 1
