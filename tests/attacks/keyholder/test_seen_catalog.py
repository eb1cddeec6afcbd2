# SPDX-License-Identifier: Apache-2.0
"""A catalog vouches for the files in it: a hostile gate hands over none, another one, or something that is none."""

from __future__ import annotations

import hashlib
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import pytest

from signwright.envelopes import der
from signwright.envelopes.templates import TEMPLATES
from signwright.errors import MalformedError
from signwright.model.operation import Operation
from signwright.statements.models import RequestedArtifact
from tests.attacks.keyholder.test_hostile_gate import Keyholder, honest, keyholder
from tests.support.pki import default_pki

__all__ = ["keyholder"]

CATALOG_LIST, MEMBERS_1, MEMBERS_2 = (f"1.3.6.1.4.1.311.12.1.{n}" for n in (1, 2, 3))
NAME_VALUE = "1.3.6.1.4.1.311.12.2.1"
KIND = der.sequence(der.oid("1.3.6.1.4.1.311.12.2.3"), der.set_of([der.implicit(2, b"")]))
MEMBER = der.sequence(der.octet_string(b"\x11" * 32), der.set_of([KIND]))


def octets(
    *,
    usage: bytes = der.oid(CATALOG_LIST),
    algorithm: bytes = der.oid(MEMBERS_2) + der.NULL,
    members: bytes = MEMBER,
    behind: bytes = b"",
    when: bytes = der.time(datetime(2026, 11, 21, tzinfo=UTC)),
) -> bytes:
    """Content octets of a list."""
    head = der.sequence(usage) + der.octet_string(b"\x22" * 16) + when
    return head + der.sequence(algorithm) + der.sequence(members) + behind


def extensions(*listed: bytes) -> bytes:
    return der.explicit(0, der.sequence(*listed))


CATALOG = octets(behind=extensions(der.sequence(der.oid(NAME_VALUE), der.octet_string(b"value"))))


def operation(content: bytes) -> Operation:
    return Operation(template="authenticode-catalog", digest="sha256:" + hashlib.sha256(content).hexdigest())


def ordered(held: Keyholder, content: bytes, *contents: bytes, form: str = "catalog") -> dict[str, Any]:
    """The answer to an order for ``content``, approved as such, that ``contents`` came along with."""
    artifact = RequestedArtifact(size=8, format=form, operations=(operation(content),))
    request = held.signer.world.request(files={"a.cat": b"artifact"}, artifacts=[artifact])
    return held.ask(*honest(held.signer, request=request, contents=contents))[0]


def test_catalog_that_was_seen_is_signed(keyholder: Keyholder) -> None:
    assert ordered(keyholder, CATALOG, CATALOG)["ok"] is True
    assert keyholder.operations == 1


@pytest.mark.parametrize(
    ("content", "contents", "code"),
    [
        (CATALOG, (), "wrong-content"),
        (CATALOG, (octets(),), "wrong-content"),
        (CATALOG, (CATALOG, CATALOG), "wrong-content"),
        (CATALOG, (der.sequence(CATALOG),), "wrong-content"),
        (b"any file", (b"any file",), "bad-der"),
        (der.sequence(CATALOG), (der.sequence(CATALOG),), "other-purpose"),
        (b"", (b"",), "other-purpose"),
    ],
    ids=["none", "another", "one-more", "with-its-tag", "a-file", "with-its-tag-approved", "nothing"],
)
def test_catalog_that_was_not_seen_gets_no_key(
    keyholder: Keyholder, content: bytes, contents: tuple[bytes, ...], code: str
) -> None:
    answer = ordered(keyholder, content, *contents)
    assert (answer["ok"], answer["code"]) == (False, code)
    assert keyholder.operations == 0


def test_catalog_as_a_program_is_refused(keyholder: Keyholder) -> None:
    """Who may sign programs under a policy may not sign a list of other people's."""
    answer = ordered(keyholder, CATALOG, CATALOG, form="pe")
    assert answer["ok"] is False
    assert keyholder.operations == 0


