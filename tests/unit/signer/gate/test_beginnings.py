# SPDX-License-Identifier: Apache-2.0
"""What a gate begins with: key files that are its own, and state that nobody made before."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.errors import ConfigurationError
from signwright.signer.gate.bootstrap import create
from signwright.signer.gate.settings import load_key
from signwright.signer.gate.state import State, log_position
from signwright.statements.keyfile import seed_text
from tests.support.gates import GateSite

KEY = Ed25519PrivateKey.generate()


def written(folder: Path, content: bytes, mode: int) -> str:
    path = folder / "key"
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def test_key_file_of_the_gates_own_user_is_read(tmp_path: Path) -> None:
    for mode in (0o600, 0o400):
        key = load_key(written(tmp_path, seed_text(KEY).encode(), mode))
        assert key.private_bytes_raw() == KEY.private_bytes_raw()
        (tmp_path / "key").unlink()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601])
def test_key_file_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigurationError, match="wanted 600") as refused:
        load_key(written(tmp_path, seed_text(KEY).encode(), mode))
    assert refused.value.code == "bad-key-file"


def test_key_file_that_is_missing_or_no_text_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"key file .*nothing") as missing:
        load_key(str(tmp_path / "nothing"))
    with pytest.raises(ConfigurationError, match=r"key file .*key") as binary:
        load_key(written(tmp_path, b"\xff\xfe", 0o600))
    assert missing.value.code == binary.value.code == "bad-key-file"


@pytest.mark.parametrize("root", ["", "ab" * 31, "ab" * 33, "AB" * 32, "xy" * 32])
def test_genesis_wants_the_digest_of_a_root(tmp_path: Path, root: str) -> None:
    site = GateSite(tmp_path, create_state=False)
    with pytest.raises(ConfigurationError) as refused:
        create(site.settings, root_sha256=root)
    assert refused.value.code == "bad-root-digest"
    assert not site.settings.database.exists()
    site.close()


def test_genesis_does_not_begin_where_a_log_is(tmp_path: Path) -> None:
    site = GateSite(tmp_path, create_state=False)
    site.settings.tiles.mkdir()
    (site.settings.tiles / "tile").mkdir()
    with pytest.raises(ConfigurationError, match="holds a log already"):
        create(site.settings, root_sha256=site.root_sha256)
    assert not site.settings.database.exists()
    (site.settings.tiles / "tile").rmdir()
    create(site.settings, root_sha256=site.root_sha256)
    with pytest.raises(ConfigurationError):
        create(site.settings, root_sha256="cd" * 32)
    site.close()


def test_genesis_again_leaves_what_a_first_start_made_but_never_a_log_that_began(tmp_path: Path) -> None:
    site = GateSite(tmp_path, create_state=False)
    for _ in range(2):
        create(site.settings, root_sha256=site.root_sha256)
    with closing(State(site.settings.database)) as state:
        state.transaction([log_position(1, b"r" * 32)])
    with pytest.raises(ConfigurationError) as refused:
        create(site.settings, root_sha256=site.root_sha256)
    assert refused.value.code == "state"
    site.close()
