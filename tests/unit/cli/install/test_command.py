# SPDX-License-Identifier: Apache-2.0
"""``signwright install`` without touching the machine: staging below a folder, a dry run, and what it refuses."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from signwright.cli.home import Home, HomeFile
from signwright.cli.install import command as module
from signwright.cli.install import layout
from signwright.cli.install.host import Host
from signwright.cli.install.layout import Owned
from signwright.errors import ConfigurationError, SignwrightError, UsageError
from tests.unit.cli.install.test_settings import courier_text, signer_text

HOME = "/srv/signwright"


def install(*words: str | Path) -> tuple[int, str]:
    """Exit code or the error's code, and everything that was said."""
    ran = CliRunner().invoke(module.command, [str(word) for word in words])
    if isinstance(ran.exception, SignwrightError):
        return 1, f"{ran.output} {ran.exception.code}: {ran.exception.message} ({ran.exception.hint})"
    assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exc_info
    return ran.exit_code, ran.output


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    """A folder with a home in it, as a packager or a test would carry it."""
    home = Home(tmp_path / HOME.lstrip("/"))
    home.folder.mkdir(parents=True)
    described = HomeFile(
        organisation="Example",
        url="http://127.0.0.1:8460",
        trial=True,
        release_store="software",
        policy_root_sha256="ab" * 32,
        folder=HOME,
    )
    home.write("home.json", described.model_dump_json())
    home.write("settings/signer.toml", signer_text())
    home.write("settings/courier.toml", courier_text("http://127.0.0.1:8460"))
    home.write("settings/hub.toml", 'host = "127.0.0.1"\nport = 8460\nscanner_socket = "/s"\n')
    home.write("settings/scanner.toml", 'socket = "/s"\nkey_file = "k"\nspool = "s"\n')
    home.write("signer/genesis", "ab" * 32)
    for name in ("signer/gate/log.key", "signer/keyholder/keys/release.p8", "courier/courier.key"):
        home.write_secret(name, os.urandom(32))
    return tmp_path


def everything(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_staging_writes_units_and_settings_and_no_key(staged: Path) -> None:
    before = everything(staged)
    code, said = install("--root", staged, "--home", HOME, "--profile", "1")
    assert code == 0, said
    after = everything(staged)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {f"{HOME[1:]}/settings/{name}.toml" for name in ("signer", "courier", "hub", "scanner")}
    new = set(after) - set(before)
    units = {f"usr/lib/systemd/system/{unit}" for unit in layout.PROFILES["1"].units}
    assert units <= new
    assert all(name.startswith(("usr/lib/", "etc/", f"{HOME[1:]}/settings/monitor.env")) for name in new), new
    gate = (staged / "usr/lib/systemd/system/signwright-gate.service").read_text(encoding="utf-8")
    assert f"--settings {HOME}/settings/signer.toml" in gate
    assert layout.HOME not in gate
    for left in ("users are made", "owners are set", "the signer's state is made"):
        assert left in said


def test_credentials_are_named_for_the_service_manager(staged: Path) -> None:
    install("--root", staged, "--home", HOME)
    text = (staged / "usr/lib/systemd/system/signwright-keyholder.service.d/20-credentials.conf").read_text("utf-8")
    assert "LoadCredential=release.secret:/h/k/release.pin\n" in text
    assert "LoadCredential=test.raw.secret:/h/k/test.pass\n" in text


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_secret_that_is_a_link_to_what_root_alone_reads_is_refused(staged: Path, link: Callable[..., None]) -> None:
    """The keyholder's user owns the folder in which its secrets lie before they are taken to root's own."""
    settings = staged / HOME[1:] / "settings/signer.toml"
    settings.write_text(settings.read_text("utf-8").replace("/h/k/", f"{HOME}/signer/keyholder/"), "utf-8")
    (staged / "shadow").write_text("root:secret", "utf-8")
    folder = staged / HOME[1:] / "signer/keyholder"
    (folder / "test.pass").write_text("1234", "utf-8")
    link(folder / "release.pin", staged / "shadow")
    code, said = install("--root", staged, "--home", HOME)
    assert code == 1
    assert "no-secret" in said
    kept = staged / HOME[1:] / layout.KEPT_SECRETS
    assert not kept.exists() or all("root:secret" not in file.read_text("utf-8") for file in kept.iterdir())


def test_a_second_time_changes_nothing(staged: Path) -> None:
    install("--root", staged, "--home", HOME)
    before = everything(staged)
    code, said = install("--root", staged, "--home", HOME)
    assert (code, everything(staged)) == (0, before)
    assert "everything was so already" in said


def test_a_dry_run_says_the_same_and_writes_nothing(staged: Path) -> None:
    before = everything(staged)
    code, said = install("--root", staged, "--home", HOME, "--dry-run")
    assert (code, everything(staged)) == (0, before)
    assert "would write /usr/lib/systemd/system/signwright-gate.service" in said


def test_a_signer_host_gets_the_firewall_and_the_courier_needs_it(staged: Path) -> None:
    code, said = install("--root", staged, "--home", HOME, "--profile", "2-signer", "--hub", "https://hub.example")
    assert code == 0, said
    assert "policy drop" in (staged / "etc/signwright/nftables.conf").read_text(encoding="utf-8")
    dropin = staged / "usr/lib/systemd/system/signwright-courier.service.d/20-firewall.conf"
    assert "Requires=signwright-firewall.service" in dropin.read_text(encoding="utf-8")
    assert not (staged / "usr/lib/systemd/system/signwright-hub.service").exists()
    assert (
        tomllib.loads((staged / HOME[1:] / "settings/courier.toml").read_text("utf-8"))["hub"] == "https://hub.example"
    )


def test_an_administrators_own_rules_are_kept(staged: Path) -> None:
    rules = staged / "etc/signwright/nftables.conf"
    rules.parent.mkdir(parents=True)
    rules.write_text("# mine\n", encoding="ascii")
    install("--root", staged, "--home", HOME, "--profile", "2-signer", "--hub", "https://hub.example")
    assert rules.read_text(encoding="ascii") == "# mine\n"


def test_packagers_need_no_home(tmp_path: Path) -> None:
    code, said = install("--root", tmp_path)
    assert (code, "no home in /var/lib/signwright yet" in said) == (0, True)
    assert not (tmp_path / "var").exists()


def test_a_home_that_somebody_damaged_is_refused(staged: Path) -> None:
    (staged / HOME[1:] / "settings/signer.toml").write_text("[gate\n", encoding="ascii")
    code, said = install("--root", staged, "--home", HOME)
    assert (code, "bad-settings" in said) == (1, True)


def test_without_root_the_machine_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    code, said = install("--home", tmp_path)
    assert (code, "not-root" in said) == (1, True)


def test_an_environment_in_somebodys_home_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="where no other user and no unit can read it") as caught:
        module._check_place(Path("/home/alice/venv"), Path("/usr"))
    assert caught.value.code == "hidden-environment"
    with pytest.raises(ConfigurationError, match="its Python"):
        module._check_place(Path("/opt/signwright"), Path("/root/.pyenv/versions/3.11.7"))
    module._check_place(Path("/opt/signwright"), Path("/usr/local"))


