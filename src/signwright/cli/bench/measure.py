# SPDX-License-Identifier: Apache-2.0
"""Clocks, memory of processes, programs beside us, and the machine's description."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from signwright.cli.bench.figures import Sample
from signwright.errors import ConfigurationError

PROGRAM_SECONDS = 600


def timed(*commands: Sequence[str | Path]) -> Sample:
    """Seconds from the first start to the last end; raises `ConfigurationError` when one fails."""
    cpu, start = cpu_seconds(), time.perf_counter()
    for command in commands:
        run_program(command)
    return Sample(time.perf_counter() - start, {"cpu s": cpu_seconds() - cpu})


def run_program(command: Sequence[str | Path]) -> str:
    """Its stdout."""
    if shutil.which(command[0]) is None:
        raise ConfigurationError(f"{command[0]} is not installed", code="no-program")
    done = subprocess.run(
        list(command), stdin=subprocess.DEVNULL, capture_output=True, timeout=PROGRAM_SECONDS, check=False
    )
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["nothing"]
        raise ConfigurationError(f"{command[0]} ended with {done.returncode}: {said[-1]}", code="program-failed")
    return done.stdout.decode("utf-8", "replace")


def cpu_seconds() -> float:
    """Processor time of this process and of the children it has waited for."""
    now = os.times()
    return now.user + now.system + now.children_user + now.children_system


def peak_mib(pid: int | str = "self") -> float:
    """VmHWM of a process: unlike ru_maxrss it begins anew when a program is started."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def cpu_of(pid: int) -> float:
    """Processor seconds of a running process, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))


def machine() -> dict[str, object]:
    """What a reader needs in order to compare, and nothing that names the machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20 if hasattr(os, "sysconf") else None
    return {
        "cores": os.cpu_count(),
        "memory_mib": memory,
        "processor": _processor(),
        "sha_instructions": "sha_ni" in _processor_flags(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "openssl": run_program(["openssl", "version"]).split()[1] if shutil.which("openssl") else None,
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "implementation": sys.implementation.name,
    }


def _cpuinfo(field: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or "unknown"


def _processor_flags() -> list[str]:
    return _cpuinfo("flags").split()
