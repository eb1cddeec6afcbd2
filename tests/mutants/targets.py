# SPDX-License-Identifier: Apache-2.0
"""Which modules decide about trust, and which tests may hold their checks."""

from __future__ import annotations

#: Below ``src/signwright``; every file that matches is searched for checks. Whole folders, so that a new file is in.
MODULES = (
    *("policy/*.py", "policy/rules/*.py"),
    *("signer/gate/*.py", "signer/keyholder/*.py", "signer/keyholder/keystores/*.py"),
    *("transparency/*.py", "statements/*.py", "envelopes/*.py", "identity/*.py", "model/*.py"),
    *("signer/channel.py", "signer/peer.py", "signer/users.py"),
    *("timestamps/token.py", "timestamps/reply.py", "timestamps/query.py", "timestamps/authorities.py"),
    *("client/verify.py", "client/authorisation.py", "client/seen_policy.py"),
)

#: Matched and yet not searched: advice for people, on which nothing depends.
ADVICE = ("policy/lint.py", "policy/changes.py")

#: What the gate and the keyholder run besides, and what holds it instead.
OUTSIDE = {
    "errors": "no checks",
    "containers": "parsers: property tests, fuzzing, hostile archives (tests/unit/containers, tests/e2e/scanner)",
    "formats": "writers: outside verifiers and the reader judge what they make (tests/interop, tests/unit/formats)",
    "plan": "runs in workers and clients: the gate's reader judges what they make (tests/attacks/gate/test_archives)",
    "readers": "parsers: property tests at every byte, fuzzing and outside verifiers hold them",
    "timestamps": "parsers and issuers: as readers; what decides about a token is searched (timestamps/token.py)",
    "signer.worker": "runs in processes of its own, where a mutant would not be (tests/attacks/worker)",
    "signer.start": "starts processes of its own (tests/unit/signer/test_start.py)",
}

#: (modules, what forks them): their lines run in a child, which carries the mutant and leaves no trace of its lines.
#: Any test that runs the other one may notice.
FORKED = (
    ("signer/keyholder/child.py", "signer/keyholder/pool.py"),
    ("signer/keyholder/keystores/", "signer/keyholder/pool.py"),
)

#: Folders and files below ``tests``. Which of their tests reach which check is measured, not listed.
TESTS = (
    *("unit/policy", "unit/statements", "unit/transparency", "unit/envelopes", "unit/client", "unit/signer"),
    *("unit/identity", "unit/model", "unit/timestamps", "unit/formats", "unit/readers", "attacks"),
    "unit/bad_input/test_settings.py",
)

#: What runs its code in processes of its own, where a mutant would not be.
LEFT_OUT = (
    "attacks/gate/test_crash.py",
    "attacks/hub",
    "attacks/worker",
    "unit/signer/worker",
    "unit/signer/test_start.py",
)
