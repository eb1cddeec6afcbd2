# SPDX-License-Identifier: Apache-2.0
"""The sources of a policy, and the only reader of YAML. The verbs are in `signwright.cli.policy_verbs`.

YAML is read as a plain notation for JSON: no tags, anchors or aliases, no key twice, one document, and no scalar that
YAML 1.1 reads as something else than its author meant (``no``, ``0o17``, ``1:30``, ``1.0``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import ValidationError

from signwright.errors import ConfigurationError, UsageError
from signwright.model.operation import Strict
from signwright.model.text import first_bad_character
from signwright.policy.documents import DOCUMENTS, Project
from signwright.statements.parse import MAX_DOCUMENT

MAX_DEPTH = 16
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]+Z")
_SURPRISES = (
    (re.compile(r"(?i)y|n|yes|no|on|off|true|false|null|~"), "write true, false or null, or put it in quotes"),
    (re.compile(r"[-+]?[0-9][0-9_]*:[0-5]?[0-9].*"), "YAML reads it as a number in base 60; put it in quotes"),
    (re.compile(r"[-+]?(0[0-9_]+|0[xob][0-9a-fA-F_]+|[0-9]*_[0-9_]*|\+[0-9]+)"), "a number in another notation"),
    (
        re.compile(r"(?i)[-+]?([0-9][0-9_]*)?\.[0-9]+(e[-+]?[0-9]+)?|[-+]?[0-9]+\.?(e[-+]?[0-9]+)?"),
        "only whole numbers",
    ),
    (re.compile(r"(?i)[-+]?\.(inf|nan)"), "only whole numbers"),
    (
        re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?"),
        "put it in quotes; times have the form 2026-11-21T09:30:00Z",
    ),
)


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed file. ``lines``: path of keys and indexes → line, from 1."""

    file: Path
    content: object
    lines: dict[tuple[str | int, ...], int]

    def line_of(self, place: tuple[str | int, ...]) -> int:
        """Of the nearest thing that has one."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


class PolicyProblems(ConfigurationError):
    """``details["problems"]``: one ``file:line: field: text`` each."""

    default_code = "bad-policy-source"

    def __init__(self, problems: list[str]) -> None:
        super().__init__(
            f"{len(problems)} problems in the policy sources" if len(problems) > 1 else problems[0],
            details={"problems": problems},
        )


def read_yaml(file: Path) -> Source:
    """One strict YAML file; raises `PolicyProblems` (file, line) and `ConfigurationError`."""
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_DOCUMENT + 1)
        if len(content) > MAX_DOCUMENT:
            raise PolicyProblems([f"{file}:1: more than {MAX_DOCUMENT} bytes"])
        text = content.decode("utf-8")
        _check_events(file, text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as problem:
        raise ConfigurationError(f"{file}: {problem.strerror}", code="no-policy-source") from problem
    except yaml.reader.ReaderError as problem:
        line = text.count("\n", 0, problem.position) + 1
        raise PolicyProblems([f"{file}:{line}: character U+{problem.character:04X} is not allowed"]) from problem
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as problem:
        mark = getattr(problem, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        said = getattr(problem, "problem", None) or "not UTF-8 text that can be read"
        raise PolicyProblems([f"{file}:{line}: not YAML: {said}"]) from problem
    if node is None:
        raise PolicyProblems([f"{file}:1: the file is empty"])
    source = Source(file, None, {})
    return Source(file, _plain(source, node, ()), source.lines)


def _check_events(file: Path, text: str) -> None:
    """Refuse, before anything is built, what makes YAML more than a notation."""
    documents, depth = 0, 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise PolicyProblems([f"{file}:{line}: anchors and aliases are refused; write it out"])
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise PolicyProblems([f"{file}:{line}: tag {str(tag)[:60]!r} is refused"])
        documents += isinstance(event, yaml.DocumentStartEvent)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if documents > 1 or depth > MAX_DEPTH:
            raise PolicyProblems([f"{file}:{line}: {'a second document' if documents > 1 else 'nested too deeply'}"])


def _plain(source: Source, node: yaml.Node, place: tuple[str | int, ...]) -> object:
    line = node.start_mark.line + 1
    source.lines.setdefault(place, line)
    if isinstance(node, yaml.MappingNode):
        return _mapping(source, node, place)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(source, child, (*place, index)) for index, child in enumerate(node.value)]
    assert isinstance(node, yaml.ScalarNode)
    return _scalar(source, node, place)


def _mapping(source: Source, node: yaml.MappingNode, place: tuple[str | int, ...]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode) or key_node.value == "<<":
            raise PolicyProblems([f"{source.file}:{line}: a key must be plain text, and nothing is merged"])
        name = _scalar(source, key_node, (*place, key_node.value))
        if not isinstance(name, str):
            raise PolicyProblems([f"{source.file}:{line}: key {key_node.value!r}: put it in quotes"])
        if name in found:
            raise PolicyProblems([f"{source.file}:{line}: {_dotted((*place, name))}: stands twice"])
        source.lines[(*place, name)] = line
        found[name] = _plain(source, value_node, (*place, name))
    return found


def _scalar(source: Source, node: yaml.ScalarNode, place: tuple[str | int, ...]) -> str | int | bool | None:
    text, line = node.value, node.start_mark.line + 1
    where = f"{source.file}:{line}: {_dotted(place)}"
    at = first_bad_character(text)
    if at is not None:
        raise PolicyProblems([f"{where}: character U+{ord(text[at]):04X} is not allowed (control, bidi or invisible)"])
    if node.style in ("'", '"', "|", ">"):
        return str(text)
    if text in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _TIME.fullmatch(text):
        return str(text)
    if not text:
        raise PolicyProblems([f"{where}: no value; write null, {{}} or [] if that is meant"])
    for pattern, advice in _SURPRISES:
        if pattern.fullmatch(text):
            raise PolicyProblems([f"{where}: {text!r} can be read in two ways: {advice}"])
    return str(text)


def _dotted(place: tuple[str | int, ...]) -> str:
    return ".".join(map(str, place)) or "(top)"


def read_document(name: str, file: Path) -> Strict:
    """The document ``name`` from its file; raises `PolicyProblems` (file, line, field) and `ConfigurationError`."""
    source = read_yaml(file)
    try:
        return DOCUMENTS.get(name, Project).model_validate(source.content)
    except ValidationError as problem:
        raise PolicyProblems(list(_model_problems(source, problem))) from problem


def read_sources(folder: Path) -> dict[str, Strict]:
    """Name → document from ``folder/*.yaml`` and ``folder/projects/*.yaml``; raises `PolicyProblems` with all."""
    files = {name: folder / f"{name}.yaml" for name in DOCUMENTS}
    projects = sorted((folder / "projects").glob("*.yaml"))
    files |= {f"projects/{path.stem}": path for path in projects}
    strange = sorted(
        p for p in [*folder.glob("*.y*ml"), *(folder / "projects").glob("*.y*ml")] if p not in files.values()
    )
    problems = [f"{path}:1: no document of a policy has this name" for path in strange]
    found: dict[str, Strict] = {}
    for name, file in files.items():
        try:
            found[name] = read_document(name, file)
        except PolicyProblems as problem:
            listed = problem.details["problems"]
            problems += [str(line) for line in listed] if isinstance(listed, list) else []
        except ConfigurationError as problem:
            problems.append(problem.message)
    if problems:
        raise PolicyProblems(problems)
    return found


def _model_problems(source: Source, problem: ValidationError) -> Iterator[str]:
    for row in problem.errors(include_url=False):
        place, found = tuple(row["loc"]), row.get("input")
        if row["type"] == "too_short" and isinstance(found, list) and len(found) >= row["ctx"]["min_length"]:
            continue  # only because an item is wrong, of which another line speaks
        text = "unknown field" if row["type"] == "extra_forbidden" else row["msg"]
        shown = "" if row["type"] in ("missing", "extra_forbidden") else f" (found {str(found)[:60]!r})"
        yield f"{source.file}:{source.line_of(place)}: {_dotted(place)}: {text}{shown}"


def policy_folder(folder: Path | None, home: Path | None) -> Path:
    """The folder of the sources, from ``DIR``, ``--home`` or SIGNWRIGHT_HOME; raises `UsageError`."""
    chosen = folder or home or (Path(os.environ["SIGNWRIGHT_HOME"]) if os.environ.get("SIGNWRIGHT_HOME") else None)
    if chosen is None:
        raise UsageError("no home given", code="no-home", hint="DIR, --home DIR or SIGNWRIGHT_HOME")
    for candidate in (chosen, chosen / "policy"):
        if (candidate / "organisation.yaml").is_file():
            return candidate
    raise UsageError(f"{chosen}: no policy sources (organisation.yaml) here", code="no-policy-source")
