# SPDX-License-Identifier: Apache-2.0
"""The figure of the monitor on a tiny log: it reads what it says, and a log that is not honest is no measurement."""

from __future__ import annotations

import pytest

from signwright.cli.bench import monitor
from signwright.cli.bench.scale import Bench, Scale
from signwright.errors import VerificationError


def test_figure_reads_the_whole_log_and_then_its_last_tenth(tmp_path):
    figure = monitor.measure(Bench(Scale(rounds=2, requests=2), tmp_path))
    assert [row.name for row in figure.rows] == [monitor.ALL, monitor.NEW]
    assert [bound.limit for bound in figure.bounds] == [1000, 1000]
    assert all(sample.value > 0 for row in figure.rows for sample in row.samples)


def test_log_with_an_alarm_is_no_measurement(tmp_path):
    trust, now = monitor._write_log(tmp_path, 1600)
    assert monitor._look(tmp_path, trust, now, size=1600).leaves == 1600
    bundle = tmp_path / "tile/entries/000"
    bundle.write_bytes(bundle.read_bytes().replace(b"software", b"attested", 1))
    with pytest.raises(VerificationError):
        monitor._look(tmp_path, trust, now, size=1600)
