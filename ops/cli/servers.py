"""Commands that run a process in the foreground or maintain the installation: demo, up, worker, relay, doctor, …"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from ops.cli.arguments import Json, Why
from ops.cli.context import DONE, FAILED, actor, check_ledger_is_chosen, command, ledger, settings

#: Requests, workers and the ledger come before the intake where they share a processor.
_INTAKE_NICENESS = 5


def register_first(app: typer.Typer) -> None:
    """Add what a newcomer should see first."""
    app.command("demo")(demo)
    app.command("up")(up)
    app.command("migrate")(migrate)


def register(app: typer.Typer) -> None:
    """Add the rest."""
    app.command("worker", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(worker)
    app.command("relay")(relay)
    app.command("notifier")(notifier)
    app.command("serve")(serve)
    app.command("intake", hidden=True)(intake)
    # Its options, --help among them, are the simulator's own.
    app.command(
        "simulate",
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(simulate)
    app.command("settings")(settings_)
    app.command("doctor")(doctor)
    app.command("restored")(restored)


@command
def demo(
    rows: Annotated[
        int, typer.Option(min=1, max=2000, help="Number of rows of the example campaign.")
    ] = 2000,
    json: Json = False,
) -> int:
    """Try the whole product on this machine. Nothing is real: a campaign, one-time codes, faults, and a report."""
    from ops.demo import run_demo

    return run_demo(rows=rows, as_json=json)


@command
def up(
    folder: Annotated[Path, typer.Option(help="Folder of the ledger, the queue and the logs.")] = Path(
        ".bulksend"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the HTTP API.")] = 8080,
) -> int:
    """Run the whole system here. Queue, worker, relay, HTTP API, and a simulated vendor unless credentials are set."""
    from ops.up import run_up

    return run_up(folder, port=port)


@command
def migrate(
    to: Annotated[str, typer.Option(help="A revision, head or base.", hidden=True)] = "head",
    json: Json = False,
) -> int:
    """Bring the ledger's schema up to date."""
    from bulksend import bootstrap
    from bulksend.ledger.migrate import migrate as bring
    from ops.cli.output import print_json, say

    of = settings()
    check_ledger_is_chosen(of)
    database = bootstrap.database(of)
    database.check()
    bring(database, to)
    if json:
        print_json({"ledger": database.address, "revision": to})
    else:
        say(f"the ledger at {database.address} is up to date" if to == "head" else f"the ledger is at {to}")
    return DONE


@command
def worker(context: typer.Context) -> int:
    """Take jobs and send. Every option of `celery worker` works, e.g. -Q otp, -l INFO, -c 4."""
    from bulksend.bootstrap import check_redis
    from bulksend.ledger.readiness import check_ledger_works
    from worker.celery_app import build_app, runtime_of

    of = settings()
    with closing(ledger(of)) as database:
        check_ledger_works(database)
    check_redis(of, tolerates_passing=True)
    app = build_app(of)
    arguments = ["worker", "--without-gossip", "--without-mingle", *_loglevel(of.log_level, context.args)]
    code = _run_celery(app, arguments)
    return FAILED if runtime_of(app).failed else code


def _run_celery(app: Any, arguments: list[str]) -> int:
    """Celery's own worker command; its exit code, which ``app.worker_main`` keeps to itself.

    Raises InvalidInput when ``-Q`` names a queue that does not exist.
    """
    from celery.bin.celery import celery
    from celery.exceptions import ImproperlyConfigured

    from bulksend.errors import InvalidInput
    from bulksend.messaging.states import LANES

    celery.params[0].default = app
    try:
        celery.main(args=arguments, prog_name="bulksend")
    except ImproperlyConfigured as error:
        if not isinstance(error.__context__, KeyError):
            raise
        lanes = ", ".join(lane.value for lane in LANES)
        raise InvalidInput(f"-Q: {error.__context__} is not a queue; the queues are {lanes}") from None
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)


def _loglevel(level: str, args: list[str]) -> list[str]:
    given = any(arg.startswith(("-l", "--loglevel")) for arg in args)
    return args if given else ["--loglevel", level, *args]


@command
def relay() -> int:
    """Publish due messages to Redis. Also publishes again what Redis lost; a second relay waits."""
    from bulksend import logs
    from bulksend.ledger.readiness import check_ledger_works
    from ops.cli.signals import stop_event
    from producer.relay import Relay, serve_metrics

    of = settings()
    with closing(ledger(of)) as database:
        check_ledger_works(database)
    logs.configure(of.log_level, of.log_format)
    relay = Relay.from_settings(of)
    serve_metrics(relay, of)
    relay.run(stop_event())
    return DONE


