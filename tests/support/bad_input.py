# SPDX-License-Identifier: Apache-2.0
"""Bad input made from a good sample: the sample's own structure is walked, so that a new field is covered by itself.

What is always wrong (a float, a member twice, a control character, a cut) is marked so. What is wrong only because of
its type or range is judged by the JSON schema of the sample's model: `Schema.fits`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Raw:
    """A JSON text that no Python value stands for."""

    text: str


@dataclass(frozen=True)
class Members:
    """An object whose members may stand twice."""

    rows: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Bad:
    """``value``: the whole input; ``sound``: it is only to be refused when the schema says so."""

    what: str
    value: Any
    sound: bool = False

    @property
    def content(self) -> bytes:
        return write(self.value)


def write(value: Any) -> bytes:
    """JSON in the written form of our own statements: compact, members in the order that they have."""
    return b"".join(_pieces(value))


def _pieces(value: Any) -> Iterator[bytes]:
    if isinstance(value, Raw):
        yield value.text.encode("utf-8", "surrogatepass")
    elif isinstance(value, dict | Members):
        rows = value.rows if isinstance(value, Members) else tuple(value.items())
        yield b"{"
        for number, (name, member) in enumerate(rows):
            yield b"," * bool(number) + write_text(name) + b":"
            yield from _pieces(member)
        yield b"}"
    elif isinstance(value, list):
        yield b"["
        for number, member in enumerate(value):
            yield b"," * bool(number)
            yield from _pieces(member)
        yield b"]"
    else:
        yield write_text(value) if isinstance(value, str) else json.dumps(value).encode()


def write_text(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass")


def places(value: Any, at: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every place of plain data with what stands there, the top first."""
    yield at, value
    if isinstance(value, dict):
        for name, member in value.items():
            yield from places(member, (*at, name))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from places(member, (*at, index))


def replaced(value: Any, at: Place, new: Any) -> Any:
    """``value`` with ``new`` at one place; shares the rest."""
    if not at:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[at[0]] = replaced(value[at[0]], at[1:], new)
    return copy


#: Control, escape, delete, bidi override, zero width, line separator, private use, what shows nothing, not assigned.
BAD_CHARACTERS = ("\x00", "\x07", "\x1b", "\x7f", "\x9b", "\u202e", "\u200b", "\u2028", "\ue000", "\u3164", "\u0378")
#: Never JSON that we read, whatever the field.
NEVER = tuple(
    map(
        Raw,
        (
            *(
                "1.5",
                "1.0",
                "1e2",
                "-0.0",
                "NaN",
                "Infinity",
                "-Infinity",
                "01",
                "+1",
                "0x1",
                "'x'",
                "True",
                "undefined",
            ),
            *(str(1 << 63), str(-(1 << 63) - 1), "9" * 30, "9" * 5000, '"\\ud800"', '"\\udc00\\ud800"', '"\ud800"'),
            *('"\\x41"', '"\n"', '"', ",", "// note", "1 2"),
        ),
    )
)
OTHERS: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 1 << 31, 1 << 53, (1 << 63) - 1, -(1 << 63)),
    *("", "x", "unheard-of", "\u00dcnheard of!", "../../etc/passwd", "x" * 5000, "0" * 64, "1", "true"),
    *([], {}, [[]], [None], {"unheard-of": 1}, [1, "x"]),
)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_HEX = re.compile(r"[0-9a-f]{32,128}")
_WRONG_TIMES = (
    *("2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-11-21T24:00:00Z", "2026-11-21T09:30:00+00:00"),
    *("2026-11-21T09:30:00.5Z", "2026-11-21 09:30:00Z", "2026-11-21T09:30:00z", "2026-11-21", "0000-01-01T00:00:00Z"),
    "\u0662026-11-21T09:30:00Z",
)


def mutations(sample: Any, *, forms: bool = True) -> Iterator[Bad]:
    """Everything that is wrong about one place of ``sample`` (plain data).

    ``forms``: a text that looks like a time or a digest is one.
    """
    yield Bad("nested very deeply", Raw('{"a":' * 20_000 + "1" + "}" * 20_000))
    for at, value in places(sample):
        where = ".".join(map(str, at)) or "(top)"
        for other in (*NEVER, *OTHERS, [value], {"x": value}):
            if type(other) is not type(value) or other != value:
                shown = str(other.text if isinstance(other, Raw) else other)[:40]
                yield Bad(f"{where}: {shown!r}", replaced(sample, at, other), sound=not isinstance(other, Raw))
        yield Bad(f"{where}: nested deeply", replaced(sample, at, Raw("[" * 40 + "]" * 40)))
        for name, bad in _of_kind(value, forms=forms):
            yield Bad(f"{where}: {name}", replaced(sample, at, bad.value), sound=bad.sound)


