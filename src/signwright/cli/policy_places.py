# SPDX-License-Identifier: Apache-2.0
"""Where in the sources a problem of the whole policy was written: its file and line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from signwright.cli.policy import read_yaml
from signwright.errors import SignwrightError

_Place = tuple[str, ...]
#: How a problem begins (`signwright.policy.validate`) → document and place. Names hold no space, slash or colon.
_BEGINNINGS = (
    (re.compile(r"(?P<project>[^ /:]+)/(?P<name>[^ /:]+): "), "projects/{project}", ("signing_policies", "{name}")),
    (re.compile(r"credential (?P<name>[^ :]+): "), "credentials", ("credentials", "{name}")),
    (re.compile(r"person (?P<name>[^ :]+): "), "people", ("people", "{name}")),
    (re.compile(r"key (?P<name>[^ :]+): "), "keys", ("keys", "{name}")),
    (re.compile(r"services: .*timestamp authority"), "services", ("timestamp_authorities",)),
    (re.compile(r"services: .*quorum"), "services", ("quorum",)),
    (re.compile(r"services: .*witness"), "services", ("witnesses",)),
    (re.compile(r"services: "), "services", ()),
    (re.compile(r"scanner "), "services", ("scanners",)),
    (re.compile(r"gate: "), "services", ("gate_key",)),
    (re.compile(r"a receipt key: "), "services", ("receipt_keys",)),
)


def with_places(problems: list[str], folder: Path) -> list[str]:
    """``file:line: `` before each problem of which a source can be told; the others as they are."""
    return [next(_places(problem, folder), "") + problem for problem in problems]


def _places(problem: str, folder: Path) -> Iterator[str]:
    for pattern, document, place in _BEGINNINGS:
        match = pattern.match(problem)
        if match is None:
            continue
        names = match.groupdict()
        file = folder / f"{document.format(**names)}.yaml"
        try:
            yield f"{file}:{read_yaml(file).line_of(tuple(part.format(**names) for part in place))}: "
        except SignwrightError:
            return
