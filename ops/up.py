"""``bulksend up``: the embedded stack, until a signal, with the lines that other terminals need."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from bulksend.settings import read_dotenv
from ops.cli.output import say
from ops.cli.signals import stop_event
from ops.stack import Stack, running


def run_up(folder: Path, *, port: int) -> int:
    """``bulksend up``: start, print the settings for other terminals, and run until a signal."""
    stop = stop_event()
    # Exported variables override those of a .env in the current folder.
    stack = Stack(folder, environ={**read_dotenv(Path(".env")), **os.environ}, api_port=port)
    say(f"starting in {folder}; logs are in {folder / 'logs'}")
    with running(stack):
        if stack.simulator_origin is not None:
            say(
                f"no credentials are set: the vendor is simulated at {stack.simulator_origin} and nothing is real"
            )
            say(
                "it accepts every template: only the vendor knows whether one exists and is approved",
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
