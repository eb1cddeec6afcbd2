# SPDX-License-Identifier: Apache-2.0
"""Key stores behind the pool, as the front uses them: real children, a real software token, real encrypted files."""

from __future__ import annotations

import hashlib
import os
import select
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from signwright.envelopes.base import ToBeSigned
from signwright.envelopes.keys import check_signature_value
from signwright.errors import KeystoreError
from signwright.identity.keyfile import encrypted_pkcs8
from signwright.model.framing import Frame
from signwright.signer.keyholder.child import question
from signwright.signer.keyholder.keystores import KEYSTORES
from signwright.signer.keyholder.keystores.base import KeyStore
from signwright.signer.keyholder.keystores.pkcs11 import open_pkcs11, parse_uri
from signwright.signer.keyholder.pool import RETRY, Pool
from signwright.signer.keyholder.settings import KeySettings
from signwright.signer.keyholder.state import State
from tests.support.pki import private_key, public_bytes
from tests.support.softhsm import PIN, SoftToken, make_token

CONTENTS = (
    ToBeSigned(b"signed attributes", "sha256"),
    ToBeSigned(b"signed attributes", "sha384"),
    ToBeSigned(b"\x11" * 32, "sha256", prehashed=True),
)


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> SoftToken:
    return make_token(tmp_path_factory.mktemp("softhsm"))


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state.sqlite3", genesis="00" * 32)


@pytest.fixture
def pools(state: State) -> Iterator[list[Pool]]:
    made: list[Pool] = []
    yield made
    for pool in made:
        pool.close()


def opened(pools: list[Pool], state: State, key: KeySettings) -> Pool:
    pool = Pool({"k": key}, state, KEYSTORES)
    pools.append(pool)
    pool.tend(time.monotonic())
    return pool


def sign(pool: Pool, contents: tuple[ToBeSigned, ...] = CONTENTS) -> Frame | KeystoreError:
    answers: list[Frame | KeystoreError] = []
    pool.sign("k", question(contents), answers.append, now=time.monotonic())
    while not answers:
        waiting = {channel: (key, child) for channel, key, child in pool.channels()}
        for channel in select.select(list(waiting), [], [], 30)[0]:
            pool.read(*waiting[channel], now=time.monotonic())
    return answers[0]


def software(folder: Path, kind: str = "p256", *, passphrase: str = "correct", given: str | None = None) -> KeySettings:
    (folder / "key.p8").write_bytes(encrypted_pkcs8(private_key(kind), passphrase.encode()))
    secret = folder / "secret"
    secret.write_text((given or passphrase) + "\n")
    secret.chmod(0o600)
    return KeySettings(store="software", file=str(folder / "key.p8"), secret_file=str(secret))


def pkcs11(token: SoftToken, uri: str, *, pin: str = PIN, children: int = 1) -> KeySettings:
    return KeySettings(store="pkcs11", uri=uri, module=token.module, secret_file=token.pin_file(pin), children=children)


@pytest.fixture
def softhsm(token: SoftToken, monkeypatch: pytest.MonkeyPatch) -> SoftToken:
    monkeypatch.setenv("SOFTHSM2_CONF", token.environment["SOFTHSM2_CONF"])
    return token


def assert_signed(pool: Pool, answer: Frame | KeystoreError) -> None:
    assert isinstance(answer, Frame), answer
    for content, value in zip(CONTENTS, answer.parts, strict=True):
        check_signature_value(pool.keys["k"].public_key, content, value)


@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384"])
def test_software_key_signs(pools: list[Pool], state: State, tmp_path: Path, kind: str) -> None:
    pool = opened(pools, state, software(tmp_path, kind))
    assert_signed(pool, sign(pool))
    assert pool.keys["k"].protection == "software"


@pytest.mark.hsm
@pytest.mark.parametrize("kind", ["rsa3072", "p256", "p384"])
def test_token_key_signs(pools: list[Pool], state: State, softhsm: SoftToken, kind: str) -> None:
    pool = opened(pools, state, pkcs11(softhsm, softhsm.generate(f"good-{kind}", kind), children=2))
    assert_signed(pool, sign(pool))
    assert (pool.keys["k"].protection, len(pool.keys["k"].children)) == ("claimed", 2)


