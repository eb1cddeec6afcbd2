# SPDX-License-Identifier: Apache-2.0
"""The signer's own environment: locked packages, this very version of signwright, and the file that starts it all."""

from __future__ import annotations

import filecmp
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import signwright
from signwright.cli.install.host import Host
from signwright.errors import ConfigurationError

LOCK = "requirements-signer.lock"
#: What the signer imports; a wheel of each is in the lock.
PACKAGES = ("asn1crypto", "cryptography", "pydantic", "pkcs11")
#: Beside the environment of this command, see `signwright.signer.start`.
SUFFIX = "-signer"


def shipped(name: str) -> Path:
    """A file that came with the wheel (``share/signwright``) or stands in the source tree; `ConfigurationError`."""
    source = Path(signwright.__file__).resolve().parents[2]
    for folder in (source, Path(sys.prefix) / "share" / "signwright"):
        if (folder / name).exists() and (folder != source or source.joinpath("pyproject.toml").is_file()):
            return folder / name
    raise ConfigurationError(f"{name} did not come with this installation", code="not-shipped")


def make_signer_environment(host: Host, environment: Path, *, wheels: Path | None) -> None:
    """Packages from the lock, by their hashes; ``wheels``: a folder instead of the package index.

    What is there already is kept; signwright itself is always the version that runs this command.
    """
    packages = _packages(environment)
    if not (environment / "bin" / "python").exists():
        host.run(f"make the signer's environment {environment}", [sys.executable, "-m", "venv", str(environment)])
    if not all((packages / name).is_dir() for name in PACKAGES):
        source = ["--no-index", "--find-links", str(wheels)] if wheels else []
        python = [str(environment / "bin" / "python"), "-I", "-m", "pip", "install", "--disable-pip-version-check"]
        locked = ["--require-hashes", "--only-binary", ":all:", "--compile", "-r", str(shipped(LOCK))]
        host.run("install the signer's locked packages", [*python, *source, *locked])
    _copy_signwright(host, packages)
    boot = Path(signwright.__file__).parent / "signer" / "boot.py"
    host.place(environment / "boot.py", boot.read_text(encoding="utf-8"))


def _packages(environment: Path) -> Path:
    return environment / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def _copy_signwright(host: Host, packages: Path) -> None:
    ours, theirs = Path(signwright.__file__).resolve().parent, packages / "signwright"
    if theirs.is_dir() and list(_files(ours)) == list(_files(theirs)) and _same(ours, theirs):
        return
    host.note(f"copy signwright {signwright.__version__} to {packages}")
    if host.dry:
        return
    draft = packages / ".signwright.new"
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(ours, draft, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (draft, *draft.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    shutil.rmtree(theirs, ignore_errors=True)
    draft.rename(theirs)


def _files(folder: Path) -> Iterator[str]:
    rows = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    yield from sorted(path.relative_to(folder).as_posix() for path in rows)


def _same(ours: Path, theirs: Path) -> bool:
    return all(filecmp.cmp(ours / name, theirs / name, shallow=False) for name in _files(ours))
