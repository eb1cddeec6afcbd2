# SPDX-License-Identifier: Apache-2.0
"""The command line: one table of verbs, one table of exit codes. A verb's own file is imported when it is used."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NamedTuple

import click

import signwright
from signwright import errors
from signwright.cli.console import error_json, json_result, say, show_error


class Verb(NamedTuple):
    """``module`` has a click command or group ``<verb>_command`` (or just ``command``); ``help``: its line;
    ``example``: a call of it, as its own ``--help`` shows it.
    """

    module: str
    help: str
    example: str


#: Every verb. The help lines stand here so that ``signwright --help`` imports none of the modules.
VERBS: dict[str, Verb] = {
    "sign": Verb(
        "signwright.cli.sign",
        "sign files: ask, wait, fetch, check",
        "signwright sign setup.exe -o setup-signed.exe --policy default/release",
    ),
    "driver": Verb(
        "signwright.cli.driver",
        "sign a Windows driver package: drivers, catalog, cabinet",
        "signwright driver build/package -o signed --policy default/release --os 10_X64",
    ),
    "status": Verb("signwright.cli.requests", "show a request", "signwright status r-7q2m5v4kcx3jt6ha"),
    "wait": Verb(
        "signwright.cli.requests", "wait until a request ends", "signwright wait r-7q2m5v4kcx3jt6ha --timeout 3600"
    ),
    "fetch": Verb(
        "signwright.cli.fetch",
        "get the results of a request",
        "signwright fetch r-7q2m5v4kcx3jt6ha setup.exe -o setup-signed.exe",
    ),
    "cancel": Verb("signwright.cli.requests", "give a request up", "signwright cancel r-7q2m5v4kcx3jt6ha"),
    "requests": Verb("signwright.cli.requests", "list requests", "signwright requests --state awaiting-approval"),
    "approve": Verb(
        "signwright.cli.approve",
        "look at a request and approve it, or list what waits",
        "signwright approve r-7q2m5v4kcx3jt6ha --key ~/.ssh/id_ed25519",
    ),
    "deny": Verb(
        "signwright.cli.approve",
        "say no to a request",
        "signwright deny r-7q2m5v4kcx3jt6ha --key ~/.ssh/id_ed25519 --comment 'not the tagged commit'",
    ),
    "verify": Verb(
        "signwright.cli.verify",
        "check a signed file and who authorised it, offline",
        "signwright verify setup-signed.exe --trust trust.json",
    ),
    "remove": Verb(
        "signwright.cli.remove",
        "take the signatures out of files",
        "signwright remove setup-signed.exe -o setup.exe",
    ),
    "receipt": Verb(
        "signwright.cli.receipt",
        "show a receipt, export its shareable form",
        "signwright receipt export --public setup.exe.swreceipt -o public.swreceipt",
    ),
    "log": Verb("signwright.cli.log", "read the transparency log", "signwright log show"),
    "monitor": Verb("signwright.cli.monitor", "check what is new in the log, alarm", "signwright monitor --follow"),
    "orphans": Verb(
        "signwright.cli.orphans",
        "find signatures by our keys that the log does not know",
        "signwright orphans /srv/releases --log https://sign.example.com --since 2026-11-01T00:00:00Z",
    ),
    "policy": Verb(
        "signwright.cli.policy_verbs", "check, compare, sign and load the policy", "signwright policy apply --home DIR"
    ),
    "config": Verb(
        "signwright.cli.config",
        "write an artifact configuration from a sample",
        "signwright config new release.zip",
    ),
    "freshness": Verb(
        "signwright.cli.freshness",
        "say again that nothing was revoked, or revoke somebody",
        "signwright freshness renew --home DIR --revoke-person mallory",
    ),
    "halt": Verb(
        "signwright.cli.halt",
        "stop all signing at once",
        "signwright halt --reason 'key copied' --key ~/.ssh/id_ed25519",
    ),
    "custodian": Verb(
        "signwright.cli.custodian",
        "confirm on the signer's console what the gate has verified",
        "signwright custodian confirm r-7q2m5v4kcx3jt6ha --key ~/.ssh/id_ed25519_sk",
    ),
    "resume": Verb(
        "signwright.cli.resume",
        "end a halt, with the policy keepers and a newer policy",
        "signwright resume --key ~/.ssh/id_ed25519 HALT",
    ),
    "root": Verb(
        "signwright.cli.root",
        "show and change the policy root: who may change the policy",
        "signwright root new --home DIR --add keeper=carol.pub --threshold policy=2",
    ),
    "go-live": Verb(
        "signwright.cli.go_live",
        "from now on changes that weaken the policy wait",
        "signwright go-live --home DIR",
    ),
    "key": Verb(
        "signwright.cli.key",
        "uses of a signing key that are no release: certification requests",
        "signwright key csr --home DIR --key release --common-name 'Example Ltd' --keeper ~/.ssh/id_ed25519 -o r.csr",
    ),
    "people": Verb(
        "signwright.cli.people",
        "enrol people",
        "signwright people add carol --key carol.pub --group release --home DIR",
    ),
    "credential": Verb(
        "signwright.cli.credential",
        "make and enrol machine credentials",
        "signwright credential new --kind test --out ci.json",
    ),
    "trust": Verb("signwright.cli.trust", "show or export the trust file", "signwright trust show"),
    "witness": Verb(
        "signwright.cli.witness",
        "run a witness for others, or have one cosign our log",
        "signwright witness init --name witness.example/w1 --operator 'Other Ltd' --url https://witness.example",
    ),
    "signer": Verb(
        "signwright.cli.signer",
        "rebuild the signer's log and state from a mirror",
        "signwright signer recover --home DIR --from /mnt/mirror",
    ),
    "courier": Verb(
        "signwright.cli.courier",
        "carry media between a hub and a signer without a network",
        "signwright courier export /media/out/1.swb --home DIR",
    ),
    "formats": Verb("signwright.cli.formats", "list the kinds of files and their options", "signwright formats"),
    "init": Verb("signwright.cli.init", "make a home: keys, policy, settings", "signwright init --home DIR"),
    "install": Verb(
        "signwright.cli.install.command",
        "make users, folders and systemd units for a home",
        "signwright install --profile 1 --home /var/lib/signwright",
    ),
    "up": Verb("signwright.cli.up", "start every process of a home", "signwright up --home DIR --detach"),
    "down": Verb("signwright.cli.down", "end the processes of a home", "signwright down --home DIR"),
    "demo": Verb("signwright.cli.demo", "one signing cycle from end to end, and a lying hub", "signwright demo"),
    "doctor": Verb(
        "signwright.cli.doctor", "say what a home gives and what it does not", "signwright doctor --home DIR"
    ),
    "bench": Verb(
        "signwright.cli.bench.command",
        "measure the promised figures on this machine",
        "signwright bench --only pe --quick",
    ),
}

#: Most specific first: by the error's code, then by its class.
EXIT_BY_CODE: dict[str, int] = {"scan": 9, "artifact": 9, "pending": 5}
EXIT_BY_CLASS: dict[type[errors.SignwrightError], int] = {
    errors.FormatError: 9,
    errors.UsageError: 2,
    errors.DeniedError: 3,
    errors.RejectedError: 4,
    errors.PendingError: 5,
    errors.AuthenticationError: 6,
    errors.UnavailableError: 7,
    errors.VerificationError: 8,
}

EPILOG = """\b
exit codes: 0 ok, 1 error, 2 usage, 3 denied by policy, 4 rejected by an approver,
5 pending at time-out, 6 authentication, 7 server unreachable, 8 verification
failed, 9 artifact rejected.

