# SPDX-License-Identifier: Apache-2.0
"""The steps of an installation, in order. Each leaves alone what is right already."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from signwright.cli.home import Home
from signwright.cli.install import layout, settings
from signwright.cli.install.host import Host, has_user, program, systemd_runs, user_id
from signwright.cli.install.layout import Profile, user_of
from signwright.cli.install.settings import Credential
from signwright.cli.install.signer_env import SUFFIX, make_signer_environment, shipped
from signwright.errors import ConfigurationError

FIREWALL = "/etc/signwright/nftables.conf"
_LOAD = re.compile(r"^LoadCredential=(?P<name>[^:]+):(?P<source>.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Installation:
    """Folders are absolute, as the finished machine will have them; ``hub``, ``wheels``: see the command."""

    host: Host
    profile: Profile
    home: Path
    environment: Path
    interpreter: Path
    hub: str | None
    wheels: Path | None

    @property
    def signer_environment(self) -> Path:
        return Path(f"{self.environment}{SUFFIX}")

    @property
    def settled(self) -> bool:
        """There is a home to work on."""
        return (self.host.at(self.home) / "home.json").exists()

    def run(self) -> None:
        """Raises `ConfigurationError` at the first step that fails; run again after mending it."""
        self._users()
        self._command()
        if self.profile.signs and not self.host.staging:
            make_signer_environment(self.host, self.signer_environment, wheels=self.wheels)
        if self.settled:
            self._folders()
            self._settings()
            self._monitor()
            self._owners()
        self._units()
        self._sockets()
        if self.settled:
            if self.profile.signs:
                self._genesis()
            self._enable()
            self._leftovers()

    # ── users ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _etc(self, kind: str) -> str:
        """Packages bring their files below /usr/lib, administrators theirs below /etc."""
        return f"/usr/lib/{kind}" if self.host.staging else f"/etc/{kind}"

    def _users(self) -> None:
        host, file = self.host, f"{self._etc('sysusers.d')}/signwright.conf"
        host.place(file, shipped("deploy/sysusers.d/signwright.conf").read_text(encoding="utf-8"))
        if host.staging:
            host.leave("users are made where the package is installed (systemd-sysusers)")
            return
        wanted = [user_of(process) for process in layout.PROCESSES]
        missing = [user for user in wanted if not has_user(user)]
        if not missing:
            return
        tool = program("systemd-sysusers")
        if tool:
            host.run(f"make users {', '.join(missing)}", [tool, file])
            return
        for user in missing:
            options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
            host.run(f"make user {user}", ["/usr/sbin/useradd", *options, "--shell", "/usr/sbin/nologin", user])

    def _command(self) -> None:
        """`signwright` on everybody's path, unless something of that name is there."""
        program_file, link = self.environment / "bin" / "signwright", Path("/usr/local/bin/signwright")
        if not self.host.staging and program_file.exists() and not (link.exists() or link.is_symlink()):
            self.host.note(f"link {link} to {program_file}")
            if not self.host.dry:
                link.symlink_to(program_file)

    # ── home ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _folders(self) -> None:
        for row in layout.ownership(self.profile):
            if row.mode & 0o100 and row.owner != "root":
                self.host.folder(self.home / row.path, row.mode)

    def _settings(self) -> None:
        """Each process's settings, as far as this profile has the process."""
        has = self.profile.processes
        if self.profile.signs:
            text, credentials = settings.signer_toml(self._read("signer"), self.profile)
            self._credentials(credentials)
            self._write("signer", text)
            for source in {one.source for one in credentials if self._is_homes(one.source)}:
                self.host.remove(source)
        if "courier" in has:
            self._change("courier", lambda text: settings.courier_toml(text, self.profile, hub=self.hub))
        if "hub" in has:
            self._change("hub", settings.hub_toml)
            user = user_id(user_of("hub")) if has_user(user_of("hub")) and not self.host.staging else None
            self._change("scanner", lambda text: settings.scanner_toml(text, hub_user=user))
        if self.profile.name == "2-hub":
            listening = settings.hub_host(self._read("hub"))
            for process in ("witness", "tsa"):
                self._change(process, lambda text: settings.listening_toml(text, host=listening))

    def _read(self, process: str) -> str:
        file = self.host.at(self.home) / "settings" / f"{process}.toml"
        try:
            return file.read_text(encoding="utf-8")
        except OSError as problem:
            raise ConfigurationError(f"settings {file}: {problem.strerror}", code="bad-settings") from problem

    def _write(self, process: str, text: str) -> None:
        if text != self._read(process):
            self.host.place(self.home / "settings" / f"{process}.toml", text)

    def _change(self, process: str, change: Callable[[str], str]) -> None:
        self._write(process, change(self._read(process)))

    def _is_homes(self, file: str) -> bool:
        return self.home in Path(file).parents

    def _credentials(self, new: tuple[Credential, ...]) -> None:
        """Secrets of the home go where only root writes, and a drop-in names them for the keyholder's unit.

        Those that lie elsewhere stay there; those that the drop-in named before stay in it.
        """
        file = f"{self._etc('systemd/system')}/signwright-keyholder.service.d/20-credentials.conf"
        before = self.host.at(file).read_text(encoding="utf-8") if self.host.at(file).exists() else ""
        if not new and before:
            return
        rows = {found["name"]: found["source"] for found in _LOAD.finditer(before)}
        for one in new:
            rows[one.name] = self._kept(one) if self._is_homes(one.source) else one.source
        lines = [f"LoadCredential={name}:{source}" for name, source in sorted(rows.items())]
        text = (
            "# PINs and passphrases: read by the service manager as root, handed to the keyholder in memory.\n"
            "# Sealed on disk: systemd-creds encrypt --name=NAME FILE CRED; LoadCredentialEncrypted=NAME:CRED here.\n"
            "[Service]\n"
        )
        self.host.place(file, text + "".join(f"{line}\n" for line in lines))

    def _kept(self, one: Credential) -> str:
        kept = self.home / layout.KEPT_SECRETS / one.name
        try:
            content = _own_text(self.host.at(one.source))
        except (OSError, UnicodeDecodeError) as problem:
            raise ConfigurationError(f"secret file {one.source}: {problem}", code="no-secret") from problem
        self.host.folder(kept.parent, 0o700)
        self.host.place(kept, content, mode=0o400)
        return str(kept)

    def _owners(self) -> None:
        host = self.host
        if host.staging:
            host.leave("owners are set where the home is used: signwright install, as root")
            return
        if not all(has_user(user_of(process)) for process in self.profile.processes):
            host.note(f"set owners below {self.home}")  # only in a dry run: the users would be made first
            return
        rows = layout.ownership(self.profile)
        for row in rows:
            deeper = [other.path for other in rows if other.path.startswith(f"{row.path}/")]
            host.own(self.home, row, except_below=tuple(deeper))

    # ── units ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _rendered(self, name: str) -> str:
        return layout.rendered(
            shipped(f"deploy/{name}").read_text(encoding="utf-8"),
            home=str(self.home),
            environment=str(self.environment) if not self.host.staging else layout.ENVIRONMENT,
            signer_environment=str(self.signer_environment) if not self.host.staging else layout.SIGNER_ENVIRONMENT,
            interpreter=str(self.interpreter) if not self.host.staging else "/usr",
        )

    def _units(self) -> None:
        host, folder = self.host, self._etc("systemd/system")
        changed = [host.place(f"{folder}/{unit}", self._rendered(f"systemd/{unit}")) for unit in self.profile.units]
        if "signwright-firewall.service" in self.profile.units:
            self._firewall(folder)
        if self.profile.side == "vault":
            changed += [host.place(f"{folder}/{unit}.d/20-vault.conf", text) for unit, text in layout.vault_dropins()]
        if any(changed) and not host.staging and systemd_runs():
            host.run("have systemd read its units again", [program("systemctl") or "systemctl", "daemon-reload"])

    def _firewall(self, folder: str) -> None:
        """An administrator's own rules are kept; without any rules the courier does not start."""
        if not self.host.at(FIREWALL).exists():
            self.host.place(FIREWALL, self._rendered("nftables.conf"))
        dropin = "# No courier without the firewall.\n[Unit]\nRequires=signwright-firewall.service\n"
        dropin += "After=signwright-firewall.service\n"
        self.host.place(f"{folder}/signwright-courier.service.d/20-firewall.conf", dropin)
        if not self.host.staging and program("nft") is None:
            self.host.leave(
                "nft is not installed (package nftables): without it the firewall and the courier do not start"
            )

    def _monitor(self) -> None:
        folder = self.host.at(self.home) / "monitor"
        if "monitor" not in self.profile.processes:
            return
        if not (folder / "credentials.json").exists():
            self.host.leave(f"the monitor waits for a credential of its own, {self.home}/monitor/credentials.json")
        if self.host.at(self.home / "settings" / "monitor.env").exists():
            return
        url = Home(self.host.at(self.home)).read().url
        rows = {
            "SIGNWRIGHT_URL": url,
            "SIGNWRIGHT_TRUST": self.home / "trust.json",
            "SIGNWRIGHT_CREDENTIALS": self.home / "monitor" / "credentials.json",
        }
        self.host.place(
            self.home / "settings" / "monitor.env", "".join(f"{name}={value}\n" for name, value in rows.items())
        )

    def _sockets(self) -> None:
        """Folders of the sockets: by systemd-tmpfiles, at every start of the machine too."""
        host, file = self.host, f"{self._etc('tmpfiles.d')}/signwright.conf"
        host.place(file, shipped("deploy/tmpfiles.d/signwright.conf").read_text(encoding="utf-8"))
        if host.staging or all(Path(layout.RUN, name).is_dir() for name in ("gate", "courier")):
            return
        tool = program("systemd-tmpfiles")
        if tool is None:
            host.leave(f"systemd-tmpfiles is not here: {layout.RUN} and its folders are still to be made, see {file}")
            return
        host.run(f"make {layout.RUN}", [tool, "--create", file])

    # ── first start ─────────────────────────────────────────────────────────────────────────────────────────────

    def _genesis(self) -> None:
        """State of keyholder and gate under the pinned policy root, once, each made by its own user."""
        home = Home(self.host.at(self.home))
        if not home.genesis.exists():
            return
        if self.host.staging:
            self.host.leave("the signer's state is made where it signs: signwright install, as root")
            return
        digest = home.genesis.read_text(encoding="ascii").strip()
        python = [str(self.signer_environment / "bin/python"), "-I", "-S", str(self.signer_environment / "boot.py")]
        common = ["--settings", str(home.settings("signer")), "--genesis", digest]
        for process, module, more in (
            ("keyholder", "signwright.signer.peer", []),
            ("gate", "signwright.signer.gate", ["--create-only"]),
        ):
            if not (home / "signer" / process / f"{process}.sqlite3").exists():
                command = [*python, module, *common, *more]
                self.host.run(f"make the {process}'s state", command, user=user_of(process))
        self.host.note("end the first start: state is never made again")
        if not self.host.dry:
            home.genesis.unlink()

    def _enable(self) -> None:
        host, tool = self.host, program("systemctl")
        if host.staging or tool is None:
            return
        units = [layout.TARGET, *self.profile.enabled]
        missing = [unit for unit in units if not _is_enabled(unit)]
        if missing:
            host.run(f"enable {' '.join(missing)}", [tool, "enable", "--quiet", *missing])
        if systemd_runs():
            host.leave(f"next: systemctl start signwright.target; then: signwright doctor --home {self.home}")

    def _leftovers(self) -> None:
        """What a machine of this profile should not keep. We name it; a person carries it and deletes it."""
        home = self.host.at(self.home)
        found = [f"{self.home}/{name}" for name in layout.secrets_below(self.profile) if _has_files(home / name)]
        if found:
            self.host.leave(f"keys and data of another machine's processes lie here: {', '.join(found)}")


def _own_text(file: Path) -> str:
    """What stands in a file below the home, some of whose folders others own: no link to a file that only root reads.

    Raises `OSError`.
    """
    with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), encoding="utf-8") as opened:
        found = os.fstat(opened.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise OSError(errno.EINVAL, "not a file of one name")
        return opened.read()


def _is_enabled(unit: str) -> bool:
    """By the links that `systemctl enable` makes, so that it works where systemd does not run."""
    return any(Path("/etc/systemd/system").glob(f"*.wants/{unit}"))


def _has_files(place: Path) -> bool:
    return place.is_file() or (place.is_dir() and any(path.is_file() for path in place.rglob("*")))
