# SPDX-License-Identifier: Apache-2.0
"""The YAML that ``init`` writes: the first policy, with the comments that a keeper needs to change it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from signwright.formats.base import Format
from signwright.formats.registry import FORMATS
from signwright.model.times import format_time
from signwright.policy.documents import Key, NamedException, Services
from signwright.policy.following import ONLINE_MINUTES

HEAD = "# Read `signwright policy check`, `diff` and `apply` before and after a change. Unknown names are errors.\n"

ORGANISATION = """\
# Who we are, what no project may go below, and what we do without.
{head}name: {name}

# How old the newest word may be that nothing was revoked (`signwright freshness renew`) when a release is signed.
# 168 hours only where one user on one machine does everything (profile 0); 24 at most elsewhere.
freshness_hours: {hours}

# Minimums for every signing policy of kind "release".
release:
  approvals: 2                 # people in all
  scan_max_age_hours: 24
  approval_max_age_hours: 72
  retention_days: 365

# Each switch has an owner, a reason and an end; it stands on every receipt that leans on it, and `doctor` lists it.
# Names: local-witness, local-timestamp, digest-mode, no-scan, no-timestamp. Scope: project/policy, or "*".
{exceptions}"""

SERVICES = """\
# The services whose signatures count. Addresses are no policy: they stand in settings/courier.toml.
{head}log:
  origin: {origin}
  key: {log_key}               # C2SP verifier key of the log

# outside: true means another operator, off this machine. A release without one leans on exception "local-witness".
witnesses:
{witnesses}
# How many cosignatures an intent needs before the key may be used. window_minutes: how far they and the clocks may lie
# apart; more than 5 only across an air gap, where people carry them.
quorum:
  outside: 0
  local: 1
{window}
# In the order in which they are asked; anchors are base64 DER of the roots that their tokens must lead to.
timestamp_authorities:
{authorities}
scanners:
{scanners}
gate_key: {gate_key}
receipt_keys:
{receipt_keys}"""

PEOPLE = """\
# Who may approve. Keys are lines of OpenSSH public keys (ssh-ed25519, ecdsa-sha2-nistp256 and their sk- forms).
# To enrol somebody: signwright people add, or copy their line here; then signwright policy apply.
{head}people:
{people}"""

CREDENTIALS = """\
# Machines that may submit. `signwright credential new` makes one on the client and prints its public line.
# A test credential never submits to a release policy. person: whose machine it is; they cannot approve its requests.
{head}credentials:
{credentials}"""

KEYS = """\
# Signing keys. Where each of them really is stands in settings/signer.toml. One key has one kind and one family.
# protection: software (a file), claimed (a token says that the key cannot leave it), attested.
{head}keys:
{keys}"""

PROJECT_HEAD = """\
# Project "default": what may be signed, with which key, asked by whom, approved by how many.
{head}description: "made by signwright init"

# What a request may consist of. name is a shell pattern over file names.
artifact_configurations:
  programs:
    rules:
{programs}  files:
    rules:
      - name: "*"
        format: cms
  values:
    rules:
      - name: "*"
        format: raw

