# SPDX-License-Identifier: Apache-2.0
"""The courier's settings: what it refuses to start with."""

from __future__ import annotations

from pathlib import Path

import pytest

from signwright.errors import ConfigurationError
from signwright.signer.courier.settings import load_settings


def written(folder: Path, hub: str, more: str = "") -> Path:
    file = folder / "courier.toml"
    file.write_text(f'hub = "{hub}"\ngate = "gate.sock"\nkey_file = "courier.key"\n{more}')
    return file


@pytest.mark.parametrize("hub", ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1", "https://hub.example"])
def test_loopback_and_tls_are_taken(tmp_path: Path, hub: str) -> None:
    assert load_settings(written(tmp_path, hub)).hub == hub


@pytest.mark.parametrize("hub", ["http://hub.example", "http://10.0.0.1:8460", "http://127.0.0.1.example"])
def test_plain_http_to_another_machine_is_refused_unless_the_file_says_so(tmp_path: Path, hub: str) -> None:
    with pytest.raises(ConfigurationError, match="plain HTTP"):
        load_settings(written(tmp_path, hub))
    assert load_settings(written(tmp_path, hub, "plain_http = true\n")).plain_http


def test_unknown_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="surprise"):
        load_settings(written(tmp_path, "http://127.0.0.1:1", "surprise = 1\n"))
