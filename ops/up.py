"""``bulksend up``: the embedded stack, until a signal, with the lines that other terminals need."""

from __future__ import annotations

import json
import os
import shlex
import sys
from contextlib import closing
from pathlib import Path

from bulksend import bootstrap
from bulksend.operations import senders, templates
from bulksend.settings import read_dotenv
from ops.cli.output import say
from ops.cli.signals import stop_event
from ops.stack import EXAMPLES, SENDER, Stack, running

#: What the simulated vendor lists, so that a first campaign has a sender and a template to choose.
VENDOR = EXAMPLES / "up-vendor.json"


def run_up(folder: Path, *, port: int) -> int:
    """``bulksend up``: start, print the settings for other terminals, and run until a signal."""
    stop = stop_event()
    # Exported variables override those of a .env in the current folder.
    stack = Stack(
        folder,
        environ={**read_dotenv(Path(".env")), **os.environ},
        api_port=port,
        vendor_settings=json.loads(VENDOR.read_text(encoding="utf-8")),
    )
    say(f"starting in {folder}; logs are in {folder / 'logs'}")
    with running(stack):
        if stack.simulator_origin is not None:
            say(
                f"no credentials are set: the vendor is simulated at {stack.simulator_origin} and nothing is real"
            )
            _read_simulated(stack)
            say(
                f"it lists the sender {SENDER} and a few templates, and accepts every other one: "
                "only the vendor knows whether one exists and is approved",
                "yellow",
            )
        for name in stack.moved:
            say(
                f"the last port of {name} is taken, so it has another one: paste the lines below again",
                "yellow",
            )
        say(f"the console, in your browser: {stack.sign_in_link()}", "bold")
        say("that link signs you in once, within 15 minutes; `bulksend users link owner` gives another")
        say(f"the HTTP API is at {stack.api_origin}, its documentation at {stack.api_origin}/docs")
        say("to use it from another terminal, paste:", "bold")
        shown = {"BULKSEND_URL": str(stack.api_origin), "BULKSEND_API_KEY": stack.owner_key()}
        for name, value in (stack.settings_environ | shown).items():
            if not name.endswith("_DIR"):
                sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
        sys.stdout.flush()
        say("Ctrl-C stops everything; the data is kept")
        stack.supervise(stop, lambda text: say(text, "red"))
        say("stopping; messages in flight are finished first")
    return 0


def _read_simulated(stack: Stack) -> None:
    """Put the simulated vendor's sender and templates on record, as an operator does with a real one's."""
    of = stack.settings
    with closing(bootstrap.database(of)) as database:
        senders.change_sender(database, SENDER, actor="up", register_at=of.default_rate)
        read = templates.sync(database, bootstrap.vendor_calls(of), actor="up")
    for problem in read.problems:
        say(problem, "yellow")
