# SPDX-License-Identifier: Apache-2.0
"""Every statement, policy document, leaf and bundle refuses every input that is wrong in one place, with our errors."""

from __future__ import annotations

import pytest

from tests.support.bad_input import bytes_mutations, mutations
from tests.support.samples import Sample, samples

SAMPLES = samples()


def complaint(sample: Sample, what: str, content: bytes, *, sound: bool) -> str | None:
    """What is wrong about the reader's answer; None when it is right. ``sound``: it may accept."""
    try:
        sample.read(content)
    except sample.errors:
        return None
    except Exception as problem:  # noqa: BLE001  # whatever it is, it is no refusal of ours
        return f"{what}: {type(problem).__name__}: {str(problem)[:200]}"
    return None if sound else f"{what}: accepted"


@pytest.mark.parametrize("name", SAMPLES)
def test_the_sample_itself_is_accepted(name):
    sample = SAMPLES[name]
    sample.read(sample.content)
    assert sample.schema.fits(sample.value)


@pytest.mark.parametrize("name", SAMPLES)
def test_whatever_is_wrong_about_one_place_is_refused(name):
    sample = SAMPLES[name]
    tried, wrong = 0, []
    for bad in mutations(sample.value):
        tried += 1
        sound = bad.sound and sample.schema.fits(bad.value)
        found = complaint(sample, bad.what, bad.content, sound=sound)
        wrong += [found] if found else []
    assert not wrong, "\n".join(wrong[:20])
    assert tried > 150


@pytest.mark.parametrize("name", SAMPLES)
def test_a_cut_at_each_byte_and_wrong_bytes_are_refused(name):
    sample = SAMPLES[name]
    found = [complaint(sample, what, content, sound=False) for what, content in bytes_mutations(sample.content)]
    wrong = [one for one in found if one]
    assert not wrong, "\n".join(wrong[:20])
    assert len(found) > len(sample.content)


@pytest.mark.parametrize("name", SAMPLES)
def test_more_than_the_limit_is_refused_for_its_size(name):
    sample = SAMPLES[name]
    content = sample.content.rstrip() + b" " * sample.limit
    assert "LimitError" in str(complaint_of_size(sample, content))


def complaint_of_size(sample: Sample, content: bytes) -> str:
    try:
        sample.read(content)
    except sample.errors as problem:
        return type(problem).__name__
    return "accepted"
