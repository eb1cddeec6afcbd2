# SPDX-License-Identifier: Apache-2.0
"""``signwright init``: three questions on a terminal, flags without one, and then a home that ``up`` can run."""

from __future__ import annotations

import random
import re
import shutil
import socket
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import click

from signwright.cli import hubs
from signwright.cli.adopt import Adopted, adopt, tokens_of
from signwright.cli.console import is_terminal, json_result, result, say, warn
from signwright.cli.home import Home, HomeFile, new_home
from signwright.cli.make_home import Answers, make_home
from signwright.cli.settings import output_format
from signwright.cli.settings_text import Ports
from signwright.client.ssh_keys import PersonKey
from signwright.errors import SignwrightError, UsageError
from signwright.statements.sshsig import SshPublicKey

SOFTWARE = "software"
#: Where PKCS #11 modules usually lie, in the order in which they are tried.
MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/libeToken.so",
    "/usr/lib/libeToken.so",
    "/usr/lib/x86_64-linux-gnu/libykcs11.so.2",
    "/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so",
)
#: Below what Linux, Windows and macOS lend to outgoing connections.
_PORTS = range(20000, 32768)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@click.command("init")
@click.option("--home", "folder", required=True, type=click.Path(path_type=Path), help="folder to make; must be empty")
@click.option("--release-store", metavar="software|pkcs11:URI", help="where the release key is; software makes a trial")
@click.option("--module", metavar="SO", help="the token maker's PKCS#11 library")
@click.option(
    "--pin-file", type=click.Path(path_type=Path), help="file with the token's PIN, mode 0600; else it is asked for"
)
@click.option("--generate", is_flag=True, help="make a new key on the token instead of adopting the one there")
@click.option(
    "--chain",
    "chain_file",
    type=click.Path(path_type=Path),
    help="PEM: intermediate and root certificates of the token's certificate",
)
@click.option(
    "--approver", "approvers", multiple=True, metavar="NAME=FILE.pub", help="who approves releases; twice or more"
)
@click.option(
    "--keeper",
    "keeper_file",
    type=click.Path(path_type=Path),
    help="SSH key of the policy keeper (.pub: held by an agent or security key); else one is made",
)
@click.option(
    "--profile",
    type=click.IntRange(0, 3),
    default=0,
    help="0: this user runs everything (default); above: what `signwright install` will make of it",
)
@click.option("--organisation", metavar="NAME", default="Signwright trial", help="stands in policy and trust file")
@click.option("--address", metavar="HOST:PORT", help="where clients reach the hub (default: 127.0.0.1 and a free port)")
@click.option(
    "--signer-env", type=click.Path(path_type=Path), help="virtual environment of the signer (SIGNWRIGHT_SIGNER_ENV)"
)
@hubs.output_option
def init_command(**flags: Any) -> None:
    """Make a home: keys, first policy, trust file, settings, credentials.

    With software keys it is a TRIAL: its signatures prove nothing to anybody else, and that never changes. With a token
    the key and certificate on it are adopted; approvers bring their own SSH keys.
    """
    home = new_home(flags["folder"])
    try:
        told = _answers(flags, home)
        described = make_home(home, told, now=hubs.now())
    except (SignwrightError, KeyboardInterrupt, click.Abort):
        _clear(home)
        raise
    if output_format(flags["output"]) == "json":
        json_result({"home": str(home.folder), **described.model_dump(mode="json")})
    else:
        result(str(home.folder))
    _say_next(home, described, keeper_made=told.keeper is None, profile=told.profile)


def _answers(flags: dict[str, Any], home: Home) -> Answers:
    from signwright.client.ssh_keys import load_person_key

    organisation = flags["organisation"]
    store = flags["release_store"] or _ask_store(flags)
    trial = store == SOFTWARE
    signer_env = str(flags["signer_env"].absolute()) if flags["signer_env"] else None
    _check_flags(flags, store)
    approvers = {} if trial and not flags["approvers"] else _approvers(flags["approvers"])
    keeper: PersonKey | None = None
    if flags["keeper_file"] is not None:
        keeper = load_person_key(flags["keeper_file"], lambda text: str(click.prompt(text, hide_input=True, err=True)))
    host, port, url = _address(flags["address"])
    adopted = Adopted(None, ())
    if not trial:
        adopted = adopt(
            home,
            store,
            module=_module(flags["module"]),
            pin_file=flags["pin_file"],
            generate=flags["generate"],
            chain_file=flags["chain_file"],
            organisation=organisation,
            signer_env=signer_env,
        )
    ports = Ports(*_free_ports(port))
    return Answers(
        organisation=organisation,
        url=url,
        host=host,
        ports=ports,
        signer_env=signer_env,
        trial=trial,
        approvers=approvers,
        release_store=store,
        release=adopted.key,
        release_roots=adopted.roots,
        keeper=keeper,
        profile=flags["profile"],
    )


def _check_flags(flags: dict[str, Any], store: str) -> None:
    if store != SOFTWARE and not store.startswith("pkcs11:"):
        raise UsageError(f"--release-store {store!r}; wanted software or a pkcs11: URI", code="bad-store")
    if store == SOFTWARE:
        wrong = [n for n in ("module", "pin_file", "generate", "chain_file") if flags[n]]
        if wrong:
            raise UsageError(f"--{wrong[0].replace('_', '-')} is for --release-store pkcs11:…", code="bad-store")


