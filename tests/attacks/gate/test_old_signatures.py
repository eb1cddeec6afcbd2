# SPDX-License-Identifier: Apache-2.0
"""Files that come with a signature that does not hold, or is none at all: they are signed with it replaced, or refused
before the intent is logged. What can never be delivered costs no attempt and no use of the key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from signwright.formats.authenticode import write_certificates
from signwright.formats.registry import FORMATS
from signwright.model.patch import Patch, Patched
from signwright.model.view import BytesView
from signwright.policy import documents as d
from signwright.readers.registry import READERS
from signwright.signer.worker.pool import WorkerPool
from signwright.statements.models import Request, RequestedArtifact, parse_statement
from tests.support.format_samples import SAMPLES
from tests.support.gates import GateSite, organisation, sha256, taking
from tests.support.pe_builder import Pe
from tests.support.signed_files import envelope_of, identity

NAMES = ("cab", "jscript", "msi", "pe", "powershell", "vbscript", "wsf")
NO_CMS = b"this is no signature at all, but it stands where one would stand"


@pytest.fixture
def windows(tmp_path: Path) -> Iterator[GateSite]:
    """A site that signs every kind of Windows file for tests."""
    rules = (d.ArtifactRule(name="*", format=name) for name in NAMES)
    site = GateSite(tmp_path, world=taking(organisation(), *rules))
    yield site
    site.close()


def over_another_file(name: str) -> bytes:
    """A sample with a signature that was made for another file of its kind."""
    chosen, view, signer = FORMATS[name], BytesView(SAMPLES[name]()), identity()
    prepared = chosen.prepare(view, signer.chain, chosen.options())
    (operation,) = prepared.operations
    wrong = operation.model_copy(update={"digest": "sha256:" + "ab" * 32})
    result = Patched(view, chosen.embed(prepared, [envelope_of(wrong, signer)]))
    return result.read(0, result.size)


def asked(site: GateSite, pool: WorkerPool, content: bytes, name: str, existing: str) -> tuple[str, str, bytes | None]:
    """Outcome, code, and the signed file. Whatever is refused must leave log, attempts and key as they were."""
    chosen = FORMATS[name]
    chain = site.keyholder.identities["test"].chain
    options = {"existing": existing}
    prepared = chosen.prepare(BytesView(content), chain, chosen.options.model_validate(options))
    artifact = RequestedArtifact(size=len(content), format=name, options=options, operations=prepared.operations)
    request = site.world.request("test", files={f"a.{name}": content}, artifacts=[artifact])
    digest = parse_statement(request, Request).digest

    async def scenario() -> tuple[str, str, bytes | None]:
        async with site.run(pool) as (gate, courier):
            courier.blobs[sha256(content)] = content
            before = gate.parts.log.size
            answer = await courier.sign(request)
            outcome, code = str(answer.message["outcome"]), str(answer.message.get("code"))
            if outcome != "signed":
                assert site.keyholder.operations == 0
                assert gate.parts.state.last_attempt(digest) == 0
                assert gate.parts.log.size == before
                return outcome, code, None
            (row,) = answer.message["artifacts"]  # type: ignore[misc]
            patched = Patched(BytesView(content), Patch.decode(answer.parts[row["patch"]]))
            return outcome, code, patched.read(0, patched.size)

    return asyncio.run(scenario())


@pytest.mark.parametrize("name", NAMES)
def test_signature_of_another_file_is_replaced(windows: GateSite, pool: WorkerPool, name: str) -> None:
    outcome, code, result = asked(windows, pool, over_another_file(name), name, "replace")
    assert outcome == "signed", code
    assert result is not None
    assert len(READERS[name].read(BytesView(result)).signatures) == 1


@pytest.mark.parametrize("name", ["cab", "msi", "pe"])
def test_signature_of_another_file_that_is_to_be_kept_is_refused_before_an_attempt(
    windows: GateSite, pool: WorkerPool, name: str
) -> None:
    assert asked(windows, pool, over_another_file(name), name, "append")[:2] == ("failed", "digest-mismatch")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("pe", Pe(table=write_certificates([NO_CMS])).build(), id="pe"),
        pytest.param("pe", Pe(table=b"\x10\0\0\0\0\x02\xf1\x0eguid\0\0\0\0").build(), id="pe-entry-of-another-kind"),
        pytest.param("pe", Pe(table=b"\xff" * 64).build(), id="pe-impossible-entry"),
    ],
)
def test_what_is_no_signature_is_replaced(windows: GateSite, pool: WorkerPool, name: str, content: bytes) -> None:
    outcome, code, result = asked(windows, pool, content, name, "replace")
    assert outcome == "signed", code
    assert result is not None
    assert len(READERS[name].read(BytesView(result)).signatures) == 1
