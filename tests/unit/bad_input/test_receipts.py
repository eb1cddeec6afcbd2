# SPDX-License-Identifier: Apache-2.0
"""A complete receipt with something wrong in one of its parts: a line that failed, never another error."""

from __future__ import annotations

import json
from typing import Any

from signwright.errors import SignwrightError
from signwright.model.base64text import strict_base64
from signwright.statements.bundle import ReceiptBundle, blob
from tests.support.bad_input import mutations, places, replaced, write
from tests.support.receipts import SignedWorld, failures

WORLD = SignedWorld()
MADE = WORLD.make("cms")
VALUE: dict[str, Any] = json.loads(MADE.bundle.encode())
#: In the place of any part: nothing, no JSON, the wrong JSON, another notation, deep, odd text, a huge number, cut.
GARBAGE = (
    *(b"", b"\xff\xfe", b"{}", b"[]", b"null", b"{", b"[" * 5000, b'{"a":' * 5000, b'"\\ud800"', b"9" * 5000, b"NaN"),
    *(b"\n\n", "\u2014 x y\n".encode(), b"c2sp.org/tlog-proof@v1\nindex 0\n\n\n", b'{"v":1,"type":"intent"}'),
)


def said_of(value: Any) -> str | None:
    """None when a line failed or the bundle is refused; else what is wrong."""
    try:
        bundle = ReceiptBundle.decode(write(value))
        failed = failures(MADE.but(bundle=bundle).checks(WORLD.trust(), at=WORLD.now))
    except SignwrightError:
        return None
    except Exception as problem:  # noqa: BLE001  # whatever it is, it is no answer of ours
        return f"{type(problem).__name__}: {str(problem)[:150]}"
    return None if failed else "nothing failed"


def parts() -> list[tuple[tuple[str | int, ...], bytes]]:
    texts = [(at, text) for at, text in places(VALUE) if isinstance(text, str) and at != ("format",)]
    return [(at, strict_base64(text)) for at, text in texts]


def test_the_sample_holds():
    assert failures(MADE.checks(WORLD.trust(), at=WORLD.now)) == {}
    assert len(parts()) > 12


def test_any_part_that_is_garbage_or_cut_fails():
    wrong = []
    for at, content in parts():
        for other in (*GARBAGE, content[: len(content) // 2], content[:-1], content + b"\0", content[::-1]):
            said = said_of(replaced(VALUE, at, blob(other)))
            wrong += [f"{at}: {other[:30]!r}: {said}"] if said else []
        for text in ("=", "AAAAA", "\u00df", blob(content).rstrip("=") + " "):
            said = said_of(replaced(VALUE, at, text))
            wrong += [f"{at}: {text[:30]!r}: {said}"] if said else []
    assert not wrong, "\n".join(wrong[:20])


def test_a_part_that_is_wrong_in_one_place_fails():
    """Envelopes and documents: each mutation of their JSON, a few of each kind."""
    wrong, tried = [], 0
    for at, content in parts():
        try:
            inner = json.loads(content)
        except ValueError:
            continue
        for bad in list(mutations(inner, forms=False))[:: 80 if len(content) < 3000 else 300]:
            if bad.content == content or (bad.sound and bad.value == inner):
                continue
            tried += 1
            said = said_of(replaced(VALUE, at, blob(bad.content)))
            wrong += [f"{at}: {bad.what}: {said}"] if said else []
    assert not wrong, "\n".join(wrong[:20])
    assert tried > 100