@pytest.mark.hsm
def test_extractable_token_key_is_refused(pools: list[Pool], state: State, softhsm: SoftToken) -> None:
    pool = opened(pools, state, pkcs11(softhsm, softhsm.generate("loose", "p256", extractable=True)))
    assert pool.keys["k"].state == "down"
    assert "SENSITIVE" in pool.keys["k"].message
    assert isinstance(sign(pool), KeystoreError)


@pytest.mark.hsm
def test_wrong_pin_is_offered_once_and_never_again(pools: list[Pool], state: State, softhsm: SoftToken) -> None:
    uri = softhsm.generate("pinned", "p256")
    key = pkcs11(softhsm, uri, pin="00000000", children=4)
    pool = opened(pools, state, key)
    assert pool.keys["k"].state == "quarantined"
    pool.tend(time.monotonic() + 10 * RETRY)
    assert not pool.keys["k"].children
    # A restart does not offer it again either: the opener would leave a mark.
    tried: list[str] = []
    again = Pool({"k": key}, state, {"pkcs11": lambda _: tried.append("x")})  # type: ignore[dict-item,func-returns-value]
    again.tend(time.monotonic())
    assert (again.keys["k"].state, tried) == ("quarantined", [])
    answer = sign(again)
    assert isinstance(answer, KeystoreError)
    assert answer.code == "key-quarantined"
    # A new PIN file ends the quarantine.
    mended = opened(pools, state, pkcs11(softhsm, uri))
    assert_signed(mended, sign(mended))


@pytest.mark.hsm
def test_token_counts_one_wrong_pin_for_a_pool_of_four(pools: list[Pool], state: State, softhsm: SoftToken) -> None:
    """The token's own count, not ours: what a card has that locks itself after three."""
    key = pkcs11(softhsm, softhsm.generate("counted", "p256"), pin="11111111", children=4)
    before = softhsm.pins_offered()
    for number in (1, 2):
        assert softhsm.offer_pin("22222222") == "PinIncorrect"
        assert softhsm.pins_offered() == before + number  # the count is one
    pool = opened(pools, state, key)
    assert pool.keys["k"].state == "quarantined"
    for step in range(1, 6):
        pool.tend(time.monotonic() + step * 10 * RETRY)
        assert isinstance(sign(pool), KeystoreError)
    assert softhsm.pins_offered() == before + 3
    restarted = opened(pools, state, key)
    assert restarted.keys["k"].state == "quarantined"
    assert softhsm.pins_offered() == before + 3


