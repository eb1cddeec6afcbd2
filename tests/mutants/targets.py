# SPDX-License-Identifier: Apache-2.0
"""Which modules decide about trust, and which tests may hold their checks."""

from __future__ import annotations

#: Below ``src/signwright``; every file that matches is searched for checks.
MODULES = (
    *("policy/orders.py", "policy/facts.py", "policy/policy.py", "policy/validate.py", "policy/decide.py"),
    *("policy/exceptions.py", "policy/rules/*.py", "policy/succession.py", "policy/standing.py"),
    *("policy/key_operations.py", "policy/following.py", "envelopes/certification_request.py"),
    *("signer/keyholder/front.py", "signer/keyholder/state.py", "signer/keyholder/pool.py"),
    *("signer/gate/cycle.py", "signer/gate/verify.py", "signer/gate/derive.py", "signer/gate/deliver.py"),
    *("signer/gate/artifact.py", "signer/gate/policy.py"),
    *("transparency/merkle.py", "transparency/note.py", "transparency/checkpoint.py", "transparency/cosignature.py"),
    *("transparency/proof.py", "transparency/intent.py"),
    *("statements/parse.py", "statements/dsse.py", "statements/sshsig.py", "statements/keys.py"),
    *("statements/models.py",),
    *("envelopes/raw.py", "envelopes/detached.py", "envelopes/authenticode.py", "envelopes/parameters.py"),
    *("client/verify.py", "client/authorisation.py", "client/seen_policy.py"),
)

#: Folders and files below ``tests``. Which of their tests reach which check is measured, not listed.
TESTS = (
    *("unit/policy", "unit/statements", "unit/transparency", "unit/envelopes", "unit/client", "unit/signer"),
    *("unit/identity", "attacks"),
)

#: What runs its code in processes of its own, where a mutant would not be.
LEFT_OUT = (
    "attacks/gate/test_crash.py",
    "attacks/hub",
    "attacks/worker",
    "unit/signer/worker",
    "unit/signer/test_start.py",
)
