# SPDX-License-Identifier: Apache-2.0
"""The courier outside an air gap, between a real hub, a real witness and media that tests write."""

from __future__ import annotations

import asyncio
import os
import secrets
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from httpx import create_ssl_context

from signwright.model.framing import encode_frame
from signwright.signer.courier.errands import Relay
from signwright.signer.courier.http import HttpClient
from signwright.signer.courier.hub import Hub
from signwright.signer.courier.media import index
from signwright.signer.courier.media.outside import Outside
from signwright.signer.courier.media.store import MediaStore
from signwright.signer.courier.settings import CourierSettings, MediaSettings
from signwright.statements.dsse import parse_envelope
from signwright.statements.models import PolicyIndex, parse_statement
from signwright.statements.writing import public_text
from signwright.transparency.witnessing import add_checkpoint_body, parse_answer
from tests.support.bundles import VAULT, bundle, land, named, sha256
from tests.support.hub import Courier, HubHome
from tests.support.logs import MemoryLog
from tests.support.processes import wait_until
from tests.support.witnesses import create_witness, run_witness, write_settings


@dataclass
class Side:
    """A courier outside; `again` is the same one after a restart. ``witnesses``: name → URL."""

    hub: HubHome
    folder: Path
    witnesses: dict[str, str] = field(default_factory=dict)

    def do(self, verb: str, descriptor: int) -> dict[str, Any]:
        """A process that starts, does one thing, and is killed."""

        async def life() -> dict[str, Any]:
            media = MediaSettings(
                side="outside",
                socket="unused",
                folder=str(self.folder / "media"),
                vault_key_file="unused",
                vault_key=public_text(VAULT),
                outside_key=public_text(self.hub.courier_key),
            )
            settings = CourierSettings(
                hub=self.hub.url, gate="unused", key_file="unused", witnesses=self.witnesses, media=media
            )
            async with (
                HttpClient(tls=ssl.create_default_context(), base=self.hub.url) as to_hub,
                HttpClient(tls=create_ssl_context(trust_env=False)) as elsewhere,
            ):
                key = self.hub.courier_key
                outside = Outside(
                    media, MediaStore(Path(media.folder)), Hub(to_hub, key), relay=Relay(settings, elsewhere), key=key
                )
                return await getattr(outside, verb)(descriptor, lambda *_: None)

        return asyncio.run(life())

    def export(self) -> tuple[index.OutsideIndex, dict[str, bytes], dict[str, Any]]:
        path = self.folder / f"{secrets.token_hex(4)}.swb"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            said = self.do("give_out", descriptor)
        finally:
            os.close(descriptor)
        store = MediaStore(self.folder / f"read-{secrets.token_hex(4)}")
        landed = land(store, path.read_bytes(), key=self.hub.courier_key)
        assert isinstance(landed.index, index.OutsideIndex)
        return landed.index, {r.sha256: store.read(r.sha256, r.role) for r in landed.manifest.rows}, said

    def bring(self, made: index.VaultIndex, *contents: bytes, **changes: Any) -> dict[str, Any]:
        """``import`` of a bundle of the vault."""
        blobs = [("index", made.model_dump_json().encode()), *named(made, contents)]
        path = self.folder / f"{secrets.token_hex(4)}.swb"
        path.write_bytes(bundle(blobs, side="vault", **changes))
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return self.do("take_in", descriptor)
        finally:
            os.close(descriptor)


@pytest.fixture
def side(hub: HubHome, tmp_path: Path) -> Side:
    courier = hub.courier()
    while jobs := courier.poll(policy=hub.policy.sha256)["jobs"]:
        for job in jobs:
            courier.result(job["id"], fence=job["fence"], outcome="failed")
    return Side(hub, tmp_path)


def submitted(hub: HubHome) -> tuple[str, bytes]:
    """The hub's name and the envelope of a request that waits for the signer."""
    request = hub.world.request("test", mode="digest").encode()
    answer = hub.tester().post("/v1/requests", request)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"], request


def result_about(request: bytes, **changes: Any) -> tuple[index.VaultIndex, bytes]:
    frame = Courier.frame(**changes)
    return index.VaultIndex(results=(index.Result(request=sha256(request), result=sha256(frame)),)), frame


def test_what_the_hub_has_for_the_signer_goes_out(side: Side) -> None:
    _, request = submitted(side.hub)
    made, blobs, said = side.export()
    assert [row.request for row in made.jobs] == [sha256(request)]
    assert made.open == (sha256(request),)
    assert [word.kind for word in made.words] == ["freshness"]
    (policy,) = made.policies
    listed = parse_statement(parse_envelope(blobs[policy.policy]), PolicyIndex).predicate.documents
    assert {ref.sha256 for ref in listed.values()} == set(policy.documents)
    assert said["new_requests"] == 1