@command
def notifier() -> int:
    """Send webhooks: each event, signed, to each endpoint that wants it. Any number of them may run."""
    from bulksend import logs
    from bulksend.ledger.readiness import check_ledger_works
    from notifier import Notifier
    from ops.cli.signals import stop_event

    of = settings()
    with closing(ledger(of)) as database:
        check_ledger_works(database)
    logs.configure(of.log_level, of.log_format)
    Notifier.from_settings(of).run(stop_event())
    return DONE


@command
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: a free one.")] = 8080,
) -> int:
    """Serve the HTTP API. Its documentation is at /docs."""
    from bulksend import logs
    from ops.http.server import serve as run

    of = settings()
    check_ledger_is_chosen(of)
    logs.configure(of.log_level, of.log_format)
    run(of, host=host, port=port)
    return DONE


@command
def intake(
    forecast: Annotated[str, typer.Option(help="Only make the forecast of the file with this id.")] = "",
) -> int:
    """Take in large files that were posted to `serve`, which starts this for them, until none waits; 1: none did."""
    from bulksend import logs
    from bulksend.bootstrap import checked_database
    from ops.cli.signals import stop_event
    from producer.intake import tune_interpreter
    from producer.uploads import UploadIntake, Uploads
    from producer.uploads.forecast import answer

    of = settings()
    check_ledger_is_chosen(of)
    logs.configure(of.log_level, of.log_format)
    tune_interpreter()
    os.nice(_INTAKE_NICENESS)
    if forecast:
        with closing(checked_database(of)) as database:
            answer(Uploads.from_settings(of, database), forecast)
        return DONE
    stop = stop_event()
    with closing(checked_database(of)) as database:
        taken = UploadIntake(Uploads.from_settings(of, database), large=True, stopping=stop).drain()
    return DONE if taken or stop.is_set() else FAILED


def simulate(context: typer.Context) -> None:
    """Run a simulated vendor, with faults on demand."""
    from simulator.cli import main

    raise SystemExit(main(context.args))


@command
def settings_(json: Json = False) -> int:
    """Every setting: its value, its source, its meaning."""
    from dataclasses import asdict

    from ops.cli.output import print_json_lines, table

    rows = settings().table()
    if json:
        print_json_lines(map(asdict, rows))
    else:
        table(["name", "value", "source", "meaning"], [(r.name, r.value, r.source, r.meaning) for r in rows])
    return DONE


@command
def doctor(json: Json = False) -> int:
    """Check the installation. Servers, schema, credentials, clock and keys; each problem with its remedy."""
    from bulksend.operations.doctor import examine
    from ops.cli.output import line, print_json

    found = examine(settings())
    if json:
        print_json(found.as_json())
    else:
        for check in found.checks:
            line(
                f"{'ok' if check.well else 'WRONG'} {check.about}: {check.found}",
                "" if check.well else "bold red",
            )
            if check.remedy:
                line(f"    {check.remedy}", "yellow")
    return DONE if found.well else FAILED


@command
def restored(
    why: Why,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only; change nothing.")] = False,
    json: Json = False,
) -> int:
    """Make a restored ledger safe: run it before any worker. Holds back what may have been sent after the backup."""
    from bulksend.messaging.units import counted
    from bulksend.operations.restore import mark_restored
    from ops.cli.output import print_json, say

    of = settings()
    check_ledger_is_chosen(of)
    done = mark_restored(ledger(of), of.account(), actor=actor(), why=why, dry_run=dry_run)
    if json:
        print_json(done.as_json())
        return DONE
    if dry_run:
        say(
            f"{counted(done.unknown, 'message')} would become unknown: they may have been sent after the backup"
        )
        return DONE
    say(f"{counted(done.unknown, 'message')} may have been sent after the backup and are unknown now")
    if done.campaigns_paused:
        say(f"paused, since their rows were not all taken in: {', '.join(done.campaigns_paused)}")
    if done.retries_ended:
        say(f"retry ended, since its messages may have been sent: {', '.join(done.retries_ended)}")
    if done.plans_expired:
        say(f"plan expired, since it may have been applied: {', '.join(done.plans_expired)}")
    if done.files_refused:
        say(f"{counted(done.files_refused, 'posted file')} refused: their rows may have been sent")
    say(
        'The account is paused. Next: docs/operations.md, "After a restore"; then bulksend account resume --why "…"'
    )
    return DONE
