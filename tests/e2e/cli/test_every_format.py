# SPDX-License-Identifier: Apache-2.0
"""Every format through the whole cycle, with keys in files and keys on a PKCS #11 token (real SoftHSM).

``sign`` to receipt to ``verify``, offline and in another folder: from the file, its receipt and the trust file.
One home serves both key stores: a trial to which test keys on the token are added before it starts.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from signwright.cli.bench.trial import copy_rule, enrol_key, sign_policy
from signwright.cli.home import Home
from signwright.cli.new_keys import NewKey
from signwright.cli.policy_text import PURPOSES
from signwright.client.results import RECEIPT_SUFFIX
from signwright.client.trust import load_trust
from signwright.formats.registry import FORMATS
from signwright.policy.documents import Key
from tests.support.format_samples import SAMPLES, sample_for
from tests.support.homes import RunningHome, running_home
from tests.support.pe_builder import identity
from tests.support.pe_builder import sign as sign_pe
from tests.support.pki import default_pki, to_pem
from tests.support.softhsm import SoftToken, make_token
from tests.support.tools import require_tool

pytestmark = pytest.mark.hsm
#: Signing policies of the trial whose format is not one that signs inside.
POLICIES = {"cms": "test-file", "raw": "test-raw"}
ON_TOKEN = "token-"
PROGRAMS = "  programs:\n    rules:\n"
ARCHIVES = """\
      - name: "*.zip"
        format: zip
        members:
          - {path: "**/*.exe", action: sign, format: pe, min: 1}
          - {path: "**/*.txt", action: keep}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHome]:
    folder = tmp_path_factory.mktemp("formats")
    token = make_token(folder / "hsm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", token.environment["SOFTHSM2_CONF"])
        with running_home(folder / "h", folder / "state", prepare=lambda made: add_token(Home(made), token)) as running:
            yield running


def add_token(home: Home, token: SoftToken) -> None:
    """For each test policy of the trial one like it whose key is on the token; verifiers trust its certificate."""
    add_archives(home)
    keys = [token_key(home, token, "test", "rsa3072"), token_key(home, token, "test-raw", "p256")]
    for key in keys:
        enrol_key(home, key)
    for name in ("test", "test-file", "test-raw"):
        key_name = name if name == "test-raw" else "test"
        changes = {f"  {name}:": f"  {ON_TOKEN}{name}:", f"key: {key_name}\n": f"key: {ON_TOKEN}{key_name}\n"}
        copy_rule(home, name, changes)
    sign_policy(home)
    trust = load_trust(home / "trust.json")
    roots = (*trust.code_signing_roots, base64.b64encode(default_pki().root).decode())
    home.write("trust.json", trust.model_copy(update={"code_signing_roots": roots}).encode())


def add_archives(home: Home) -> None:
    """What the policy of a trial does not have by itself: which members of archives are signed."""
    project = home / "policy" / "projects" / "default.yaml"
    text = project.read_text(encoding="utf-8")
    assert text.count(PROGRAMS) == 1
    # Nobody would see members of a file that stays with the client.
    text = text.replace(PROGRAMS, PROGRAMS + ARCHIVES).replace("modes: [artifact, digest]", "modes: [artifact]", 1)
    project.write_text(text, encoding="utf-8")


