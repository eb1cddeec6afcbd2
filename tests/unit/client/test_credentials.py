# SPDX-License-Identifier: Apache-2.0
"""A credential file is read strictly and never quoted."""

from __future__ import annotations

from pathlib import Path

import pytest

from signwright.client.credentials import choose, encode_credentials, load_credentials, new_credential
from signwright.client.files import write_private
from signwright.errors import AuthenticationError, ConfigurationError


def test_written_file_reads_back(tmp_path: Path) -> None:
    made = [new_credential("test"), new_credential("release")]
    write_private(tmp_path / "c", encode_credentials(made))
    assert [(c.key_id, c.kind) for c in load_credentials(tmp_path / "c")] == [(c.key_id, c.kind) for c in made]
    assert made[0].key.private_bytes_raw() == load_credentials(tmp_path / "c")[0].key.private_bytes_raw()


def test_listed_submitter_is_chosen_then_one_of_the_kind() -> None:
    test, release = new_credential("test"), new_credential("release")
    assert choose([test, release], [release.key_id], "test") is release
    assert choose([test, release], [], "release") is release
    assert choose([test], [], "release") is test
    with pytest.raises(AuthenticationError):
        choose([], [])


def test_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    write_private(tmp_path / "c", encode_credentials([new_credential("test")]))
    (tmp_path / "c").chmod(0o640)
    with pytest.raises(ConfigurationError, match="wanted 0600"):
        load_credentials(tmp_path / "c")


def test_secret_of_another_key_id_is_refused_without_repeating_it(tmp_path: Path) -> None:
    one, other = new_credential("test"), new_credential("test")
    content = encode_credentials([one]).replace(one.key_id.encode(), other.key_id.encode())
    write_private(tmp_path / "c", content)
    with pytest.raises(ConfigurationError, match="another KeyId"):
        load_credentials(tmp_path / "c")


@pytest.mark.parametrize("length", range(0, 150, 7))
def test_cut_off_file_is_refused_without_repeating_a_secret(tmp_path: Path, length: int) -> None:
    content = encode_credentials([new_credential("test")])
    write_private(tmp_path / "c", content[:length])
    with pytest.raises(ConfigurationError) as refused:
        load_credentials(tmp_path / "c")
    assert refused.value.message == f"credential file {tmp_path / 'c'}: not in its form"


def test_secret_does_not_show_in_repr() -> None:
    credential = new_credential("test")
    assert "key=" not in repr(credential)
