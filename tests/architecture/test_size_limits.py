# SPDX-License-Identifier: Apache-2.0
"""A function stops at 60 lines and a file at 500, so that each can be read in one sitting."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.source_tree import ROOT, tracked_files, tree_of

FUNCTION_LINES = 60
FILE_LINES = 500

DATA_TABLES: frozenset[str] = frozenset()
"""Files that are one table (OIDs, claims) and may be longer, by path from the root."""

SOURCES = [path for path in tracked_files() if path.suffix == ".py"]


def too_long_functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Name and length of each function over the limit; decorators are not counted, its docstring is."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                yield node.name, length


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_functions_stop_at_60_lines():
    found = [f"{relative(path)}: {name} has {n}" for path in SOURCES for name, n in too_long_functions(tree_of(path))]
    assert not found, "\n".join(found)


def test_files_stop_at_500_lines():
    counts = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    found = [f"{name}: {n}" for name, n in counts.items() if n > FILE_LINES and name not in DATA_TABLES]
    assert not found, "\n".join(found)


def test_listed_data_tables_exist_and_hold_no_functions():
    for name in DATA_TABLES:
        tree = tree_of(ROOT / name)
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)], name


@pytest.mark.parametrize(("lines", "refused"), [(FUNCTION_LINES, False), (FUNCTION_LINES + 1, True)])
def test_the_limit_is_exact(lines, refused):
    source = "def long():\n" + "    pass\n" * (lines - 1)
    assert bool(list(too_long_functions(ast.parse(source)))) is refused
