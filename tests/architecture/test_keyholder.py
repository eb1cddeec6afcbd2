# SPDX-License-Identifier: Apache-2.0
"""The keyholder is small enough to be read by one person, and what it can reach is a short list (design, point 3.8)."""

from __future__ import annotations

import ast

import pytest

from tests.support.source_tree import (
    PACKAGE,
    closure,
    code_line_count,
    is_standard_library,
    line_count,
    modules,
    modules_below,
    outside_imports,
    tree_of,
)

OWN_LINES = 700
REACHED_LINES = 3500
TEMPLATE_LINES = 150
#: Modules of ``envelopes/`` that no single way to sign owns; every other one is a template, or the data of one family.
COMMON_ENVELOPES = {"base", "cms", "der", "keys", "parameters"}
#: The table that names them all.
TABLE = "templates"
#: What a template may know besides: its own data, and what it shares with others of its family.
TEMPLATE_DATA = {
    "authenticode": {"indirect_data", "opus"},
    "catalog": {"opus"},
    "detached": {"id_data"},
    "jar": {"id_data"},
    "nuget": {"id_data"},
}

OWN_PACKAGES = {"statements", "policy", "transparency", "envelopes", "model", "errors"}
THIRD_PARTY = {"cryptography", "pkcs11", "pydantic"}
# The first five are named by the design; the others are ways round them.
FORBIDDEN_STANDARD = {
    *("subprocess", "urllib", "http", "ssl", "ctypes"),
    *("asyncio", "ftplib", "imaplib", "importlib", "multiprocessing", "pickle", "poplib", "runpy", "smtplib"),
    *("socketserver", "telnetlib", "webbrowser", "xmlrpc", "_ctypes", "_posixsubprocess", "_socket", "_ssl"),
}
SOCKET_CALLS_WITH_ADDRESSES = {
    *("create_connection", "create_server", "getaddrinfo", "gethostbyname", "gethostbyname_ex", "getfqdn"),
}
DYNAMIC = {"__import__", "import_module", "eval", "exec", "compile"}


def keyholder() -> list[str]:
    return modules_below("signer.keyholder")


def reached() -> set[str]:
    """Own modules that the keyholder imports, lazily or not, without its own folder."""
    return closure(keyholder(), lazy=True) - set(keyholder())


def templates() -> set[str]:
    """Template modules and their data, by full name."""
    below = f"{PACKAGE}.envelopes."
    return {name for name in reached() if name.startswith(below) and name.removeprefix(below) not in COMMON_ENVELOPES}


def part_of(module: str) -> str:
    """The second name of a module: ``signwright.policy.rules`` is part ``policy``."""
    return module.split(".")[1] if "." in module else ""


def test_keyholder_and_all_it_imports_fit_in_their_lines(capsys):
    common = reached() - templates()
    own, others = code_line_count(keyholder()), code_line_count(common)
    with capsys.disabled():
        print(f"\nsigner/keyholder: {own} of {OWN_LINES} lines of code ({line_count(keyholder())} physical)")
        print(f"own code it imports: {others} of {REACHED_LINES} lines of code ({line_count(common)} physical)")
    assert own <= OWN_LINES
    assert others <= REACHED_LINES, "\n".join(f"{code_line_count([name]):5} {name}" for name in sorted(common))


def test_each_template_fits_in_its_lines_and_knows_no_other(capsys):
    below = f"{PACKAGE}.envelopes."
    allowed = {f"{below}{name}" for name in COMMON_ENVELOPES}
    assert templates()
    for name in sorted(templates()):
        short = name.removeprefix(below)
        with capsys.disabled():
            print(f"\ntemplate {short}: {code_line_count([name])} of {TEMPLATE_LINES} lines of code", end="")
        assert code_line_count([name]) <= TEMPLATE_LINES
        if short == TABLE:
            continue
        known = closure([name], lazy=True) - {name, PACKAGE, f"{PACKAGE}.envelopes"}
        others = known - allowed - {f"{below}{data}" for data in TEMPLATE_DATA.get(short, set())}
        assert not {one for one in others if part_of(one) not in {"model", "errors"}}, short


def test_keyholder_reaches_only_the_listed_packages_of_ours():
    # The package heads above it hold nothing but a docstring and the version; the next test sees to that.
    heads = {PACKAGE, f"{PACKAGE}.signer"}
    strangers = {name for name in reached() - heads if part_of(name) not in OWN_PACKAGES}
    assert not strangers


def test_package_heads_above_the_keyholder_import_nothing():
    heads = [PACKAGE, f"{PACKAGE}.signer"]
    assert closure(heads, lazy=True) == set(heads)
    assert not list(outside_imports(heads))


def test_keyholder_reaches_only_the_listed_libraries():
    strangers = [
        f"{module}:{found.line} imports {found.name}"
        for module, found in outside_imports(closure(keyholder(), lazy=True))
        if not is_standard_library(found.name) and found.name.partition(".")[0] not in THIRD_PARTY
    ]
    assert not strangers, "\n".join(strangers)


def test_keyholder_reaches_no_module_that_starts_programs_or_speaks_to_the_network():
    found = [
        f"{module}:{found.line} imports {found.name}"
        for module, found in outside_imports(closure(keyholder(), lazy=True))
        if found.name.partition(".")[0] in FORBIDDEN_STANDARD
    ]
    assert not found, "\n".join(found)


def network_uses(tree: ast.AST) -> list[str]:
    """Socket families other than AF_UNIX, calls that take host names, and sockets made without naming a family."""
    found = []
    for node in ast.walk(tree):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if name.startswith("AF_") and name != "AF_UNIX":
            found.append(f"line {node.lineno}: {name}")
        if name in SOCKET_CALLS_WITH_ADDRESSES:
            found.append(f"line {node.lineno}: {name}")
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("socket.socket", "socket.socketpair"):
            keywords = {keyword.arg for keyword in node.keywords}
            if not node.args and not keywords & {"family", "fileno"} and ast.unparse(node.func) != "socket.socketpair":
                found.append(f"line {node.lineno}: a socket of the default family")
    return found


def test_keyholder_opens_unix_sockets_only():
    for module in sorted(closure(keyholder(), lazy=True)):
        assert not network_uses(tree_of(modules()[module])), module


@pytest.mark.parametrize(
    "source",
    [
        "socket.socket()",
        "socket.socket(socket.AF_INET)",
        "from socket import AF_INET6\nx = AF_INET6",
        "socket.create_connection(address)",
    ],
)
def test_network_sockets_are_recognised(source):
    assert network_uses(ast.parse(source))


def test_keyholder_loads_no_code_by_name():
    found = []
    for module in sorted(closure(keyholder(), lazy=True)):
        for node in ast.walk(tree_of(modules()[module])):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
                if name in DYNAMIC and ast.unparse(node.func) != "re.compile":
                    found.append(f"{module}:{node.lineno} calls {name}")
    assert not found, "\n".join(found)


def test_nobody_imports_the_keyholder():
    inside = set(keyholder())
    found = [name for name in modules() if name not in inside and closure([name], lazy=True) & inside]
    assert not found
