# SPDX-License-Identifier: Apache-2.0
"""The quick look over parsed JSON says the same as the slow one that names the place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.errors import MalformedError
from signwright.statements.parse import MAX_DEPTH, _check, _is_sound, strict_json

TEXTS = st.text(st.sampled_from("ab\u3164\x00\n\x7f\u202e\u200b\u00e9\U000e0041 "), max_size=3)
VALUES = st.recursive(
    st.one_of(TEXTS, st.integers(-9, 9), st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=12,
)


@given(VALUES, st.integers(0, 6))
def test_quick_look_agrees_with_the_slow_one(value, depth):
    try:
        _check(value, depth, "$")
    except MalformedError:
        assert not _is_sound(value, depth, plain=False)
    else:
        assert _is_sound(value, depth, plain=False)


@given(VALUES, st.integers(0, 6))
def test_depth_is_judged_alike_when_the_strings_were_judged_before(value, depth):
    harmless = json.loads(json.dumps(value).translate({ord(c): "" for c in "\\\x7f"}))
    assert _is_sound(harmless, depth, plain=True) is _is_sound(harmless, depth, plain=False)


def _refusal(content, depth):
    try:
        strict_json(content, depth=depth)
    except MalformedError as problem:
        return problem.code, problem.message
    return None


@given(VALUES, st.integers(0, 6), st.booleans())
def test_text_with_escapes_or_without_is_judged_alike(value, depth, ascii_only):
    written = json.dumps(value, ensure_ascii=ascii_only).encode()
    # An escape in front sends the same members the slow way; it is one level more and one harmless member.
    slow = b'{"a":"\\u0041","b":' + written + b"}"
    fast = b'{"a":"A","b":' + written + b"}"
    assert _refusal(fast, depth) == _refusal(slow, depth)


@pytest.mark.parametrize(
    ("value", "place"),
    [({"a": ["b", "\u202e"]}, "$.a[1]"), ({"a": {"\u200b": 1}}, "$.a (member name)"), ("\x7f", "$")],
)
def test_refused_text_is_named_with_its_place(value, place):
    with pytest.raises(MalformedError) as refused:
        strict_json(json.dumps(value).encode())
    assert refused.value.code == "bad-text"
    assert refused.value.message.startswith(f"{place}:")


@pytest.mark.parametrize(("depth", "refused"), [(MAX_DEPTH, False), (MAX_DEPTH + 1, True)])
def test_depth_limit_is_exact(depth, refused):
    content = b"[" * depth + b"]" * depth
    if refused:
        with pytest.raises(MalformedError) as problem:
            strict_json(content)
        assert problem.value.code == "too-deep"
    else:
        strict_json(content)


@pytest.mark.parametrize("text", ["\x7f", "\u3164", "\ufe0f", "\u202e", "\\u007f", "\\u3164", "\\n"])
def test_bad_character_is_refused_in_either_spelling(text):
    with pytest.raises(MalformedError) as refused:
        strict_json(f'{{"a":"{text}"}}'.encode())
    assert refused.value.code == "bad-text"
