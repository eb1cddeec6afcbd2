# SPDX-License-Identifier: Apache-2.0
"""The search finds each way a check can fall away, and the list of equivalent mutants speaks of checks that exist."""

from __future__ import annotations

import argparse
import ast

import pytest

from tests.mutants.__main__ import ROOT, _all, _mutants
from tests.mutants.equivalent import match, read_equivalent
from tests.mutants.find import find
from tests.mutants.targets import MODULES, OUTSIDE
from tests.support.source_tree import PACKAGE, SRC, closure, modules, modules_below

SOURCE = '''
RULES = (one, two)

def check(a, b, c):
    """Refuses."""
    if (a, b) != (1, 2) or not 0 <= c < 9:
        raise ValueError(a)
    helper(a)
    if b.pop() == (c or ""):
        raise ValueError(b)
    for name in [n for n in b if n and c]:
        yield name
'''


def texts() -> list[str]:
    return [one.text for one in find("x.py", ast.parse(SOURCE), checking=frozenset({"helper"}))]


@pytest.mark.parametrize(
    "text",
    [
        *("without rule one", "without rule two", "no helper(a)", "no yield name"),
        *("(a, b) != (1, 2) -> False", "(a, b) != (1, 2) -> (b,) != (2,)", "(a, b) != (1, 2) -> (a,) != (1,)"),
        *("0 <= c < 9 -> True", "0 <= c < 9 -> c < 9", "0 <= c < 9 -> 0 <= c", "n -> True", "c -> True"),
    ],
)
def test_way_in_which_a_check_can_fall_away_is_found(text: str) -> None:
    assert text in texts()


def test_condition_that_takes_something_goes_on_taking_it() -> None:
    tree = ast.parse(SOURCE)
    (one,) = [one for one in find("x.py", tree, checking=frozenset()) if one.text.startswith("b.pop()")]
    assert one.change is not None
    assert one.text == "b.pop() == (c or '') -> False"
    one.change.make()
    assert "if b.pop() == (c or '') and False:" in ast.unparse(tree)


def test_default_is_no_check() -> None:
    source = "def name(a):\n    found = a or 'nothing'\n    return found\n"
    texts = [one.text for one in find("x.py", ast.parse(source), checking=frozenset())]
    assert texts == [
        "a or 'nothing' -> True",
        "a -> False",
    ]


def test_change_that_is_undone_leaves_the_source_as_it_was() -> None:
    tree = ast.parse(SOURCE)
    before = ast.unparse(tree)
    for one in find("x.py", tree, checking=frozenset()):
        if one.change is not None:
            one.change.make()
            assert ast.unparse(tree) != before
            one.change.undo()
    assert ast.unparse(tree) == before


def test_every_equivalent_mutant_is_still_there() -> None:
    everything = argparse.Namespace(module=[], only="")
    mutants = list(_all(_mutants(ROOT / "src/signwright", everything)))
    assert len(mutants) > 500
    assert match(read_equivalent(), mutants)


def test_line_that_matches_nothing_is_an_error() -> None:
    line = "policy/orders.py | nowhere | a -> b | no reason"
    with pytest.raises(ValueError, match="nothing matches"):
        match(read_equivalent(line), [])
    with pytest.raises(ValueError, match="wanted module"):
        read_equivalent("policy/orders.py | nowhere | a -> b")


def test_every_module_between_a_request_and_a_key_is_searched_or_said_to_be_outside() -> None:
    searched = {file for pattern in MODULES for file in (SRC / PACKAGE).glob(pattern)}
    signer = modules_below("signer.gate", "signer.keyholder")
    for name in {*signer, *closure(signer, lazy=True)}:
        part = name.removeprefix(f"{PACKAGE}.")
        outside = any(part == other or part.startswith(f"{other}.") for other in OUTSIDE)
        assert modules()[name] in searched or modules()[name].name == "__init__.py" or outside, name
    for pattern in MODULES:
        assert list((SRC / PACKAGE).glob(pattern)), pattern
