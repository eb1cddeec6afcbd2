# SPDX-License-Identifier: Apache-2.0
"""How a process that must not break answers what it refuses: the problem in words that fit into a frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from signwright.errors import DeniedError, SignwrightError

#: Longest message and details of a refusal, in characters: with every one escaped they still fit into a frame.
MAX_WORDS = 1 << 17
#: What a message that nobody foresaw can raise on its way to a refusal. A failing disk is not among it.
UNFORESEEN = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
T = TypeVar("T")


def or_refusal(work: Callable[[], T]) -> T | SignwrightError:
    """What ``work`` gives, or why not. A message that makes no sense is refused; it does not end the process."""
    try:
        return work()
    except SignwrightError as problem:
        return problem
    except UNFORESEEN as problem:
        return DeniedError(f"the message makes no sense: {type(problem).__name__}", code="bad-message")


def refusal(problem: SignwrightError) -> dict[str, object]:
    """The answer that says it."""
    details = problem.details if len(str(problem.details)) <= MAX_WORDS else {}
    return {**details, "ok": False, "code": problem.code, "message": problem.message[:MAX_WORDS]}