\b
settings, first found: flag, environment (SIGNWRIGHT_URL, SIGNWRIGHT_CREDENTIALS,
SIGNWRIGHT_TRUST, SIGNWRIGHT_PROJECT, SIGNWRIGHT_POLICY, SIGNWRIGHT_TIMEOUT,
SIGNWRIGHT_OUTPUT, SIGNWRIGHT_KEY, SIGNWRIGHT_PERSON), .signwright.toml here or
in a folder above, user file.

\b
shell completion: eval "$(_SIGNWRIGHT_COMPLETE=bash_source signwright)"
(zsh_source and fish_source likewise).
"""


def exit_code_of(problem: errors.SignwrightError) -> int:
    """1 for what no row of the tables names."""
    if problem.code in EXIT_BY_CODE:
        return EXIT_BY_CODE[problem.code]
    return next((code for kind, code in EXIT_BY_CLASS.items() if isinstance(problem, kind)), 1)


class _Verbs(click.Group):
    """Imports a verb's module when the verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        module = importlib.import_module(verb.module)
        named = getattr(module, f"{cmd_name}_command", None) or module.command
        assert isinstance(named, click.Command)
        named.epilog = f"\b\nexample:\n  {verb.example}"
        return named

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as problem:
            from difflib import get_close_matches

            near = get_close_matches(args[0], VERBS, n=1)
            raise click.UsageError(
                f"no verb {args[0]!r}" + (f"; did you mean {near[0]!r}?" if near else "")
            ) from problem


@click.command(cls=_Verbs, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(signwright.__version__, prog_name="signwright", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, envvar="SIGNWRIGHT_DEBUG", help="show where an error comes from")
def signwright_command(debug: bool) -> None:
    """Sign software with keys that nobody can carry away."""
    del debug  # read by main, which catches the error


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with one of the codes above."""
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))


def run(arguments: list[str]) -> int:
    """The exit code. Verbs raise `SignwrightError`; nothing but programming errors gets past here."""
    try:
        answer = signwright_command.main(arguments, prog_name="signwright", standalone_mode=False)
    except errors.SignwrightError as problem:
        _report(problem, arguments)
        return exit_code_of(problem)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.exceptions.NoArgsIsHelpError as problem:
        click.echo(problem.format_message(), err=True)
        return 2
    except click.ClickException as problem:
        _report_usage(problem)
        return 2 if isinstance(problem, click.UsageError) else 1
    except (click.Abort, KeyboardInterrupt):
        say("interrupted")
        return 130
    except BrokenPipeError:
        # Whoever read our stdout is gone; without this the interpreter complains once more while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return answer if isinstance(answer, int) else 0


def _report(problem: errors.SignwrightError, arguments: list[str]) -> None:
    if "--debug" in arguments or os.environ.get("SIGNWRIGHT_DEBUG"):
        traceback.print_exception(problem)
    show_error(problem)
    if _wants_json(arguments):
        json_result(error_json(problem))


def _wants_json(arguments: list[str]) -> bool:
    asked = any(
        a in ("--output=json", "-Ojson") or (a == "--output" and arguments[i + 1 : i + 2] == ["json"])
        for i, a in enumerate(arguments)
    )
    return asked or os.environ.get("SIGNWRIGHT_OUTPUT") == "json"


def _report_usage(problem: click.ClickException) -> None:
    message = problem.format_message()
    say(f"error: {message[:1].lower()}{message[1:].rstrip('.')}")
    context = getattr(problem, "ctx", None)
    if context is not None:
        say(f"hint: {context.command_path} --help")
