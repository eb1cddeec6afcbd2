# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of the figures and the form of the report. Nothing here looks at a clock."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from signwright.cli.bench import bare, load, msi, once, pe, pe_others, pe_small, small
from signwright.cli.bench.command import FIGURES
from signwright.cli.bench.figures import (
    Bound,
    Figure,
    Row,
    Sample,
    figure_json,
    figure_text,
    interleaved,
    ratio,
    report_json,
    report_page,
)
from signwright.cli.bench.msi_file import make_msi
from signwright.cli.bench.pe_file import make_file, make_key, make_pe, small_pe
from signwright.cli.bench.scale import Bench, Scale
from signwright.client.credentials import new_credential
from signwright.formats.pe import PeFormat
from signwright.identity.messages import MessageParts, parse_signed_message
from signwright.model.patch import Patch, Patched
from signwright.model.view import BytesView, FileView
from signwright.readers.msi import MsiReader
from signwright.readers.pe import PeReader
from signwright.statements.dsse import parse_envelope
from signwright.statements.keys import verify_envelope, verifying_key
from signwright.statements.models import Request, parse_statement
from signwright.statements.writing import public_text
from tests.support.tools import find_tool, require_tool
from tests.support.world import NOW

BASE = Row("base", "s", (Sample(1.0), Sample(10.0), Sample(2.0)))
OURS = Row("ours", "s", (Sample(1.5, {"peak MiB": 7}), Sample(12.0, {"peak MiB": 9}), Sample(4.0)), "base")
FIGURE = Figure("x", "a figure", (BASE, OURS), (Bound("b", 1.5, 1.3), Bound("c", 2, 1, "at least"), Bound("d", 1)))


def test_ratio_is_the_median_of_rounds_and_not_of_medians():
    assert ratio(OURS, BASE) == 1.5
    assert OURS.median / BASE.median == 2.0


def test_rows_of_different_length_are_not_compared():
    with pytest.raises(ValueError, match="shorter"):
        ratio(OURS, Row("base", "s", (Sample(1.0),)))


def test_largest_memory_counts_and_the_median_of_everything_else():
    row = Row("r", "s", tuple(Sample(1.0, {"peak MiB": m, "cpu s": m}) for m in (1, 9, 2)))
    assert row.extra() == {"peak MiB": 9, "cpu s": 2}


@pytest.mark.parametrize(
    ("bound", "holds"),
    [
        (Bound("b", 1.3, 1.3), True),
        (Bound("b", 1.31, 1.3), False),
        (Bound("b", 0.6, 0.6, "at least"), True),
        (Bound("b", 0.59, 0.6, "at least"), False),
        (Bound("b", 99.0), None),
    ],
)
def test_limits_are_inclusive(bound, holds):
    assert bound.holds is holds


def test_runs_alternate():
    seen = []

    def run(name):
        return lambda number: seen.append((number, name)) or Sample(1.0)

    found = interleaved(2, {"a": run("a"), "b": run("b")})
    assert seen == [(0, "a"), (0, "b"), (1, "a"), (1, "b")]
    assert {name: len(samples) for name, samples in found.items()} == {"a": 2, "b": 2}


def test_report_is_plain_json_with_every_sample():
    report = json.loads(json.dumps(report_json([FIGURE], command="c", made="m", machine={"cores": 2})))
    assert set(report) == {"format", "command", "made", "machine", "figures"}
    (figure,) = report["figures"]
    assert figure == figure_json(FIGURE)
    ours = figure["rows"][1]
    assert (ours["samples"], ours["ratios"], ours["ratio"]) == ([1.5, 12.0, 4.0], [1.5, 1.2, 2.0], 1.5)
    assert [bound["holds"] for bound in figure["bounds"]] == [False, True, None]


def test_table_says_what_was_missed():
    text = "\n".join(figure_text(FIGURE))
    assert "MISSED: b: 1.50, wanted at most 1.30" in text
    assert "holds: c: 2.00, wanted at least 1.00" in text
    page = report_page([FIGURE], report_json([FIGURE], command="c", made="m", machine={"cores": 2}))
    assert "## a figure" in page
    assert "MISSED" in page


def test_every_figure_has_a_module_that_measures():
    for module in FIGURES.values():
        code = f"import {module} as m; assert callable(m.measure)"
        subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("result_digest", [True, False])