@pytest.mark.parametrize(
    "content",
    [
        octets(usage=der.oid("1.3.6.1.4.1.311.10.3.9")),
        octets(usage=der.oid(CATALOG_LIST) + der.oid("1.3.6.1.4.1.311.10.3.9")),
        octets(usage=b""),
        octets(algorithm=der.oid("2.16.840.1.101.3.4.2.1") + der.NULL),
        octets(algorithm=der.oid(MEMBERS_2)),
        octets(algorithm=der.oid(CATALOG_LIST) + der.NULL),
        octets(members=b""),
        octets(members=der.octet_string(b"\x11" * 32)),
        octets(members=der.sequence(der.octet_string(b"\x11" * 32))),
        octets(members=der.sequence(der.octet_string(b""), der.set_of([KIND]))),
        octets(members=der.sequence(der.octet_string(b"\x11" * 32), der.sequence(KIND))),
        octets(members=der.sequence(der.octet_string(b"\x11" * 32), der.set_of([der.oid(NAME_VALUE)]))),
        octets(members=MEMBER + der.NULL),
        octets(members=der.set_of([der.octet_string(b"\x11" * 32), der.set_of([KIND])])),
        octets(when=b""),
        octets(when=der.time(datetime(2026, 1, 1, tzinfo=UTC)) * 2),
        octets(when=der.time(datetime(2050, 1, 1, tzinfo=UTC))),
        octets(behind=der.NULL),
        octets(behind=extensions() + extensions()),
        octets(behind=extensions(der.NULL)),
        octets(behind=extensions(der.sequence(der.oid(NAME_VALUE)))),
        der.integer(0) + octets(),
        octets()[14:],
    ],
    ids=[
        *("root-list", "two-usages", "no-usage", "digest-algorithm", "no-null", "usage-as-algorithm"),
        *("no-members", "a-digest", "no-attributes", "no-name", "attributes-in-sequence", "attribute-is-an-oid"),
        *("null-behind-members", "member-in-set", "no-time", "two-times", "time-after-2049"),
        *("null-behind", "two-extensions", "extension-is-null", "extension-without-value", "version", "headless"),
    ],
)
def test_what_is_no_catalog_is_not_of_the_purpose(content: bytes) -> None:
    check = TEMPLATES["authenticode-catalog"].check_content
    assert check is not None
    for good in (CATALOG, octets(), octets(algorithm=der.oid(MEMBERS_1) + der.NULL), octets(members=MEMBER * 3)):
        check(operation(good), good)
    with pytest.raises(MalformedError) as refusal:
        check(operation(content), content)
    assert refusal.value.code == "other-purpose"


@pytest.mark.parametrize(
    "content",
    [octets(members=der.NULL * 1_000_000), octets(members=der.sequence(der.NULL * 1_000_000)), der.NULL * 1_000_000],
    ids=["members", "a-member", "fields"],
)
def test_many_small_elements_take_no_more_memory_than_the_content(content: bytes) -> None:
    check = TEMPLATES["authenticode-catalog"].check_content
    assert check is not None
    tracemalloc.start()
    try:
        with pytest.raises(MalformedError):
            check(operation(content), content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(content)


@pytest.mark.parametrize("end", range(1, len(CATALOG), 7))
def test_cut_catalog_is_refused(end: int) -> None:
    check = TEMPLATES["authenticode-catalog"].check_content
    assert check is not None
    with pytest.raises(MalformedError):
        check(operation(CATALOG[:-end]), CATALOG[:-end])


def test_the_list_stands_inside_the_signature_and_its_octets_are_digested() -> None:
    identity, template = default_pki().code_signing("p256"), TEMPLATES["authenticode-catalog"]
    context, one = identity.context(), operation(CATALOG)
    signed = template.to_be_signed(one, context)
    assert hashlib.sha256(CATALOG).digest() in signed.content
    assert der.oid("1.3.6.1.4.1.311.10.1") in signed.content
    envelope = template.envelope(one, context, identity.sign(signed), None, CATALOG)
    assert der.explicit(0, der.sequence(CATALOG)) in envelope