def _of_kind(value: Any, *, forms: bool) -> Iterator[tuple[str, Bad]]:
    if isinstance(value, dict):
        yield from _of_object(value)
    elif isinstance(value, str):
        yield from _of_text(value)
        yield from _of_form(value) if forms else ()
    elif isinstance(value, list) and value:
        yield "without its first item", Bad("", value[1:], sound=True)
        yield "its first item 2,000 times", Bad("", value[:1] * 2000, sound=True)


def _of_object(value: dict[str, Any]) -> Iterator[tuple[str, Bad]]:
    rows = tuple(value.items())
    yield "one member more", Bad("", {**value, "unheard-of": 1}, sound=True)
    yield "a member without a name", Bad("", {**value, "": 1}, sound=True)
    for number, (name, member) in enumerate(rows):
        yield f"without {name}", Bad("", {n: m for n, m in rows if n != name}, sound=True)
        yield f"{name} twice", Bad("", Members((*rows, (name, member))))
        yield f"{name} twice, the other null", Bad("", Members(((name, None), *rows)))
        for bad in ("\x1b", "\u202e", "\u200b"):
            named = Members((*rows[:number], (name[:1] + bad + name[1:], member), *rows[number + 1 :]))
            yield f"{name} with U+{ord(bad):04X}", Bad("", named)


def _of_text(value: str) -> Iterator[tuple[str, Bad]]:
    middle = len(value) // 2
    for bad in BAD_CHARACTERS:
        escaped = (
            write_text(value[:middle])[:-1].decode() + f"\\u{ord(bad):04x}" + write_text(value[middle:])[1:].decode()
        )
        yield f"U+{ord(bad):04X}, escaped", Bad("", Raw(escaped))
        yield f"U+{ord(bad):04X}", Bad("", value[:middle] + bad + value[middle:])


def _of_form(value: str) -> Iterator[tuple[str, Bad]]:
    if _TIME.fullmatch(value):
        for text in _WRONG_TIMES:
            yield f"time {text!r}", Bad("", text)
    if _HEX.fullmatch(value):
        for text in (value[:-1], value + "0", value[:-1] + "G", value[:-1] + "A", value + "\n", " " + value):
            yield f"digits {text[-8:]!r}", Bad("", text)