@pytest.mark.hsm
def test_token_that_is_not_there_is_said_and_tried_again(
    pools: list[Pool], state: State, softhsm: SoftToken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = softhsm.generate("unplugged", "p256")
    empty = tmp_path / "empty.conf"
    (tmp_path / "none").mkdir()
    empty.write_text(f"directories.tokendir = {tmp_path / 'none'}\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(empty))
    pool = opened(pools, state, pkcs11(softhsm, uri))
    assert (pool.keys["k"].state, "not there" in pool.keys["k"].message) == ("down", True)
    monkeypatch.setenv("SOFTHSM2_CONF", softhsm.environment["SOFTHSM2_CONF"])
    pool.tend(time.monotonic() + RETRY + 1)
    assert_signed(pool, sign(pool))


@pytest.mark.hsm
def test_token_that_is_gone_is_said_and_logged_in_to_again(pools: list[Pool], state: State, softhsm: SoftToken) -> None:
    """Its session ends, as when somebody pulls it out."""

    def pulled_out(settings: KeySettings) -> KeyStore:
        key = open_pkcs11(settings)
        key._key.session.close()
        return key

    key = pkcs11(softhsm, softhsm.generate("pulled", "p256"))
    pool = Pool({"k": key}, state, {"pkcs11": pulled_out})
    pools.append(pool)
    pool.tend(time.monotonic())
    answer = sign(pool)
    assert isinstance(answer, KeystoreError) or answer.message["ok"] is False
    assert "the token is gone" in (answer.message if isinstance(answer, KeystoreError) else str(answer.message))


@pytest.mark.hsm
@pytest.mark.parametrize("module", ["nothing.so", "text.so"])
def test_module_that_is_none_is_refused_by_the_keys_name(softhsm: SoftToken, tmp_path: Path, module: str) -> None:
    (tmp_path / "text.so").write_text("no library")
    uri = "pkcs11:token=t;object=o"
    key = KeySettings(store="pkcs11", uri=uri, module=str(tmp_path / module), secret_file=softhsm.pin_file())
    with pytest.raises(KeystoreError, match=f"{uri}: "):
        open_pkcs11(key)


def test_wrong_passphrase_is_quarantined(pools: list[Pool], state: State, tmp_path: Path) -> None:
    pool = opened(pools, state, software(tmp_path, given="wrong"))
    assert pool.keys["k"].state == "quarantined"


def test_key_in_the_clear_is_refused(pools: list[Pool], state: State, tmp_path: Path) -> None:
    key = software(tmp_path)
    clear = private_key("p256").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    Path(key.file or "").write_bytes(clear)
    pool = opened(pools, state, key)
    assert (pool.keys["k"].state, "not encrypted" in pool.keys["k"].message) == ("down", True)


def test_secret_that_others_can_read_is_refused(pools: list[Pool], state: State, tmp_path: Path) -> None:
    key = software(tmp_path)
    Path(key.secret_file).chmod(0o644)
    pool = opened(pools, state, key)
    assert "can be read by others" in pool.keys["k"].message


def test_secret_that_is_not_there_is_named(pools: list[Pool], state: State, tmp_path: Path) -> None:
    key = software(tmp_path)
    Path(key.secret_file).unlink()
    pool = opened(pools, state, key)
    assert pool.keys["k"].message == f"{key.secret_file}: No such file or directory"


def test_key_file_that_is_not_there_or_no_signing_key_is_refused(
    pools: list[Pool], state: State, tmp_path: Path
) -> None:
    key = software(tmp_path)
    Path(key.file or "").write_bytes(encrypted_pkcs8(Ed25519PrivateKey.generate(), b"correct"))
    assert "neither RSA nor ECDSA" in opened(pools, state, key).keys["k"].message
    Path(key.file or "").unlink()
    pool = opened(pools, state, key)
    assert (pool.keys["k"].state, "No such file" in pool.keys["k"].message) == ("down", True)


def test_killed_child_is_replaced(pools: list[Pool], state: State, tmp_path: Path) -> None:
    pool = opened(pools, state, software(tmp_path))
    os.kill(pool.keys["k"].children[0].pid, signal.SIGKILL)
    first = sign(pool)
    assert isinstance(first, KeystoreError)
    pool.tend(time.monotonic() + RETRY + 1)
    assert_signed(pool, sign(pool))


def test_hung_child_is_killed_and_the_question_answered(pools: list[Pool], state: State, tmp_path: Path) -> None:
    pool = opened(pools, state, software(tmp_path))
    child = pool.keys["k"].children[0]
    os.kill(child.pid, signal.SIGSTOP)
    answers: list[Frame | KeystoreError] = []
    pool.sign("k", question(CONTENTS), answers.append, now=time.monotonic())
    pool.tend(time.monotonic() + 1000)
    assert isinstance(answers[0], KeystoreError)
    pool.tend(time.monotonic() + 1000 + 2 * RETRY)
    assert_signed(pool, sign(pool))


def test_child_holds_no_descriptor_but_its_own(pools: list[Pool], state: State, tmp_path: Path) -> None:
    with (tmp_path / "other").open("w"):
        pool = opened(pools, state, software(tmp_path))
        child = pool.keys["k"].children[0].pid
        held = {os.readlink(f"/proc/{child}/fd/{n}") for n in os.listdir(f"/proc/{child}/fd") if int(n) > 2}
    assert len(held) == 1
    assert next(iter(held)).startswith("socket:")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "pkcs11:",
        "pkcs11:object=x",
        "pkcs11:token=t",
        "pkcs11:token=t;object=x;object=y",
        "pkcs11:token=t;object=x;pin-value=1234",
        "file:token=t;object=x",
        "token=t;object=x",
    ],
)
def test_key_uri_that_does_not_name_one_key_is_refused(uri: str) -> None:
    with pytest.raises(KeystoreError):
        parse_uri(uri)


