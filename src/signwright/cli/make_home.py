# SPDX-License-Identifier: Apache-2.0
"""Everything that ``init`` makes, in order: keys of the services, signing keys, policy sources, the signed policy,
trust file, settings, credentials. Nothing is asked here; `signwright.cli.init` has the answers.
"""

from __future__ import annotations

import base64
import re
import secrets
import shlex
import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.cli import policy_text, settings_text
from signwright.cli.home import SOCKETS, Home, HomeFile
from signwright.cli.new_keys import NewKey, TrialAuthority, new_p256, new_rsa, software_key
from signwright.cli.policy import read_sources
from signwright.cli.processes import run_helper
from signwright.client.credentials import encode_credentials, new_credential
from signwright.client.hub import PolicyParts
from signwright.client.keepers_words import first_freshness
from signwright.client.policy_files import write_signed
from signwright.client.ssh_keys import PersonKey, load_person_key, make_key_files
from signwright.client.trust import TrustFile
from signwright.model.times import format_time
from signwright.policy.documents import LogIdentity, Quorum, Scanner, Services, TimestampAuthority, Witness
from signwright.policy.following import AIR_GAP_PROFILE
from signwright.policy.write import draft_policy, draft_root
from signwright.statements.dsse import statement_digest
from signwright.statements.keyfile import seed_text
from signwright.statements.models import PolicyRoot, Role
from signwright.statements.writing import public_text
from signwright.transparency.note import ED25519, VerifierKey

WITNESS, AUTHORITY, SCANNER = "local", "builtin", "scanner"
ROOT_DAYS, POLICY_DAYS = 1825, 365
TRIAL_EXCEPTION_DAYS, EXCEPTION_DAYS = 365, 90
#: How old the word that nothing was revoked may be; a week is for the smallest set-up only.
FRESHNESS_HOURS, WORKSTATION_FRESHNESS_HOURS = 24, 168
#: How far a cosignature and the vault's clock may lie apart across an air gap: a day's trips.
GAP_MINUTES = 1440
#: Longest path of a Unix socket that every system takes, in bytes.
MAX_SOCKET_PATH = 100


@dataclass(frozen=True, slots=True)
class Answers:
    """What ``init`` was told. ``host``, ``ports``: where servers listen; ``url``: how clients reach the hub.

    ``approvers``: name → public key line, empty for a trial, whose two are made here; ``release``: the adopted key,
    None for software keys under a trial root; ``release_roots``: DER; ``release_store``: ``software`` or the key's URI;
    ``profile``: what it shall be installed as.
    """

    organisation: str
    url: str
    host: str
    ports: settings_text.Ports
    signer_env: str | None
    trial: bool
    approvers: dict[str, str]
    release_store: str
    release: NewKey | None = None
    release_roots: tuple[bytes, ...] = ()
    keeper: PersonKey | None = None
    profile: int = 0


@dataclass(frozen=True, slots=True)
class _Service:
    """Public halves of what was made for the services."""

    services: Services
    courier_key: str
    vault_key: str | None


def make_home(home: Home, told: Answers, *, now: datetime) -> HomeFile:
    """Fill an empty home; raises what a process says that cannot make its key."""
    sockets = _sockets(home)
    made = _services(home, told, sockets)
    mark = "TRIAL" if told.trial else "TEST"
    authority = TrialAuthority(told.organisation, mark=mark, now=now)
    keys = [
        software_key(home, "test", kind="test", make=new_rsa, authority=authority),
        software_key(home, "test-raw", kind="test", make=new_p256, authority=None),
        told.release or software_key(home, "release", kind="release", make=new_rsa, authority=authority),
    ]
    approvers = told.approvers or _trial_approvers(home)
    submitters = _credentials(home)
    _sources(home, told, made, keys=keys, approvers=approvers, submitters=submitters, now=now)
    keeper = told.keeper or _new_keeper(home)
    root_sha256 = _sign_policy(home, told, keeper, now=now)
    _trust_file(home, told, made, root_sha256=root_sha256, roots=(authority.root, *told.release_roots))
    _settings(home, told, made, sockets=sockets, root_sha256=root_sha256, keys=keys)
    home.write("signer/genesis", root_sha256 + "\n")
    home.write("env", _env(home, told.url))
    short = str(Path(sockets["gate"]).parent)
    described = HomeFile(
        organisation=told.organisation,
        url=told.url,
        trial=told.trial,
        release_store=told.release_store,
        policy_root_sha256=root_sha256,
        signer_env=told.signer_env,
        folder=str(home.folder),
        sockets=None if short == str(home.run) else short,
    )
    home.write("home.json", described.model_dump_json(indent=1) + "\n")
    return described