signing_policies:
"""

#: What the keys of a ``cms`` family made by ``init`` sign.
PURPOSES = tuple(dict.fromkeys(one.purpose for one in FORMATS.values() if one.purpose not in ("raw", "")))


def _formats(configuration: str) -> list[Format]:
    """Those that carry their signature inside, or the one that signs any file, or any value."""
    lone = {"files": "cms", "values": "raw"}.get(configuration)
    return [one for one in FORMATS.values() if (one.name == lone if lone else not one.detached_suffix and one.purpose)]


@dataclass(frozen=True, slots=True)
class Submitter:
    """A credential in the first policy."""

    key_id: str
    public_key: str
    kind: str
    description: str


def organisation_yaml(name: str, exceptions: Sequence[NamedException], *, freshness_hours: int) -> str:
    rows = "".join(
        f"  - name: {e.name}\n    scope: {q(e.scope)}\n    owner: {q(e.owner)}\n"
        f"    reason: {q(e.reason)}\n    expires: {e.expires}\n"
        for e in exceptions
    )
    listed = f"exceptions:\n{rows}" if rows else "exceptions: []\n"
    return ORGANISATION.format(head=HEAD, name=q(name), exceptions=listed, hours=freshness_hours)


def local_exceptions(owner: str, *, now: datetime, days: int) -> list[NamedException]:
    """What one machine that does everything does without."""
    expires = format_time(now + timedelta(days=days))
    why = {
        "local-witness": "no witness of another operator is set up yet; the one on this machine cosigns",
        "local-timestamp": "no outside timestamp authority is set up yet; the built-in one stamps",
    }
    return [
        NamedException(name=name, scope="*", owner=owner, reason=reason, expires=expires)  # type: ignore[arg-type]
        for name, reason in why.items()
    ]


def services_yaml(services: Services) -> str:
    witnesses = "".join(
        f"  - name: {w.name}\n    key: {q(w.key)}\n    operator: {q(w.operator)}\n    outside: {_bool(w.outside)}\n"
        for w in services.witnesses
    )
    authorities = "".join(
        f"  - name: {a.name}\n    outside: {_bool(a.outside)}\n    anchors:\n{_items(a.anchors, 6)}"
        for a in services.timestamp_authorities
    )
    scanners = "".join(f"  - name: {s.name}\n    public_key: {q(s.public_key)}\n" for s in services.scanners)
    minutes = services.quorum.window_minutes
    return SERVICES.format(
        window=f"  window_minutes: {minutes}\n" if minutes != ONLINE_MINUTES else "",
        head=HEAD,
        origin=q(services.log.origin),
        log_key=q(services.log.key),
        witnesses=witnesses,
        authorities=authorities,
        scanners=scanners,
        gate_key=q(services.gate_key),
        receipt_keys=_items(services.receipt_keys, 2),
    )


def people_yaml(people: Mapping[str, str]) -> str:
    """``people``: name → public key line; all of them in group ``release``."""
    rows = "".join(
        f"  {name}:\n    groups: [release]\n    keys:\n      - {q(line)}\n" for name, line in sorted(people.items())
    )
    return PEOPLE.format(head=HEAD, people=rows)


def credentials_yaml(submitters: Iterable[Submitter]) -> str:
    rows = "".join(
        f"  {s.key_id}:\n    public_key: {q(s.public_key)}\n    kind: {s.kind}\n    description: {q(s.description)}\n"
        for s in submitters
    )
    return CREDENTIALS.format(head=HEAD, credentials=rows)


def keys_yaml(keys: Mapping[str, Key]) -> str:
    rows = ""
    for name, key in sorted(keys.items()):
        rows += f"  {name}:\n    kind: {key.kind}\n    family: {key.family}\n"
        rows += f"    purposes: [{', '.join(key.purposes)}]\n    protection: {key.protection}\n"
        rows += f"    public_key: {q(key.public_key)}      # DER SubjectPublicKeyInfo\n"
        rows += f"    chain:                             # DER, leaf first\n{_items(key.chain, 6)}" if key.chain else ""
    return KEYS.format(head=HEAD, keys=rows)


def project_yaml(*, test: str, release: str) -> str:
    """``test``, ``release``: KeyIds of the submitters."""
    rows = [(names, one.name) for one in _formats("programs") for names in one.file_names]
    rows.sort(key=lambda row: row[0] == "*")  # what a name tells comes before what the content must tell
    programs = "".join(f"      - name: {q(names)}\n        format: {form}\n" for names, form in rows)
    return PROJECT_HEAD.format(head=HEAD, programs=programs) + "".join(
        (
            _rule("test", "programs", test, "Windows programs with a certificate that nobody outside trusts, at once"),
            _rule("release", "programs", release, "Windows programs for your users: scanned, approved by two people"),
            _rule("test-file", "files", test, "any file, detached CMS signature (FILE.p7s), for tests"),
            _rule("release-file", "files", release, "any file, detached CMS signature, for your users"),
            _rule("test-raw", "values", test, "the bare signature value over a file's digest, for tests"),
        )
    )


def _rule(name: str, configuration: str, submitter: str, words: str) -> str:
    kind = "release" if name.startswith("release") else "test"
    key = "test-raw" if name == "test-raw" else kind
    lines = [
        f"  # {words}.",
        f"  {name}:",
        f"    kind: {kind}",
        f"    key: {key}",
        f"    artifact_configuration: {configuration}",
        f"    submitters: [{submitter}]",
    ]
    if kind == "release":
        lines += [
            "    modes: [artifact]",
            "    approvals:",
            "      required: 2",
            "      eligible: [release]",
            "    scan:",
            "      required: true",
        ]
    else:
        lines += ["    modes: [artifact, digest]       # digest: the file stays with the client", "    scan:"]
        lines += ["      required: false"]
    lines.append(f"    timestamp: {'none' if name == 'test-raw' else 'required'}")
    lines.append("    options:")
    for option in dict.fromkeys(name for one in _formats(configuration) for name in one.options.model_fields):
        lines += [f"      {option}:", "        any: true"]
    return "\n".join(lines) + "\n"


def q(text: str) -> str:
    """A YAML string in double quotes: JSON's form is one."""
    return json.dumps(text, ensure_ascii=False)


def _items(texts: Iterable[str], indent: int) -> str:
    return "".join(f"{' ' * indent}- {q(text)}\n" for text in texts)


def _bool(value: bool) -> str:
    return "true" if value else "false"