def test_an_artifact_goes_along(side: Side) -> None:
    content = b"MZ test" + secrets.token_bytes(100)
    view = side.hub.tester().post("/v1/requests", side.hub.world.request("test", files={"a.exe": content}).encode())
    assert side.hub.tester().put(content).status_code == 201
    wait_until(lambda: side.hub.tester().view(view.json()["id"])["state"] == "authorized", what="authorized")
    made, blobs, _ = side.export()
    assert made.jobs[0].artifacts == (sha256(content),)
    assert blobs[sha256(content)] == content


def test_a_result_comes_home_although_the_courier_was_restarted(side: Side) -> None:
    name, request = submitted(side.hub)
    side.export()
    made, frame = result_about(request)
    assert side.bring(made, frame)["results"] == {name: "signed"}
    assert side.hub.tester().view(name)["state"] == "completed"
    assert side.bring(made, frame)["results"] == {}
    assert side.export()[0].open == ()


def test_what_the_vault_holds_is_not_brought_again_until_it_says_otherwise(side: Side) -> None:
    _, request = submitted(side.hub)
    side.export()
    side.bring(index.VaultIndex(held=(index.Held(request=sha256(request), state="logging"),)))
    made, _, _ = side.export()
    assert (made.jobs, made.open) == ((), (sha256(request),))
    side.bring(index.VaultIndex())
    made, _, _ = side.export()
    assert [row.request for row in made.jobs] == [sha256(request)]


def test_an_older_bundle_of_the_vault_says_nothing_of_its_state(side: Side) -> None:
    _, request = submitted(side.hub)
    side.export()
    held = (index.Held(request=sha256(request), state="logging"),)
    side.bring(index.VaultIndex(held=held), serial=20)
    said = side.bring(index.VaultIndex(), serial=10)
    assert any("older bundle" in note for note in said["notes"])
    assert side.export()[0].jobs == ()


def test_a_result_after_its_lease_ran_out_is_delivered_under_a_new_one(tmp_path: Path) -> None:
    with HubHome(tmp_path / "hub", limits={"lease_seconds": 1}).running() as hub:
        side = Side(hub, tmp_path)
        name, request = submitted(hub)
        side.export()
        wait_until(lambda: hub.tester().view(name)["state"] == "authorized", what="the lease ran out")
        made, frame = result_about(request)
        assert side.bring(made, frame)["results"] == {name: "signed"}
        assert hub.tester().view(name)["state"] == "completed"


def test_a_result_that_does_not_read_or_that_nobody_wants_harms_nothing(side: Side) -> None:
    name, request = submitted(side.hub)
    side.export()
    broken = b"no frame"
    made = index.VaultIndex(results=(index.Result(request=sha256(request), result=sha256(broken)),))
    said = side.bring(made, broken)
    assert said["results"] == {}
    assert any(name in note for note in said["notes"])
    made, frame = result_about(b"of another hub")
    assert side.bring(made, frame)["results"] == {}
    odd = encode_frame({"type": "result", "outcome": "signed", "artifacts": []})
    made = index.VaultIndex(results=(index.Result(request=sha256(request), result=sha256(odd)),))
    assert side.bring(made, odd)["results"] == {}
    assert side.hub.tester().view(name)["state"] in {"signing", "authorized"}


@contextmanager
def witness_of(folder: Path) -> Iterator[Any]:
    settings = write_settings(folder)
    with run_witness(settings, create_witness(settings)) as witness:
        yield witness


def test_a_question_is_asked_once_and_its_answer_goes_out_until_another_comes(side: Side) -> None:
    log = MemoryLog([b"one", b"two"])
    body = add_checkpoint_body(0, (), checkpoint=log.note())
    made = index.VaultIndex(questions=(index.Question(kind="cosign", witness="w1", question=sha256(body)),))
    with witness_of(side.folder) as witness:
        side.witnesses["w1"] = witness.url
        assert side.bring(made, body)["answered"] == 1
        assert side.bring(made, body)["answered"] == 1  # asked again it would say 409
        for _ in range(2):
            out, blobs, _ = side.export()
            (answer,) = out.answers
            assert (answer.witness, answer.question, answer.status) == ("w1", sha256(body), 200)
            assert parse_answer(blobs[answer.answer], checkpoint=log.note(), witness=witness.key)
        side.bring(index.VaultIndex())
        assert side.export()[0].answers == ()


def test_a_witness_that_is_away_is_asked_at_the_next_import(side: Side) -> None:
    log = MemoryLog([b"one"])
    body = add_checkpoint_body(0, (), checkpoint=log.note())
    made = index.VaultIndex(questions=(index.Question(kind="cosign", witness="w1", question=sha256(body)),))
    said = side.bring(made, body)
    assert said["answered"] == 0
    assert any("w1" in note and "import again" in note for note in said["notes"])
    with witness_of(side.folder) as witness:
        side.witnesses["w1"] = witness.url
        assert side.bring(made, body)["answered"] == 1
