# SPDX-License-Identifier: Apache-2.0
"""Archives whose members are signed: what the policy does not name is not signed, what it wants to stay stays, and a
worker that a member took over cannot make another archive of it.
"""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from signwright.formats.registry import FORMATS
from signwright.model.digest import sha256_hex
from signwright.model.patch import Patch, Patched
from signwright.model.view import BytesView
from signwright.policy import documents as d
from signwright.policy.documents import Inside
from signwright.readers.registry import READERS
from signwright.signer.worker.pool import WorkerPool
from signwright.statements.models import Request, RequestedArtifact, parse_statement
from tests.support.deep import inside, kept, prepared, signed
from tests.support.gates import GateSite, organisation, sha256, taking
from tests.support.pe_builder import Pe
from tests.support.pki import Identity
from tests.support.signed_files import identity, sign
from tests.support.zip_builder import Zip

PROGRAM = Pe(overlay=b"ours").build()
VENDOR = sign(FORMATS["pe"], Pe(overlay=b"theirs").build(), identity("rsa2048"))
LISTED = [sha256_hex(identity("rsa2048").chain[0])]
VERIFIED = {"path": "vendor.dll", "action": "verify", "signers": LISTED, "min": 1}
RULES = inside(signed("*.exe", "pe", min=1), VERIFIED, kept("*.txt"))
FILES = {"a.exe": PROGRAM, "vendor.dll": VENDOR, "readme.txt": b"read me"}


def archive(comment: bytes = b"", **members: bytes) -> bytes:
    """The files, with others in their place (``a_exe`` is ``a.exe``)."""
    changed = {name.replace("_", "."): content for name, content in members.items()}
    return Zip(tuple({**FILES, **changed}.items()), comment=comment).build()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[GateSite]:
    rule = d.ArtifactRule(name="*.zip", format="zip", members=RULES.members)
    made = GateSite(tmp_path, world=taking(organisation(), rule, modes=("artifact",)))
    yield made
    made.close()


def asked(
    site: GateSite, pool: WorkerPool, content: bytes, rule: Inside = RULES
) -> tuple[str, str, int, dict[str, bytes] | None]:
    """Outcome, code, uses of the key, and the members of the result. ``rule``: what the client went by."""
    test_key: Identity = site.keyholder.identities["test"]
    made = prepared(content, rule, test_key)
    artifact = RequestedArtifact(size=len(content), format="zip", operations=made.operations)
    request = site.world.request("test", files={"release.zip": content}, artifacts=[artifact])
    digest = parse_statement(request, Request).digest

    async def scenario() -> tuple[str, str, int, dict[str, bytes] | None]:
        async with site.run(pool) as (gate, courier):
            courier.blobs[sha256(content)] = content
            answer = await courier.sign(request)
            outcome, code = str(answer.message["outcome"]), str(answer.message.get("code"))
            if outcome != "signed":
                assert answer.message["artifacts"] == []
                assert (gate.parts.state.last_attempt(digest) == 0) == (site.keyholder.operations == 0)
                return outcome, code, site.keyholder.operations, None
            (row,) = answer.message["artifacts"]  # type: ignore[misc]
            patched = Patched(BytesView(content), Patch.decode(answer.parts[row["patch"]]))
            return outcome, code, site.keyholder.operations, opened(patched.read(0, patched.size))

    return asyncio.run(scenario())


def opened(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as found:
        return {name: found.read(name) for name in found.namelist()}


def test_archive_as_the_policy_wants_it_is_signed_inside(site: GateSite, pool: WorkerPool) -> None:
    outcome, code, operations, result = asked(site, pool, archive())
    assert (outcome, operations) == ("signed", 1), code
    assert result is not None
    assert len(READERS["pe"].read(BytesView(result["a.exe"])).signatures) == 1
    assert (result["vendor.dll"], result["readme.txt"]) == (VENDOR, FILES["readme.txt"])


LOOSE = inside(signed("*.exe", "pe"), kept())


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"stray_bin": b"x"}, id="a-member-that-no-rule-names"),
        pytest.param({"vendor_dll": Pe(overlay=b"theirs").build()}, id="vendor-unsigned"),
        pytest.param({"vendor_dll": VENDOR[:-4] + b"\0\0\0\1"}, id="vendor-broken"),
        pytest.param({"vendor_dll": sign(FORMATS["pe"], PROGRAM)}, id="vendor-of-another-signer"),
        pytest.param({"b_exe": sign(FORMATS["pe"], PROGRAM)}, id="signed-by-somebody"),
    ],
)
def test_client_that_goes_by_looser_rules_is_refused_before_an_attempt(
    site: GateSite, pool: WorkerPool, members: dict[str, bytes]
) -> None:
    loose = inside(signed("a.exe", "pe"), kept()) if "b_exe" in members else LOOSE
    assert asked(site, pool, archive(**members), loose)[:3] == ("denied", "members", 0)


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (inside(signed("a.exe", "pe"), kept()), "wrong-operations"),
        (inside(signed("*.exe", "pe", options={"digest": "sha384"}), kept()), "wrong-operations"),
        (inside(signed("*", "pe", existing="append"), unlisted="keep"), "wrong-operations"),
    ],
)
def test_operations_of_other_rules_than_the_policy_has_are_refused(
    site: GateSite, pool: WorkerPool, rule: Inside, code: str
) -> None:
    members: dict[str, Any] = {"b_exe": Pe(overlay=b"more").build()}
    if rule.unlisted == "keep":
        content = Zip((("a.exe", PROGRAM), ("vendor.dll", VENDOR))).build()
        rule = inside(signed("*.exe", "pe"), signed("vendor.dll", "pe", existing="append"))
    else:
        content = archive(**members)
    outcome, found, operations, _ = asked(site, pool, content, rule)
    assert (outcome, found, operations) == ("denied", code, 0)


@pytest.mark.parametrize(
    ("lie", "outcome", "code", "operations"),
    [
        ("other-operation", "denied", "wrong-operations", 0),
        ("other-member", "denied", "wrong-operations", 0),
        ("other-outer", "denied", "wrong-operations", 0),
        ("kept-changed", "failed", "strip-test", 1),
        ("member-added", "failed", "strip-test", 1),
        ("member-gone", "failed", "strip-test", 1),
        ("vendor-unsigned", "failed", "result-mismatch", 1),
        ("vendor-by-us", "failed", "strip-test", 1),
        ("vendor-touched", "failed", "kept-members", 1),
        ("vendor-packed-anew", "failed", "kept-members", 1),
        ("other-place", "failed", "result-mismatch", 1),
        ("one-more", "failed", "result-mismatch", 1),
    ],
)
def test_worker_that_a_member_took_over_makes_no_other_archive(
    site: GateSite, lying_pool: WorkerPool, lie: str, outcome: str, code: str, operations: int
) -> None:
    content = archive(comment=b"lie:" + lie.encode() + b";")
    assert asked(site, lying_pool, content)[:3] == (outcome, code, operations)


def test_archive_that_takes_nothing_over_is_signed(site: GateSite, lying_pool: WorkerPool) -> None:
    assert asked(site, lying_pool, archive(comment=b"lie:none;"))[0] == "signed"