def token_key(home: Home, token: SoftToken, name: str, kind: str) -> NewKey:
    """A test key that is made on the token, and where the keyholder finds it."""
    uri = token.generate(name, kind)
    public_key = token.public_key(name)
    loaded, pki = load_der_public_key(public_key), default_pki()
    assert isinstance(loaded, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
    chain = () if name == "test-raw" else (pki.certify(loaded, "On a token"), pki.intermediate)
    entry = Key(
        kind="test",
        family="cms" if chain else "raw",
        purposes=PURPOSES if chain else ("raw",),
        public_key=base64.b64encode(public_key).decode(),
        chain=tuple(base64.b64encode(c).decode() for c in chain),
        protection="claimed",
    )
    pin = home.write_secret(f"signer/keyholder/keys/{ON_TOKEN}{name}.pin", Path(token.pin_file()).read_bytes())
    settings = {"store": "pkcs11", "uri": uri, "module": token.module, "secret_file": str(pin)}
    return NewKey(f"{ON_TOKEN}{name}", entry, settings)


def test_there_is_a_sample_of_every_format() -> None:
    assert set(SAMPLES) == set(FORMATS)


def certificate(home: RunningHome, key: str) -> bytes:
    """Of a key of the home's policy."""
    keys = yaml.safe_load((home.folder / "policy" / "keys.yaml").read_text(encoding="utf-8"))["keys"]
    return base64.b64decode(keys[key]["chain"][0])


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize("store", ["software", "token"])
@pytest.mark.parametrize("name", sorted(FORMATS))
def test_signed_by_either_store_verified_offline_and_refused_when_a_byte_changes(
    home: RunningHome, tmp_path: Path, name: str, store: str
) -> None:
    policy = POLICIES.get(name, "test")
    one, here, there = FORMATS[name], tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    source = here / one.file_names[0].replace("*", "sample")
    unsigned = sample_for(name, certificate(home, "test" if store == "software" else f"{ON_TOKEN}test"))
    source.write_bytes(unsigned)
    place = [] if one.detached_suffix else ["--in-place"]
    signing = f"default/{ON_TOKEN if store == 'token' else ''}{policy}"
    ran = home.cli("sign", source, *place, "--policy", signing, "--output", "json")
    assert ran.code == 0, ran.err
    (told,) = ran.json["files"]
    assert told["verified"]
    signed = Path(told["output"])
    assert signed.name == source.name + one.detached_suffix
    if not one.detached_suffix:
        assert signed.read_bytes() != unsigned

    for file in here.iterdir():
        shutil.copy(file, there)
    result = there / signed.name
    assert (there / f"{result.name}{RECEIPT_SUFFIX}").is_file()
    stranger = home.changed(SIGNWRIGHT_URL="http://127.0.0.1:9", XDG_STATE_HOME=str(tmp_path / "state"))
    verified = stranger.cli("verify", result, "--output", "json")
    assert verified.code == 0, verified.out
    checks = {row["name"]: row["text"] for row in verified.json["checks"]}
    assert f"key {'claimed' if store == 'token' else 'software'}" in checks["conditions"]

    content = result.read_bytes()
    for at in (len(content) // 2, len(content) - 1):
        result.write_bytes(flipped(content, at))
        assert stranger.cli("verify", result).code == 8
    result.write_bytes(content)
    if one.detached_suffix:
        (there / source.name).write_bytes(flipped(unsigned, 0))
        assert stranger.cli("verify", result).code == 8


def _older_signature(name: str, folder: Path) -> bytes:
    """A program whose signature does not count: of SHA-1, or broken by bytes behind its table."""
    if name == "behind":
        return sign_pe(SAMPLES["pe"]()) + b"appended later"
    tool, signer = require_tool("osslsigncode"), identity("rsa2048")
    (folder / "key").write_bytes(signer.private_pem)
    (folder / "chain").write_bytes(b"".join(map(to_pem, signer.chain)))
    (folder / "in").write_bytes(SAMPLES["pe"]())
    command = [tool, "sign", "-h", "sha1", "-key", "key", "-certs", "chain", "-in", "in", "-out", "out"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return (folder / "out").read_bytes()


@pytest.mark.parametrize(("older", "existing"), [("sha1", "append"), ("sha1", "replace"), ("behind", "replace")])
def test_program_whose_old_signature_does_not_count_can_be_signed(
    home: RunningHome, tmp_path: Path, older: str, existing: str
) -> None:
    file = tmp_path / "old.exe"
    file.write_bytes(_older_signature(older, tmp_path))
    assert home.cli("verify", file).code == 8
    ran = home.cli("sign", file, "--in-place", "--option", f"existing={existing}")
    assert ran.code == 0, ran.err
    verified = home.cli("verify", file)
    assert verified.code == 0, verified.out
    assert ("uses sha1 and was not counted" in verified.out) == (existing == "append")
    assert (b"appended later" in file.read_bytes()) == (older == "behind")