def _ask_store(flags: dict[str, Any]) -> str:
    """The first question: which token, of those found."""
    if not is_terminal():
        return SOFTWARE
    rows = _found_tokens(flags)
    say("which token holds the release key?")
    say("  0: none, make a TRIAL with software keys")
    for number, row in enumerate(rows, 1):
        say(
            f"  {number}: {row.get('label')} (serial {row.get('serial')}, {row.get('manufacturer')} {row.get('model')})"
        )
    chosen = click.prompt("token", type=click.IntRange(0, len(rows)), default=0, err=True)
    return SOFTWARE if chosen == 0 else str(rows[chosen - 1]["uri"])


def _found_tokens(flags: dict[str, Any]) -> list[dict[str, str]]:
    signer_env = str(flags["signer_env"].absolute()) if flags["signer_env"] else None
    found = []
    for module in [flags["module"]] if flags["module"] else [m for m in MODULES if Path(m).is_file()]:
        try:
            rows = tokens_of(module, signer_env=signer_env)
        except SignwrightError as problem:
            warn(f"{module}: {problem.message}")
            continue
        found += rows
        if rows and not flags["module"]:
            flags["module"] = module
    return found


def _module(flag: str | None) -> str:
    if flag is not None:
        return flag
    found = [module for module in MODULES if Path(module).is_file()]
    if len(found) != 1:
        raise UsageError(
            f"{len(found)} PKCS#11 modules are installed where they usually lie"
            + (f": {', '.join(found)}" if found else ""),
            code="no-module",
            hint="--module SO",
        )
    return found[0]


def _approvers(given: Sequence[str]) -> dict[str, str]:
    """The second question: who approves. Their private keys stay theirs."""
    rows = list(given)
    while len(rows) < 2 and is_terminal():
        rows.append(str(click.prompt(f"approver {len(rows) + 1} (NAME=FILE.pub)", err=True)))
    found: dict[str, str] = {}
    for row in rows:
        name, _, file = row.partition("=")
        if not _NAME.fullmatch(name) or not file:
            raise UsageError(f"--approver {row[:100]!r}; wanted NAME=FILE.pub, NAME in lower case", code="bad-approver")
        if name in found:
            raise UsageError(f"approver {name!r} is named twice", code="bad-approver")
        found[name] = _public_line(Path(file))
    if len(set(found.values())) != len(found):
        raise UsageError("two approvers share a key", code="bad-approver")
    if len(found) < 2:
        raise UsageError(
            f"{len(found)} approvers; a release wants two",
            code="too-few-approvers",
            hint="--approver NAME=FILE.pub, twice",
        )
    return found


def _public_line(file: Path) -> str:
    try:
        text = file.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise UsageError(
            f"{file}: {getattr(problem, 'strerror', None) or 'not text'}", code="bad-approver"
        ) from problem
    if "PRIVATE KEY" in text:
        raise UsageError(f"{file}: a private key; the .pub file is wanted", code="bad-approver")
    return SshPublicKey.parse(text).line


def _address(flag: str | None) -> tuple[str, int, str]:
    """The third question: which address clients reach. (Host to listen on, port, URL.)"""
    if flag is None and is_terminal():
        free = _free_ports(None)[0]
        flag = str(click.prompt("address that clients reach", default=f"127.0.0.1:{free}", err=True))
    host, _, port_text = (flag or "127.0.0.1:0").rpartition(":")
    host = host.strip("[]")
    if not host or not port_text.isdigit() or int(port_text) > 65535 or host in ("0.0.0.0", "::"):  # noqa: S104 - refused
        raise UsageError(f"--address {flag!r}; wanted HOST:PORT as clients use it", code="bad-address")
    if host not in ("127.0.0.1", "::1", "localhost"):
        warn("the hub itself speaks plain HTTP: put a TLS server in front of it, and its address into SIGNWRIGHT_URL")
    port = int(port_text) or _free_ports(None)[0]
    return host, port, f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _free_ports(first: int | None) -> tuple[int, int, int]:
    """Three different ports that are free on this machine now; ``first`` is kept when it is given.

    Of those that no system lends to outgoing connections: a home comes up again on the same ports.
    """
    ports = list(islice(filter(_is_free, random.SystemRandom().sample(_PORTS, 100)), 3))
    if len(ports) < 3:
        raise UsageError(f"no free port of 127.0.0.1 between {_PORTS[0]} and {_PORTS[-1]}", code="no-port")
    return (first or ports[0], ports[1], ports[2])


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def _clear(home: Home) -> None:
    """Nothing half-made stays behind: the folder was empty when we began."""
    for path in home.folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _say_next(home: Home, described: HomeFile, *, keeper_made: bool, profile: int) -> None:
    if described.trial:
        warn(
            "TRIAL: software keys; signatures prove nothing to anybody else, and this home can never become a real one"
        )
    if keeper_made and not described.trial:
        warn(f"{home / 'keeper' / 'keeper'} decides what the policy says: move it off this machine")
    say(f"policy sources in {home / 'policy'}, trust file {home / 'trust.json'} for those who verify")
    if profile:
        names = ", ".join(name for name in ("1", "2-hub", "2-signer", "3", "3-hub") if name.startswith(str(profile)))
        say(f"next: sudo signwright install --home {home.folder} --profile {names.replace(', ', ' or ')}")
    else:
        say(f"next: signwright up --home {home.folder}; then: . {home / 'env'}")
