# SPDX-License-Identifier: Apache-2.0
"""A large PE, stored file to signed file, against ``openssl dgst -sha256`` and ``cp`` of the same file.

    python -m bench.pe [--size MIB] [--runs N] [--osslsigncode N] [--folder DIR] [--json FILE]

Every run is a fresh process; the runs of all variants alternate, the median of each is compared. Measured are
`prepare`, the signature, `embed`, copying the file and applying the patch beside the target, and the rename; with or
without the digest of the result, with or without numpy. Start-up of the interpreter is left out; neither side calls
``fsync``. On a busy machine look at ``best`` (ratio of the shortest runs) and at ``cpu`` (processor time), because we
use two cores and ``openssl`` one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MIB = 1 << 20
LIMIT = 1.3
PURE_AIM = 1.8
MEMORY_LIMIT_MIB = 64
WORKER_MARK = "--one-run"
WHEN = datetime(2026, 1, 1, tzinfo=UTC)

#: Name → (numpy allowed, digest of the result).
VARIANTS = {
    "numpy, with result digest": (True, True),
    "numpy, without result digest": (True, False),
    "pure, with result digest": (False, True),
    "pure, without result digest": (False, False),
}


def make_pe(path: Path, size: int) -> None:
    """A PE32+ of one section whose overlay is one random MiB, repeated: really stored, not sparse."""
    optional = struct.pack("<HBBIIIII", 0x20B, 1, 0, 512, 0, 0, 0x1000, 0x1000) + struct.pack("<Q", 0x140000000)
    optional += struct.pack("<IIHHHHHHI", 0x1000, 0x200, 6, 0, 0, 0, 6, 0, 0)
    optional += struct.pack("<IIIHHQQQQII", 0x2000, 0x200, 0, 3, 0, 1 << 20, 4096, 1 << 20, 4096, 0, 16) + bytes(128)
    section = struct.pack("<8sIIIIIIHHI", b".text", 512, 0x1000, 512, 512, 0, 0, 0, 0, 0x60000020)
    coff = struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, len(optional), 0x22)
    head = b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + coff + optional + section
    block = os.urandom(MIB)
    with path.open("wb") as file:
        file.write(head.ljust(512, b"\0") + b"\xc3" * 512)
        while (left := size - file.tell()) > 0:
            file.write(block[:left])


def signing_key(folder: Path) -> None:
    """A throwaway P-256 key and its certificate, as ``key.pem``, ``cert.pem`` and ``cert.der``."""
    key, pem, der = folder / "key.pem", folder / "cert.pem", folder / "cert.der"
    made: list[str | Path] = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        key,
        "-out",
        pem,
    ]
    usage = ["-days", "30", "-subj", "/CN=bench", "-addext", "extendedKeyUsage=codeSigning"]
    subprocess.run(["openssl", "req", "-x509", *made, *usage], check=True, capture_output=True)
    subprocess.run(["openssl", "x509", "-in", pem, "-outform", "DER", "-out", der], check=True, capture_output=True)


class Steps:
    """Seconds per step, in order."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._cpu = _cpu_seconds()
        self._since = time.perf_counter()

    def done(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._since
        self._since = now

    def report(self) -> dict[str, Any]:
        return {"seconds": sum(self.seconds.values()), "cpu": _cpu_seconds() - self._cpu, "steps": self.seconds}


def _cpu_seconds() -> float:
    """Processor time of this process and of the children it has waited for."""
    now = os.times()
    return now.user + now.system + now.children_user + now.children_system


def copy_in_kernel(source: int, target: int, size: int) -> None:
    """All bytes of one file to another without passing through this process; the interpreter lock is free meanwhile."""
    at = 0
    while at < size:
        moved = os.copy_file_range(source, target, size - at, at, at)
        if moved == 0:
            raise OSError(f"the file ended at {at}, wanted {size}")
        at += moved


def sign_once(folder: Path, *, result_digest: bool) -> dict[str, Any]:
    """One signature in this process, from ``source`` to ``target`` in ``folder``."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    from signwright.envelopes.authenticode import Authenticode
    from signwright.envelopes.base import SignerContext
    from signwright.formats.pe import PeFormat, PeOptions
    from signwright.formats.pe_checksum import VECTORISED
    from signwright.model.patch import sealed
    from signwright.model.view import FileView

    key = serialization.load_pem_private_key((folder / "key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    kind = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    chain = ((folder / "cert.der").read_bytes(),)
    context, template = SignerContext(chain, key.public_key().public_bytes(*kind), WHEN), Authenticode()
    draft = folder / "draft"
    steps = Steps()
    with (folder / "source").open("rb") as source:
        view = FileView(source)
        prepared = PeFormat().prepare(view, chain, PeOptions())
        steps.done("prepare")
        operation = prepared.operations[0]
        value = key.sign(template.to_be_signed(operation, context).content, ec.ECDSA(hashes.SHA256()))
        patch = PeFormat().embed(prepared, [template.envelope(operation, context, value, None)])
        steps.done("sign and embed")
        with draft.open("xb") as target, ThreadPoolExecutor(1) as pool:
            copying = pool.submit(copy_in_kernel, source.fileno(), target.fileno(), patch.splices[-1].offset)
            if result_digest:
                patch = sealed(view, patch)
            copying.result()
            for splice in patch.splices:
                os.pwrite(target.fileno(), splice.insert, splice.offset)
        draft.replace(folder / "target")
        steps.done("result digest and copy" if result_digest else "copy")
    return {
        **steps.report(),
        "peak_mib": _peak_kib() / 1024,
        "numpy": VECTORISED is not None,
        "result_sha256": patch.result_sha256,
    }


def _peak_kib() -> int:
    """VmHWM: unlike ru_maxrss it begins anew when a program is started."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def run_ours(folder: Path, *, numpy: bool, result_digest: bool) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.pe", WORKER_MARK, str(folder), str(int(numpy)), str(int(result_digest))]
    here = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=here, check=True, capture_output=True, text=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    if answer["numpy"] != numpy:
        raise SystemExit("numpy is not installed (extra fast)")
    return answer


