# SPDX-License-Identifier: Apache-2.0
"""What changes the standing of a signing process: the next policy, a halt and its end. Pure checks.

Gate and keyholder run the same ones, each with its own memory; none of them makes anything go back.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from signwright.errors import DeniedError, VerificationError
from signwright.model.times import format_time, parse_time
from signwright.policy.following import window
from signwright.policy.policy import Policy, check_role
from signwright.policy.weakening import waiting_parts
from signwright.statements.dsse import Envelope
from signwright.statements.models import Halt, Resume, Role, Statement, parse_statement
from signwright.transparency.intent import PolicyLeaf, read_leaf
from signwright.transparency.proof import TlogProof


def check_successor(old: Policy | None, new: Policy) -> None:
    """Versions only go up, and the new root comes from the old one; raises `DeniedError`."""
    if old is None:
        return
    if new.version <= old.version:
        raise DeniedError(
            f"policy version {new.version}; version {old.version} was accepted before", code="policy-rollback"
        )
    if old.root_sha256 not in new.roots:
        raise DeniedError(
            f"policy under root {new.root.version} that does not come from root {old.root.version} in force",
            code="root-rollback",
        )


def check_made(new: Policy, *, now: datetime) -> None:
    """Raises `DeniedError` for a policy from the future: no newer one in the log would count against it."""
    if parse_time(new.index.created) > now + window(new):
        raise DeniedError(f"policy created {new.index.created}, which is ahead of our clock", code="policy-ahead")


def policy_leaf(old: Policy | None, new: Policy, *, now: datetime) -> PolicyLeaf:
    """What the log says of a policy that follows ``old``. A weaker one waits as soon as the organisation is live."""
    parts = waiting_parts(old, new) if old else ()
    live = old is not None and old.organisation.live
    return PolicyLeaf(
        policy_sha256=new.sha256,
        policy_version=new.version,
        root_sha256=new.root_sha256,
        root_version=new.root.version,
        weakening=parts,
        delay_hours=old.organisation.weakening_delay_hours if old and live and parts else 0,
        time=format_time(now),
    )


def in_force_from(leaf: PolicyLeaf, cosigned: datetime) -> datetime:
    """When a policy whose leaf was ``cosigned`` then comes into force."""
    return cosigned + timedelta(hours=leaf.delay_hours)


def check_policy_change(old: Policy | None, new: Policy, *, leaf: bytes, proof: bytes, now: datetime) -> Policy:
    """A policy counts when it was logged for all to see, and, if it weakens, when they had time to see it.

    Returns ``new`` with the end of its delay, or of that of the policy before.

    The cosignatures are those that the policy in force wants; the first policy brings its own. Raises `DeniedError`
    and `VerificationError`.
    """
    check_successor(old, new)
    check_made(new, now=now)
    logged = read_leaf(leaf, {"policy": PolicyLeaf})
    trusted = old or new
    witnessed = TlogProof.parse(proof).verify(leaf, trusted.log_trust, latest=now + window(trusted))
    cosigned = witnessed.cosigned.median_time
    said = parse_time(logged.time)
    # Who only reads the leaf later counts the delay from its own time, which therefore must not lie ahead.
    if logged != policy_leaf(old, new, now=said) or (cosigned is not None and said > cosigned + window(trusted)):
        raise DeniedError("the logged policy leaf says something else about this policy", code="wrong-policy-leaf")
    if cosigned is None or now < in_force_from(logged, cosigned):
        ready = format_time(in_force_from(logged, cosigned)) if cosigned else "its cosignatures"
        raise DeniedError(f"policy version {new.version} weakens and waits until {ready}", code="policy-waits")
    return waited(new, logged, cosigned, since=old.in_force_from if old else None)


def waited(policy: Policy, leaf: PolicyLeaf, cosigned: datetime, *, since: datetime | None) -> Policy:
    """With the end of its delay, from which on it wants a freshness statement made after that: a recall that was
    answered in time, and withheld, is in it. ``since``: that of the policy before, which also holds for one that did
    not wait: else a second version, which weakens nothing more, would free the first from it.
    """
    return replace(policy, in_force_from=in_force_from(leaf, cosigned) if leaf.delay_hours else since)


def opened_halt(policy: Policy, envelope: Envelope) -> Statement[Halt]:
    """Signed by any one panic key; raises `SignwrightError`."""
    statement = parse_statement(envelope, Halt)
    _keepers_word(policy, envelope, statement, role=policy.root.panic)
    return statement


def opened_resume(policy: Policy, envelope: Envelope) -> Statement[Resume]:
    """Signed by the threshold of policy keepers; raises `SignwrightError`."""
    statement = parse_statement(envelope, Resume)
    _keepers_word(policy, envelope, statement, role=policy.root.policy)
    return statement


def _keepers_word(
    policy: Policy, envelope: Envelope, statement: Statement[Halt] | Statement[Resume], *, role: Role
) -> None:
    if statement.subjects[0].digest.sha256 not in policy.roots:
        raise VerificationError(f"{statement.name}: for another policy root", code="unknown-policy-root")
    check_role(envelope, statement.name, role)


def has_ended(halted_under: int, resumed_at: int | None, policy_version: int) -> bool:
    """Whether a halt is over. ``halted_under``: policy version in force when it arrived; ``resumed_at``: version that
    its resume names, None without one.
    """
    return resumed_at is not None and halted_under < resumed_at <= policy_version