def test_key_uri_is_percent_decoded() -> None:
    names = parse_uri("pkcs11:token=My%20Token;id=%01%ff?module-path=/x")
    assert names == {"token": b"My Token", "id": b"\x01\xff"}


def test_key_that_nobody_configured_is_refused_at_once(pools: list[Pool], state: State, tmp_path: Path) -> None:
    pool = opened(pools, state, software(tmp_path))
    answers: list[Frame | KeystoreError] = []
    pool.sign("other", question(CONTENTS), answers.append, now=time.monotonic())
    (refused,) = answers
    assert isinstance(refused, KeystoreError)
    assert refused.code == "key-unknown"


@dataclass
class Faulty:
    """A token whose arithmetic fails."""

    public_key: bytes
    protection: str = "software"

    def sign(self, content: ToBeSigned) -> bytes:
        return hashlib.sha256(content.content).digest() * 2


@pytest.mark.attacks
def test_value_that_does_not_verify_stays_in_the_child(pools: list[Pool], state: State, tmp_path: Path) -> None:
    """A faulty RSA-CRT signature gives the private key away."""
    public = public_bytes(private_key("p256"))
    pool = Pool({"k": software(tmp_path)}, state, {"software": lambda _: Faulty(public)})
    pools.append(pool)
    pool.tend(time.monotonic())
    assert isinstance(sign(pool), KeystoreError)


def test_question_waits_while_the_only_child_is_busy(pools: list[Pool], state: State, tmp_path: Path) -> None:
    """Each gets its own answer, in the order in which they were asked."""
    pool = opened(pools, state, software(tmp_path))
    answers: list[tuple[int, Frame | KeystoreError]] = []
    for number, content in enumerate(CONTENTS):
        pool.sign("k", question((content,)), lambda f, n=number: answers.append((n, f)), now=time.monotonic())  # type: ignore[misc]
    while len(answers) < len(CONTENTS):
        waiting = {channel: (key, child) for channel, key, child in pool.channels()}
        ready = select.select(list(waiting), [], [], 30)[0]
        assert ready, "nobody answers any more"
        for channel in ready:
            pool.read(*waiting[channel], now=time.monotonic())
    assert [number for number, _ in answers] == [0, 1, 2]
    for content, (_, frame) in zip(CONTENTS, answers, strict=True):
        assert isinstance(frame, Frame)
        check_signature_value(public_bytes(private_key("p256")), content, frame.parts[0])


@pytest.mark.hsm
def test_key_that_the_token_does_not_have_is_named(pools: list[Pool], state: State, softhsm: SoftToken) -> None:
    uri = softhsm.generate("there", "p256")
    pool = opened(pools, state, pkcs11(softhsm, uri.replace("there", "nowhere")))
    assert (pool.keys["k"].state, pool.keys["k"].message) == ("down", "the token has no such private key")


@pytest.mark.hsm
def test_token_that_fails_while_it_is_in_use_is_said(
    pools: list[Pool], state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = make_token(tmp_path)
    monkeypatch.setenv("SOFTHSM2_CONF", own.environment["SOFTHSM2_CONF"])
    pool = opened(pools, state, pkcs11(own, own.generate("fails", "p256")))
    assert_signed(pool, sign(pool))
    for file in tmp_path.rglob("*.object"):
        file.write_bytes(b"")
    answer = sign(pool)
    assert isinstance(answer, KeystoreError)
    assert answer.message.startswith("the token refused: ")
    assert pool.keys["k"].state == "ready"
