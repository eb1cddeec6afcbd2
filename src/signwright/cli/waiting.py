# SPDX-License-Identifier: Apache-2.0
"""Wait for a request and say what happens: a bar on a terminal, else a line for each change and a heartbeat."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from signwright.cli.console import PREFIX, colours, is_terminal, say
from signwright.client.hub import Hub, RequestView
from signwright.errors import ConflictError, DeniedError, PendingError, RejectedError, SignwrightError, UnavailableError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

HEARTBEAT_SECONDS = 30.0
POLL_SECONDS = 20.0
DEFAULT_SECONDS = 600

_WORDS = {
    "submitted": "submitted",
    "uploading": "waiting for its files",
    "scanning": "being scanned",
    "awaiting-approval": "waiting for approval",
    "authorized": "allowed, waiting for the signer",
    "signing": "being signed",
    "completed": "signed",
    "denied": "denied",
    "rejected": "rejected",
    "canceled": "canceled",
    "failed": "failed",
    "expired": "expired",
}
F = TypeVar("F", bound=Callable[..., Any])


def timeout_option(command: F) -> F:
    """``--timeout``; without it the settings decide, then `DEFAULT_SECONDS`."""
    told = f"seconds to wait (default: {DEFAULT_SECONDS})"
    return click.option("--timeout", type=click.IntRange(min=1), metavar="S", help=told)(command)


class Reporter(Protocol):
    """Tells a person what happens."""

    def upload(self, name: str, sent: int, size: int) -> None: ...
    def state(self, view: RequestView) -> None: ...
    def beat(self, view: RequestView, seconds: float) -> None: ...


class Lines:
    """One line for each change; for logs of build systems."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}
        self._tenths: dict[str, int] = {}

    def upload(self, name: str, sent: int, size: int) -> None:
        tenth = sent * 10 // size if size else 10
        if size >= 64 << 20 and tenth != self._tenths.get(name):
            self._tenths[name] = tenth
            say(f"{name}: {tenth * 10} % of {size >> 20} MiB sent")

    def state(self, view: RequestView) -> None:
        text = described(view)
        if self._said.get(view.id) != text:
            self._said[view.id] = text
            say(f"request {view.id} {text}")

    def beat(self, view: RequestView, seconds: float) -> None:
        say(f"request {view.id} still {described(view)} after {int(seconds)} s")


class Bar(Lines):
    """A bar for uploads and a spinner while waiting; state changes are lines above it."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def upload(self, name: str, sent: int, size: int) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=size, note="")
        self._progress.update(self._tasks[name], completed=sent, note=f"{sent >> 20} of {size >> 20} MiB")
        if sent >= size:
            self._progress.refresh()
            self._progress.remove_task(self._tasks.pop(name))

    def state(self, view: RequestView) -> None:
        text = described(view)
        if self._said.get(view.id) != text:
            self._said[view.id] = text
            self._progress.console.print(f"{PREFIX} request {view.id} {text}", markup=False, highlight=False)
        if view.id not in self._tasks and not view.is_final:
            self._tasks[view.id] = self._progress.add_task(view.id, total=None, note="")
        if view.id in self._tasks and view.is_final:
            self._progress.remove_task(self._tasks.pop(view.id))

    def beat(self, view: RequestView, seconds: float) -> None:
        """The spinner turns by itself."""


@contextmanager
def reporter() -> Iterator[Reporter]:
    """The right one for where stderr goes."""
    if not is_terminal():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, no_color=not colours())
    words = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"))
    columns = (SpinnerColumn(), *words, TimeElapsedColumn())
    # What a program prints on stdout is its result and goes there, whatever is painted on stderr.
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as progress:
        yield Bar(progress)


def described(view: RequestView) -> str:
    """The state in words, with what is still missing."""
    waiting = [r.get("found", "") for r in view.reasons if r.get("effect") == "await"]
    more = f": {'; '.join(waiting)}" if waiting and not view.is_final and view.state != "scanning" else ""
    rules = {r.get("rule") for r in view.reasons if r.get("effect") == "await"}
    if "halted" in rules and not view.is_final:
        return "held, signing is halted" + more
    if "custodian" in rules and not view.is_final:
        return "waiting for the custodian" + more
    if waiting and view.state == "awaiting-approval" and not rules & {"approvals", "hold"}:
        return "waiting" + more  # people have said what was wanted of them
    return _WORDS.get(view.state, view.state) + more


def wait_for_end(hub: Hub, view: RequestView, *, seconds: float, report: Reporter) -> RequestView:
    """The request in its final state; raises `PendingError` when the time is over."""
    started = last_line = time.monotonic()
    if view.state not in ("submitted", "uploading"):  # by now its files were sent
        report.state(view)
    while not view.is_final:
        left = started + seconds - time.monotonic()
        if left <= 0:
            raise pending(view, seconds)
        before = view
        try:
            view = hub.request(view.id, wait=max(1, min(POLL_SECONDS, left)), after=view.state)
        except UnavailableError as problem:
            problem.hint = f"the request goes on; signwright wait {view.id}"
            raise
        report.state(view)
        moment = time.monotonic()
        if described(view) != described(before):
            last_line = moment
        elif moment - last_line >= HEARTBEAT_SECONDS:
            report.beat(view, moment - started)
            last_line = moment
    return view


def pending(view: RequestView, seconds: float) -> PendingError:
    return PendingError(
        f"request {view.id} is {described(view)} after {int(seconds)} s",
        hint=f"it goes on: signwright wait {view.id}, then signwright fetch {view.id}",
        details={"request": view.id, "state": view.state, "reasons": [dict(r) for r in view.reasons]},
    )


def check_completed(view: RequestView) -> None:
    """Raises the error that a bad end stands for; nothing for a completed or open request."""
    if view.state == "completed" or not view.is_final:
        return
    raise ended_badly(view)


def ended_badly(view: RequestView) -> SignwrightError:
    """The error for a request that was denied, rejected, canceled, failed or expired; carries all reasons."""
    reasons = [dict(reason) for reason in view.reasons]
    details = {"request": view.id, "state": view.state, "reasons": reasons}
    rules = [reason.get("rule", "") for reason in reasons if reason.get("effect") == "deny"]
    if view.state == "denied":
        # What a scanner found is about the artifact, not about who may sign what.
        code = "scan" if rules and set(rules) == {"scan"} else (rules[0] if rules else "denied")
        return DeniedError(f"request {view.id} was denied", code=code, details=details)
    if view.state == "rejected":
        return RejectedError(f"request {view.id} was rejected by an approver", details=details)
    if view.state == "canceled":
        return ConflictError(f"request {view.id} was canceled", code="canceled", details=details)
    code = rules[0] if rules else view.state
    hint = "ask again: the same command makes a new request" if view.state in ("failed", "expired") else None
    return SignwrightError(f"request {view.id} {view.state}", code=code, hint=hint, details=details)
