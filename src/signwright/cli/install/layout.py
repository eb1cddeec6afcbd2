# SPDX-License-Identifier: Apache-2.0
"""What belongs to which profile: units, users, folders. Pure; nothing here looks at the machine."""

from __future__ import annotations

from dataclasses import dataclass

#: The folders that the shipped units name; `rendered` puts others in their place.
HOME, ENVIRONMENT, SIGNER_ENVIRONMENT = "/var/lib/signwright", "/opt/signwright", "/opt/signwright-signer"
RUN = "/run/signwright"
GATE_SOCKET = f"{RUN}/gate/gate.sock"
KEYHOLDER_SOCKET = f"{RUN}/keyholder/keyholder.sock"
SCANNER_SOCKET = f"{RUN}/scanner/scanner.sock"
MEDIA_SOCKET = f"{RUN}/courier/courier.sock"
#: Where the keyholder's unit keeps copies of its credentials, in memory.
SECRETS = "/run/signwright-secrets"
#: Where root keeps what becomes those credentials. Not below a folder of the keyholder's: what root reads for somebody,
#: that somebody must not be able to replace by a link.
KEPT_SECRETS = "signer/secrets"
TARGET = "signwright.target"
PROCESSES = ("hub", "scanner", "witness", "tsa", "courier", "gate", "keyholder", "monitor")
_HUB_UNITS = (
    "signwright-hub.service",
    "signwright-scanner.service",
    "signwright-witness.service",
    "signwright-tsa.service",
    "signwright-monitor.timer",
)
_SIGNER_UNITS = ("signwright-keyholder.socket", "signwright-gate.service")
#: In a vault witness and authority are inside: nobody can ask them from there otherwise.
_INSIDE_UNITS = ("signwright-witness.service", "signwright-tsa.service")
_COURIER, _FIREWALL = "signwright-courier.service", "signwright-firewall.service"
#: Started by others: the socket, the timer.
_FOLLOWING = {
    "signwright-keyholder.socket": "signwright-keyholder.service",
    "signwright-monitor.timer": "signwright-monitor.service",
}


@dataclass(frozen=True, slots=True)
class Profile:
    """``number``: what the log and every receipt say; ``enabled``: units that start with the machine."""

    name: str
    number: int
    words: str
    enabled: tuple[str, ...]
    processes: tuple[str, ...]

    @property
    def units(self) -> tuple[str, ...]:
        """Every unit file that is needed."""
        following = tuple(_FOLLOWING[unit] for unit in self.enabled if unit in _FOLLOWING)
        return (TARGET, *self.enabled, *following)

    @property
    def signs(self) -> bool:
        return "keyholder" in self.processes

    @property
    def has_hub(self) -> bool:
        return "hub" in self.processes

    @property
    def side(self) -> str | None:
        """Of an air gap; None without one."""
        return {"3": "vault", "3-hub": "outside"}.get(self.name)


_HUB_PROCESSES = ("hub", "scanner", "witness", "tsa", "monitor")
PROFILES = {
    profile.name: profile
    for profile in (
        Profile("1", 1, "one server", (*_HUB_UNITS, *_SIGNER_UNITS, _COURIER), PROCESSES),
        Profile("2-hub", 2, "the machine that people and build servers reach", _HUB_UNITS, _HUB_PROCESSES),
        Profile(
            "2-signer",
            2,
            "dedicated signer host, outbound only",
            (_FIREWALL, *_SIGNER_UNITS, _COURIER),
            ("courier", "gate", "keyholder"),
        ),
        Profile(
            "3",
            3,
            "signer without a network",
            (*_SIGNER_UNITS, *_INSIDE_UNITS, _COURIER),
            ("courier", "gate", "keyholder", "witness", "tsa"),
        ),
        Profile(
            "3-hub",
            3,
            "the machine outside an air gap",
            ("signwright-hub.service", "signwright-scanner.service", "signwright-monitor.timer", _COURIER),
            ("hub", "scanner", "monitor", "courier"),
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Owned:
    """A folder or file below the home. ``mode``: of the folder itself; what is in it loses what ``mode`` does not give.

    ``deep``: everything below goes to the same owner.
    """

    path: str
    owner: str
    group: str
    mode: int
    deep: bool = True


def ownership(profile: Profile) -> tuple[Owned, ...]:
    """From the outside to the inside; a later row wins over an earlier one."""
    rows = [
        Owned(".", "root", "root", 0o755, deep=False),
        *(Owned(f, "root", "root", 0o755) for f in ("settings", "policy")),
        *(Owned(f, "root", "root", 0o644) for f in ("env", "trust.json", "home.json")),
        *(Owned(f, "root", "root", 0o700) for f in ("credentials", "people", "keeper")),
        Owned("run", "root", "root", 0o700, deep=False),
        Owned("signer", "root", "root", 0o755, deep=False),
        Owned(KEPT_SECRETS, "root", "root", 0o700),
    ]
    places = {"gate": "signer/gate", "keyholder": "signer/keyholder"}
    rows += [Owned(places.get(p, p), user_of(p), user_of(p), 0o700) for p in profile.processes]
    if profile.has_hub:
        rows.append(Owned("settings/hub.toml", "root", user_of("hub"), 0o640))
    return tuple(rows)


def secrets_below(profile: Profile) -> tuple[str, ...]:
    """What of the home belongs to processes which this profile has not: on another machine, or nowhere."""
    places = {"gate": "signer/gate", "keyholder": "signer/keyholder"}
    found = [places.get(process, process) for process in PROCESSES if process not in profile.processes]
    others_key = {"vault": "courier/courier.key", "outside": "courier/vault.key"}
    return (*found, others_key[profile.side]) if profile.side is not None else tuple(found)


def vault_dropins() -> list[tuple[str, str]]:
    """(unit, drop-in): in a vault courier, witness and authority share a network of their own, which has loopback and
    nothing else, whatever somebody plugs in; no folder of theirs is shared with it.
    """
    first, *others = units = ("signwright-tsa.service", "signwright-witness.service", "signwright-courier.service")
    joins = dict.fromkeys(others, f"[Unit]\nJoinsNamespaceOf={first}\nAfter={first}\n\n")
    confined = "[Service]\nPrivateNetwork=yes\nIPAddressDeny=any\nIPAddressAllow=localhost\n"
    confined += "PrivateTmp=no\nTemporaryFileSystem=/tmp /var/tmp\n"
    return [
        (unit, f"# A vault: no network but this one's loopback.\n{joins.get(unit, '')}{confined}") for unit in units
    ]


def user_of(process: str) -> str:
    return f"signwright-{process}"


def rendered(text: str, *, home: str, environment: str, signer_environment: str, interpreter: str) -> str:
    """A shipped file with the folders of this machine in place of the usual ones.

    ``interpreter``: the folder of the Python that both environments use.
    """
    if not interpreter.startswith("/usr"):
        text = text.replace("\nExecPaths=", f"\nExecPaths={interpreter} ")
    # The longer name first: one is the beginning of the other.
    for usual, here in (
        (SIGNER_ENVIRONMENT, "\0signer\0"),
        (ENVIRONMENT, "\0server\0"),
        (HOME, "\0home\0"),
        ("\0signer\0", signer_environment),
        ("\0server\0", environment),
        ("\0home\0", home),
    ):
        text = text.replace(usual, here)
    return text
