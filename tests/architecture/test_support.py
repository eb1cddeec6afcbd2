# SPDX-License-Identifier: Apache-2.0
"""The helpers that decide between skip and failure, end children, and read imports do what their words say."""

from __future__ import annotations

import ast
import sys

import pytest

from tests.support.processes import child_process, free_port, pid_is_alive, port_answers, wait_until
from tests.support.source_tree import closure, imports_of, modules, own_modules_loaded_by, walk_imports
from tests.support.tools import find_tool, require_tool

ABSENT = "signwright-no-such-program"


@pytest.fixture
def on_a_users_machine(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("SIGNWRIGHT_TOOLS_INSTALLABLE", raising=False)


@pytest.mark.usefixtures("on_a_users_machine")
def test_missing_tool_is_a_skip_with_a_reason_on_a_users_machine():
    with pytest.raises(pytest.skip.Exception, match=f"{ABSENT} is not installed .*package some-package"):
        require_tool(ABSENT, "some-package")


@pytest.mark.usefixtures("on_a_users_machine")
@pytest.mark.parametrize(("name", "value"), [("CI", "true"), ("SIGNWRIGHT_TOOLS_INSTALLABLE", "1")])
def test_missing_tool_is_a_failure_where_it_could_be_there(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(pytest.fail.Exception, match=ABSENT):
        require_tool(ABSENT)


def test_present_tool_is_returned_as_a_path():
    assert require_tool("git") == find_tool("git")


def test_child_is_ended_by_its_pid_when_the_test_fails():
    with pytest.raises(RuntimeError), child_process([sys.executable, "-c", "import time; time.sleep(600)"]) as child:
        assert pid_is_alive(child.pid)
        raise RuntimeError
    assert child.returncode is not None
    assert not pid_is_alive(child.pid)


def test_child_that_ignores_a_polite_request_is_killed(tmp_path):
    ready = tmp_path / "ready"
    ignore = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    code = f"{ignore}; open({str(ready)!r}, 'w'); time.sleep(600)"
    with child_process([sys.executable, "-c", code], stop_seconds=0.2) as child:
        wait_until(ready.exists, what="the child is ready")
    assert child.returncode == -9


def test_nothing_answers_on_a_free_port():
    assert not port_answers(free_port())


def test_condition_that_never_holds_is_named():
    with pytest.raises(AssertionError, match="the moon"):
        wait_until(lambda: False, what="the moon", seconds=0.05)


def test_relative_and_absolute_imports_get_full_names():
    source = "from . import a\nfrom ..b import c\nimport d.e\n"
    found = [item.name for item in walk_imports(ast.parse(source).body, "p.q", lazy=False, guarded=False)]
    assert found == ["p.q", "p.q.a", "p.b", "p.b.c", "d.e"]


def test_imports_for_type_checkers_are_left_out():
    source = "if TYPE_CHECKING:\n    import a\nelse:\n    import b\n"
    assert [x.name for x in walk_imports(ast.parse(source).body, "p", lazy=False, guarded=False)] == ["b"]


def test_importing_a_module_loads_the_packages_above_it():
    assert own_modules_loaded_by("signwright.model.digest.Digest") == {
        "signwright",
        "signwright.model",
        "signwright.model.digest",
    }


def test_closure_follows_imports_of_imports():
    direct = {found.name for found in imports_of("signwright.model.digest")}
    assert "signwright.errors" in direct
    assert {"signwright.model.digest", "signwright.errors"} <= closure(["signwright.model.digest"], lazy=False)
    assert set(modules()) >= closure(["signwright.model.digest"], lazy=True)
