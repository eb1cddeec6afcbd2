# SPDX-License-Identifier: Apache-2.0
"""Which profile an installation really has, and what is missing for it and for the next one. Pure.

0: a workstation with a token · 1: one server, one user for each process · 2: a signer host of its own that nobody can
connect to · 3: a signer without a network. docs/operations.md says which one a risk wants.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from signwright.cli.install.layout import PROFILES
from signwright.cli.machine import Machine
from signwright.policy.policy import Policy

WORDS = {
    0: "workstation with a token",
    1: "one server",
    2: "dedicated signer host, outbound only",
    3: "air gap",
}
HIGHEST = 3


@dataclass(frozen=True, slots=True)
class Need:
    """``met``: None when it could not be found out; ``decisive``: without it this is not of that profile."""

    profile: int
    met: bool | None
    text: str
    decisive: bool = True


@dataclass(frozen=True, slots=True)
class Installed:
    """What the settings say. ``claimed``: the profile in signer.toml; ``users``: they name one for each process;
    ``sandbox``: it is demanded; ``courier_away``: its hub is another machine; ``custodian``: what waits for one.
    """

    claimed: int
    users: bool
    sandbox: bool
    courier_away: bool
    custodian: str = "off"


def needs(installed: Installed, machine: Machine, policy: Policy | None) -> Iterator[Need]:
    """Everything that the profiles want, lowest first."""
    yield from _workstation(installed, policy)
    yield from _server(installed, machine, policy)
    yield from _signer_host(installed, machine, policy)
    yield from _air_gap(installed, machine)


def found(rows: list[Need]) -> int:
    """The highest profile whose decisive needs, and those of every one below it, are met."""
    reached = 0
    for profile in range(1, HIGHEST + 1):
        if not all(need.met for need in rows if need.profile == profile and need.decisive):
            break
        reached = profile
    return reached


def _workstation(installed: Installed, policy: Policy | None) -> Iterator[Need]:
    yield Need(0, installed.sandbox, "files are parsed in the sandbox only")
    if policy is None:
        yield Need(0, None, "release keys are in a token", decisive=False)
        return
    release = [key for key in policy.keys.keys.values() if key.kind == "release"]
    in_token = bool(release) and all(key.protection != "software" for key in release)
    yield Need(0, in_token and not policy.root.trial, "release keys are in a token, under a root that is no trial")


def _server(installed: Installed, machine: Machine, policy: Policy | None) -> Iterator[Need]:
    yield Need(1, installed.users, "settings name one user for each process (signwright install)")
    units = ["signwright-gate.service", "signwright-keyholder.service", "signwright-courier.service"]
    idle = [unit for unit in units if unit not in machine.active]
    yield Need(1, not idle if machine.systemd else False, "units of the signer are active" + _named(idle))
    wanted = {f"signwright-{process}" for process in PROFILES["2-signer"].processes}
    missing = sorted(wanted - machine.users)
    yield Need(1, not missing, "users of the signer's processes exist" + _named(missing))
    yield Need(1, not machine.swap, "memory is not swapped to disk" + _named(machine.swap), decisive=False)
    cores = machine.cores.startswith("|") or machine.cores == ""
    yield Need(
        1,
        cores,
        f"crashed programs leave no memory in the file system (core_pattern {machine.cores or 'empty'})",
        False,
    )
    yield Need(1, machine.clock_synchronised, "the clock is kept right by a time service", decisive=False)
    if policy is not None:
        exceptions = [exception.name for exception in policy.organisation.exceptions]
        yield Need(1, not exceptions, "the policy has no exceptions" + _named(exceptions), decisive=False)


def _signer_host(installed: Installed, machine: Machine, policy: Policy | None) -> Iterator[Need]:
    here = sorted(unit for unit in machine.active if unit in ("signwright-hub.service", "signwright-scanner.service"))
    away = installed.courier_away or not machine.interfaces
    yield Need(2, away and not here, "the hub is another machine" + _named(here))
    closed = machine.firewall if machine.interfaces else True
    yield Need(2, closed, "the firewall is loaded: only the courier's user reaches out (nft, asked as root)")
    ports = [str(port) for port in machine.open_ports]
    yield Need(2, not ports, "nothing listens for other machines" + _named(ports))
    if policy is not None:
        services = policy.services
        yield Need(2, services.quorum.outside > 0, "witnesses of another operator are wanted", decisive=False)
        outside = any(authority.outside for authority in services.timestamp_authorities)
        yield Need(2, outside, "an outside authority stamps", decisive=False)
        release = [key for key in policy.keys.keys.values() if key.kind == "release"]
        attested = bool(release) and all(key.protection == "attested" for key in release)
        yield Need(2, attested, "the token's maker attests the release keys", decisive=False)


def _air_gap(installed: Installed, machine: Machine) -> Iterator[Need]:
    yield Need(3, not machine.interfaces, "no network interface is up" + _named(machine.interfaces))
    confirmed = installed.custodian in ("release", "required")
    yield Need(3, confirmed, 'a custodian confirms releases (custodian = "release" in signer.toml)', decisive=False)


def _named(rows: Sequence[str]) -> str:
    return f": {', '.join(rows)}" if rows else ""
