# SPDX-License-Identifier: Apache-2.0
"""A trial home for measuring: ``init``, one more key and signing policy, ``up``, and ``down`` whatever happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from signwright.cli import policy_text
from signwright.cli.bench.distance import relay
from signwright.cli.bench.measure import cpu_of
from signwright.cli.home import Home, HomeFile
from signwright.cli.new_keys import NewKey, new_rsa, software_key
from signwright.cli.policy import read_sources
from signwright.client.policy_files import read_signed, sign_next, write_signed
from signwright.client.ssh_keys import load_person_key
from signwright.errors import ConfigurationError

#: A signing policy like ``default/test-raw`` whose key is RSA-3072.
RSA_POLICY, RSA_KEY = "bench-rsa", "bench-rsa"
_UP_SECONDS = 240
_FILE_LIMIT = "\n[limits]\nopen_requests = 100000\n"


@dataclass(frozen=True, slots=True)
class Trial:
    """A home that is up."""

    home: Home
    url: str

    @property
    def credentials(self) -> Path:
        return self.home / "credentials" / "ci.json"

    def pid(self, process: str) -> int:
        """Of a process of the home, by the name of its settings."""
        return int((self.home.run / f"{process}.pid").read_text(encoding="ascii"))

    def cpu_by_process(self) -> dict[str, float]:
        """Processor seconds so far of every process of the home, summed by what it runs."""
        found: dict[str, float] = {}
        for pid in descendants(self.pid("up")):
            try:
                name, seconds = _module_of(pid), cpu_of(pid)
            except OSError:
                continue  # it just ended
            found[name] = found.get(name, 0.0) + seconds
        return found


def _verb(arguments: list[str]) -> None:
    """One verb of our own in a process of its own; raises `ConfigurationError` with its last words."""
    done = subprocess.run(
        [sys.executable, "-m", "signwright.cli", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_UP_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["nothing"]
        raise ConfigurationError(f"signwright {arguments[0]}: {' / '.join(said[-2:])}", code="bench-home")


def add_rsa_policy(home: Home) -> None:
    """Before the first start: one more test key and signing policy."""
    enrol_key(home, software_key(home, RSA_KEY, kind="test", make=new_rsa, authority=None))
    copy_rule(home, "test-raw", {"  test-raw:": f"  {RSA_POLICY}:", "key: test-raw": f"key: {RSA_KEY}"})
    sign_policy(home)


def enrol_key(home: Home, key: NewKey) -> None:
    """Into the policy's sources and into the signer's settings."""
    append_text(home / "policy" / "keys.yaml", policy_text.keys_yaml({key.name: key.entry}).partition("\nkeys:\n")[2])
    rows = "".join(f"{name} = {policy_text.q(value)}\n" for name, value in key.settings.items())
    append_text(home.settings("signer"), f"\n[keyholder.keys.{policy_text.q(key.name)}]\n{rows}")


def copy_rule(home: Home, name: str, changes: Mapping[str, str]) -> None:
    """Add a signing policy to project ``default``: the one called ``name`` with each text in ``changes`` replaced."""
    project = home / "policy" / "projects" / "default.yaml"
    found = re.search(rf"(?ms)^  {name}:\n.*?(?=^  \S|\Z)", project.read_text(encoding="utf-8"))
    assert found is not None
    rule = found.group()
    for before, after in changes.items():
        assert before in rule
        rule = rule.replace(before, after, 1)
    append_text(project, rule)


def sign_policy(home: Home) -> None:
    """The next version of the policy, from its sources, signed by the trial's keeper."""
    described: HomeFile = home.read()
    signed = home / "policy" / "signed"
    current = read_signed(signed, pinned_root_sha256=described.policy_root_sha256)
    keeper = load_person_key(home / "keeper" / "keeper", lambda _: "")
    following = sign_next(current, read_sources(home / "policy"), keeper=keeper, now=datetime.now(UTC))
    write_signed(signed, following.parts)


@contextmanager
def trial(
    folder: Path,
    signer_env: Path | None,
    *,
    witness_seconds: float = 0.0,
    prepare: Callable[[Home], None] = add_rsa_policy,
) -> Iterator[Trial]:
    """A home in ``folder`` that is up. ``witness_seconds``: round trip between courier and witness; ``prepare``: what
    the policy gets besides, before the first start.
    """
    home = Home(folder.absolute())
    flags = ["--signer-env", str(signer_env)] if signer_env else []
    _verb(["init", "--home", str(home.folder), "--organisation", "signwright bench", *flags])
    prepare(home)
    hub = home.settings("hub")
    hub.write_text(hub.read_text(encoding="utf-8") + _FILE_LIMIT, encoding="utf-8")
    with ExitStack() as stack:
        if witness_seconds:
            port = stack.enter_context(relay("127.0.0.1", _witness_port(home), round_trip_seconds=witness_seconds))
            _move_witness(home, port)
        try:
            _verb(["up", "--home", str(home.folder), "--detach"])
            yield Trial(home, home.read().url)
        finally:
            _verb(["down", "--home", str(home.folder)])


def append_text(path: Path, text: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def _witness_port(home: Home) -> int:
    found = re.search(r"(?m)^port = ([0-9]+)$", home.settings("witness").read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1])


def _move_witness(home: Home, port: int) -> None:
    courier = home.settings("courier")
    there = f"127.0.0.1:{_witness_port(home)}"
    courier.write_text(courier.read_text(encoding="utf-8").replace(there, f"127.0.0.1:{port}"), encoding="utf-8")


def descendants(pid: int) -> list[int]:
    """The process and everything that it and its children started (Linux)."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                text = (entry / "stat").read_text(encoding="ascii", errors="replace")
            except OSError:
                continue
            parents.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def _module_of(pid: int) -> str:
    """``hub`` of ``python -m signwright.hub``; the last word that names a part of ours."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    named = [w.decode(errors="replace") for w in words if b"signwright." in w or b"/signwright/" in w]
    if not named:
        return "other"
    return re.split(r"signwright[./]", named[0])[-1].removesuffix(".py").removesuffix("/__main__").replace("/", ".")


def signer_environment(found: Path | None) -> Path | None:
    """The signer's environment: as told, else beside the running one (``.venv-signer``), else None."""
    beside = Path(sys.prefix + "-signer")
    if found is None and os.path.isdir(beside):
        return beside
    return found