@pytest.fixture
def own(tmp_path: Path) -> Owned:
    """A row for this test's own user, so that no root is needed."""
    import grp
    import pwd

    (tmp_path / "gate").mkdir()
    return Owned("gate", pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name, 0o700)


def test_what_others_could_read_is_closed(tmp_path: Path, own: Owned) -> None:
    (tmp_path / "gate/tiles").mkdir(mode=0o755)
    (tmp_path / "gate/log.key").write_bytes(b"x")
    (tmp_path / "gate/log.key").chmod(0o644)
    host = Host(Path("/"), dry=False)
    host.own(tmp_path, own)
    assert stat.S_IMODE((tmp_path / "gate").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "gate/tiles").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "gate/log.key").stat().st_mode) == 0o600
    assert host.changed
    again = Host(Path("/"), dry=False)
    again.own(tmp_path, own)
    assert again.changed == []


@pytest.mark.parametrize("trap", ["symbolic", "hard"])
def test_a_link_that_somebody_planted_hands_nothing_over(tmp_path: Path, own: Owned, trap: str) -> None:
    precious = tmp_path / "shadow"
    precious.write_bytes(b"x")
    precious.chmod(0o644)
    planted = tmp_path / "gate/log.key"
    planted.symlink_to(precious) if trap == "symbolic" else planted.hardlink_to(precious)
    with pytest.raises(ConfigurationError) as caught:
        Host(Path("/"), dry=False).own(tmp_path, own)
    assert caught.value.code == "link"
    assert stat.S_IMODE(precious.stat().st_mode) == 0o644


def test_a_command_that_fails_is_an_error_with_its_last_line() -> None:
    false = shutil.which("sh")
    assert false is not None
    with pytest.raises(ConfigurationError, match="no such thing"):
        Host(Path("/"), dry=False).run("try", [false, "-c", "echo first >&2; echo no such thing >&2; exit 3"])
    Host(Path("/"), dry=True).run("try", ["/nonexistent"])


def test_other_systems_are_sent_to_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(UsageError) as caught:
        module._check_machine(Host(Path("/"), dry=False))
    assert caught.value.code == "no-linux"
