# SPDX-License-Identifier: Apache-2.0
"""``signwright custodian``: a person at the signer confirms what the gate has verified, before a key is used for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from signwright.cli import hubs, settings
from signwright.cli.console import is_terminal, json_result, result, say, warn
from signwright.cli.custodian_view import listed_json, request_lines
from signwright.errors import UsageError
from signwright.model.text import check_text

if TYPE_CHECKING:
    from signwright.client.custodian import Listed, WaitingRequest
    from signwright.client.ssh_keys import PersonKey
    from signwright.model.framing import Frame

_PATH = click.Path(path_type=Path)
_HOME = click.option("--home", type=_PATH, help="the signer's home (SIGNWRIGHT_HOME)")
_SOCKET = click.option("--socket", type=_PATH, help="the gate's socket, instead of the home's")
_KEY = click.option(
    "--key", type=_PATH, help="your SSH key: a private key file, or a .pub one whose other half an agent or token has"
)
_YES = click.option("--yes", is_flag=True, help="sign without asking once more")
_WAIT_SECONDS = 600


@click.group()
def command() -> None:
    """Confirm requests on the signer's own console.

    The gate has verified request, approvals, evidence and, in artifact mode, the bytes themselves. What it shows is
    what it will sign: compare it with what you were told to expect. Custodians are the people of the policy who are in
    the group custodian; nobody confirms what they submitted or approved.
    """


@command.command("list")
@_HOME
@_SOCKET
@hubs.output_option
def list_command(home: Path | None, socket: Path | None, output: str | None) -> None:
    """Everything that waits for a custodian, as the gate verified it."""
    listed = _listed(home, socket)
    if settings.output_format(output) == "json":
        json_result(listed_json(listed))
        return
    _show(listed, listed.rows)
    _tell(listed)


@command.command("show")
@click.argument("request")
@_HOME
@_SOCKET
@hubs.output_option
def show_command(request: str, home: Path | None, socket: Path | None, output: str | None) -> None:
    """One REQUEST that waits: its digest or name, or enough of the beginning."""
    from signwright.client.custodian import pick

    listed = _listed(home, socket)
    (row,) = pick(listed, [request])
    if settings.output_format(output) == "json":
        (found,) = [one for one in listed_json(listed)["requests"] if one["request"] == row.shown.request]
        json_result(found)
        return
    _show(listed, [row])


@command.command("status")
@_HOME
@_SOCKET
@hubs.output_option
def status_command(home: Path | None, socket: Path | None, output: str | None) -> None:
    """Whether the gate wants a custodian, who is one, and how many requests wait."""
    from signwright.client.custodian import read_status

    status = read_status(_ask(home, socket, {"type": "custodian-status"}).message)
    if settings.output_format(output) == "json":
        json_result(status.model_dump(mode="json"))
        return
    words = {"off": "nothing", "release": "releases", "required": "everything"}
    result(f"waits for a custodian  {words.get(status.custodian, status.custodian)}")
    result(f"keys                   {'security keys alone' if status.keys == 'security-key' else 'any'}")
    result(f"waiting                {status.waiting} of at most {status.most}")
    for name, keys in sorted(status.custodians.items()):
        result(f"custodian              {name}: {', '.join(keys)}")
    if not status.custodians and status.custodian != "off":
        warn("the policy has nobody in the group custodian, so nothing that waits can be signed")
    if status.halts:
        warn(f"signing is halted: {len(status.halts)} halts are not over")


@command.command("confirm")
@click.argument("requests", nargs=-1, metavar="REQUEST...")
@click.option("--all", "everything", is_flag=True, help="everything that is listed now")
@_KEY
@_YES
@click.option("--no-wait", is_flag=True, help="do not wait until the results are out")
@click.option("--timeout", type=click.IntRange(min=1), help=f"seconds to wait (default: {_WAIT_SECONDS})")
@_HOME
@_SOCKET
@hubs.output_option
def confirm_command(
    requests: tuple[str, ...],
    everything: bool,
    key: Path | None,
    yes: bool,
    no_wait: bool,
    timeout: int | None,
    home: Path | None,
    socket: Path | None,
    output: str | None,
) -> None:
    """Let the gate go on with each REQUEST, and wait until the courier has the results.

    You sign the digests of what you were shown. When anything of it changes before the key is used, the request waits
    again, with a new list.
    """
    listed = _listed(home, socket)
    rows = _chosen(listed, requests, everything=everything)
    found, name = _custodian(listed, key)
    _show(listed, rows, to_stderr=True)
    _confirm(f"confirm {_counted(rows)} as {name}?", yes=yes)
    statement = _hand_in(listed, rows, found, reason=None, home=home, socket=socket)
    say(f"{name} confirmed {_counted(rows)}")
    ends: dict[str, Any] = {}
    if not no_wait:
        from signwright.cli.custodian_wait import wait_until_out

        seconds = settings.seconds(timeout, _WAIT_SECONDS)
        ends = wait_until_out(lambda message: _ask(home, socket, message).message, rows, seconds=seconds)
    if settings.output_format(output) == "json":
        json_result({"statement_sha256": statement, "requests": [row.shown.request for row in rows], "ends": ends})
    else:
        for row in rows:
            result(row.hub_name)


@command.command("deny")
@click.argument("request")
@click.option("--reason", required=True, metavar="TEXT", help="why; stands in what you sign, and the submitter sees it")
@_KEY
@_YES
@_HOME
@_SOCKET
@hubs.output_option
def deny_command(
    request: str,
    reason: str,
    key: Path | None,
    yes: bool,
    home: Path | None,
    socket: Path | None,
    output: str | None,
) -> None:
    """Say no to REQUEST: it ends there."""
    from signwright.client.custodian import pick

    check_text(reason, "reason")
    listed = _listed(home, socket)
    rows = pick(listed, [request])
    found, name = _custodian(listed, key)
    _show(listed, rows, to_stderr=True)
    # A no needs no second thought where nobody can be asked: it is the safe word.
    _confirm(f"deny it as {name}?", yes=yes or not is_terminal())
    statement = _hand_in(listed, rows, found, reason=reason, home=home, socket=socket)
    say(f"{name} denied {rows[0].hub_name}")
    if settings.output_format(output) == "json":
        json_result({"statement_sha256": statement, "requests": [rows[0].shown.request]})
    else:
        result(rows[0].hub_name)


def _ask(home: Path | None, socket: Path | None, message: dict[str, object], *parts: bytes) -> Frame:
    from signwright.cli.gate_socket import exchange, socket_of
    from signwright.cli.home import home_of

    return exchange(socket if socket is not None else socket_of(home_of(home)), message, parts)


def _listed(home: Path | None, socket: Path | None) -> Listed:
    from signwright.client.custodian import read_list

    return read_list(_ask(home, socket, {"type": "custodian-list"}))


def _chosen(listed: Listed, requests: tuple[str, ...], *, everything: bool) -> tuple[WaitingRequest, ...]:
    from signwright.client.custodian import pick

    if everything == bool(requests):
        raise UsageError("which requests?", code="usage", hint="name them, or --all for everything that is listed")
    rows = listed.rows if everything else pick(listed, requests)
    if not rows:
        raise UsageError("nothing waits for a custodian", code="no-such-request")
    return rows


def _custodian(listed: Listed, key: Path | None) -> tuple[PersonKey, str]:
    from signwright.client.custodian import name_of

    found = hubs.person_key(key)
    return found, name_of(listed.status, found)


def _hand_in(
    listed: Listed,
    rows: Sequence[WaitingRequest],
    key: PersonKey,
    *,
    reason: str | None,
    home: Path | None,
    socket: Path | None,
) -> str:
    """The digest of the statement that the gate took."""
    from signwright.client.custodian import signed_word

    envelope = signed_word(listed, rows, key, reason=reason, now=hubs.now())
    return str(_ask(home, socket, {"type": "custodian-word"}, envelope.encode()).message.get("statement"))


def _confirm(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not is_terminal():
        raise UsageError("nobody can be asked here", code="no-terminal", hint="--yes signs without asking")
    click.confirm(question, default=False, abort=True, err=True)


def _counted(rows: Sequence[WaitingRequest]) -> str:
    return rows[0].hub_name if len(rows) == 1 else f"{len(rows)} requests"


def _show(listed: Listed, rows: Sequence[WaitingRequest], *, to_stderr: bool = False) -> None:
    for row in rows:
        for line in request_lines(row, now=hubs.now()):
            (say if to_stderr else result)(line)
    if listed.status.halts:
        warn("signing is halted: nothing is signed before a resume")


def _tell(listed: Listed) -> None:
    status = listed.status
    if status.custodian == "off":
        say('this gate wants no custodian: custodian = "release" in the table [gate] of signer.toml changes that')
        return
    say(f"{len(listed.rows)} requests wait, under policy version {status.policy.version}")
    if listed.rows:
        say("to let them be signed: signwright custodian confirm REQUEST... --key FILE")