def run_baseline(folder: Path) -> dict[str, Any]:
    """``openssl dgst`` and ``cp``, each measured from outside."""
    steps = Steps()
    subprocess.run(["openssl", "dgst", "-sha256", folder / "source"], check=True, capture_output=True)
    steps.done("openssl dgst -sha256")
    subprocess.run(["cp", folder / "source", folder / "target"], check=True)
    steps.done("cp")
    return steps.report()


def run_osslsigncode(folder: Path) -> dict[str, Any]:
    command: list[str | Path] = [
        "osslsigncode",
        "sign",
        "-h",
        "sha256",
        "-key",
        folder / "key.pem",
        "-certs",
        folder / "cert.pem",
    ]
    steps = Steps()
    subprocess.run([*command, "-in", folder / "source", "-out", folder / "target"], check=True, capture_output=True)
    steps.done("osslsigncode sign")
    return steps.report()


def measure(folder: Path, runs: int, osslsigncode_runs: int) -> dict[str, list[dict[str, Any]]]:
    """Interleaved: each round runs every variant once, after a warm-up that fills the page cache."""
    found: dict[str, list[dict[str, Any]]] = {"openssl dgst + cp": [], **{name: [] for name in VARIANTS}}
    run_baseline(folder)
    for number in range(runs):
        (folder / "target").unlink(missing_ok=True)
        found["openssl dgst + cp"].append(run_baseline(folder))
        for name, (numpy, result_digest) in VARIANTS.items():
            (folder / "target").unlink(missing_ok=True)
            found[name].append(run_ours(folder, numpy=numpy, result_digest=result_digest))
        if number < osslsigncode_runs and shutil.which("osslsigncode"):
            (folder / "target").unlink(missing_ok=True)
            found.setdefault("osslsigncode sign", []).append(run_osslsigncode(folder))
    return found


def summary(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians, and ratios to the baseline of the same round."""
    base = [float(run["seconds"]) for run in found["openssl dgst + cp"]]
    rows = {}
    for name, runs in found.items():
        rows[name] = {
            "seconds": statistics.median(run["seconds"] for run in runs),
            "best": min(float(run["seconds"]) for run in runs) / min(base),
            "cpu": statistics.median(run["cpu"] for run in runs),
            "ratio": statistics.median(run["seconds"] / b for run, b in zip(runs, base, strict=False)),
            "peak_mib": max((run["peak_mib"] for run in runs if "peak_mib" in run), default=None),
            "runs": len(runs),
            "steps": {s: statistics.median(run["steps"][s] for run in runs) for s in runs[0]["steps"]},
        }
    return {
        "limit": LIMIT,
        "pure_aim": PURE_AIM,
        "memory_limit_mib": MEMORY_LIMIT_MIB,
        "cores": os.cpu_count(),
        "rows": rows,
    }


def table(report: dict[str, Any]) -> str:
    lines = [f"{'':32} {'seconds':>8} {'ratio':>6} {'best':>6} {'cpu s':>6} {'peak MiB':>9}  steps"]
    for name, row in report["rows"].items():
        peak = f"{row['peak_mib']:.0f}" if row["peak_mib"] else "-"
        steps = ", ".join(f"{step} {seconds:.2f}" for step, seconds in row["steps"].items())
        times = f"{row['seconds']:8.2f} {row['ratio']:6.2f} {row['best']:6.2f} {row['cpu']:6.2f}"
        lines.append(f"{name:32} {times} {peak:>9}  {steps}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=1024, help="MiB")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--osslsigncode", type=int, default=1, help="runs of osslsigncode sign")
    parser.add_argument("--folder", type=Path, help="where the files are made (default: the temporary folder)")
    parser.add_argument("--json", type=Path, help="write the report here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        make_pe(folder / "source", options.size * MIB)
        signing_key(folder)
        report = summary(measure(folder, options.runs, options.osslsigncode))
    report["size_mib"] = options.size
    print(table(report))
    text = json.dumps(report, indent=1)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


def one_run(folder: str, numpy: str, result_digest: str) -> None:
    """The fresh process of one run: prints its measurement as JSON."""
    if numpy == "0":
        sys.modules["numpy"] = None  # type: ignore[assignment]  # as if it were not installed
    print(json.dumps(sign_once(Path(folder), result_digest=result_digest == "1")))


if __name__ == "__main__":
    if sys.argv[1:2] == [WORKER_MARK]:
        one_run(*sys.argv[2:])
    else:
        main()
