# SPDX-License-Identifier: Apache-2.0
"""The settings file of each process of a home, as ``init`` writes them: TOML with an administrator's comments."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ports:
    """On which port each server of the home listens."""

    hub: int
    witness: int
    tsa: int


def witness_toml(*, name: str, port: int, origin: str, log_key: str) -> str:
    return (
        "# The local witness: cosigns the log's checkpoints. One by another operator is worth more.\n"
        f"name = {q(name)}\n"
        'key_file = "../witness/witness.key"\n'
        'database = "../witness/witness.sqlite3"\n'
        'host = "127.0.0.1"\n'
        f"port = {port}\n\n"
        f"[[logs]]\norigin = {q(origin)}\nkeys = [{q(log_key)}]\n"
    )


def tsa_toml(*, port: int) -> str:
    return (
        "# The built-in timestamp authority: for trials, tests and closed networks.\n"
        'key_file = "../tsa/key.pem"\n'
        'chain_file = "../tsa/chain.pem"\n'
        'state_file = "../tsa/serials.sqlite3"\n'
        'host = "127.0.0.1"\n'
        f"port = {port}\n"
    )


def scanner_toml(*, socket: str) -> str:
    return (
        '# The scanner. To add clamd: engines = ["yara-x", "clamd"] and a table [clamd] with its address.\n'
        f"socket = {q(socket)}\n"
        'key_file = "../scanner/scanner.key"\n'
        'spool = "../scanner/spool"\n'
        'engines = ["yara-x"]\n'
        'sandbox = "required"                 # "none" gives it up, and every verdict says so\n'
    )


def hub_toml(*, host: str, port: int, root_sha256: str, courier_key: str, scanner_socket: str) -> str:
    return (
        "# The hub. It decides nothing; the signer checks everything again.\n"
        f"host = {q(host)}\n"
        f"port = {port}\n"
        'data_dir = "../hub"\n'
        'policy_dir = "../policy/signed"\n'
        f"policy_root_sha256 = {q(root_sha256)}\n"
        f"courier_key = {q(courier_key)}\n"
        f"scanner_socket = {q(scanner_socket)}\n"
    )


def media_toml(*, socket: str, vault_key: str, outside_key: str) -> str:
    """The courier's table for an air gap; the same on both sides but for ``side``."""
    return (
        "\n# Across an air gap people carry: signwright courier export | import. docs/air-gap.md\n"
        "[media]\n"
        'side = "vault"                        # or "outside"; signwright install writes it\n'
        f"socket = {q(socket)}\n"
        'folder = "../courier/media"\n'
        'vault_key_file = "../courier/vault.key"\n'
        "# Whose bundles are read; the keys authorise nothing.\n"
        f"vault_key = {q(vault_key)}\n"
        f"outside_key = {q(outside_key)}\n"
    )


def courier_toml(*, hub_url: str, gate_socket: str, witness: tuple[str, str], authority: tuple[str, str]) -> str:
    """``witness``, ``authority``: name in the policy and URL."""
    return (
        "# The courier: carries between hub and gate. Names are those of the policy, addresses are this file's own.\n"
        f"hub = {q(hub_url)}\n"
        f"gate = {q(gate_socket)}\n"
        'key_file = "../courier/courier.key"\n\n'
        f"[witnesses]\n{witness[0]} = {q(witness[1])}\n\n"
        f"[timestamp_authorities]\n{authority[0]} = {q(authority[1])}\n"
    )


def signer_toml(*, gate_socket: str, keyholder_state: str, keys: Mapping[str, Mapping[str, str]]) -> str:
    """``keys``: name in the policy → store, file or uri, module, secret_file."""
    text = (
        "# Gate and keyholder. profile 0: one user on one machine; see `signwright doctor`.\n"
        "[gate]\n"
        'state = "../signer/gate"\n'
        f"socket = {q(gate_socket)}\n"
        'order_key = "../signer/gate/order.key"\n'
        'receipt_key = "../signer/gate/receipt.key"\n'
        'log_key = "../signer/gate/log.key"\n'
        "profile = 0\n"
        'sandbox = "required"                 # "none" gives it up, and every receipt says so\n\n'
        "[keyholder]\n"
        f"state = {q(keyholder_state)}                # must never be restored from an older copy\n"
        "profile = 0\n"
    )
    for name, row in sorted(keys.items()):
        text += f"\n[keyholder.keys.{q(name)}]\n" + "".join(f"{field} = {q(value)}\n" for field, value in row.items())
    return text


def q(text: str) -> str:
    """A TOML basic string: JSON's form, with characters beyond ASCII as themselves and DEL escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
