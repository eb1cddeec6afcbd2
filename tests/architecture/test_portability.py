# SPDX-License-Identifier: Apache-2.0
"""The client runs on Windows and macOS too: nothing that only POSIX has is imported when it starts."""

from __future__ import annotations

import ast

import pytest

from tests.support.source_tree import closure, modules_below, outside_imports, walk_imports

POSIX_ONLY = {
    *("crypt", "fcntl", "grp", "nis", "ossaudiodev", "posix", "pty", "pwd", "readline", "resource", "spwd"),
    *("syslog", "termios", "tty", "uvloop"),
}
CLIENT_SIDE = ("client", "cli", "agent")


def client_side() -> list[str]:
    return modules_below(*CLIENT_SIDE)


def test_client_side_imports_no_posix_only_module_at_start():
    found = [
        f"{module}:{found.line} imports {found.name}"
        for module, found in outside_imports(closure(client_side(), lazy=False))
        if found.name.partition(".")[0] in POSIX_ONLY and not (found.lazy or found.guarded)
    ]
    assert not found, "\n".join(found)


def test_client_side_reaches_nothing_of_hub_or_signer():
    servers = set(modules_below("hub", "signer", "scanner", "witness", "tsa"))
    assert not closure(client_side(), lazy=True) & servers


@pytest.mark.parametrize(
    ("source", "reported"),
    [
        ("import fcntl", True),
        ("class A:\n    import fcntl", True),
        ("with x:\n    import fcntl", True),
        ("if debug:\n    import fcntl", True),
        ("def f():\n    import fcntl", False),
        ("if sys.platform != 'win32':\n    import fcntl", False),
        ("try:\n    import fcntl\nexcept ImportError:\n    fcntl = None", False),
        ("try:\n    import fcntl\nexcept OSError:\n    pass", True),
    ],
)
def test_only_imports_that_run_on_every_platform_at_start_are_reported(source, reported):
    (found,) = walk_imports(ast.parse(source).body, "p", lazy=False, guarded=False)
    assert reported is not (found.lazy or found.guarded)
