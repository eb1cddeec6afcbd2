# SPDX-License-Identifier: Apache-2.0
"""An honest order before a keyholder whose key is not the one of the policy, or that has no policy: no key is used."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from signwright.policy.policy import open_policy
from signwright.signer.keyholder.front import Front
from signwright.signer.keyholder.pool import Pool
from signwright.signer.keyholder.settings import KeySettings
from signwright.signer.keyholder.state import State
from tests.attacks.keyholder.test_hostile_gate import Keyholder, honest
from tests.support.doors import CountingKey
from tests.support.pki import default_pki
from tests.support.signing import SignerWorld

Opener = Callable[[KeySettings], CountingKey]


@contextmanager
def keyholder(folder: Path, opener: Opener, *, name: str = "release") -> Iterator[Keyholder]:
    """A real front that serves; no policy is loaded yet."""
    signer = SignerWorld(default_pki().code_signing("p256"))
    secret = folder / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    ours, theirs = socket.socketpair()
    ours.settimeout(20)

    def serve() -> None:
        state = State(folder / "state.sqlite3", genesis=signer.parts[3])
        pool = Pool({name: KeySettings(store="software", secret_file=str(secret))}, state, {"software": opener})
        try:
            Front(state, pool, profile=0, now=lambda: signer.world.now).serve(theirs)
        finally:
            pool.close()
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield Keyholder(signer, folder / "marks", ours)
    finally:
        ours.close()
        thread.join(timeout=20)


def refused(held: Keyholder) -> str:
    message, parts = held.ask(*honest(held.signer))
    assert message["ok"] is False, message
    assert not parts
    assert held.operations == 0
    return str(message["code"])


class AnotherKey(CountingKey):
    """A key in the key store that is not the policy's."""

    def __init__(self, marks: Path) -> None:
        super().__init__(marks)
        self.public_key = default_pki().code_signing("p384", "Another").public_key


def test_order_before_any_policy_is_refused(tmp_path: Path) -> None:
    with keyholder(tmp_path, lambda _: CountingKey(tmp_path / "marks")) as held:
        assert refused(held) == "no-policy"


def test_key_that_is_not_the_policys_is_not_used(tmp_path: Path) -> None:
    with keyholder(tmp_path, lambda _: AnotherKey(tmp_path / "marks")) as held:
        assert held.load_policy()["ok"] is True
        assert refused(held) == "wrong-key"


def test_key_with_less_protection_than_the_policy_says_is_not_used(tmp_path: Path) -> None:
    with keyholder(tmp_path, lambda _: CountingKey(tmp_path / "marks")) as held:
        signer = held.signer
        for says, code in (("claimed", "key-protection"), ("attested", "key-protection")):
            signer.world.keys["release"] = signer.world.keys["release"].model_copy(update={"protection": says})
            signer.parts = signer.world.policy_parts()
            signer.policy = open_policy(*signer.parts[:3], pinned_root_sha256=signer.parts[3])
            assert held.load_policy()["ok"] is True
            assert refused(held) == code


def test_key_that_the_keyholder_does_not_have_is_named(tmp_path: Path) -> None:
    with keyholder(tmp_path, lambda _: CountingKey(tmp_path / "marks"), name="other") as held:
        assert held.load_policy()["ok"] is True
        assert refused(held) == "key-unknown"


def test_key_that_does_not_open_is_down(tmp_path: Path) -> None:
    def broken(_: KeySettings) -> CountingKey:
        raise OSError("no such device")

    with keyholder(tmp_path, broken) as held:
        assert held.load_policy()["ok"] is True
        assert refused(held) == "key-down"


def test_policy_under_another_verb_is_not_loaded(tmp_path: Path) -> None:
    with keyholder(tmp_path, lambda _: CountingKey(tmp_path / "marks")) as held:
        root, index, documents, _ = held.signer.parts
        content = [root.encode(), index.encode(), *documents.values()]
        answer, _ = held.ask({"verb": "polity", "id": 7, "documents": list(documents)}, content)
        assert (answer["ok"], answer["code"], answer["id"]) == (False, "unknown-verb", 7)
        assert held.ask({"verb": "status", "id": 8}, [])[0]["policy"] is None


@pytest.mark.parametrize(
    ("change", "spare"),
    [
        ({"documents": "ab"}, None),
        ({"documents": {"people": 1}}, None),
        ({}, b"one more"),
    ],
    ids=str,
)
def test_policy_message_whose_documents_do_not_add_up_is_refused(
    tmp_path: Path, change: dict[str, Any], spare: bytes | None
) -> None:
    with keyholder(tmp_path, lambda _: CountingKey(tmp_path / "marks")) as held:
        root, index, documents, _ = held.signer.parts
        content = [root.encode(), index.encode(), *documents.values(), b"leaf", b"proof", *([spare] if spare else [])]
        if change:
            content = content[: 4 + len(change["documents"])]
        message = {"verb": "policy", "id": 7, "documents": list(documents)} | change
        answer, _ = held.ask(message, content)
        assert (answer["ok"], answer["code"]) == (False, "bad-message")
        assert "root, policy, documents, leaf and proof" in answer["message"]


def test_only_a_number_is_repeated_as_an_id(tmp_path: Path) -> None:
    with keyholder(tmp_path, lambda _: CountingKey(tmp_path / "marks")) as held:
        for found, repeated in ((7, 7), (True, None), ("7", None), (None, None)):
            answer, _ = held.ask({"verb": "status", "id": found}, [])
            assert answer["id"] is repeated or answer["id"] == repeated
            assert not isinstance(answer["id"], bool)


def test_honest_order_uses_the_key_that_the_policy_names(tmp_path: Path) -> None:
    """The key is compared with the bytes that the policy's base64 stands for."""
    with keyholder(tmp_path, lambda _: CountingKey(tmp_path / "marks")) as held:
        assert held.load_policy()["ok"] is True
        key = held.signer.policy.keys.keys["release"]
        assert base64.b64decode(key.public_key) == held.signer.identity.public_key
        assert held.ask(*honest(held.signer))[0]["ok"] is True
        assert held.operations == 1
