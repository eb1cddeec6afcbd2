# SPDX-License-Identifier: Apache-2.0
"""A gate that wants a custodian, and everybody who would like to do without: no key operation in each.

The console is spoken to as the command line does, over the gate's own socket.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.client.custodian import Listed, read_list, signed_word
from signwright.errors import SignwrightError
from signwright.model.framing import Frame
from signwright.policy import documents as d
from signwright.policy.policy import open_policy
from signwright.signer.gate.console import CHALLENGE_SECONDS, Console
from signwright.signer.gate.custodian import End
from signwright.signer.worker.pool import WorkerPool
from signwright.statements.custodian import read_shown
from signwright.statements.dsse import Envelope, EnvelopeSignature
from signwright.statements.keys import ssh_namespace
from signwright.statements.models import Request, parse_statement
from signwright.statements.writing import public_text, sign_ed25519
from signwright.transparency.leaf import CustodianLeaf, IntentLeaf
from tests.support.custodians import SETTINGS, Desk, custodian_site, run, security_key, world
from tests.support.gates import Courier, GateSite, Release, digest_request, now_utc, until
from tests.support.world import key_id, ssh_line


@pytest.fixture
def site(tmp_path: Path) -> Iterator[GateSite]:
    with custodian_site(tmp_path) as made:
        yield made


def test_confirmed_requests_are_signed_after_a_leaf_that_names_them(site: GateSite) -> None:
    async def scenario(desk: Desk) -> None:
        listed = await desk.ask(*(digest_request(site, b"content %d" % number) for number in range(3)))
        await desk.still_waiting()
        told = await desk.word(listed)
        answers = [(await task).message for task in desk.asked]
        assert [answer["outcome"] for answer in answers] == ["signed"] * 3, answers
        assert site.keyholder.operations == 3
        leaves = desk.leaves()
        (at,) = [index for index, leaf in enumerate(leaves) if isinstance(leaf, CustodianLeaf)]
        leaf = leaves[at]
        assert isinstance(leaf, CustodianLeaf)
        assert leaf.statement == told.message["statement"]
        intents = {index: leaf.request for index, leaf in enumerate(leaves) if isinstance(leaf, IntentLeaf)}
        assert sorted(intents.values()) == sorted(leaf.requests)
        assert min(intents) > at
        (word,) = desk.gate.parts.state.words("custodian")
        assert word.sha256 == leaf.statement
        assert desk.courier.progress.count("custodian") == 3

    run(site, scenario)


def test_release_is_shown_as_the_gate_verified_it(site: GateSite, pool: WorkerPool) -> None:
    async def scenario(desk: Desk) -> None:
        release = Release(site, desk.courier)
        desk.asked.append(asyncio.create_task(release.sign()))
        await until(lambda: desk.gate.parts.custodian.count == 1)
        assert desk.courier.errands.count("fetch") == 1
        listed = await desk.list()
        (row,) = listed.rows
        said = row.shown
        assert (said.kind, said.content_read, said.mode) == ("release", True, "artifact")
        assert [approval.person for approval in said.approvals] in (["alice", "bob"], ["bob", "alice"])
        assert {evidence.kind for evidence in said.evidence} == {"scan", "freshness"}
        assert said.artifacts[0].sha256 == hashlib.sha256(release.content).hexdigest()
        assert set(said.exceptions) == {"local-timestamp", "local-witness"}
        assert said.submitter_person == "dora"
        await desk.word(listed)
        assert (await desk.asked[0]).message["outcome"] == "signed"
        assert desk.courier.errands.count("fetch") == 2, "no artifact is kept while a person is waited for"

    run(site, scenario, pool)


async def key_of_nobody(desk: Desk, listed: Listed) -> None:
    await desk.forged(listed, Ed25519PrivateKey.generate())


async def key_of_an_approver_who_is_no_custodian(desk: Desk, listed: Listed) -> None:
    await desk.forged(listed, desk.site.world.people["alice"], person="alice")


async def custodians_name_over_another_key(desk: Desk, listed: Listed) -> None:
    await desk.forged(listed, desk.site.world.people["alice"])


async def signature_for_an_approval(desk: Desk, listed: Listed) -> None:
    await desk.forged(listed, desk.site.world.people["carol"], "approval")


async def no_signature(desk: Desk, listed: Listed) -> None:
    unsigned = desk.statement(listed, desk.site.world.people["carol"])
    await desk.say("custodian-word", Envelope(unsigned.payload, ()).encode())


async def a_bare_yes(desk: Desk, listed: Listed) -> None:
    fields = {"decision": "confirm", "confirmed": True, "person": "carol", "challenge": listed.challenge}
    await desk.say("custodian-word", **fields, requests=[row.shown.request for row in listed.rows])


async def another_challenge(desk: Desk, listed: Listed) -> None:
    await desk.forged(listed, desk.site.world.people["carol"], challenge="ab" * 32)


async def another_list(desk: Desk, listed: Listed) -> None:
    await desk.forged(listed, desk.site.world.people["carol"], shown=("ab" * 32,))


async def submitter(desk: Desk, listed: Listed) -> None:
    await desk.word(listed, key="dora")


async def edited_after_it_was_signed(desk: Desk, listed: Listed) -> None:
    signed = desk.statement(listed, desk.site.world.people["dora"], person="dora")
    payload = signed.payload.replace(b'"person":"dora"', b'"person":"carol"')
    assert payload != signed.payload
    await desk.say("custodian-word", Envelope(payload, signed.signatures).encode())


LIES = [
    (key_of_nobody, "not-signed"),
    (key_of_an_approver_who_is_no_custodian, "no-custodian"),
    (custodians_name_over_another_key, "not-signed"),
    (signature_for_an_approval, "wrong-namespace"),
    (no_signature, "bad-field"),
    (a_bare_yes, "malformed"),
    (another_challenge, "old-challenge"),
    (another_list, "custodian-refused"),
    (submitter, "custodian-refused"),
    (edited_after_it_was_signed, "not-signed"),
]


@pytest.mark.parametrize(("lie", "code"), LIES, ids=[lie.__name__ for lie, _ in LIES])
def test_word_that_does_not_count_uses_no_key(site: GateSite, lie: Any, code: str) -> None:
    async def scenario(desk: Desk) -> None:
        listed = await desk.ask()
        with pytest.raises(SignwrightError) as refused:
            await lie(desk, listed)
        assert refused.value.code == code, refused.value.message
        await desk.still_waiting()

    run(site, scenario)


def test_custodian_of_a_request_is_none_of_its_approvers(site: GateSite, pool: WorkerPool) -> None:
    async def scenario(desk: Desk) -> None:
        desk.asked.append(asyncio.create_task(Release(site, desk.courier).sign()))
        await until(lambda: desk.gate.parts.custodian.count == 1)
        with pytest.raises(SignwrightError, match="bob said a word on it"):
            await desk.word(await desk.list(), key="bob")
        with pytest.raises(SignwrightError, match="dora submitted it"):
            await desk.word(await desk.list(), key="dora")
        await desk.still_waiting()

    run(site, scenario, pool)


def test_custodian_never_submits_under_the_same_policy(site: GateSite, pool: WorkerPool) -> None:
    """Dora did not send this very request, but her credential may send such ones."""
    rules = site.world.signing_policies()
    both = (*rules["release"].submitters, *rules["test"].submitters)
    other = Ed25519PrivateKey.generate()
    machines = site.world.documents()["credentials"]
    assert isinstance(machines, d.Credentials)
    entry = d.Credential(public_key=public_text(other), kind="release", description="CI, another")
    credentials = d.Credentials(credentials={**machines.credentials, key_id(other): entry})
    shared = rules["release"].model_copy(update={"submitters": (*both[:1], key_id(other))})
    project = site.world.project().model_copy(update={"signing_policies": {**rules, "release": shared}})
    site.world.with_documents(credentials=credentials, projects_default=project)
    site.policy_parts = site.world.policy_parts()
    root, index, documents, digest = site.policy_parts
    site.policy = open_policy(root, index, documents, pinned_root_sha256=digest)

    async def scenario(desk: Desk) -> None:
        release = Release(site, desk.courier)
        release.request = release.make_request(key=other)
        desk.asked.append(asyncio.create_task(release.sign()))
        await until(lambda: desk.gate.parts.custodian.count == 1)
        with pytest.raises(SignwrightError, match="dora may submit under its signing policy"):
            await desk.word(await desk.list(), key="dora")
        await desk.still_waiting()

    run(site, scenario, pool)


def test_confirmation_is_good_for_its_own_requests_and_once(site: GateSite) -> None:
    async def scenario(desk: Desk) -> None:
        listed = await desk.ask()
        signed = desk.statement(listed, site.world.people["carol"]).encode()
        await desk.say("custodian-word", signed)
        assert (await desk.asked.pop()).message["outcome"] == "signed"
        other = await desk.ask()
        with pytest.raises(SignwrightError) as refused:
            await desk.say("custodian-word", signed)
        assert refused.value.code == "old-challenge"
        # With a new challenge, but about what was shown before.
        rows = Listed(other.status, other.challenge, listed.rows)
        with pytest.raises(SignwrightError, match="does not wait for a custodian"):
            await desk.word(rows)
        assert site.keyholder.operations == 1
        assert desk.gate.parts.custodian.count == 1

    run(site, scenario)


def test_challenge_ends_after_ten_minutes_and_after_one_refusal(site: GateSite) -> None:
    async def scenario(desk: Desk) -> None:
        clock = [0.0]
        console = Console(
            desk.gate.parts.custodian, desk.gate.parts.policies, desk.gate.parts.words, monotonic=lambda: clock[0]
        )
        await desk.ask()
        fields, parts = await console.list(Frame({}))
        listed = read_list(Frame(fields, tuple(parts)))
        statement = desk.statement(listed, site.world.people["carol"]).encode()
        clock[0] = CHALLENGE_SECONDS
        with pytest.raises(SignwrightError, match="older than ten minutes"):
            await console.word(Frame({}, (statement,)))
        listed = await desk.list()
        with pytest.raises(SignwrightError) as refused:
            await desk.word(listed, key="dora")
        assert refused.value.code == "custodian-refused"
        with pytest.raises(SignwrightError) as refused:
            await desk.word(listed)
        assert refused.value.code == "old-challenge"
        await desk.still_waiting()

    run(site, scenario)


def test_denied_request_stays_denied_and_is_logged_by_its_rule(site: GateSite) -> None:
    async def scenario(desk: Desk) -> None:
        request = digest_request(site)
        listed = await desk.ask(request)
        with pytest.raises(SignwrightError) as refused:
            await desk.forged(listed, site.world.people["alice"], person="alice", decision="deny", reason="no")
        assert refused.value.code == "no-custodian"
        await desk.still_waiting()
        await desk.word(await desk.list(), reason="not the file of the mail")
        answer = (await desk.asked.pop()).message
        assert (answer["outcome"], answer["code"]) == ("denied", "custodian-denied")
        assert "denied by custodian carol: not the file of the mail" in str(answer["message"])
        again = (await desk.courier.sign(request)).message
        assert (again["outcome"], again["code"]) == ("denied", "custodian-denied"), "a hub may offer it again"
        (leaf,) = await desk.denied()
        assert leaf.request == parse_statement(request, Request).digest
        assert leaf.codes == ("custodian", "custodian-denied")
        assert len(desk.gate.parts.state.words("custodian")) == 1
        assert site.keyholder.operations == 0

    run(site, scenario)


@pytest.mark.parametrize("name", ["setup\u202eexe.exe", "setup\x1b[2Jexe", "setup\u200b.exe", "a\x9bm.exe"])
def test_name_that_steers_a_terminal_never_reaches_the_list(site: GateSite, name: str) -> None:
    """The strict parser refuses it in the request; a gate that shows one all the same is not believed."""

    async def scenario(desk: Desk) -> None:
        listed = await desk.ask()
        honest = digest_request(site)
        escaped = json.dumps(name)[1:-1].encode()
        request = sign_ed25519(honest.payload.replace(b"a.exe", escaped), site.world.test_credential)
        answer = (await desk.courier.sign(request)).message
        assert (answer["outcome"], answer["code"]) == ("denied", "bad-text")
        assert len((await desk.list()).rows) == 1
        content = listed.rows[0].content.replace(b"a.exe", escaped)
        with pytest.raises(SignwrightError) as refused:
            read_shown(content)
        assert refused.value.code == "bad-text"
        await desk.still_waiting()

    run(site, scenario)


def test_flood_fills_neither_the_list_nor_the_way_of_others(tmp_path: Path, pool: WorkerPool) -> None:
    async def scenario(desk: Desk) -> None:
        flood = [digest_request(site, b"flood %d" % number) for number in range(40)]
        answers = asyncio.gather(*(desk.courier.sign(request) for request in flood))
        await until(lambda: len(desk.courier._replies) == 3)
        assert desk.gate.parts.custodian.count == 3, "half of the list is the most for one submitter"
        release = Release(site, desk.courier)
        desk.asked.append(asyncio.create_task(release.sign()))
        await until(lambda: desk.gate.parts.custodian.count == 4)
        listed = await desk.list()
        rows = [row for row in listed.rows if row.shown.kind == "release"]
        await desk.word(listed, rows=rows)
        assert (await desk.asked.pop()).message["outcome"] == "signed"
        used = site.keyholder.operations
        listed = await desk.list()
        await desk.word(listed, reason="a flood")
        outcomes = [(answer.message["outcome"], answer.message["code"]) for answer in await answers]
        assert sorted(set(outcomes)) == [("denied", "custodian-denied"), ("waiting", "custodian")]
        assert outcomes.count(("denied", "custodian-denied")) == 3
        assert site.keyholder.operations == used

    with custodian_site(tmp_path, settings_changes={**SETTINGS, "limits": {"custodian_waiting": 6}}) as site:
        run(site, scenario, pool)


def test_couriers_connection_has_no_console(site: GateSite) -> None:
    """Not even with a word that is signed as it should be: the connection of the courier knows no such message."""

    async def scenario(desk: Desk) -> None:
        listed = await desk.ask()
        signed = desk.statement(listed, site.world.people["carol"]).encode()
        for kind in ("custodian-word", "custodian-list", "confirm"):
            carrier = Courier(site)
            await carrier.connect()
            try:
                assert (await carrier.call({"type": "hub-events", "head": "ab" * 32, "count": 1})).message["ok"]
                await carrier.channel.send({"type": kind, "id": 7}, [signed])
                async with asyncio.timeout(20):
                    await asyncio.gather(*carrier._tasks, return_exceptions=True)  # the gate hangs up on it
            finally:
                await carrier.close()
            assert desk.gate.parts.custodian.count == 1
            assert site.keyholder.operations == 0
        assert not [leaf for leaf in desk.leaves() if isinstance(leaf, CustodianLeaf)]

    run(site, scenario)


def test_word_in_a_sign_message_is_not_read(site: GateSite) -> None:
    """A hub that puts a custodian's statement among approvals and evidence, or says that somebody confirmed."""

    async def scenario(desk: Desk) -> None:
        request = digest_request(site)
        listed = await desk.ask(request)
        signed = desk.statement(listed, site.world.people["carol"])
        other = digest_request(site, b"other content")
        envelopes = [other, signed, signed]
        message: dict[str, object] = {"type": "sign", "request": 0, "approvals": [1], "evidence": [2]}
        lies = {"confirmed": True, "custodian": "carol"}
        work = asyncio.create_task(desk.courier.call(message | lies, [one.encode() for one in envelopes]))
        desk.asked.append(work)
        await until(lambda: desk.gate.parts.custodian.count == 2)
        await desk.still_waiting()

    run(site, scenario)


