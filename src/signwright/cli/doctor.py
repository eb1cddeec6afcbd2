# SPDX-License-Identifier: Apache-2.0
"""``signwright doctor``: in plain words, what a home gives and what it does not. It changes nothing."""

from __future__ import annotations

import platform
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import click

import signwright
from signwright.cli import hubs, profiles
from signwright.cli.console import json_result, result
from signwright.cli.doctor_policy import Finding, Level, examine_policy
from signwright.cli.down import running_pid
from signwright.cli.home import Home, HomeFile, home_of
from signwright.cli.installed import is_installed, read_installed
from signwright.cli.live import LiveSigner, ask_signer, engines_in, engines_of
from signwright.cli.machine import journal, look
from signwright.cli.settings import output_format
from signwright.client.policy_files import read_signed
from signwright.client.trust import load_trust
from signwright.errors import ConfigurationError, SignwrightError
from signwright.policy.policy import Policy
from signwright.statements.custodian import GROUP

#: Definitions older than this miss what is new.
STALE_HOURS = 72


@click.command("doctor")
@click.option("--home", "folder", type=click.Path(path_type=Path), help="the home (SIGNWRIGHT_HOME)")
@hubs.output_option
def doctor_command(folder: Path | None, output: str | None) -> None:
    """Say what this home gives and what it does not. Exit code 1 when something must be mended."""
    home = home_of(folder)
    findings = list(examine(home, now=hubs.now()))
    bad = [finding for finding in findings if finding.level == "bad"]
    if output_format(output) == "json":
        json_result({"home": str(home.folder), "ok": not bad, "findings": [asdict(f) for f in findings]})
        raise click.exceptions.Exit(1 if bad else 0)
    for finding in findings:
        result(f"{finding.level:<5} {finding.topic:<12} {finding.text}")
    if bad:
        raise ConfigurationError(f"{len(bad)} things to mend", code="doctor", hint="the lines that begin with bad")


def examine(home: Home, *, now: datetime) -> Iterator[Finding]:
    """Everything there is to say; raises `UsageError` when this is no home."""
    described = home.read()
    yield Finding("note", "version", f"signwright {signwright.__version__}, Python {platform.python_version()}")
    yield from _root(described)
    policy: Policy | None = None
    try:
        trust = load_trust(home / "trust.json")
        policy = read_signed(home / "policy" / "signed", pinned_root_sha256=trust.policy_root_sha256).policy
    except SignwrightError as problem:
        yield Finding("bad", "policy", problem.message)
    else:
        yield from examine_policy(home, policy, now)
    yield from _profile(home, policy)
    yield from _sandbox(home)
    yield from _custodian(home, policy)
    yield from _secrets(home)
    yield from _running(home, policy)
    yield from _scanner(home, now)


def _root(described: HomeFile) -> Iterator[Finding]:
    if described.trial:
        yield Finding("weak", "root", "TRIAL root for ever: its signatures prove nothing to anybody else")
    else:
        yield Finding("ok", "root", f"policy root {described.policy_root_sha256[:16]}… of {described.organisation}")


def _profile(home: Home, policy: Policy | None) -> Iterator[Finding]:
    """The profile that this really is, what the one in the settings still wants, and what the next one would."""
    if sys.platform != "linux":
        yield Finding("bad", "sandbox", "none on this system: artifact mode is refused")
        return
    if not (home / "signer").is_dir():
        yield Finding(
            "ok", "profile", "no signer here: whoever takes this machine can refuse, delay and read, not sign"
        )
        return
    try:
        installed = read_installed(home)
    except ConfigurationError as problem:
        yield Finding("bad", "profile", problem.message)
        return
    rows = list(profiles.needs(installed, look(), policy))
    reached = profiles.found(rows)
    level: Level = "bad" if reached < installed.claimed else "weak" if reached == 0 else "ok"
    yield Finding(level, "profile", _reached(reached, installed.claimed))
    for need in rows:
        if need.met is None:
            yield Finding("note", "profile", f"profile {need.profile} wants: {need.text} (could not be found out)")
        elif not need.met and need.profile <= max(reached, installed.claimed):
            yield Finding("bad" if need.profile and need.decisive else "weak", "profile", f"missing: {need.text}")
        elif not need.met and need.profile == reached + 1:
            yield Finding(
                "note", "profile", f"for profile {need.profile} ({profiles.WORDS[need.profile]}): {need.text}"
            )


def _reached(reached: int, claimed: int) -> str:
    text = f"found profile {reached} ({profiles.WORDS[reached]})"
    if reached == 0:
        text += ": one user runs every process; whoever becomes this user has everything in this home"
    if reached < claimed:
        text += f"; the settings, and with them every receipt, say {claimed}"
    return text


