# SPDX-License-Identifier: Apache-2.0
"""The repository itself: every part is there, licensed, locked with hashes, and free of what must not stand in it."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.support.source_tree import ROOT, SRC, tracked_files

SPDX = "# SPDX-License-Identifier: Apache-2.0"

PACKAGES = (
    *("cli", "client", "hub", "scanner", "witness", "tsa"),
    *("signer/courier", "signer/gate", "signer/worker", "signer/keyholder", "signer/keyholder/keystores"),
    *("policy", "identity", "formats", "readers", "timestamps", "transparency", "statements", "envelopes"),
    *("containers", "model"),
)
"""Folders that must hold code. ``agent`` and ``plan`` come with the work that needs them."""

PROCESSES = ("hub", "scanner", "witness", "tsa", "signer/courier", "signer/gate", "signer/keyholder")

PAGES = (
    *("README.md", "ARCHITECTURE.md", "THREAT_MODEL.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"),
    *("Makefile", ".ci/run", "docs/adr/0000-template.md"),
)

LOCKS = ("requirements.lock", "requirements-signer.lock", "requirements-dev.lock")

# Written in parts, so that this file does not contain what it looks for.
INDEX_HOSTS = tuple(
    ".".join(parts)
    for parts in (
        *(("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"), ("crates", "io")),
        *(("proxy", "golang", "org"), ("rubygems", "org"), ("repo", "maven", "apache", "org")),
    )
)
UNFINISHED = tuple(
    "".join(parts)
    for parts in (
        *(("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("NotImplemented", "Error"), ("pragma: no ", "cover")),
        *(("x", "fail("), ("mark.sk", "ip(")),
    )
)

PIN = re.compile(r"^(?P<name>[a-z0-9.-]+)==(?P<version>[^\s;]+)(?P<marker> ;[^\\]*)? \\$")


def text_of(path: Path) -> str:
    """The text of a file; bytes that are no text come out as replacement characters."""
    return path.read_bytes().decode("utf-8", errors="replace")


def pins(lock: str) -> dict[tuple[str, str], list[str]]:
    """Hashes by (name, version) of one lock file; AssertionError for a line that is neither pin, hash nor comment."""
    found: dict[tuple[str, str], list[str]] = {}
    current: list[str] = []
    for line in (ROOT / lock).read_text(encoding="utf-8").splitlines():
        if pin := PIN.match(line):
            current = found.setdefault((pin["name"], pin["version"]), [])
        elif line.startswith("    --hash=sha256:"):
            current.append(line.split(":")[1].split()[0])
        else:
            assert line.lstrip().startswith("#"), f"{lock}: {line!r} is neither a pin, a hash nor a comment"
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_every_part_of_the_design_holds_code(package):
    assert [path for path in (SRC / "signwright" / package).glob("*.py") if path.name != "__init__.py"]


@pytest.mark.parametrize("process", PROCESSES)
def test_every_process_can_be_started_by_its_module(process):
    assert (SRC / "signwright" / process / "__main__.py").is_file()


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_there_and_not_empty(page):
    assert (ROOT / page).stat().st_size > 200


def test_package_is_typed():
    assert (SRC / "signwright/py.typed").is_file()


def test_every_python_file_starts_with_its_licence():
    sources = [path for path in tracked_files() if path.suffix == ".py" and path.stat().st_size]
    assert sources
    assert not [str(path.relative_to(ROOT)) for path in sources if SPDX not in text_of(path).splitlines()[:2]]


def test_no_empty_source_files():
    assert not [
        path for path in tracked_files() if path.is_relative_to(SRC) and path.suffix == ".py" and not text_of(path)
    ]


def test_no_file_names_a_package_index():
    found = [
        f"{path.relative_to(ROOT)}: {host}" for path in tracked_files() for host in INDEX_HOSTS if host in text_of(path)
    ]
    assert not found, "\n".join(found)


def test_no_source_or_test_says_that_it_is_unfinished():
    sources = [path for path in tracked_files() if path.suffix == ".py"]
    found = [f"{path.relative_to(ROOT)}: {word}" for path in sources for word in UNFINISHED if word in text_of(path)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes_and_nothing_else_is_in_the_lock(lock):
    found = pins(lock)
    assert found
    for (name, version), hashes in found.items():
        assert hashes, f"{lock}: {name} {version} has no hash"
        assert all(re.fullmatch(r"[0-9a-f]{64}", value) for value in hashes)


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-signer.lock"])
def test_development_lock_contains_the_others_exactly(lock):
    development = pins("requirements-dev.lock")
    assert {pin: development.get(pin) for pin in pins(lock)} == pins(lock)


def test_locks_contain_every_requirement_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    runtime = [*project["project"]["dependencies"], *extras["server"], *extras["fast"], *extras["demo"]]
    wanted = {
        "requirements.lock": [*runtime, *project["build-system"]["requires"]],
        "requirements-signer.lock": extras["signer"],
        "requirements-dev.lock": [*runtime, *extras["signer"], *extras["dev"], *project["build-system"]["requires"]],
    }
    for lock, requirements in wanted.items():
        locked = {name for name, _ in pins(lock)}
        names = {re.split(r"[<>=!~;\[ ]", line)[0].lower().replace("_", "-") for line in requirements}
        assert names <= locked, f"{lock}: run make lock"


def test_signer_requirements_are_those_of_the_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = (ROOT / "requirements/signer.in").read_text(encoding="utf-8").split()
    assert listed == project["project"]["optional-dependencies"]["signer"]


def test_build_requirements_are_those_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert (ROOT / "requirements/build.in").read_text(encoding="utf-8").split() == project["build-system"]["requires"]


def test_there_is_one_kind_of_lock_file():
    assert not [path for path in tracked_files() if path.name in ("uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock")]


def make_targets() -> set[str]:
    """Targets that ``make`` can be asked for."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    return set(phony.split())


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_make_commands_in_pages_exist(page):
    shown = set(re.findall(r"\bmake ([a-z]+)\b", " ".join(code_in(page))))
    assert shown
    assert shown <= make_targets()


def code_in(page: str) -> list[str]:
    """Fenced blocks and inline code of a Markdown page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL)
    return [*blocks, *re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))]


def test_readme_shows_the_two_commands():
    commands = " ".join(code_in("README.md"))
    assert "make demo" in commands
    assert "make test" in commands


def test_signwright_commands_in_the_readme_exist():
    from signwright.cli.main import VERBS

    shown = {
        match
        for block in code_in("README.md")
        for match in re.findall(r"^\$? ?signwright ([a-z]+)", block, re.MULTILINE)
    }
    assert shown
    assert shown <= set(VERBS)


def test_plain_make_lists_every_command():
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    result = subprocess.run(["make"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=30)
    shown = set(re.findall(r"^make ([a-z]+)", result.stdout, re.MULTILINE))
    assert shown == make_targets() - {"help", "install"}


def test_scripts_are_executable():
    scripts = [path for path in tracked_files() if path.parent == ROOT / "scripts" or path == ROOT / ".ci/run"]
    assert scripts
    assert all(os.access(path, os.X_OK) for path in scripts)
