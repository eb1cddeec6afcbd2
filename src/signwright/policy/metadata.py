# SPDX-License-Identifier: Apache-2.0
"""Metadata limits: what an artifact may say of itself (product, publisher, version), compared with its rule.

Only who reads the artifact can compare: the client, so that nobody waits for a refusal, and the gate, whose word
counts.
The keyholder never sees an artifact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from signwright.model.operation import Parameter
from signwright.policy.documents import ArtifactConfiguration, ArtifactRule, Inside
from signwright.policy.rules.reason import Reason


def artifact_rule(configuration: ArtifactConfiguration, name: str, form: str) -> ArtifactRule | None:
    """The rule for a file of this name and format, the first that fits."""
    fits = (rule for rule in configuration.rules if rule.format == form and fnmatchcase(name, rule.name))
    return next(fits, None)


def metadata_problems(rule: Inside | None, name: str, facts: Mapping[str, Parameter]) -> Iterator[Reason]:
    """Every limit of the rule that the facts of file or member ``name`` do not keep.

    ``facts``: of the format that prepared it; a fact that is not there keeps no limit.
    """
    for fact, patterns in sorted(rule.metadata.items()) if rule else ():
        found = _text(facts.get(fact))
        if found is None or not any(fnmatchcase(found, pattern) for pattern in patterns):
            words = f"{name!r}: {fact} is {found!r}" if found is not None else f"{name!r}: it has no {fact}"
            yield Reason("metadata", "deny", words, f"one of {', '.join(map(repr, patterns))}", "submitter")


def _text(value: Parameter | None) -> str | None:
    """As a policy writes it: truth as ``true`` and ``false``."""
    return str(value).lower() if isinstance(value, bool) else None if value is None else str(value)
