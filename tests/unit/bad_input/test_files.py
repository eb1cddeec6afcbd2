# SPDX-License-Identifier: Apache-2.0
"""Files that people carry: trust file, credential file, drafts of keepers, signed policy, description of a home."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from signwright.cli.home import Home, HomeFile
from signwright.client import credentials, partial, trust
from signwright.client.hub import PolicyParts
from signwright.client.policy_files import read_parts, write_signed
from signwright.errors import ConfigurationError, MalformedError, SignwrightError
from signwright.policy import documents as d
from signwright.policy.policy import open_policy
from tests.support.bad_input import Schema, bytes_mutations, mutations
from tests.support.receipts import SignedWorld
from tests.support.world import World

SIGNED = SignedWorld()


@dataclass(frozen=True)
class Carried:
    """``secret``: a message must not repeat what stands in the file."""

    content: bytes
    load: Callable[[Path], object]
    schema: Schema
    name: str = "file.json"
    secret: bool = False


def home_file() -> bytes:
    values = dict.fromkeys(
        ("organisation", "url", "release_store", "policy_root_sha256", "signer_env", "folder", "sockets"), "x"
    )
    return HomeFile(trial=True, **values).model_dump_json().encode()


FILES = {
    "trust": Carried(SIGNED.trust().encode(), trust.load_trust, Schema({(): trust.TrustFile})),
    "credentials": Carried(
        credentials.encode_credentials([credentials.new_credential("test"), credentials.new_credential("release")]),
        credentials.load_credentials,
        Schema({(): credentials._File}),
        secret=True,
    ),
    "draft": Carried(SIGNED.parts[1].encode(), partial.read_partial, Schema({(): partial._Partial})),
    "home": Carried(home_file(), lambda file: Home(file.parent).read(), Schema({(): HomeFile}), name="home.json"),
}


@pytest.fixture(params=FILES)
def carried(request):
    return FILES[request.param]


@pytest.fixture
def file(carried, tmp_path):
    found = tmp_path / carried.name
    found.touch(mode=0o600)
    return found


def problem_with(carried: Carried, file: Path, content: bytes, *, sound: bool) -> str | None:
    """What is wrong about the answer to ``content``; None when it is right."""
    file.write_bytes(content)
    try:
        carried.load(file)
    except ConfigurationError as problem:
        return None if str(file) in problem.message else f"does not name the file: {problem.message}"
    except Exception as problem:  # noqa: BLE001  # whatever it is, it is no refusal of ours
        return f"{type(problem).__name__}: {str(problem)[:200]}"
    return None if sound else "accepted"


def test_the_sample_is_read(carried, file):
    assert problem_with(carried, file, carried.content, sound=True) is None
    carried.load(file)


def test_whatever_is_wrong_about_one_place_is_refused_by_file(carried, file):
    value, wrong = json.loads(carried.content), []
    for bad in list(mutations(value, forms=False))[::3]:
        sound = bad.sound and carried.schema.fits(bad.value)
        found = problem_with(carried, file, bad.content, sound=sound)
        wrong += [f"{bad.what}: {found}"] if found else []
    assert not wrong, "\n".join(wrong[:20])


def test_cuts_and_wrong_bytes_are_refused_by_file(carried, file):
    wrong = []
    for what, content in list(bytes_mutations(carried.content))[::7]:
        found = problem_with(carried, file, content, sound=False)
        wrong += [f"{what}: {found}"] if found else []
    assert not wrong, "\n".join(wrong[:20])


def test_a_huge_file_is_refused_before_it_is_read(carried, file):
    with file.open("wb") as opened:
        opened.write(carried.content)
        opened.truncate(1 << 30)
    tracemalloc.start()
    try:
        with pytest.raises(ConfigurationError, match=file.name):
            carried.load(file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


def test_a_folder_in_its_place_is_refused_by_name(carried, file):
    file.unlink()
    file.mkdir()
    with pytest.raises(SignwrightError, match=str(file.parent)):
        carried.load(file)


def test_no_message_repeats_a_secret(tmp_path):
    file, carried = tmp_path / "c.json", FILES["credentials"]
    file.touch(mode=0o600)
    value = json.loads(carried.content)
    secrets, said = [row["key_secret"] for row in value["credentials"]], []
    for bad in list(mutations(value, forms=False))[::5]:
        file.write_bytes(bad.content)
        try:
            credentials.load_credentials(file)
        except SignwrightError as problem:
            said.append(f"{problem.message}{problem.hint}{problem.details}")
    assert said
    assert not [text for text in said if any(secret in text for secret in secrets)]


@pytest.mark.parametrize("anchor", ["AAAAA", "AAAAAA", "AA=A", "AB=="])
def test_a_trust_file_with_roots_that_are_not_base64_in_one_form_is_refused(tmp_path, anchor):
    file = tmp_path / "trust.json"
    for field in ("code_signing_roots", "timestamp_authorities"):
        value = json.loads(FILES["trust"].content)
        authority = {"name": "builtin", "anchors": [anchor], "outside": False}
        value[field] = [anchor] if field == "code_signing_roots" else [authority]
        file.write_text(json.dumps(value))
        with pytest.raises(ConfigurationError, match=rf"trust\.json.*{field}"):
            trust.load_trust(file)


@pytest.mark.parametrize("anchor", ["AAAAA", "AAAAAA"])
def test_anchors_that_are_not_base64_never_come_into_a_policy(anchor):
    world = World(authorities=(d.TimestampAuthority.model_construct(name="b", anchors=(anchor,), outside=False),))
    with pytest.raises(SignwrightError):
        world.policy().services.timestamp_authorities[0].anchor_certificates  # noqa: B018


@pytest.mark.parametrize(
    "name", ["roots/\u00b2", "roots/", "roots/\u0663", "roots/-1", "roots/01", "roots/1" * 9, "roots/\ud800"]
)
def test_a_root_under_a_name_that_is_no_number_is_malformed(name):
    root, index, documents, digest = World().policy_parts()
    with pytest.raises(MalformedError):
        open_policy(root, index, {**documents, name: root.encode()}, pinned_root_sha256=digest)


@pytest.mark.parametrize("name", ["root.json", "policy.json", "documents/keys.json"])
def test_a_signed_policy_with_a_file_that_is_wrong_names_the_file(tmp_path, name):
    write_signed(tmp_path, PolicyParts(*SIGNED.parts[:3]))
    for content in (b"", b"{", b"\xff", b"[]", b'{"a":1,"a":2}'):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SignwrightError) as caught:
            read_parts(tmp_path).open(pinned_root_sha256=SIGNED.parts[3])
        assert name in caught.value.message or "'keys'" in caught.value.message
    with (tmp_path / name).open("wb") as opened:
        opened.truncate(1 << 30)
    with pytest.raises(ConfigurationError, match=name):
        read_parts(tmp_path)
