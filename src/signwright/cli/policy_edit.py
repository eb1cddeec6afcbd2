# SPDX-License-Identifier: Apache-2.0
"""Small additions to the YAML sources as text: an entry is put into its place, every other line and comment stays.

What comes out is read again before it is written, and must differ from what was there by exactly the new entry.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from signwright.cli.policy import read_yaml
from signwright.client.files import replace_file
from signwright.errors import UsageError


def add_entry(file: Path, top: str, name: str, entry: dict[str, object]) -> None:
    """Add ``name: entry`` to the mapping ``top`` of ``file``; raises `UsageError` when the name is taken."""
    before = read_yaml(file).content
    rows = before.get(top) if isinstance(before, dict) else None
    if not isinstance(rows, dict):
        raise UsageError(f"{file}: no mapping {top!r} to add to", code="bad-policy-source")
    if name in rows:
        raise UsageError(f"{file}: {top} {name!r} is there already", code="exists", hint="edit the file by hand")

    def wanted(content: Any) -> None:
        content[top][name] = entry

    text = file.read_text(encoding="utf-8")
    lines = text.splitlines()
    start = next(
        (i for i, line in enumerate(lines) if line.split("#")[0].rstrip() in (f"{top}:", f"{top}: {{}}")), None
    )
    if start is None:
        raise _by_hand(file, f"under {top}", {name: entry})
    lines[start] = lines[start].replace(f"{top}: {{}}", f"{top}:")
    end = _end_of_block(lines, start)
    indent = _indent(lines[start + 1 : end]) or "  "
    _write(file, [*lines[:end], *_block(indent, name, entry), *lines[end:]], wanted, before)


def add_item(file: Path, path: tuple[str, ...], item: str) -> bool:
    """Add ``item`` to the list at ``path`` of ``file``; False when it stands there already."""
    source = read_yaml(file)
    found: Any = source.content
    for name in path:
        if not isinstance(found, dict) or name not in found:
            raise UsageError(f"{file}: no {'.'.join(path)} to add to", code="bad-policy-source")
        found = found[name]
    if not isinstance(found, list):
        raise UsageError(f"{file}: {'.'.join(path)} is not a list", code="bad-policy-source")
    if item in found:
        return False

    def wanted(content: Any) -> None:
        for name in path:
            content = content[name]
        content.append(item)

    lines = file.read_text(encoding="utf-8").splitlines()
    at = source.line_of(path) - 1
    head, comment = lines[at], ""
    if "#" in head:
        head, _, comment = head.partition("#")
        comment = f"  #{comment}"
    if head.rstrip().endswith("]"):
        inner = head.rstrip()[:-1].rstrip()
        lines[at] = f"{inner}{'' if inner.endswith('[') else ', '}{item}]{comment}"
    elif found and head.rstrip().endswith(":"):
        last = source.line_of((*path, len(found) - 1)) - 1
        lead = lines[last][: len(lines[last]) - len(lines[last].lstrip())]
        lines.insert(last + 1, f"{lead}- {item}")
    else:
        raise _by_hand(file, ".".join(path), item)
    _write(file, lines, wanted, source.content)
    return True


def added_row(file: Path, text: str, top: str, row: dict[str, object]) -> str:
    """``text`` of ``file`` with ``row`` at the end of the list ``top``; raises `UsageError`."""
    before = _parsed(file, text)
    if not isinstance(before, dict) or not isinstance(before.get(top), list):
        raise UsageError(f"{file}: no list {top!r} to add to", code="bad-policy-source")
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.split("#")[0].rstrip() in (f"{top}:", f"{top}: []")), None)
    if start is None:
        raise _by_hand(file, f"under {top}", row)
    lines[start] = lines[start].replace(f"{top}: []", f"{top}:")
    end = _end_of_block(lines, start)
    lead = _indent(lines[start + 1 : end]) or "  "
    fields = [f"{field}: {json.dumps(value, ensure_ascii=False)}" for field, value in row.items()]
    block = [f"{lead}- {fields[0]}", *(f"{lead}  {field}" for field in fields[1:])]
    return _text(file, [*lines[:end], *block, *lines[end:]], {**before, top: [*before[top], row]})


def changed_number(file: Path, text: str, path: tuple[str, str], number: int) -> str:
    """``text`` of ``file`` with another number at ``path``, which is there; raises `UsageError`."""
    before = _parsed(file, text)
    (top, name), lines = path, text.splitlines()
    if not isinstance(before, dict) or type(before.get(top, {}).get(name)) is not int:
        raise UsageError(f"{file}: no number {top}.{name} to change", code="bad-policy-source")
    start = next((i for i, line in enumerate(lines) if line.split("#")[0].rstrip() == f"{top}:"), len(lines))
    for at in range(start + 1, _end_of_block(lines, start) if start < len(lines) else start):
        lines[at] = re.sub(rf"^(\s+{re.escape(name)}:\s+)[0-9]+", rf"\g<1>{number}", lines[at])
    return _text(file, lines, {**before, top: {**before[top], name: number}})


def set_switch(file: Path, name: str, on: bool) -> None:
    """Set ``name`` at the top of ``file`` to true or false, in its place or as a new line; raises `UsageError`."""
    before = read_yaml(file).content
    if not isinstance(before, dict) or not isinstance(before.get(name, on), bool):
        raise UsageError(f"{file}: no switch {name!r} to set", code="bad-policy-source")
    lines, shown = file.read_text(encoding="utf-8").splitlines(), f"{name}: {'true' if on else 'false'}"
    at = next((i for i, line in enumerate(lines) if re.match(rf"{re.escape(name)}:\s", line)), None)
    if at is None:
        after = next((i for i, line in enumerate(lines) if line.startswith("name:")), len(lines) - 1)
        lines.insert(after + 1, shown)
    else:
        lines[at] = re.sub(rf"^{re.escape(name)}:\s+(true|false)", shown, lines[at])
    replace_file(file, _text(file, lines, {**before, name: on}).encode())


def _parsed(file: Path, text: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / file.name
        draft.write_text(text, encoding="utf-8")
        return read_yaml(draft).content


def _text(file: Path, lines: list[str], wanted: object) -> str:
    """The lines as one text, when it says exactly what is wanted."""
    text = "\n".join(lines) + "\n"
    if _parsed(file, text) != wanted:
        raise UsageError(f"{file}: written in a way that cannot be changed here", code="edit-by-hand")
    return text


def _end_of_block(lines: list[str], start: int) -> int:
    """After the last line that belongs to the block; comments and empty lines that follow it stay behind."""
    end = start + 1
    for index in range(start + 1, len(lines)):
        line = lines[index]
        if line.strip() and not line.lstrip().startswith("#"):
            if not line.startswith((" ", "\t")):
                break
            end = index + 1
    return end


def _indent(lines: list[str]) -> str:
    entries = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return entries[0][: len(entries[0]) - len(entries[0].lstrip())] if entries else ""


def _block(indent: str, name: str, entry: dict[str, object]) -> list[str]:
    """JSON scalars and lists are YAML too, and need no guessing about quotes."""
    rows = [f"{indent}{indent}{field}: {json.dumps(value, ensure_ascii=False)}" for field, value in entry.items()]
    return [f"{indent}{name}:", *rows]


def _write(file: Path, lines: list[str], change: Callable[[Any], None], before: object) -> None:
    wanted: Any = json.loads(json.dumps(before))
    change(wanted)
    replace_file(file, _text(file, lines, wanted).encode())


def _by_hand(file: Path, where: str, entry: object) -> UsageError:
    shown = json.dumps(entry, ensure_ascii=False)
    return UsageError(f"{file}: cannot add to it here", code="edit-by-hand", hint=f"add {where}: {shown}")