def bytes_mutations(content: bytes) -> Iterator[tuple[str, bytes]]:
    """What is wrong about the bytes of a JSON text: cut at each byte, another encoding, something behind it."""
    yield from truncations(content)
    text = content.decode()
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-32"):
        yield encoding, text.encode(encoding)
    for at in range(0, len(content), max(1, len(content) // 97)):
        for wrong in (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\x00"):
            yield f"{wrong.hex()} at {at}", content[:at] + wrong + content[at:]
    for tail in (b"{}", b"1", b"\x00", b"]", b",", b"\xff", content):
        yield f"with {tail[:8]!r} behind it", content + tail
    yield "deep", b"[" * 100_000
    yield "deep objects", b'{"a":' * 100_000


def truncations(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Of a text without white space at its end."""
    for length in range(len(content.rstrip())):
        yield f"cut at byte {length}", content[:length]


@dataclass
class Schema:
    """JSON schemas by the place at which each begins: ``{(): Outer, ("predicate",): Inner}``."""

    models: Mapping[Place, type[BaseModel]]
    _schemas: dict[Place, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._schemas = {at: model.model_json_schema() for at, model in self.models.items()}

    def example(self, text: str) -> Any:
        """The least plain data that fits, with each optional member there. ``text``: where any text fits."""
        return _example(self._schemas[()], self._schemas[()], text)

    def fits(self, value: Any) -> bool:
        """Whether plain data is what the schema describes. True is no promise that it is accepted."""
        return self._fits(value, self._schemas[()], self._schemas[()], ())

    def _fits(self, value: Any, schema: dict[str, Any], root: dict[str, Any], at: Place) -> bool:
        if at and at in self._schemas:
            schema = root = self._schemas[at]
        if "$ref" in schema:
            schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
        if "anyOf" in schema:
            return any(self._fits(value, one, root, at) for one in schema["anyOf"])
        return _scalar_fits(value, schema) and all(
            inner is not None and self._fits(member, inner, root, (*at, name))
            for name, member, inner in _inner(value, schema)
        )


_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}


def _scalar_fits(value: Any, schema: dict[str, Any]) -> bool:
    if "const" in schema:
        return bool(value == schema["const"])  # true is 1 to a Literal; what is written again is then 1
    if "type" in schema and type(value) not in _TYPES[schema["type"]]:
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if isinstance(value, str):
        if "pattern" in schema and not re.search(schema["pattern"].replace("$", r"\Z"), value):
            return False
        return bool(schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 1 << 62))
    if isinstance(value, list):
        return bool(schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 1 << 62))
    if isinstance(value, dict):
        return set(schema.get("required", ())) <= set(value)
    if type(value) is int:
        low, high = schema.get("minimum", value), schema.get("maximum", value)
        return bool(low <= value <= high and value < schema.get("exclusiveMaximum", value + 1))
    return True


def _inner(value: Any, schema: dict[str, Any]) -> Iterator[tuple[str | int, Any, dict[str, Any] | None]]:
    """(name, member, its schema; None for one that must not be there)."""
    if isinstance(value, list):
        for index, member in enumerate(value):
            yield index, member, schema.get("items", {})
    elif isinstance(value, dict):
        for name, member in value.items():
            yield name, member, _member_schema(name, schema)


def _member_schema(name: str, schema: dict[str, Any]) -> dict[str, Any] | None:
    if name in schema.get("properties", {}):
        found: dict[str, Any] = schema["properties"][name]
        return found
    for pattern, inner in schema.get("patternProperties", {}).items():
        if re.search(pattern.replace("$", r"\Z"), name):
            return dict(inner)
    more = schema.get("additionalProperties", "patternProperties" not in schema)
    if more is True:
        return {}
    if more is False:
        return None
    names = schema.get("propertyNames")
    return dict(more) if names is None or _scalar_fits(name, names) else None


#: A text for each pattern that a model of the package has.
EXAMPLES = (
    *(
        "2026-11-21T09:30:00Z",
        "name",
        "ab" * 32,
        "ab" * 20,
        "504b0506" + "00" * 18,
        "ab" * 16,
        "swk_" + "a" * 20,
        "AAAA",
        "default/release",
    ),
    *("sha256:" + "ab" * 32, "https://example.org", "application/vnd.in-toto+json", "1", "http://127.0.0.1:8080"),
    *("documents/keys.json", "projects/default", "/run/socket", "1.2.3"),
)


def _example(schema: dict[str, Any], root: dict[str, Any], text: str, within: tuple[str, ...] = ()) -> Any:
    """``within``: models that this is a part of; a list of one of them is empty."""
    if "$ref" in schema:
        within = (*within, schema["$ref"])
        return _example(root["$defs"][schema["$ref"].rpartition("/")[2]], root, text, within)
    if "anyOf" in schema:
        return _example(schema["anyOf"][0], root, text, within)
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    kind = schema.get("type")
    if kind == "object":
        found = {name: _example(inner, root, text, within) for name, inner in schema.get("properties", {}).items()}
        for pattern, inner in schema.get("patternProperties", {}).items():
            found[_matching({"pattern": pattern}, text)] = _example(inner, root, text, within)
        more = schema.get("additionalProperties")
        if isinstance(more, dict):
            found[_matching(schema.get("propertyNames", {}), text)] = _example(more, root, text, within)
        return found
    if kind == "array":
        items = schema.get("items", {})
        if items.get("$ref") in within:
            return []
        return [_example(items, root, text, within)] * max(1, schema.get("minItems", 1))
    if kind == "integer":
        return schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
    return _matching(schema, text) if kind == "string" else {"boolean": True, "null": None}.get(str(kind), text)


def _matching(schema: dict[str, Any], text: str) -> str:
    found = next((one for one in (text, *EXAMPLES) if _scalar_fits(one, schema)), None)
    assert found is not None, f"no example for {schema}: add one to EXAMPLES"
    return found