def test_courier_that_comes_back_finds_its_request_waiting(site: GateSite) -> None:
    async def scenario(desk: Desk) -> None:
        request = digest_request(site)
        await desk.ask(request)
        desk.asked.pop().cancel()
        await desk.courier.close()
        back = Courier(site)
        await back.connect()
        desk.courier = back
        try:
            desk.asked.append(asyncio.create_task(back.sign(request)))
            await until(lambda: back.progress == ["custodian"])
            assert desk.gate.parts.custodian.count == 1
            await desk.word(await desk.list())
            assert (await desk.asked.pop()).message["outcome"] == "signed"
            assert site.keyholder.operations == 1
        finally:
            await back.close()

    run(site, scenario)


def test_revoked_custodian_confirms_nothing(site: GateSite) -> None:
    async def scenario(desk: Desk) -> None:
        listed = await desk.ask()
        revoking = site.world.freshness(2, root_sha256=site.root_sha256, revoked_people=("carol",))
        assert (await desk.courier.call({"type": "freshness"}, [revoking.encode()])).message["ok"]
        with pytest.raises(SignwrightError) as refused:
            await desk.word(listed)
        assert refused.value.code == "no-custodian"
        await desk.still_waiting()

    run(site, scenario)


def test_only_security_keys_that_were_touched_count_where_the_gate_says_so(tmp_path: Path) -> None:
    held = Ed25519PrivateKey.generate()
    touched, untouched = security_key(held, flags=1), security_key(held, flags=0)
    made = world()
    people = made.documents()["people"]
    assert isinstance(people, d.People)
    carol = d.Person(groups=("custodian",), keys=(ssh_line(made.people["carol"]), touched.public.line))
    made.with_documents(people=d.People(people={**people.people, "carol": carol}))

    async def scenario(desk: Desk) -> None:
        listed = await desk.ask()
        with pytest.raises(SignwrightError, match="not signed by a security key"):
            await desk.word(listed)
        said = signed_word(listed, listed.rows, touched, reason=None, now=now_utc())
        value = untouched.sign(ssh_namespace("custodian"), said.pae)
        lazy = Envelope(said.payload, (EnvelopeSignature(touched.public.fingerprint, "sshsig", value),))
        with pytest.raises(SignwrightError, match="nobody touched the security key"):
            await desk.say("custodian-word", lazy.encode())
        await desk.still_waiting()
        await desk.say("custodian-word", said.encode())
        assert (await desk.asked.pop()).message["outcome"] == "signed"

    changes = {**SETTINGS, "custodian_keys": "security-key"}
    with custodian_site(tmp_path, world=made, settings_changes=changes) as site:
        run(site, scenario)


