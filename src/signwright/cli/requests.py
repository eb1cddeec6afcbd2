# SPDX-License-Identifier: Apache-2.0
"""``status``, ``wait``, ``cancel`` and ``requests``: looking after requests that were submitted."""

from __future__ import annotations

from pathlib import Path

import click

from signwright.cli import hubs, settings
from signwright.cli.console import json_result, result, say, warn
from signwright.cli.views import list_requests, request_json, show_request
from signwright.cli.waiting import DEFAULT_SECONDS, check_completed, reporter, timeout_option, wait_for_end


@click.command("status")
@click.argument("request")
@hubs.hub_options
@hubs.person_options
@hubs.output_option
def status_command(
    request: str,
    hub: str | None,
    credentials: Path | None,
    trust: Path | None,
    key: Path | None,
    person: str | None,
    output: str | None,
) -> None:
    """Show REQUEST; always exits 0 when there is such a request."""
    del trust
    _, view = hubs.caller_of(hub, credentials, key, person).find(request)
    if settings.output_format(output) == "json":
        json_result(request_json(view))
    else:
        show_request(view)


@click.command("wait")
@click.argument("request")
@timeout_option
@hubs.hub_options
@hubs.person_options
@hubs.output_option
def wait_command(
    request: str,
    timeout: int | None,
    hub: str | None,
    credentials: Path | None,
    trust: Path | None,
    key: Path | None,
    person: str | None,
    output: str | None,
) -> None:
    """Wait until REQUEST ends; the exit code says how."""
    del trust
    caller, view = hubs.caller_of(hub, credentials, key, person).find(request)
    try:
        with reporter() as report:
            seconds = settings.seconds(timeout, DEFAULT_SECONDS)
            view = wait_for_end(caller, view, seconds=seconds, report=report)
    except KeyboardInterrupt:
        say(f"interrupted; request {view.id} goes on: signwright wait {view.id}")
        raise
    if settings.output_format(output) == "json" and view.state == "completed":
        json_result(request_json(view))
    elif view.state == "completed":
        result(view.id)
    check_completed(view)


@click.command("cancel")
@click.argument("request")
@hubs.hub_options
@hubs.person_options
@hubs.output_option
def cancel_command(
    request: str,
    hub: str | None,
    credentials: Path | None,
    trust: Path | None,
    key: Path | None,
    person: str | None,
    output: str | None,
) -> None:
    """Give REQUEST up, before the signer has it."""
    del trust
    caller, view = hubs.caller_of(hub, credentials, key, person).find(request)
    view = caller.cancel(view.id)
    if settings.output_format(output) == "json":
        json_result(request_json(view))
    else:
        result(view.id)
    say(f"request {view.id} {view.state}")


@click.command("requests")
@click.option("--state", metavar="STATE", help="only those in this state")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True)
@hubs.hub_options
@hubs.person_options
@hubs.output_option
def requests_command(
    state: str | None,
    limit: int,
    hub: str | None,
    credentials: Path | None,
    trust: Path | None,
    key: Path | None,
    person: str | None,
    output: str | None,
) -> None:
    """List requests, newest first: a credential's own, for a person (--key) all."""
    del trust
    views = hubs.caller_of(hub, credentials, key, person).requests(state=state, limit=limit)
    if settings.output_format(output) == "json":
        json_result({"requests": [request_json(view) for view in views]})
    else:
        list_requests(views)
        say(f"{len(views)} requests" + (f" in state {state}" if state else ""))
        held = [view for view in views if any(reason.get("rule") == "halted" for reason in view.reasons)]
        if held:
            warn(f"signing is halted, {len(held)} of these are held: signwright freshness show")