def test_one_signed_pe_holds_for_its_reader(tmp_path, result_digest):
    make_pe(tmp_path / "source", 70_001)
    make_key(tmp_path)
    answer = once.sign_once("pe", tmp_path, result_digest=result_digest)
    assert answer["source_sha256"] == _sha256(tmp_path / "source")
    assert answer["result_sha256"] == (_sha256(tmp_path / "target") if result_digest else None)
    with (tmp_path / "target").open("rb") as file:
        (found,) = PeReader().read(FileView(file)).signatures
    assert str(found.content_digest) == answer["content"]
    assert float(str(answer["seconds"])) > 0


def test_small_pe_that_is_timed_is_signed_and_holds():
    content = small_pe(pe_small.SIZE)
    sample, wire = pe_small.signer().sign_once(content)
    result = Patched(BytesView(content), Patch.decode(wire))
    (found,) = PeReader().read(result).signatures
    assert found.family == "cms"
    assert sample.value >= sum(sample.extra.values()) > 0


def test_figure_of_the_small_pe_promises_5_ms(tmp_path):
    figure = pe_small.measure(Bench(Scale(requests=1), tmp_path))
    assert [(bound.name, bound.limit, bound.unit) for bound in figure.bounds] == [(small.ROW, 5.0, "ms")]
    assert len(figure.rows[0].samples) == 8
    assert "3 KB" in figure.title


def test_figure_with_others_signs_with_each_in_every_round(tmp_path):
    require_tool("openssl")
    figure = pe_others.measure(Bench(Scale(rounds=2, half_mib=1), tmp_path))
    names = [row.name for row in figure.rows]
    assert names[0] == pe.BASE
    assert names[1] in (pe.OURS, pe.PURE)
    assert (pe_others.OTHER in names) == (find_tool("osslsigncode") is not None)
    assert {len(row.samples) for row in figure.rows} == {2}
    assert figure.bounds[0].limit in (pe.LIMIT, pe.PURE_AIM)
    assert not any(tmp_path.iterdir())


def test_figure_of_the_installer_promises_time_against_osslsigncode_and_memory(tmp_path):
    require_tool("openssl")
    figure = msi.measure(Bench(Scale(rounds=2, msi_mib=8), tmp_path))
    others = [msi.OTHER] if find_tool("osslsigncode") is not None else []
    assert [row.name for row in figure.rows] == [pe.BASE, msi.OURS, *others]
    assert {len(row.samples) for row in figure.rows} == {2}
    assert [bound.limit for bound in figure.bounds] == [None, *([msi.LIMIT] if others else []), msi.MEMORY_MIB]
    assert not any(tmp_path.iterdir())


def test_the_installer_of_the_figure_is_read_whole(tmp_path):
    for mib in (1, 8, 17):
        make_msi(tmp_path / "a", mib << 20)
        reading = MsiReader().read(BytesView((tmp_path / "a").read_bytes()))
        assert (reading.signatures, reading.warnings) == ((), ())


def _sha256(path):
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_files_have_the_size_that_was_asked_for(tmp_path):
    make_file(tmp_path / "file", (1 << 20) + 7)
    assert (tmp_path / "file").stat().st_size == (1 << 20) + 7
    assert len(small_pe(100_000)) == 100_000
    assert PeFormat().recognizes(BytesView(small_pe(2000)))


def test_each_call_of_the_load_is_another_request_with_good_signatures():
    credential = new_credential("test")
    calls = [
        load.signed_call("h:1", credential, policy="default/test-raw", format_name="raw", now=NOW) for _ in range(2)
    ]
    key = verifying_key(public_text(credential.key))
    digests = set()
    for call in calls:
        head, _, body = call.partition(b"\r\n\r\n")
        line, *rows = head.decode().split("\r\n")
        method, target, _ = line.split(" ")
        headers = dict(row.split(": ", 1) for row in rows)
        path, _, query = target.partition("?")
        message = parse_signed_message(headers, MessageParts.with_body(method, path, query, body))
        key.verify("", message.base, message.value)
        envelope = parse_envelope(body)
        assert verify_envelope(envelope, "request", [key.text]) == [key]
        request = parse_statement(envelope, Request)
        assert request.predicate.mode == "digest"
        digests |= {request.digest, message.nonce, request.subjects[0].digest.sha256}
    assert len(digests) == 6


@pytest.mark.parametrize("kind", ["rsa3072", "p256"])
def test_bare_key_signs_digests(kind):
    assert bare.signer(kind)(bytes(32))
