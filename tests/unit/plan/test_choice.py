# SPDX-License-Identifier: Apache-2.0
"""A closed world: every member is under the first rule that names it, and all problems are told at once."""

from __future__ import annotations

import pytest

from signwright.errors import FormatError
from signwright.plan.choice import choose, may_replace, refuse
from tests.support.deep import inside, kept, signed


def test_first_rule_that_names_a_member_counts():
    rule = inside(kept("lib/vendor.dll"), signed("**/*.dll", "pe"), kept())
    choice = choose(rule, ["lib/vendor.dll", "lib/own.dll", "readme"])
    assert [found.action for found in choice.rules if found] == ["keep", "sign", "keep"]
    assert choice.problems == ()


def test_member_that_nobody_names_is_a_problem_unless_the_rule_says_keep():
    rules = (signed("*.exe", "pe"),)
    (problem,) = choose(inside(*rules), ["a.exe", "b.txt"]).problems
    assert problem.startswith("b.txt: no rule names it")
    assert choose(inside(*rules, unlisted="keep"), ["a.exe", "b.txt"]).problems == ()


@pytest.mark.parametrize(("names", "found"), [([], 0), (["a.exe", "b.exe", "c.exe"], 3)])
def test_too_few_and_too_many_are_problems_that_name_the_pattern(names, found):
    (problem,) = choose(inside(signed("*.exe", "pe", min=1, max=2)), names).problems
    assert problem == f"*.exe: {found} members, wanted 1 to 2"


@pytest.mark.parametrize(
    "names",
    [("a.exe", "a.exe"), ("a.exe", "A.EXE"), ("ä.exe", "a\u0308.exe"), ("STRASSE", "straße"), ("x/a", "X/A")],
)
def test_names_that_are_one_file_somewhere_are_refused(names):
    (problem,) = choose(inside(kept()), names).problems
    assert "it is there twice" in problem


@pytest.mark.parametrize(
    ("names", "folders"), [(("bin", "bin/a"), ()), (("a", "Bin"), ("bin/",)), (("a/b/c", "A/b"), ())]
)
def test_file_and_folder_of_one_name_are_refused(names, folders):
    (problem,) = choose(inside(kept()), names, folders).problems
    assert "there is a folder of this name as well" in problem


@pytest.mark.parametrize("folder", ["../x/", "/etc/", "a:/", "x//", "a./"])
def test_folder_that_leads_elsewhere_is_refused_also_where_it_is_unlisted(folder):
    (problem,) = choose(inside(kept(), unlisted="keep"), ["a"], [folder]).problems
    assert "a name" in problem


def test_folders_may_be_listed_as_well_as_meant():
    assert choose(inside(kept()), ["x/a", "X/b"], ["x/", "x/y/"]).problems == ()


def test_names_of_what_is_never_unpacked_to_files_are_only_looked_up():
    assert choose(inside(kept("a:*")), ["a:x", "a:x"], are_files=False).problems == ()


def test_member_in_too_many_folders_is_refused_and_looked_up_by_no_pattern():
    (problem,) = choose(inside(kept(), unlisted="keep"), ["a/" * 64 + "b"], are_files=False).problems
    assert "in 64 folders or more" in problem


def test_all_problems_are_told_at_once_and_many_are_counted():
    choice = choose(inside(signed("*.exe", "pe", min=1)), ["x", "../y", "x"])
    assert len(choice.problems) == 6
    with pytest.raises(FormatError) as refused:
        refuse(choice.problems)
    assert refused.value.code == "members"
    assert refused.value.message.startswith("6 problems: x: no rule")
    with pytest.raises(FormatError, match="and 10 more"):
        refuse(["x"] * 60)
    refuse([])


def test_old_signature_gives_way_only_where_every_reading_of_its_path_says_so():
    replaced = signed("*.exe", "pe", existing="replace")
    nested = signed("*.zip", "zip", members=[signed("x.exe", "pe", existing="replace"), signed("y.exe", "pe")])
    rule = inside(replaced, nested)
    assert may_replace(rule, "a.exe")
    assert may_replace(rule, "in.zip/x.exe")
    assert not may_replace(rule, "in.zip/y.exe")
    assert not may_replace(rule, "nobody")
    both = inside(nested, signed("**/x.exe", "pe", existing="append"))
    assert not may_replace(both, "in.zip/x.exe")
