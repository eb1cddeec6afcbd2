# SPDX-License-Identifier: Apache-2.0
"""What differs between two policies, and whether somebody may do more by it. `signwright.policy.changes` has the words.

Documents are compared field by field, so that nothing can be left out: a field that no row of the table below knows
is reported by its name, as one to look at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from signwright.errors import MalformedError
from signwright.model.operation import Strict
from signwright.policy.documents import DOCUMENTS
from signwright.policy.policy import Policy
from signwright.statements.keys import verifying_key

#: ``weaker``: somebody may do more, or less is demanded; ``stronger``: the reverse; ``other``: look at it.
Effect = Literal["weaker", "stronger", "other"]
Documents = Mapping[str, Strict]


@dataclass(frozen=True, slots=True)
class Difference:
    """``where``: the document and the field; ``words``: what it is about, "" where nobody knows; ``old``, ``new``: its
    values, `ABSENT` for none.
    """

    where: str
    effect: Effect
    words: str
    old: object
    new: object


_FILES = r"projects/[^:]+:artifact_configurations\.([^.]+)"
_RULE = r"projects/[^:]+:signing_policies\.([^.]+)"
#: (pattern over ``document:field.field…``, what a new entry or a higher number means, words for it).
#: ``{0}``, ``{1}``: names caught by the pattern. A removed entry or a lower number means the reverse.
_TABLE: tuple[tuple[str, Effect, str], ...] = (
    (r"people:people\.([^.]+)", "weaker", "{0} may approve"),
    (r"people:people\.([^.]+)\.groups\[(.+)\]", "weaker", "{0} in group {1}"),
    (r"people:people\.([^.]+)\.keys\[(.+)\]", "weaker", "{0} signs with key {1}"),
    (r"people:people\.([^.]+)\.disabled", "stronger", "{0} is disabled"),
    (r"credentials:credentials\.([^.]+)", "weaker", "credential {0} may be used"),
    (r"credentials:credentials\.([^.]+)\.disabled", "stronger", "credential {0} is disabled"),
    (r"keys:keys\.([^.]+)", "weaker", "signing key {0}"),
    (r"keys:keys\.([^.]+)\.purposes\[(.+)\]", "weaker", "key {0} serves purpose {1}"),
    (r"keys:keys\.([^.]+)\.disabled", "stronger", "key {0} is disabled"),
    (_RULE, "weaker", "signing policy {0}"),
    (_RULE + r"\.submitters\[(.+)\]", "weaker", "credential {1} may submit to {0}"),
    (_RULE + r"\.modes\[(.+)\]", "weaker", "{0} takes {1} mode"),
    (_RULE + r"\.options\.([^.]+)", "weaker", "{0} lets the submitter choose {1}"),
    (_RULE + r"\.options\.([^.]+)\.values\[(.+)\]", "weaker", "{0} takes option {1} = {2}"),
    (_RULE + r"\.options\.([^.]+)\.any", "weaker", "{0} takes any {1}"),
    (_RULE + r"\.approvals\.required", "stronger", "approvals for {0}"),
    (_RULE + r"\.approvals\.groups\.([^.]+)", "stronger", "of group {1} for {0}"),
    (_RULE + r"\.approvals\.eligible\[(.+)\]", "weaker", "group {1} may approve {0}"),
    (_RULE + r"\.approvals\.exclude_submitter", "stronger", "the submitter of {0} cannot approve"),
    (_RULE + r"\.approvals\.max_age_hours", "weaker", "hours an approval of {0} holds"),
    (_RULE + r"\.scan\.required", "stronger", "{0} demands a scan"),
    (_RULE + r"\.scan\.max_age_hours", "weaker", "hours a scan for {0} holds"),
    (_RULE + r"\.max_request_age_hours", "weaker", "hours a request to {0} holds"),
    (_RULE + r"\.retention_days", "stronger", "days that {0} keeps its files"),
    (_RULE + r"\.hold", "stronger", "{0} waits for a release by"),
    (_FILES + r"\.rules\[(.+)\]\.metadata\.([^.]+)\[(.+)\]", "weaker", "{0} takes {2} = {3} of {1}"),
    (_FILES + r"\.rules\[(.+)\]\.metadata\.([^.]+)", "stronger", "{0} limits {2} of {1}"),
    (_FILES, "weaker", "artifact configuration {0}"),
    (_FILES + r"\.rules\[(.+)\]", "other", "{0} takes files {1}"),
    (_FILES + r"\.max_size", "weaker", "largest file of {0} in bytes"),
    (r"organisation:live", "stronger", "weakening changes wait"),
    (r"organisation:weakening_delay_hours", "stronger", "hours that a weakening change waits"),
    (r"organisation:freshness_hours", "weaker", "hours that a freshness statement holds"),
    (r"policy-root:(root|policy|freshness)\.threshold", "stronger", "{0} keepers who must sign"),
    (r"policy-root:(root|policy|freshness)\.keys\[(.+)\]", "weaker", "key {1} is a {0} keeper's"),
    (r"policy-root:panic\.keys\[(.+)\]", "stronger", "key {0} may halt"),
    (r"services:quorum\.window_minutes", "weaker", "minutes that clocks may lie apart"),
    (r"organisation:release\.(approvals|retention_days)", "stronger", "organisation minimum for {0} of a release"),
    (r"organisation:release\.(.+_hours)", "weaker", "organisation maximum for {0} of a release"),
    (r"organisation:exceptions\[(.+)\]", "weaker", "exception {0}"),
    (r"services:quorum\.(outside|local)", "stronger", "cosignatures of {0} witnesses"),
    (r"services:scanners\[(.+)\]", "weaker", "verdicts of scanner {0} count"),
    (r"services:witnesses\[(.+)\]", "weaker", "cosignatures of witness {0} count"),
    (r"services:timestamp_authorities\[(.+)\]", "weaker", "timestamps of {0} count"),
    (r"services:receipt_keys\[(.+)\]", "weaker", "receipts signed by {0} count"),
)
#: Differences that nobody can gain by. That a document as a whole came or went is told again by each of its fields.
_HARMLESS = re.compile(
    r"^(?:policy-root: (?:version|created|expires)|organisation: (?:name|exceptions\[[^:]+\]\.(?:owner|reason))"
    r"|credentials: credentials\.[^.]+\.description|projects/[^:]+: description|[a-z]+/[^:]+|"
    r"services: (?:timestamp_authorities|witnesses|scanners|receipt_keys))$"
)
#: Fields where nothing (null) means: without limit.
_LIMITS = re.compile(r"(projects/[^:]+:signing_policies|keys:keys)\.('[^']+'|[^.']+)\.max_per_day")
_ORDERED = {
    "protection": ("software", "claimed", "attested"),
    "timestamp": ("none", "required"),
    "unlisted": ("keep", "refuse"),
    "derived": ("allow", "refuse"),
}
#: What stands for words where a difference is of another kind than its field.
DOCUMENT, ELIGIBLE, ORDER, LIMIT = "document", "eligible", "in another order", "in 24 h"
_REVERSE: dict[Effect, Effect] = {"weaker": "stronger", "stronger": "weaker", "other": "other"}
ABSENT = object()


def differences(old: Documents, new: Documents) -> Iterator[Difference]:
    """Between two sets of documents (``organisation``, ``people``, …, ``projects/<name>``)."""
    for name in sorted({*old, *new}):
        before = old[name].model_dump(mode="json") if name in old else ABSENT
        after = new[name].model_dump(mode="json") if name in new else ABSENT
        if ABSENT in (before, after):
            yield Difference(name, "other", DOCUMENT, before, after)
        yield from _fields(name, "", {} if before is ABSENT else before, {} if after is ABSENT else after)


def documents_of(policy: Policy) -> dict[str, Strict]:
    """Name → document, as `signwright.policy.write.draft_policy` takes them."""
    fixed = {name: getattr(policy, name) for name in DOCUMENTS}
    return fixed | {f"projects/{name}": project for name, project in policy.projects.items()}


def compared(policy: Policy) -> dict[str, Strict]:
    """Everything in which two policies can differ: their documents, and the policy root."""
    return {**documents_of(policy), "policy-root": policy.root}


def waiting_parts(old: Policy, new: Policy) -> tuple[str, ...]:
    """In which kinds of document something became weaker, or may have: words for a log leaf, which names no person or
    project. What nobody can place counts as weaker, because whoever takes a policy over would hide there.
    """
    found = differences(compared(old), compared(new))
    waits = (d.where for d in found if d.effect == "weaker" or (d.effect == "other" and not _HARMLESS.search(d.where)))
    return tuple(sorted({re.split("[:/]", where)[0] for where in waits}))


def _fields(document: str, path: str, old: object, new: object) -> Iterator[Difference]:
    if repr(old) == repr(new):  # 1 is no True, also within a list
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            step = f"'{name}'" if "." in name else name  # so that nobody's name reads like a field
            below = f"{path}.{step}" if path else step
            yield from _fields(document, below, old.get(name, ABSENT), new.get(name, ABSENT))
    elif isinstance(old, list) and isinstance(new, list):
        yield from _lists(document, path, old, new)
    elif old is ABSENT and isinstance(new, dict) and not _known(document, path):
        yield from _fields(document, path, {}, new)
    elif new is ABSENT and isinstance(old, dict) and not _known(document, path):
        yield from _fields(document, path, old, {})
    else:
        yield _value(document, path, old, new)


def _lists(document: str, path: str, old: list[object], new: list[object]) -> Iterator[Difference]:
    """Entries that came and went. No entry in ``eligible`` means everybody, so the first one takes leave away."""
    before, after = ({_label(row): row for row in rows} for rows in (old, new))
    if path.endswith(".eligible") and bool(old) != bool(new):
        yield Difference(f"{document}: {path}", "stronger" if new else "weaker", ELIGIBLE, [*before], [*after])
        return
    if len(before) < len(old) or len(after) < len(new):  # one of two of the same name would go unseen
        yield Difference(f"{document}: {path}[]", "other", "", old, new)
        return
    for label in sorted({*before, *after}):
        yield from _fields(document, f"{path}[{label}]", before.get(label, ABSENT), after.get(label, ABSENT))
    if [row for row in before if row in after] != [row for row in after if row in before]:
        yield Difference(f"{document}: {path}", "other", ORDER, [*before], [*after])


def _label(row: object) -> str:
    """What an entry of a list is called: its name (with what else tells it apart), or its value."""
    if isinstance(row, dict):
        rest = [str(row[name]) for name in ("scope", "format") if name in row]
        return " ".join([str(row.get("name", row.get("path", row))), *rest])
    try:
        return verifying_key(str(row)).key_id
    except MalformedError:
        return str(row)


def _known(document: str, path: str) -> tuple[Effect, str] | None:
    for pattern, effect, words in _TABLE:
        match = re.fullmatch(pattern.replace("[^.]+", "'[^']+'|[^.']+"), f"{document}:{path}")
        if match:
            return effect, words.format(*match.groups())
    return None


def _value(document: str, path: str, old: object, new: object) -> Difference:
    where, field = f"{document}: {path}", path.rpartition(".")[2]
    if _LIMITS.fullmatch(f"{document}:{path}"):
        return Difference(where, "weaker" if _limit(new) > _limit(old) else "stronger", LIMIT, old, new)
    if field in _ORDERED and old in _ORDERED[field] and new in _ORDERED[field]:
        less = _ORDERED[field].index(str(new)) < _ORDERED[field].index(str(old))
        return Difference(where, "weaker" if less else "stronger", "", old, new)
    effect, words = _known(document, path) or ("other", "")
    if amount(old) == amount(new) or (path.endswith("]") and ABSENT not in (old, new)):
        effect = "other"
    elif amount(old) > amount(new):
        effect = _REVERSE[effect]
    return Difference(where, effect, words, old, new)


def amount(value: object) -> int:
    """How much of it there is: nothing is 0, an entry or a text is 1."""
    if isinstance(value, int):
        return int(value)
    return 0 if value is ABSENT or value is None else 1


def _limit(value: object) -> float:
    return value if isinstance(value, int) else float("inf")
