# SPDX-License-Identifier: Apache-2.0
"""``sudo signwright install``: turn a home into an installation with one user and one unit for each process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from signwright.cli import hubs
from signwright.cli.console import json_result, result, say, warn
from signwright.cli.down import running_pid
from signwright.cli.home import Home
from signwright.cli.install import layout
from signwright.cli.install.host import Host, interpreter, program, systemd_runs
from signwright.cli.install.layout import PROFILES, Profile
from signwright.cli.install.steps import Installation
from signwright.cli.settings import output_format
from signwright.errors import ConfigurationError, ConflictError, UsageError

_PATH = click.Path(path_type=Path)
#: Folders that the units cannot see (ProtectHome=).
_HIDDEN = ("/home", "/root", "/run/user")
#: A week is for the smallest set-up only.
MOST_FRESHNESS_HOURS = 24


@click.command("install")
@click.option(
    "--profile",
    "name",
    type=click.Choice(tuple(PROFILES)),
    default="1",
    show_default=True,
    help="see docs/operations.md",
)
@click.option("--home", "folder", type=_PATH, default=Path(layout.HOME), show_default=True, help="made by init")
@click.option("--hub", metavar="URL", help="2-signer: where the courier finds the hub")
@click.option("--wheels", type=_PATH, help="folder with the signer's locked packages, instead of the package index")
@click.option(
    "--root", "--prefix", "root", type=_PATH, default=Path("/"), help="stage the files below DIR; no users, no services"
)
@click.option("--dry-run", is_flag=True, help="say what would be done, and change nothing")
@hubs.output_option
def command(
    name: str, folder: Path, hub: str | None, wheels: Path | None, root: Path, dry_run: bool, output: str | None
) -> None:
    """Make users, folders, settings, the signer's environment and units for a home that `init` made.

    May be run again at any time: what is right already is left alone, and no key is ever changed.
    """
    host = Host(root.absolute(), dry_run)
    _check_machine(host)
    environment, base = interpreter()
    if not host.staging:
        _check_place(environment, base)
    home = Home(folder.absolute())
    if _check_home(host, home) and not host.staging and PROFILES[name].signs:
        _check_policy(home, PROFILES[name])
    work = Installation(
        host, PROFILES[name], home=home.folder, environment=environment, interpreter=base, hub=hub, wheels=wheels
    )
    work.run()
    if output_format(output) == "json":
        json_result({"profile": name, "changed": host.changed, "not_done": host.not_done})
        return
    if not host.changed:
        say("everything was so already")
    for left in host.not_done:
        warn(left)
    result(f"{'would install' if dry_run else 'installed'} profile {name}: {PROFILES[name].words}")


def _check_machine(host: Host) -> None:
    if sys.platform != "linux":
        raise UsageError("install is for Linux", code="no-linux", hint="on other systems: signwright up (profile 0)")
    if not host.dry and not host.staging and os.geteuid() != 0:
        raise UsageError("install makes users and units", code="not-root", hint="sudo, or --dry-run, or --root DIR")
    if not host.staging and not systemd_runs():
        host.leave("systemd does not run here: units are written, and nothing starts them (signwright up: profile 0)")


def _check_place(environment: Path, base: Path) -> None:
    """The units run with other users, from whom home folders are hidden."""
    for what, path in (("this environment", environment), ("its Python", base)):
        if str(path).startswith(tuple(f"{folder}/" for folder in _HIDDEN)):
            raise ConfigurationError(
                f"{what} is in {path}, where no other user and no unit can read it",
                code="hidden-environment",
                hint=f"/usr/bin/python3 -m venv {layout.ENVIRONMENT}",
            )
    if program("systemctl") is None and program("useradd") is None:
        raise ConfigurationError("neither systemd nor useradd is here", code="no-users")


def _check_home(host: Host, home: Home) -> bool:
    """There is one, at rest and where it was made. Without one, environment, users and units are made all the same."""
    there = Home(host.at(home.folder))
    if not there.description.exists():
        again = f"signwright init --home {home.folder} --profile …, then signwright install again"
        host.leave(f"no home in {home.folder} yet: {again}")
        return False
    there.read()
    if not host.staging:
        home.check_place(home.read())
        pid = running_pid(home)
        if pid is not None:
            raise ConflictError(
                f"{home.folder} is up (process {pid})", code="already-up", hint=f"signwright down --home {home.folder}"
            )
    return True


def _check_policy(home: Home, profile: Profile) -> None:
    """What the signer would refuse at its first start is said now."""
    from signwright.client.policy_files import read_signed

    pinned = home.read().policy_root_sha256
    hours = read_signed(home / "policy" / "signed", pinned_root_sha256=pinned).policy.organisation.freshness_hours
    if hours > MOST_FRESHNESS_HOURS:
        raise ConfigurationError(
            f"the policy says freshness_hours {hours}; at most {MOST_FRESHNESS_HOURS} in profile {profile.number}",
            code="profile-freshness",
            hint=f"change {home / 'policy' / 'organisation.yaml'}, then signwright policy apply",
        )
