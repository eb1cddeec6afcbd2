# SPDX-License-Identifier: Apache-2.0
"""Each fuzz harness over its committed corpus and a fixed set of mutations; and the driver notices what it should."""

from __future__ import annotations

import itertools

import pytest

from fuzz import run
from fuzz.mutate import mutations
from tests.support.samples import samples

HARNESSES = run.harness_names()
MUTATIONS = 1500
FEWER = {"timestamp_query": 150}
"""Harnesses that sign something for each accepted input."""


@pytest.mark.parametrize("name", HARNESSES)
def test_parser_survives_its_corpus_and_mutations_of_it(name):
    corpus = run.corpus_of(name)
    assert corpus, f"fuzz/corpus/{name} is empty"
    inputs = itertools.chain(corpus, itertools.islice(mutations(corpus, seed=1), FEWER.get(name, MUTATIONS)))
    _, find = run.try_all(run.load(name), inputs)
    assert find is None, f"{find.report}\ninput: {find.input_bytes[:2048].hex()}"


def test_every_corpus_belongs_to_a_harness():
    assert {path.name for path in (run.HERE / "corpus").iterdir()} == set(HARNESSES)


def test_corpora_hold_every_statement_leaf_and_document():
    kinds = {"statement": "statement", "leaf": "leaf", "document": "policy"}
    for name, sample in samples().items():
        kind, _, rest = name.partition(" ")
        if kind in kinds and rest != "custodian":
            file = run.HERE / "corpus" / kinds[kind] / rest.replace("/", "-")
            assert file.is_file(), f"write the sample {name!r} of tests/support/samples.py to {file}"
            assert sample.read(file.read_bytes())


def test_mutations_repeat_for_the_same_seed_and_differ_for_another():
    first, again, other = (list(itertools.islice(mutations([b"seed" * 9], seed), 200)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


PLANTED = """
from signwright.errors import MalformedError
def one_input(data):
    if data[:1] == b'"':
        raise MalformedError("refused cleanly")
    if len(data) > 4 and data[4] != 0:
        raise ZeroDivisionError
"""


@pytest.fixture
def planted(tmp_path):
    """A folder with one harness that survives its corpus and fails on some mutations of it."""
    (tmp_path / "weak.py").write_text(PLANTED)
    (tmp_path / "corpus/weak").mkdir(parents=True)
    (tmp_path / "corpus/weak/zeroes").write_bytes(bytes(16))
    return tmp_path


def test_driver_keeps_the_input_that_broke_a_parser_and_fails(planted, capsys):
    assert run.main(["--blind", "--seed", "1", "--seconds", "5", "--folder", str(planted)]) == 1
    (kept,) = (planted / "crashes").iterdir()
    with pytest.raises(ZeroDivisionError):
        run.load("weak", planted)(kept.read_bytes())
    assert str(kept) in capsys.readouterr().out


def test_driver_counts_a_clean_refusal_as_no_find(planted):
    assert run.try_one(run.load("weak", planted), b'"1234567') is None


def test_driver_reports_an_input_that_takes_too_long():
    def endless(_input_bytes):
        while True:
            pass

    find = run.try_one(endless, b"", seconds=1)
    assert "TooSlowError" in find.report


def test_driver_refuses_an_unknown_harness(planted, capsys):
    assert run.main(["--folder", str(planted), "nothing"]) == 2
    assert "weak" in capsys.readouterr().err