@pytest.mark.parametrize("wanted", ["release", "required"])
def test_request_under_no_policy_is_denied_and_waits_for_nobody(tmp_path: Path, wanted: str) -> None:
    async def scenario(desk: Desk) -> None:
        payload = digest_request(site).payload.replace(b'"signing_policy":"test"', b'"signing_policy":"none"')
        request = sign_ed25519(payload, site.world.test_credential)
        answer = (await desk.courier.sign(request)).message
        assert answer["outcome"] == "denied"
        assert "none" in str(answer["message"])
        assert site.keyholder.operations == 0

    with custodian_site(tmp_path, settings_changes={"custodian": wanted}) as site:
        run(site, scenario)


def test_release_alone_waits_where_the_gate_says_so(tmp_path: Path, pool: WorkerPool) -> None:
    async def scenario(desk: Desk) -> None:
        assert (await desk.courier.sign(digest_request(site))).message["outcome"] == "signed"
        used = site.keyholder.operations
        desk.asked.append(asyncio.create_task(Release(site, desk.courier).sign()))
        await until(lambda: desk.gate.parts.custodian.count == 1)
        assert site.keyholder.operations == used

    with custodian_site(tmp_path, settings_changes={"custodian": "release"}) as site:
        run(site, scenario, pool)


def test_console_says_no_to_what_is_not_in_its_form(site: GateSite) -> None:
    async def scenario(desk: Desk) -> None:
        listed = await desk.ask()
        digest = listed.rows[0].shown.request
        for wanted in (None, digest, [digest] * 97):
            with pytest.raises(SignwrightError, match="wanted at most 96 digests"):
                await desk.say("custodian-follow", requests=wanted)
        told = await desk.say("custodian-follow", requests=[digest, "ab" * 32, 7])
        assert told.message["requests"] == {digest: {"state": "custodian", "code": "", "message": ""}}
        signed = desk.statement(listed, site.world.people["carol"]).encode()
        for parts in ((), (signed, signed), (b"{}",), (signed[:-1],)):
            with pytest.raises(SignwrightError):
                await desk.say("custodian-word", *parts)
        await desk.still_waiting()

    run(site, scenario)


def test_end_of_a_request_is_told_to_the_console_alone(site: GateSite) -> None:
    """Requests that no custodian had before them are nobody's business there."""

    async def scenario(desk: Desk) -> None:
        listed = await desk.ask()
        digest = listed.rows[0].shown.request
        await desk.word(listed)
        assert (await desk.asked.pop()).message["outcome"] == "signed"
        await until(lambda: (desk.gate.parts.custodian.followed(digest) or End("")).state == "published")
        told = await desk.say("custodian-follow", requests=[digest])
        assert told.message["requests"] == {digest: {"state": "published", "code": "", "message": ""}}
        other = digest_request(site, b"nobody's business")
        desk.gate.parts.custodian.settings = site.settings.model_copy(update={"custodian": "off"})
        assert (await desk.courier.sign(other)).message["outcome"] == "signed"
        name = parse_statement(other, Request).digest
        assert (await desk.say("custodian-follow", requests=[name])).message["requests"] == {}

    run(site, scenario)
