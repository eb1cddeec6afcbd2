# SPDX-License-Identifier: Apache-2.0
"""``signwright config``: artifact configurations, written from a sample and tried on a file. Needs no hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from signwright.cli import hubs, settings
from signwright.cli.console import json_result, result
from signwright.cli.policy_text import q
from signwright.client.files import open_input
from signwright.errors import FormatError
from signwright.model.view import FileView
from signwright.plan.sample import rule_from
from signwright.policy.documents import ArtifactRule, MemberRule
from signwright.policy.lint import signed_around


@click.group("config")
def config_command() -> None:
    """Artifact configurations: what a request may consist of."""


@config_command.command("new")
@click.argument("sample", type=click.Path(path_type=Path))
@click.option("--name", default="from-sample", show_default=True, help="name of the configuration")
@hubs.output_option
def new(sample: Path, name: str, output: str | None) -> None:
    """Write an artifact configuration from SAMPLE, for ``artifact_configurations`` of a project's policy file.

    In an archive, members that can be signed are to be signed, those that are signed are to be verified by the
    certificate found in them, and others are kept; a JAR or a package that has such members is signed after them. Read
    it before you use it: it is what the sample happens to be.
    """
    with open_input(sample) as opened:
        try:
            rule = rule_from(FileView(opened), sample.name)
        except FormatError as problem:
            problem.message = f"{sample}: {problem.message.removeprefix(f'{sample.name}: ')}"
            raise
    if settings.output_format(output) == "json":
        json_result({"name": name, "rules": [rule.model_dump(mode="json", exclude_defaults=True)]})
        return
    result("\n".join(_text(name, sample.name, rule)))


def _text(name: str, sample: str, rule: ArtifactRule) -> Iterator[str]:
    yield f"# From {q(sample)}. Members are named by the first rule that fits; one that none names is refused."
    following = sorted(set(signed_around(rule, rule.format)))
    if following:
        yield f"# What is signed after its members ({', '.join(following)}) wants derived: allow in the signing policy."
    yield f"{q(name)}:"
    yield "  rules:"
    yield f"    - name: {q(rule.name)}"
    yield f"      format: {rule.format}"
    yield from _members(rule.members, 6)


def _members(rules: tuple[MemberRule, ...], indent: int) -> Iterator[str]:
    if rules:
        yield f"{' ' * indent}members:"
    room = " " * (indent + 2)
    for rule in rules:
        yield f"{room}- path: {q(rule.path)}"
        yield f"{room}  action: {rule.action}"
        if rule.format is not None:
            yield f"{room}  format: {rule.format}"
        if rule.signers:
            yield f"{room}  signers:  # SHA-256 of certificates"
            yield from (f"{room}    - {q(signer)}" for signer in rule.signers)
        if rule.action != "keep":
            yield f"{room}  min: {rule.min}"
            yield f"{room}  max: {rule.max}"
        yield from _members(rule.members, indent + 4)
