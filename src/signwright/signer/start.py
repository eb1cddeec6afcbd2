# SPDX-License-Identifier: Apache-2.0
"""How the signer's processes are started: the interpreter isolated, the path explicit, in an environment of their own.

``-I`` drops PYTHON* variables, the user's site and the current folder; ``-S`` drops ``site``, and with it every
``.pth`` file, ``sitecustomize`` and ``usercustomize``. What is imported is then exactly what stands on the path given
here. Of the caller's environment variables only a short list goes along.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import signwright
from signwright.errors import ConfigurationError

#: Runs in the new interpreter: arguments are the module, the path entries as JSON, then the module's own arguments.
BOOT = (
    "import json,runpy,sys;"
    "module,path=sys.argv[1],json.loads(sys.argv[2]);"
    "sys.path[:]=[p for p in sys.path if p]+path;"
    "sys.argv[:]=[module]+sys.argv[3:];"
    "runpy.run_module(module,run_name='__main__',alter_sys=True)"
)

ENVIRONMENT_VARIABLE = "SIGNWRIGHT_SIGNER_ENV"
#: Names, parted by spaces, of further variables that the maker of a PKCS #11 module wants to see.
TOKEN_VARIABLES = "SIGNWRIGHT_TOKEN_VARIABLES"
#: What launcher, gate and keyholder see of the caller's environment: locale, clock, places, modules' settings files.
#: Nothing that decides which code is loaded (LD_*) or where connections go (*_PROXY), and no secret of a CI job.
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "HOME", "TMPDIR", "SOFTHSM2_CONF", "OPENSC_CONF")
_NEVER_KEPT = ("LD_", "PYTHON", "GCONV_PATH", "OPENSSL_")
_SHARED_FOLDERS = ("site-packages", "dist-packages")
_OTHERS = {"--tokens": "signwright.signer.tokens", "--recover": "signwright.signer.gate.recover"}


def signer_environment() -> Path:
    """The signer's own virtual environment: ``$SIGNWRIGHT_SIGNER_ENV``, else beside this one, named ``<this
    one>-signer``.
    """
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(named) if named else Path(f"{sys.prefix}-signer")


def signer_variables() -> dict[str, str]:
    """The environment variables of this process that the signer's processes get.

    Raises `ConfigurationError` when ``$SIGNWRIGHT_TOKEN_VARIABLES`` names one that could load foreign code.
    """
    named = os.environ.get(TOKEN_VARIABLES, "").split()
    for name in named:
        if name.startswith(_NEVER_KEPT):
            raise ConfigurationError(f"{TOKEN_VARIABLES} names {name}, which no signer process gets", code="variables")
    return {name: os.environ[name] for name in (*_KEPT_VARIABLES, *named) if name in os.environ}


def signer_command(
    module: str, arguments: Sequence[str], *, environment: Path, extra_path: Sequence[Path] = ()
) -> list[str]:
    """The command that runs ``module`` as ``__main__`` with ``arguments`` in ``environment``.

    ``extra_path``: further folders to import from, last. Raises `ConfigurationError` when the environment is not
    there, or when signwright could only be imported from a folder that other packages share.
    """
    python = environment / "bin" / "python"
    packages = environment / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    if not python.exists() or not packages.is_dir():
        raise ConfigurationError(
            f"no Python {sys.version_info[0]}.{sys.version_info[1]} environment for the signer at {environment}",
            code="no-signer-environment",
            hint=f"make dev creates it; another place is named by {ENVIRONMENT_VARIABLE}",
        )
    path = [packages, *_source_root(packages), *extra_path]
    rows = json.dumps([str(entry) for entry in path])
    return [str(python), "-I", "-S", "-c", BOOT, module, rows, *arguments]


def own_command(module: str, arguments: Sequence[str]) -> list[str]:
    """The command that runs ``module`` as ``__main__`` exactly as this process was started by `signer_command`.

    Raises `ConfigurationError` in a process that was started otherwise: its path may hold anything.
    """
    if not (sys.flags.isolated and sys.flags.no_site):
        raise ConfigurationError("this process was not started isolated (-I -S)", code="not-isolated")
    path = json.dumps([entry for entry in sys.path if entry])
    return [sys.executable, "-I", "-S", "-c", BOOT, module, path, *arguments]


def main(arguments: Sequence[str]) -> int:
    """``python -m signwright.signer.start``: become the signer's launcher in the signer's own environment.

    With ``--tokens`` first: become `signwright.signer.tokens`, which tells what the tokens hold; with ``--recover``:
    `signwright.signer.gate.recover`, which rebuilds the gate's log and state.
    """
    asked = _OTHERS.get(arguments[0]) if arguments else None
    own = arguments[1:] if asked else arguments
    try:
        command = signer_command(asked or "signwright.signer", own, environment=signer_environment())
        os.execve(command[0], command, signer_variables())  # noqa: S606 - no shell: program and arguments are ours
    except ConfigurationError as problem:
        hint = f" ({problem.hint})" if problem.hint else ""
        print(f"signer: error: {problem.message}{hint}", file=sys.stderr)
    return 1


def _source_root(packages: Path) -> list[Path]:
    """Where signwright itself comes from when ``packages`` does not have it: the source folder this process runs
    from.
    """
    if (packages / "signwright" / "__init__.py").exists():
        return []
    root = Path(signwright.__file__).resolve().parent.parent
    if root.name in _SHARED_FOLDERS:
        raise ConfigurationError(
            f"signwright is not installed in {packages}, and {root} is shared with other packages",
            code="no-signer-environment",
            hint="install signwright[signer] in the signer's environment",
        )
    return [root]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
