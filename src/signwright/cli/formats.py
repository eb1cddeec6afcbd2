# SPDX-License-Identifier: Apache-2.0
"""``signwright formats``: what can be signed, with which options, and who else can verify it. Needs no hub."""

from __future__ import annotations

import click

from signwright.cli import hubs, settings
from signwright.cli.console import json_result, result
from signwright.client.recognise import describe_options
from signwright.formats.base import Format
from signwright.formats.registry import FORMATS


@click.command("formats")
@hubs.output_option
def formats_command(output: str | None) -> None:
    """List the kinds of files that can be signed, with their options."""
    rows = [FORMATS[name] for name in sorted(FORMATS)]
    if settings.output_format(output) == "json":
        json_result({"formats": [_json(each) for each in rows]})
        return
    for each in rows:
        place = f"FILE{each.detached_suffix}" if each.detached_suffix else "in the file"
        modes = "artifact or digest mode" if each.digest_mode else "artifact mode"
        result(f"{each.name}: {each.title} (signature {place}; {modes})")
        for name, values, default in describe_options(each.options):
            result(f"  --option {name}=…  {values}" + (f" (default: {default})" if default else ""))
        result(f"  verified by: signwright verify{''.join(f', {v}' for v in each.verifiers)}")


def _json(each: Format) -> dict[str, object]:
    return {
        "name": each.name,
        "title": each.title,
        "purpose": each.purpose,
        "digest_mode": each.digest_mode,
        "detached_suffix": each.detached_suffix,
        "verifiers": list(each.verifiers),
        "options": [{"name": n, "values": v, "default": d} for n, v, d in describe_options(each.options)],
    }
