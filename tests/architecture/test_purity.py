# SPDX-License-Identifier: Apache-2.0
"""Pure knowledge does no input or output, reads no clock and throws no dice: all of that is passed in."""

from __future__ import annotations

import ast

import pytest

from tests.support.source_tree import modules, modules_below, outside_imports, tree_of

PURE = (
    *("policy", "identity", "plan", "formats", "readers", "timestamps", "transparency", "statements"),
    *("envelopes", "containers", "model", "errors"),
)
FORBIDDEN_STANDARD = {
    *("asyncio", "http", "multiprocessing", "random", "sched", "secrets", "select", "selectors", "shelve", "socket"),
    *("socketserver", "sqlite3", "ssl", "subprocess", "urllib", "uuid"),
}
FORBIDDEN_LIBRARIES = {
    *("aiohttp", "alembic", "anyio", "click", "fastapi", "httpx", "jinja2", "pkcs11", "procrastinate", "psycopg"),
    *("pydantic_settings", "requests", "rich", "sqlalchemy", "starlette", "structlog", "urllib3", "uvicorn", "yaml"),
}
# urllib.parse only takes text apart.
ALLOWED = {"urllib.parse"}
# Salt and IV of a key file: a caller who passed them in could pass the same ones twice.
EXCEPTIONS = {("signwright.identity.keyfile", "secrets")}
CLOCKS_AND_DICE = {
    *("time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.sleep"),
    *("datetime.now", "datetime.utcnow", "datetime.today", "date.today", "datetime.datetime.now"),
    *("datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today", "dt.datetime.now"),
    *("os.urandom", "os.getrandom", "os.environ", "os.getenv"),
}


def impure_calls(tree: ast.AST) -> list[str]:
    """Uses of a clock, of randomness or of the environment, and names imported from ``time``."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in CLOCKS_AND_DICE:
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            found += [f"line {node.lineno}: time.{x.name}" for x in node.names if f"time.{x.name}" in CLOCKS_AND_DICE]
    return found


def is_impure(name: str) -> bool:
    """True when importing ``name`` gives a pure package something to do with the outside."""
    if any(name == allowed or name.startswith(allowed + ".") for allowed in ALLOWED) or name == "urllib":
        return False
    return name.partition(".")[0] in FORBIDDEN_STANDARD | FORBIDDEN_LIBRARIES


def test_pure_packages_import_nothing_that_touches_the_outside():
    found = [
        f"{module}:{found.line} imports {found.name}"
        for module, found in outside_imports(modules_below(*PURE))
        if is_impure(found.name) and (module, found.name.partition(".")[0]) not in EXCEPTIONS
    ]
    assert not found, "\n".join(found)


def test_exceptions_are_still_needed():
    needed = {(module, found.name) for module, found in outside_imports(modules_below(*PURE))}
    assert needed >= EXCEPTIONS


def test_pure_packages_read_no_clock_and_throw_no_dice():
    found = [f"{name} {use}" for name in modules_below(*PURE) for use in impure_calls(tree_of(modules()[name]))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("source", ["time.time()", "datetime.now(UTC)", "from time import time", "os.urandom(16)"])
def test_clocks_and_dice_are_recognised(source):
    assert impure_calls(ast.parse(source))


@pytest.mark.parametrize(
    ("name", "impure"),
    [("socket", True), ("urllib.request", True), ("urllib.parse", False), ("sqlalchemy.orm", True), ("zlib", False)],
)
def test_imports_are_sorted_into_pure_and_impure(name, impure):
    assert is_impure(name) is impure