def _sockets(home: Home) -> dict[str, str]:
    """Paths of the Unix sockets; a home too deep in the tree has them in a short folder, made by `up`."""
    home.run.mkdir(mode=0o700, exist_ok=True)
    folder = home.run
    if len(str(folder / "scanner.sock").encode()) > MAX_SOCKET_PATH:
        folder = Path(tempfile.gettempdir(), f"signwright-{secrets.token_hex(8)}")
    return {name: str(folder / f"{name}.sock") for name in SOCKETS}


def _services(home: Home, told: Answers, sockets: dict[str, str]) -> _Service:
    """Keys of gate, receipts, log and courier here; those of witness, TSA and scanner by their own programs."""
    publics = {}
    for name, file in (
        ("order", "signer/gate/order.key"),
        ("receipt", "signer/gate/receipt.key"),
        ("log", "signer/gate/log.key"),
        ("courier", "courier/courier.key"),
    ):
        key = Ed25519PrivateKey.generate()
        home.write_secret(file, seed_text(key))
        publics[name] = key
    origin = f"{_slug(told.organisation)}/{secrets.token_hex(4)}"
    log_key = str(VerifierKey(origin, ED25519, publics["log"].public_key().public_bytes_raw()))
    ports = told.ports
    home.write(
        "settings/witness.toml",
        settings_text.witness_toml(name=WITNESS, port=ports.witness, origin=origin, log_key=log_key),
    )
    home.write("settings/tsa.toml", settings_text.tsa_toml(port=ports.tsa))
    home.write("settings/scanner.toml", settings_text.scanner_toml(socket=sockets["scanner"]))
    for folder in ("witness", "tsa", "scanner"):
        (home / folder).mkdir(mode=0o700, exist_ok=True)
    witness_key = _create(home, "witness", "--create")
    anchor = _create(home, "tsa", "--create", f"{told.organisation} timestamps")
    scanner_key = _create(home, "scanner", "--create")
    services = Services(
        log=LogIdentity(origin=origin, key=log_key),
        witnesses=(Witness(name=WITNESS, key=witness_key, operator="this machine", outside=False),),
        quorum=Quorum(outside=0, local=1, window_minutes=GAP_MINUTES if told.profile == AIR_GAP_PROFILE else 5),
        timestamp_authorities=(TimestampAuthority(name=AUTHORITY, anchors=(anchor,), outside=False),),
        scanners=(Scanner(name=SCANNER, public_key=scanner_key),),
        gate_key=public_text(publics["order"]),
        receipt_keys=(public_text(publics["receipt"]),),
    )
    return _Service(services, public_text(publics["courier"]), _vault_key(home, told))


def _vault_key(home: Home, told: Answers) -> str | None:
    """The public half of the key that signs what leaves a vault; None where nothing is carried."""
    if told.profile != AIR_GAP_PROFILE:
        return None
    key = Ed25519PrivateKey.generate()
    home.write_secret("courier/vault.key", seed_text(key))
    return public_text(key)


def _create(home: Home, process: str, *arguments: str) -> str:
    settings = ["--settings", str(home.settings(process))]
    return run_helper(f"signwright.{process}", [*settings, *arguments]).strip()


