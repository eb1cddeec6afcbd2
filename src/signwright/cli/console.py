# SPDX-License-Identifier: Apache-2.0
"""How every verb speaks: results on stdout, everything else on stderr behind ``signwright:``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable

from signwright.errors import SignwrightError
from signwright.model.text import first_bad_character

PREFIX = "signwright:"


def say(text: str) -> None:
    """A line for people, on stderr. Lower case, no full stop. What could steer a terminal is shown as ``?``."""
    print(f"{PREFIX} {harmless(text)}", file=sys.stderr, flush=True)


def harmless(text: str) -> str:
    """One line in which nothing moves the cursor or reorders what is read, wherever the text came from."""
    if first_bad_character(text) is None:
        return text
    return "".join(c if first_bad_character(c) is None else "?" for c in text)


def warn(text: str) -> None:
    """A line for people that they should not miss, on stderr."""
    say(f"warning: {text}")


def result(text: str) -> None:
    """A line of the result, on stdout: exact for a program that reads it, `harmless` on a terminal."""
    print(harmless(text) if sys.stdout.isatty() else text, flush=True)


def json_result(value: object) -> None:
    """The result as one JSON object (or array) on one line, on stdout. ``value``: plain JSON data."""
    print(json.dumps(value, ensure_ascii=False, sort_keys=True), flush=True)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Lines of a table in columns, two spaces apart; no lines without rows."""
    found = list(rows)
    if not found:
        return []
    widths = [max(len(row[i]) for row in [head, *found]) for i in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [head, *found]]


def show_error(problem: SignwrightError) -> None:
    """``error:`` with what was found and wanted, one line for each reason, then ``hint:``."""
    say(f"error: {problem.message}")
    reasons = problem.details.get("reasons")
    for reason in reasons if isinstance(reasons, list) else []:
        if isinstance(reason, dict):
            found, wanted, who = (str(reason.get(name, "?")) for name in ("found", "wanted", "who"))
            say(f"reason: {reason.get('rule', '?')}: found {found}; wanted {wanted} (can change it: {who})")
    if problem.hint:
        say(f"hint: {problem.hint}")


def error_json(problem: SignwrightError) -> dict[str, object]:
    """An error as ``--output json`` prints it."""
    rest = {name: value for name, value in problem.details.items() if name not in ("code", "message", "hint")}
    return {"error": {"code": problem.code, "message": problem.message, "hint": problem.hint, **rest}}


def is_terminal() -> bool:
    """True when a person watches: progress bars and questions make sense. ``CI`` and ``SIGNWRIGHT_NO_INPUT`` say no."""
    silent = os.environ.get("CI", "").lower() == "true" or bool(os.environ.get("SIGNWRIGHT_NO_INPUT"))
    return not silent and sys.stdin.isatty() and sys.stderr.isatty()


def colours() -> bool:
    """True unless ``NO_COLOR`` is set (https://no-color.org) or stderr is no terminal."""
    return not os.environ.get("NO_COLOR") and sys.stderr.isatty()
