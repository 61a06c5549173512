"""Commands that run in the foreground, or look after the installation: demo, up, worker, relay, doctor, …"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from ops.cli.context import DONE, FAILED, guarded

Json = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
keys_group = typer.Typer(help="Keys: make an encryption key.", no_args_is_help=True)


def register_first(app: typer.Typer) -> None:
    """Add what a newcomer should see first."""
    app.command("demo")(demo)
    app.command("up")(up)
    app.command("migrate")(migrate)


def register(app: typer.Typer) -> None:
    """Add the rest."""
    app.command("worker", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(worker)
    app.command("relay")(relay)
    # Its options, --help among them, are the simulator's own.
    app.command(
        "simulate",
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(simulate)
    app.command("settings")(settings_)
    app.command("doctor")(doctor)
    app.add_typer(keys_group, name="keys")


def demo(
    rows: Annotated[int, typer.Option(min=1, max=2000, help="How many rows of the example campaign.")] = 2000,
    json: Json = False,
) -> None:
    """Everything on this machine, nothing real: a blast, one-time codes meanwhile, faults, and a report."""

    def work() -> int:
        from ops.demo import run_demo

        return run_demo(rows=rows, as_json=json)

    raise SystemExit(guarded(work))


def up(
    folder: Annotated[Path, typer.Option(help="Where ledger, queue and logs live.")] = Path(".bulksend"),
) -> None:
    """An embedded stack that stays: queue, worker, relay, and the simulator unless credentials are set."""

    def work() -> int:
        from ops.stack import run_up

        return run_up(folder)

    raise SystemExit(guarded(work))


def migrate(
    to: Annotated[str, typer.Option(help="A revision, head or base.", hidden=True)] = "head",
    json: Json = False,
) -> None:
    """Bring the ledger's schema up to date."""

    def work() -> int:
        from bulksend import bootstrap
        from bulksend.ledger.migrate import migrate as bring
        from ops.cli.context import check_ledger_is_chosen, settings
        from ops.cli.output import print_json, say

        of = settings()
        check_ledger_is_chosen(of)
        database = bootstrap.database(of)
        database.check()
        bring(database, to)
        if json:
            print_json({"ledger": database.address, "revision": to})
        else:
            say(
                f"the ledger at {database.address} is up to date"
                if to == "head"
                else f"the ledger is at {to}"
            )
        return DONE

    raise SystemExit(guarded(work))


def worker(context: typer.Context) -> None:
    """Take jobs and send. Every option of `celery worker` works, e.g. -Q otp, -l INFO, -c 4."""

    def work() -> int:
        from bulksend.bootstrap import check_redis
        from bulksend.ledger.readiness import try_out
        from ops.cli.context import ledger, settings
        from worker.celery_app import build_app, runtime_of

        of = settings()
        with closing(ledger(of)) as database:
            try_out(database)
        check_redis(of, tolerates_passing=True)
        app = build_app(of)
        arguments = ["worker", "--without-gossip", "--without-mingle", *_loglevel(of.log_level, context.args)]
        code = _run_celery(app, arguments)
        return FAILED if runtime_of(app).failed else code

    raise SystemExit(guarded(work))


def _run_celery(app: Any, arguments: list[str]) -> int:
    """Celery's own worker command; its exit code, which ``app.worker_main`` keeps to itself."""
    from celery.bin.celery import celery

    celery.params[0].default = app
    try:
        celery.main(args=arguments, prog_name="bulksend")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)


def _loglevel(level: str, args: list[str]) -> list[str]:
    given = any(arg.startswith(("-l", "--loglevel")) for arg in args)
    return args if given else ["--loglevel", level, *args]


def relay() -> None:
    """Publish what is due, keep each blast's window filled, put back what Redis lost. A second one waits."""

    def work() -> int:
        import signal
        import threading

        from bulksend import logs
        from bulksend.ledger.readiness import try_out
        from ops.cli.context import ledger, settings
        from producer.relay import Relay

        of = settings()
        with closing(ledger(of)) as database:
            try_out(database)
        logs.configure(of.log_level, of.log_format)
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        Relay.from_settings(of).run(stop)
        return DONE

    raise SystemExit(guarded(work))


def simulate(context: typer.Context) -> None:
    """The vendor to rehearse against, with faults on demand."""
    from simulator.cli import main

    raise SystemExit(main(context.args))


def settings_(json: Json = False) -> None:
    """Every setting with its value, where that came from, and what it means."""

    def work() -> int:
        from dataclasses import asdict

        from ops.cli.context import settings
        from ops.cli.output import print_json, table

        rows = settings().table()
        if json:
            for row in rows:
                print_json(asdict(row))
        else:
            table(
                ["name", "value", "source", "meaning"], [(r.name, r.value, r.source, r.meaning) for r in rows]
            )
        return DONE

    raise SystemExit(guarded(work))


def doctor(json: Json = False) -> None:
    """Check servers, schema, credentials, clock and keys, and say what to do about each."""

    def work() -> int:
        from dataclasses import asdict

        from bulksend.operations.doctor import examine
        from ops.cli.context import settings
        from ops.cli.output import line, print_json

        findings = examine(settings())
        if json:
            print_json({"well": all(f.well for f in findings), "findings": [asdict(f) for f in findings]})
        else:
            for finding in findings:
                line(
                    f"{'ok' if finding.well else 'WRONG'} {finding.about}: {finding.found}",
                    "" if finding.well else "bold red",
                )
                if finding.remedy:
                    line(f"    {finding.remedy}", "yellow")
        return DONE if all(f.well for f in findings) else FAILED

    raise SystemExit(guarded(work))


@keys_group.command("new-encryption-key")
def new_encryption_key() -> None:
    """A new key for BULKSEND_ENCRYPTION_KEY, on stdout."""
    from bulksend.ledger.key_file import new_encryption_key as make

    typer.echo(make())