def _sandbox(home: Home) -> Iterator[Finding]:
    """What the settings demand; a process that is told to have one refuses to read files without it."""
    for process, table in (("signer", "gate"), ("scanner", "")):
        if not (home / process).is_dir():
            continue  # another machine's
        try:
            found = tomllib.loads(home.settings(process).read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as problem:
            yield Finding("bad", "settings", f"{process}: {problem}")
            continue
        wanted = (found.get(table, {}) if table else found).get("sandbox", "required")
        if wanted == "required":
            yield Finding("ok", "sandbox", f"{process}: required; no file is parsed outside Landlock and seccomp")
        else:
            yield Finding("weak", "sandbox", f"{process}: given up by its settings; every receipt says so")


def _custodian(home: Home, policy: Policy | None) -> Iterator[Finding]:
    """Where requests wait for somebody, there has to be somebody."""
    if not (home / "signer").is_dir() or policy is None:
        return
    try:
        wanted = read_installed(home).custodian
    except ConfigurationError:
        return  # said already
    people = [n for n, person in policy.people.people.items() if GROUP in person.groups and not person.disabled]
    if wanted == "off":
        return
    what = "everything waits" if wanted == "required" else "releases wait"
    if people:
        yield Finding("ok", "custodian", f"{what} for one of {', '.join(sorted(people))}: signwright custodian list")
    else:
        yield Finding("bad", "custodian", f"{what} for a custodian, and nobody is in the group {GROUP}: people.yaml")


def _secrets(home: Home) -> Iterator[Finding]:
    """Files that nobody else may read."""
    wanted = ("*.key", "*.p8", "*.pass", "*.pin", "ci.json", "keeper", "key.pem")
    files = [p for pattern in wanted for p in home.folder.rglob(pattern) if p.is_file()]
    files += [p for p in (home / "people").glob("*") if p.is_file() and p.suffix != ".pub"]
    open_to_others = [p for p in files if sys.platform != "win32" and p.stat().st_mode & 0o077]
    for path in open_to_others:
        yield Finding("bad", "secret", f"{path} can be read by others; wanted mode 0600")
    if not open_to_others:
        yield Finding("ok", "secret", f"{len(files)} secret files, none readable by others")
    if (home / "keeper" / "keeper").exists():
        yield Finding(
            "weak", "secret", f"the keeper's key lies on this machine, without a passphrase: {home / 'keeper'}"
        )
    for path in sorted((home / "people").glob("*.pub")):
        if path.with_suffix("").exists():
            yield Finding(
                "weak", "secret", f"the approver's key {path.stem} lies on this machine, without a passphrase"
            )


def _running(home: Home, policy: Policy | None) -> Iterator[Finding]:
    pid = running_pid(home)
    if pid is not None:
        yield Finding("ok", "processes", f"up, supervised by process {pid}")
    elif not is_installed(home) or not (home / "signer").is_dir():
        yield Finding("note", "processes", "not up: signwright up")
        return
    if home.genesis.exists():
        yield Finding("note", "processes", "the signer has not finished its first start")
    try:
        signer = ask_signer(home)
    except SignwrightError as problem:
        where = "journalctl -u 'signwright-*'" if is_installed(home) else f"its log is {home.run / 'signer.log'}"
        yield Finding("bad", "signer", f"{problem.message}; {where}")
        return
    yield from _signer(signer, policy)


def _signer(signer: LiveSigner, policy: Policy | None) -> Iterator[Finding]:
    """What the gate and the keyholder say at this moment."""
    real = "none" not in signer.sandbox
    yield Finding("ok" if real else "weak", "sandbox", f"at work: {signer.sandbox}")
    behind = signer.leaves - signer.cosigned
    text = f"{signer.leaves} leaves, {signer.cosigned} of them cosigned"
    yield Finding(
        "ok" if signer.cosigned else "bad", "log", text + (f", {behind} wait for witnesses" if behind else "")
    )
    for halt in signer.halts:
        yield Finding("bad", "halted", f"the gate signs nothing: halt {halt}; signwright resume")
    if policy is not None and signer.waiting_policy == policy.version:
        hours = policy.organisation.weakening_delay_hours
        text = f"version {policy.version} weakens and waits {hours} h in the signer, which works under"
        yield Finding("weak", "policy", f"{text} version {signer.policy_version} until then")
    elif policy is not None and signer.policy_version != policy.version:
        text = f"the signer works under version {signer.policy_version}, the newest signed is {policy.version}"
        yield Finding("bad", "policy", f"{text}: signwright policy apply --post-only")
    words = {
        "quarantined": "its secret was refused and is not tried again; change the secret file, then restart",
        "down": "tried again every few seconds",
    }
    for name, key in signer.keys.items():
        if key.state == "ready":
            yield Finding("ok", "key", f"{name}: ready")
        else:
            yield Finding("bad", "key", f"{name}: {key.state} ({key.message}): {words.get(key.state, 'not in use')}")


def _scanner(home: Home, now: datetime) -> Iterator[Finding]:
    """What the scanner said when it last proved its engines."""
    if not (home / "scanner").is_dir():
        return
    try:
        engines = list(engines_in(journal("signwright-scanner.service")) if is_installed(home) else engines_of(home))
    except OSError:
        engines = []
    if not engines:
        yield Finding("note", "scanner", "has not run yet")
        return
    for engine in engines:
        text = f"{engine.name} {engine.version}, definitions {engine.definitions}"
        if engine.made is None:
            yield Finding("ok", "scanner", text)
            continue
        hours = int((now - engine.made).total_seconds() // 3600)
        yield Finding("weak" if hours > STALE_HOURS else "ok", "scanner", f"{text}, {hours} hours old")
    if {engine.name for engine in engines} == {"yara-x"}:
        yield Finding(
            "weak", "scanner", "yara-x alone with the few rules that are shipped: it finds EICAR, not what is new"
        )
