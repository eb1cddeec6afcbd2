# SPDX-License-Identifier: Apache-2.0
"""Settings are found in one order: flag, environment, project file, user file, default."""

from __future__ import annotations

from pathlib import Path

import pytest

from signwright.cli import settings
from signwright.errors import ConfigurationError, UsageError


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder below which nothing is set."""
    for name in settings.NAMES:
        monkeypatch.delenv(f"SIGNWRIGHT_{name.upper()}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    project = tmp_path / "project" / "deep"
    project.mkdir(parents=True)
    monkeypatch.chdir(project)
    return tmp_path


def test_first_place_that_knows_wins(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.setting("policy", default="e") == settings.Setting("e", "default")
    user = clean / "config" / "signwright" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text('policy = "d"\n', encoding="utf-8")
    assert settings.setting("policy", default="e") == settings.Setting("d", str(user))
    project = clean / "project" / ".signwright.toml"
    project.write_text('policy = "c"\n', encoding="utf-8")
    assert settings.setting("policy", default="e") == settings.Setting("c", str(project))
    monkeypatch.setenv("SIGNWRIGHT_POLICY", "b")
    assert settings.setting("policy", default="e") == settings.Setting("b", "SIGNWRIGHT_POLICY")
    assert settings.setting("policy", "a", default="e") == settings.Setting("a", "flag")


def test_relative_path_starts_at_the_file_that_names_it(clean: Path) -> None:
    (clean / "project" / ".signwright.toml").write_text('trust = "keys/trust.json"\n', encoding="utf-8")
    assert settings.trust_path(None) == clean / "project" / "keys" / "trust.json"


@pytest.mark.parametrize(
    "content", ['colour = "red"\n', "timeout = 0\n", 'timeout = "9"\n', "policy = \n", "url = 1\n"]
)
def test_wrong_file_is_named(clean: Path, content: str) -> None:
    file = clean / "project" / ".signwright.toml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"\.signwright\.toml"):
        settings.setting("policy")


@pytest.mark.parametrize(
    ("policy", "project", "address"),
    [
        (None, None, ("default", "test")),
        ("release", None, ("default", "release")),
        ("acme/release", None, ("acme", "release")),
        ("release", "acme", ("acme", "release")),
        ("acme/release", "acme", ("acme", "release")),
    ],
)
def test_policy_is_written_with_or_without_its_project(policy: str, project: str, address: tuple[str, str]) -> None:
    assert settings.signing_policy_address(policy, project) == address


def test_two_projects_are_refused() -> None:
    with pytest.raises(UsageError):
        settings.signing_policy_address("acme/release", "other")


@pytest.mark.parametrize(
    "url", ["example.com", "ftp://example.com", "https://example.com/path", "http://", "https://a?b"]
)
def test_what_is_no_address_of_a_hub_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        settings.hub_url(url)


def test_missing_setting_says_how_to_give_it() -> None:
    with pytest.raises(UsageError) as refused:
        settings.wanted("url", option="--hub")
    assert refused.value.hint == "--hub, SIGNWRIGHT_URL, or url in .signwright.toml"
