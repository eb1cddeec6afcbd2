# SPDX-License-Identifier: Apache-2.0
"""Patterns over paths of members, and names that lead elsewhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.plan.paths import below, matches, path_problem


@pytest.mark.parametrize(
    ("pattern", "path", "named"),
    [
        ("*.exe", "a.exe", True),
        ("*.exe", "bin/a.exe", False),
        ("bin/*.exe", "bin/a.exe", True),
        ("bin/*.exe", "bin/x/a.exe", False),
        ("**/*.exe", "a.exe", True),
        ("**/*.exe", "x/y/a.exe", True),
        ("**", "a", True),
        ("**", "a/b/c", True),
        ("app/**", "app/x", True),
        ("app/**", "app/x/y", True),
        ("app/**", "app", False),
        ("app/**/lib/*.dll", "app/lib/a.dll", True),
        ("app/**/lib/*.dll", "app/x/y/lib/a.dll", True),
        ("app/**/lib/*.dll", "app/x/y/lib/z/a.dll", False),
        ("?.txt", "ab.txt", False),
        ("[ab].txt", "b.txt", True),
        ("A.exe", "a.exe", False),
        ("a**b", "a/b", False),
    ],
)
def test_pattern_names_paths_as_a_shell_with_globstar_does(pattern, path, named):
    assert matches(pattern, path) is named


def test_pattern_full_of_stars_takes_no_long_time_on_a_long_path():
    assert not matches("/".join(["**", "*a*a*a*b"] * 20), "/".join(["a" * 20] * 45))


@given(st.lists(st.text("ab.", min_size=1, max_size=4), min_size=1, max_size=6))
def test_every_path_is_named_by_itself_and_by_any_folders(parts):
    path = "/".join(parts)
    assert matches(path, path)
    assert matches("**", path)
    assert matches(f"**/{parts[-1]}", path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a//b",
        "./a",
        "C:/x",
        "a\\b",
        "a\nb",
        "a\u202eb",
        "x" * 1025,
        "a.",
        "a /b",
        "a::$DATA",
        "a/",
    ],
)
def test_name_that_leads_elsewhere_is_a_problem(path):
    assert path_problem(path)


@pytest.mark.parametrize("path", ["a", "a/b.c", "ä/…/b", ".hidden", "a..b"])
def test_plain_name_is_none(path):
    assert path_problem(path) is None


def test_paths_are_joined_where_both_are_there():
    assert [below("a", "b"), below("", "b"), below("a", ""), below("", "")] == ["a/b", "b", "a", ""]
