# SPDX-License-Identifier: Apache-2.0
"""Our own source as facts: files, modules, who imports whom. Read with ``ast``, never imported."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
PACKAGE = "signwright"

_GUARD_NAMES = ("TYPE_CHECKING", "typing.TYPE_CHECKING")
_PLATFORM_NAMES = ("sys.platform", "os.name", "platform.system()")
_IMPORT_ERRORS = {"ImportError", "ModuleNotFoundError", "Exception"}


@dataclass(frozen=True)
class Import:
    """One imported module: its full name (a name imported from a package may be a module or not) and where it stands.

    ``lazy``: inside a function. ``guarded``: under a test of the platform, or in a ``try`` that survives its absence.
    """

    name: str
    line: int
    lazy: bool
    guarded: bool


@cache
def tracked_files() -> tuple[Path, ...]:
    """Every file that belongs to the project: tracked by git or about to be, as absolute paths."""
    answer = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    paths = (ROOT / os.fsdecode(name) for name in answer.stdout.split(b"\0") if name)
    return tuple(sorted(path for path in paths if path.is_file()))


@cache
def modules() -> dict[str, Path]:
    """All modules of ``signwright`` by full name; a package stands for its ``__init__.py``."""
    found = {}
    for path in sorted((SRC / PACKAGE).rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree_of(path: Path) -> ast.Module:
    """Parse one file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def modules_below(*packages: str) -> list[str]:
    """Names of the given packages (without ``signwright.``) and of every module in them."""
    tops = [f"{PACKAGE}.{name}" for name in packages]
    return [name for name in modules() if any(name == top or name.startswith(top + ".") for top in tops)]


def line_count(names: Iterable[str]) -> int:
    """Physical lines of the given modules: code, comments, docstrings and blank lines."""
    return sum(len(modules()[name].read_text(encoding="utf-8").splitlines()) for name in names)


def code_line_count(names: Iterable[str]) -> int:
    """Lines of the given modules that hold code: without blank lines, comments and docstrings (docs/adr/0007)."""
    return sum(len(_code_lines(modules()[name])) for name in names)


_NO_CODE = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE),
    *(tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER, tokenize.ENCODING),
}


@cache
def _code_lines(path: Path) -> frozenset[int]:
    lines: set[int] = set()
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type not in _NO_CODE:
                lines.update(range(token.start[0], token.end[0] + 1))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree_of(path)):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            lines.difference_update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return frozenset(lines)


@cache
def imports_of(module: str) -> tuple[Import, ...]:
    """Every import statement of ``module`` that can run, with absolute names; those for type checkers are left out."""
    path = modules()[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return tuple(walk_imports(tree_of(path).body, package, lazy=False, guarded=False))


def walk_imports(body: Iterable[ast.AST], package: str, *, lazy: bool, guarded: bool) -> Iterator[Import]:
    """Yield the imports in ``body``; ``package`` is where relative ones start."""
    for node in body:
        match node:
            case ast.Import():
                for alias in node.names:
                    yield Import(alias.name, node.lineno, lazy, guarded)
            case ast.ImportFrom():
                base = _absolute(node, package)
                yield Import(base, node.lineno, lazy, guarded)
                for alias in node.names:
                    yield Import(f"{base}.{alias.name}", node.lineno, lazy, guarded)
            case ast.If() if _names_in(node.test) & set(_GUARD_NAMES):
                yield from walk_imports(node.orelse, package, lazy=lazy, guarded=guarded)
            case ast.If():
                on_platform = guarded or bool(_names_in(node.test) & set(_PLATFORM_NAMES))
                yield from walk_imports([*node.body, *node.orelse], package, lazy=lazy, guarded=on_platform)
            case ast.Try():
                survives = guarded or any(_catches_absence(handler) for handler in node.handlers)
                yield from walk_imports(node.body, package, lazy=lazy, guarded=survives)
                yield from walk_imports(
                    [*node.handlers, *node.orelse, *node.finalbody], package, lazy=lazy, guarded=guarded
                )
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                yield from walk_imports(ast.iter_child_nodes(node), package, lazy=True, guarded=guarded)
            case _:
                yield from walk_imports(ast.iter_child_nodes(node), package, lazy=lazy, guarded=guarded)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    parts = parts[: len(parts) - node.level + 1]
    return ".".join([*parts, node.module] if node.module else parts)


def _names_in(test: ast.expr) -> set[str]:
    return {ast.unparse(node) for node in ast.walk(test) if isinstance(node, (ast.Name, ast.Attribute, ast.Call))}


def _catches_absence(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or bool(_names_in(handler.type) & _IMPORT_ERRORS)


def own_modules_loaded_by(name: str) -> set[str]:
    """Own modules that ``import name`` loads directly: the module, if it is one, and the packages above it."""
    parts = name.split(".")
    prefixes = (".".join(parts[: end + 1]) for end in range(len(parts)))
    return {prefix for prefix in prefixes if prefix in modules()}


def closure(names: Iterable[str], *, lazy: bool) -> set[str]:
    """Own modules that the given ones load, directly or through each other, themselves included.

    ``lazy``: also count imports inside functions. Imports under a guard count only where ``lazy`` is asked for.
    """
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        for module in own_modules_loaded_by(waiting.pop()) - seen:
            seen.add(module)
            waiting.extend(found.name for found in imports_of(module) if lazy or not (found.lazy or found.guarded))
    return seen


def outside_imports(names: Iterable[str]) -> Iterator[tuple[str, Import]]:
    """All imports of foreign modules, standard library included, with the own module that makes them."""
    for module in sorted(names):
        for found in imports_of(module):
            if found.name.partition(".")[0] not in (PACKAGE, "__future__"):
                yield module, found


def is_standard_library(name: str) -> bool:
    """True when the top-level name belongs to Python itself."""
    return name.partition(".")[0] in sys.stdlib_module_names
