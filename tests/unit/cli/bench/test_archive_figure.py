# SPDX-License-Identifier: Apache-2.0
"""The figure of archives at a small size: what it signs is what the reader accepts. Nothing here looks at a clock."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from signwright.cli.bench import archive
from signwright.cli.bench.command import FIGURES
from signwright.cli.bench.figures import figure_json
from signwright.cli.bench.scale import Bench, Scale
from signwright.model.view import FileView
from signwright.readers.registry import READERS


def test_it_is_a_figure_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert FIGURES["zip"] == archive.__name__
    monkeypatch.setattr(archive, "PROGRAM_SIZE", 4096)
    figure = archive.measure(Bench(Scale(rounds=2, members=9), tmp_path))
    assert [row.name for row in figure.rows] == [archive.BASE, *archive.PACKINGS]
    assert all(len(row.samples) == 2 for row in figure.rows)
    assert [bound.limit for bound in figure.bounds] == [archive.LIMIT] * 2
    assert json.dumps(figure_json(figure))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_program_of_the_figure_signs_the_programs_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packing: int
) -> None:
    monkeypatch.setattr(archive, "PROGRAM_SIZE", 4096)
    archive.make_archive(tmp_path / "a", 9, packing)
    archive.ours(tmp_path / "a", 0)
    with (tmp_path / "a" / "target").open("rb") as file:
        found = READERS["zip"].read(FileView(file)).signatures
    assert [one.inner_path for one in found] == ["bin/0.exe", "bin/1.exe", "bin/2.exe"]
