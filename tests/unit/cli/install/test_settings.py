# SPDX-License-Identifier: Apache-2.0
"""Changes to settings files: what is meant changes, administrators' lines stay, and a second time changes nothing."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from signwright.cli import settings_text
from signwright.cli.install import layout, settings
from signwright.cli.install.layout import PROFILES
from signwright.errors import ConfigurationError
from signwright.scanner.settings import load_settings as load_scanner
from signwright.signer.courier.settings import load_settings as load_courier
from signwright.signer.gate.settings import load_settings as load_gate
from signwright.statements.writing import public_text

TEXT = """# who made this
top = "old"   # why
count = 1

[one]
top = "other" # of one

[[many]]
top = "row"

[one.two]
empty = ""
"""


def signer_text() -> str:
    keys = {
        "release": {"store": "pkcs11", "uri": "pkcs11:token=a", "module": "/m.so", "secret_file": "/h/k/release.pin"},
        "test.raw": {"store": "software", "file": "/h/k/test.p8", "secret_file": "/h/k/test.pass"},
    }
    return settings_text.signer_toml(gate_socket="/h/run/gate.sock", keyholder_state="/h/k.sqlite3", keys=keys)


def courier_text(hub: str) -> str:
    return settings_text.courier_toml(
        hub_url=hub,
        gate_socket="/h/run/gate.sock",
        witness=("local", "http://127.0.0.1:8461"),
        authority=("builtin", "http://127.0.0.1:8462/tsa"),
    )


def test_one_value_changes_and_every_comment_stays() -> None:
    changed = settings.set_value(TEXT, (), "top", "new")
    assert changed == TEXT.replace('top = "old"   # why', 'top = "new"   # why')
    changed = settings.set_value(TEXT, ("one",), "top", 7)
    assert changed == TEXT.replace('top = "other" # of one', "top = 7 # of one")


def test_a_value_that_was_not_there_comes_to_its_tables_end() -> None:
    changed = settings.set_value(TEXT, ("one",), "fresh", "x")
    assert '[one]\ntop = "other" # of one\nfresh = "x"\n\n[[many]]' in changed
    assert tomllib.loads(settings.set_value(TEXT, ("one", "two"), "fresh", 1))["one"]["two"] == {
        "empty": "",
        "fresh": 1,
    }
    assert tomllib.loads(settings.set_value("", (), "fresh", 1)) == {"fresh": 1}


def test_a_table_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"no table .*three"):
        settings.set_value(TEXT, ("three",), "top", "x")


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=40))
def test_any_text_reads_back(value: str) -> None:
    changed = settings.set_value(TEXT, ("one",), "top", value)
    assert tomllib.loads(changed)["one"]["top"] == value
    assert tomllib.loads(changed)["top"] == "old"
    assert settings.set_value(changed, ("one",), "top", "other") == TEXT


@pytest.mark.parametrize("name", ["1", "2-signer", "3"])
def test_the_signer_gets_sockets_users_profile_and_credentials(name: str, tmp_path: Path) -> None:
    changed, credentials = settings.signer_toml(signer_text(), PROFILES[name])
    file = tmp_path / "signer.toml"
    file.write_text(changed, encoding="utf-8")
    gate = load_gate(file)
    assert (gate.socket, gate.profile) == (layout.GATE_SOCKET, PROFILES[name].number)
    assert gate.custodian == ("release" if name == "3" else "off")
    tables = tomllib.loads(changed)
    assert tables["keyholder"]["profile"] == PROFILES[name].number
    assert tables["users"]["keyholder_socket"] == layout.KEYHOLDER_SOCKET
    assert {c.name: c.source for c in credentials} == {
        "release.secret": "/h/k/release.pin",
        "test.raw.secret": "/h/k/test.pass",
    }
    secrets = {entry["secret_file"] for entry in tables["keyholder"]["keys"].values()}
    assert secrets == {f"{layout.SECRETS}/{c.name}" for c in credentials}


def test_the_second_time_changes_nothing() -> None:
    once, _ = settings.signer_toml(signer_text(), PROFILES["1"])
    assert settings.signer_toml(once, PROFILES["1"]) == (once, ())
    courier = settings.courier_toml(courier_text("http://10.0.0.1:1"), PROFILES["2-signer"], hub=None)
    assert settings.courier_toml(courier, PROFILES["2-signer"], hub=None) == courier
    scanner = settings.scanner_toml(settings_text.scanner_toml(socket="/s"), hub_user=991)
    assert settings.scanner_toml(scanner, hub_user=991) == scanner


@pytest.mark.parametrize("told", ["off", "required"])
def test_what_was_said_about_the_custodian_stays(told: str) -> None:
    text = settings.set_value(signer_text(), ("gate",), "custodian", told)
    changed, _ = settings.signer_toml(text, PROFILES["3"])
    assert tomllib.loads(changed)["gate"]["custodian"] == told


def test_on_one_server_the_courier_stays_on_loopback() -> None:
    changed = settings.courier_toml(courier_text("http://127.0.0.1:8460"), PROFILES["1"], hub=None)
    assert tomllib.loads(changed)["witnesses"] == {"local": "http://127.0.0.1:8461"}
    assert tomllib.loads(changed)["gate"] == layout.GATE_SOCKET


@pytest.mark.parametrize(("name", "side"), [("3", "vault"), ("3-hub", "outside")])
def test_each_side_of_an_air_gap_knows_which_it_is(name: str, side: str, tmp_path: Path) -> None:
    keys = [public_text(Ed25519PrivateKey.generate()) for _ in range(2)]
    media = settings_text.media_toml(socket="/h/run/courier.sock", vault_key=keys[0], outside_key=keys[1])
    text = courier_text("http://127.0.0.1:8460") + media
    changed = settings.courier_toml(text, PROFILES[name], hub=None)
    assert settings.courier_toml(changed, PROFILES[name], hub=None) == changed
    file = tmp_path / "courier.toml"
    file.write_text(changed, encoding="utf-8")
    found = load_courier(file)
    assert found.media is not None
    assert (found.media.side, found.media.socket) == (side, layout.MEDIA_SOCKET)
    assert found.media.other_key == (keys[0] if side == "outside" else keys[1])
    assert found.media.vault_key_file == str(tmp_path.parent / "courier/vault.key")


def test_a_home_that_was_not_made_for_an_air_gap_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no table"):
        settings.courier_toml(courier_text("http://127.0.0.1:8460"), PROFILES["3"], hub=None)


def test_on_a_signer_host_the_courier_finds_everything_on_the_hubs_machine(tmp_path: Path) -> None:
    text = courier_text("http://127.0.0.1:8460")
    changed = settings.courier_toml(text, PROFILES["2-signer"], hub="https://hub.example")
    file = tmp_path / "courier.toml"
    file.write_text(changed, encoding="utf-8")
    found = load_courier(file)
    assert found.hub == "https://hub.example"
    assert found.witnesses == {"local": "http://hub.example:8461"}
    assert found.timestamp_authorities == {"builtin": "http://hub.example:8462/tsa"}
    six = settings.courier_toml(text, PROFILES["2-signer"], hub="https://[2001:db8::1]:8443")
    assert tomllib.loads(six)["witnesses"] == {"local": "http://[2001:db8::1]:8461"}


def test_a_signer_host_that_would_look_for_its_hub_on_itself_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="on this machine") as caught:
        settings.courier_toml(courier_text("http://127.0.0.1:8460"), PROFILES["2-signer"], hub=None)
    assert caught.value.code == "no-hub"


def test_the_scanner_hears_the_hubs_user(tmp_path: Path) -> None:
    file = tmp_path / "scanner.toml"
    text = settings_text.scanner_toml(socket="/s") + '\n[clamd]\naddress = "unix:/run/clamd"\n'
    file.write_text(settings.scanner_toml(text, hub_user=991), encoding="utf-8")
    found = load_scanner(file)
    assert (found.users, found.socket, found.clamd.address) == ((991,), layout.SCANNER_SOCKET, "unix:/run/clamd")


def test_a_scanner_that_hears_somebody_else_is_not_changed_silently() -> None:
    text = settings.scanner_toml(settings_text.scanner_toml(socket="/s"), hub_user=5)
    with pytest.raises(ConfigurationError, match="the hub's user 991 is missing"):
        settings.scanner_toml(text, hub_user=991)


def test_witness_and_authority_listen_where_the_hub_does() -> None:
    text = settings_text.tsa_toml(port=8462)
    assert tomllib.loads(settings.listening_toml(text, host="10.0.0.1"))["host"] == "10.0.0.1"
    own = text.replace("127.0.0.1", "10.0.0.9")
    assert settings.listening_toml(own, host="10.0.0.1") == own, "an administrator's own choice stays"
