# SPDX-License-Identifier: Apache-2.0
"""What a file is, and what signing it would take: recognised by content, prepared on the client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from pydantic import BaseModel, ValidationError

from signwright.errors import FormatError, UsageError
from signwright.formats.base import Format, FormatOptions, Prepared
from signwright.formats.registry import FORMATS
from signwright.model.operation import Parameter
from signwright.model.view import View
from signwright.plan import signing
from signwright.policy.documents import ArtifactConfiguration, Inside

_WORDS = {"true": True, "yes": True, "false": False, "no": False}


def format_named(name: str) -> Format:
    """Raises `UsageError` for a format that is not built."""
    if name not in FORMATS:
        raise UsageError(
            f"no format {name!r}; there are {', '.join(sorted(FORMATS))}",
            code="unknown-format",
            hint="signwright formats",
        )
    return FORMATS[name]


def choose_format(view: View, name: str, configuration: ArtifactConfiguration, asked: str | None) -> Format:
    """The format to sign ``name`` as: the one asked for, else one that the artifact configuration lists for its name.

    Of several, the first that recognises the content. Where none does, a lone candidate is returned all the same, so
    that its own words say why the file is not one. Raises `FormatError` when there is none.
    """
    if asked is not None:
        return format_named(asked)
    names = dict.fromkeys(rule.format for rule in configuration.rules if fnmatchcase(name, rule.name))
    listed = [format_named(each) for each in names or dict.fromkeys(rule.format for rule in configuration.rules)]
    found = next((each for each in listed if each.recognizes(view)), None)
    if found is not None:
        return found
    if len(listed) == 1:
        return listed[0]
    raise FormatError(
        f"{name}: none of {', '.join(each.title for each in listed)}", code="unknown-content", hint="--format NAME"
    )


def typed_options(chosen: Format, given: Mapping[str, str]) -> tuple[FormatOptions, dict[str, Parameter]]:
    """Options as the format's model has them, and the same as plain values for the request.

    ``given``: name → text from the command line. Raises `UsageError` naming the option and what it takes.
    """
    known = chosen.options.model_fields
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise UsageError(
            f"format {chosen.name} has no option {unknown[0]!r}; it has {', '.join(sorted(known)) or 'none'}",
            code="unknown-option",
            hint="signwright formats",
        )
    plain = {name: _value(text, known[name].annotation) for name, text in given.items()}
    try:
        return chosen.options.model_validate(plain), plain
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"option {where}: {first['msg'].removeprefix('Value error, ')}", code="bad-option"
        ) from problem


def options_of(chosen: Format, plain: Mapping[str, Parameter]) -> FormatOptions:
    """The options in a request, under the format's model; raises `FormatError`."""
    try:
        return chosen.options.model_validate(dict(plain))
    except ValidationError as problem:
        raise FormatError(f"options of the request do not fit format {chosen.name}", code="bad-options") from problem


def _value(text: str, annotation: object) -> Parameter:
    kinds = set(getattr(annotation, "__args__", (annotation,)))
    if bool in kinds and text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if int in kinds and text.removeprefix("-").isdigit():
        return int(text)
    return text


def prepare(
    chosen: Format, view: View, *, chain: Sequence[bytes], options: FormatOptions, inside: Inside | None
) -> Prepared:
    """One pass over the file. ``inside``: its rule, None where none fits, which is refused later. `FormatError`."""
    return signing.prepare(chosen, view, chain, options, inside or signing.NOTHING_INSIDE)


def describe_options(model: type[BaseModel]) -> list[tuple[str, str, str]]:
    """(name, values, default) of each option, for people."""
    rows = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        values = getattr(kind, "__members__", None)
        text = "|".join(str(member.value) for member in values.values()) if values else _kind_name(kind)
        default = getattr(field.default, "value", field.default)
        rows.append((name, text, "" if default is None else str(default)))
    return rows


def _kind_name(kind: object) -> str:
    kinds = [k for k in getattr(kind, "__args__", (kind,)) if k is not type(None)]
    words: dict[object, str] = {str: "text", int: "number", bool: "yes|no"}
    return "|".join(words.get(k, str(k)) for k in kinds)