def _slug(organisation: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", organisation.lower()).strip("-")[:40] or "signwright"


def _trial_approvers(home: Home) -> dict[str, str]:
    """Two people who exist only in a trial; their keys have no passphrase."""
    (home / "people").mkdir(mode=0o700, exist_ok=True)
    return {name: make_key_files(home / "people" / name, comment=name) for name in ("alice", "bob")}


def _credentials(home: Home) -> list[policy_text.Submitter]:
    made = [new_credential("test"), new_credential("release")]
    home.write_secret("credentials/ci.json", encode_credentials(made))
    return [
        policy_text.Submitter(c.key_id, public_text(c.key), c.kind, f"build server, {c.kind}; made by init")
        for c in made
    ]


def _sources(
    home: Home,
    told: Answers,
    made: _Service,
    *,
    keys: list[NewKey],
    approvers: dict[str, str],
    submitters: list[policy_text.Submitter],
    now: datetime,
) -> None:
    """The YAML that people will edit; what is signed is read back from it."""
    owner = min(approvers)
    days = TRIAL_EXCEPTION_DAYS if told.trial else EXCEPTION_DAYS
    exceptions = policy_text.local_exceptions(owner, now=now, days=days)
    by_kind = {s.kind: s.key_id for s in submitters}
    hours = FRESHNESS_HOURS if told.profile else WORKSTATION_FRESHNESS_HOURS
    home.write(
        "policy/organisation.yaml", policy_text.organisation_yaml(told.organisation, exceptions, freshness_hours=hours)
    )
    home.write("policy/services.yaml", policy_text.services_yaml(made.services))
    home.write("policy/people.yaml", policy_text.people_yaml(approvers))
    home.write("policy/credentials.yaml", policy_text.credentials_yaml(submitters))
    home.write("policy/keys.yaml", policy_text.keys_yaml({key.name: key.entry for key in keys}))
    project = policy_text.project_yaml(test=by_kind["test"], release=by_kind["release"])
    home.write("policy/projects/default.yaml", project)


def _new_keeper(home: Home) -> PersonKey:
    (home / "keeper").mkdir(mode=0o700, exist_ok=True)
    make_key_files(home / "keeper" / "keeper", comment="keeper")
    return load_person_key(home / "keeper" / "keeper", lambda _: "")


def _sign_policy(home: Home, told: Answers, keeper: PersonKey, *, now: datetime) -> str:
    """Root, version 1 and the first freshness, signed by the keeper, in ``policy/signed``; the root's digest."""
    role = Role(threshold=1, keys=(keeper.public.line,))
    root = PolicyRoot(
        version=1,
        organisation=told.organisation,
        trial=told.trial,
        root=role,
        policy=role,
        freshness=role,
        panic=role,
        created=format_time(now),
        expires=format_time(now + timedelta(days=ROOT_DAYS)),
    )
    root_envelope = keeper.sign_statement(draft_root(root), "policy-root")
    root_sha256 = statement_digest("policy-root", root_envelope)
    draft = draft_policy(
        read_sources(home / "policy"),
        root=root,
        root_sha256=root_sha256,
        version=1,
        created=now,
        expires=now + timedelta(days=POLICY_DAYS),
    )
    parts = PolicyParts(root_envelope, keeper.sign_statement(draft.payload, "policy"), draft.documents)
    policy = parts.open(pinned_root_sha256=root_sha256)
    (home / "policy" / "signed").mkdir(mode=0o700, exist_ok=True)
    write_signed(home / "policy" / "signed", parts)
    fresh = first_freshness(policy, keeper, now=now)
    home.write("policy/signed/freshness.json", fresh.encode().decode())
    return root_sha256


def _trust_file(home: Home, told: Answers, made: _Service, *, root_sha256: str, roots: tuple[bytes, ...]) -> None:
    services = made.services
    trust = TrustFile(
        organisation=told.organisation,
        trial=told.trial,
        policy_root_sha256=root_sha256,
        log=services.log,
        witnesses=services.witnesses,
        quorum=services.quorum,
        receipt_keys=services.receipt_keys,
        code_signing_roots=tuple(base64.b64encode(root).decode() for root in roots),
        timestamp_authorities=services.timestamp_authorities,
    )
    home.write("trust.json", trust.encode())


def _settings(
    home: Home, told: Answers, made: _Service, *, sockets: dict[str, str], root_sha256: str, keys: list[NewKey]
) -> None:
    ports = told.ports
    hub = settings_text.hub_toml(
        host=told.host,
        port=ports.hub,
        root_sha256=root_sha256,
        courier_key=made.courier_key,
        scanner_socket=sockets["scanner"],
    )
    local = "127.0.0.1" if told.host in ("0.0.0.0", "") else told.host  # noqa: S104 - compared, not listened on
    courier = settings_text.courier_toml(
        hub_url=f"http://{f'[{local}]' if ':' in local else local}:{ports.hub}",
        gate_socket=sockets["gate"],
        witness=(WITNESS, f"http://127.0.0.1:{ports.witness}"),
        authority=(AUTHORITY, f"http://127.0.0.1:{ports.tsa}/"),
    )
    if made.vault_key is not None:
        socket = str(Path(sockets["gate"]).with_name("courier.sock"))
        courier += settings_text.media_toml(socket=socket, vault_key=made.vault_key, outside_key=made.courier_key)
    signer = settings_text.signer_toml(
        gate_socket=sockets["gate"],
        keyholder_state=str(home / "signer" / "keyholder" / "keyholder.sqlite3"),
        keys={key.name: key.settings for key in keys},
    )
    home.write("settings/hub.toml", hub)
    home.write("settings/courier.toml", courier)
    home.write("settings/signer.toml", signer)


def _env(home: Home, url: str) -> str:
    rows = {
        "SIGNWRIGHT_HOME": str(home.folder),
        "SIGNWRIGHT_URL": url,
        "SIGNWRIGHT_CREDENTIALS": str(home / "credentials" / "ci.json"),
        "SIGNWRIGHT_TRUST": str(home / "trust.json"),
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in rows.items()]
    return "# . this file; the secrets themselves are in the credential file\n" + "\n".join(lines) + "\n"
