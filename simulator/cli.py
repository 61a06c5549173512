"""``python -m simulator``: reads the settings from the command line and from files, and serves."""

from __future__ import annotations

import argparse
import gc
import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from bulksend.errors import InvalidInput
from simulator.faults import read_rules
from simulator.receipt_shapes import SHAPES
from simulator.server import serve
from simulator.settings import ReceiptSettings, SimulatorSettings, read_settings, with_changes


def main(argv: list[str] | None = None) -> int:
    """Run until a signal. Exit codes: 0 stopped by a signal, 2 bad options or files, 3 cannot listen on the address."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    try:
        settings = read_options(argv)
    except InvalidInput as error:
        sys.stderr.write(f"simulator: {error}\n")
        return 2
    _shorten_collections()
    return serve(settings)


def _shorten_collections() -> None:
    """Exclude the imported modules from garbage collection, and collect rarely.

    A full collection took 60 to 100 ms: requests that arrived meanwhile got the time at which it ended, so that a
    second seemed to hold up to 8 requests more than it did.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulator",
        description="A simulated vendor: the SendMessage contract, with faults on demand.",
        epilog="File formats and inspection (/_/messages, /_/stats, /_/duplicates): simulator/README.md",
    )
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port; 0 lets the system choose (default)")
    parser.add_argument("--access-key-id", help="the only AccessKeyId that is accepted")
    parser.add_argument(
        "--secret-file",
        type=Path,
        metavar="FILE",
        help="file with the AccessKeySecret; default: a published one that only simulators accept",
    )
    parser.add_argument(
        "--inspection-token-file", type=Path, metavar="FILE", help="file with the token for /_/"
    )
    parser.add_argument(
        "--settings", type=Path, metavar="FILE.json", help="latency, limits, templates, receipts, …"
    )
    parser.add_argument("--faults", type=Path, metavar="FILE.json", help="the list of fault rules")
    parser.add_argument(
        "--receipts",
        metavar="URL",
        help="POST status callbacks there, e.g. http://127.0.0.1:8080/v1/receipts/TOKEN",
    )
    parser.add_argument(
        "--receipt-shape",
        choices=sorted(SHAPES),
        help="whose JSON the callbacks have (default meta); more in the settings file",
    )
    parser.add_argument("--seed", type=int, help="seed of all random numbers (default 0)")
    return parser


def read_options(argv: list[str] | None) -> SimulatorSettings:
    """The settings that the options name. Raises InvalidInput that names the file or the field, SystemExit."""
    options = _parser().parse_args(argv)
    settings = SimulatorSettings() if options.settings is None else read_settings(_json(options.settings))
    if options.port is not None and not 0 <= options.port <= 65_535:
        raise InvalidInput("--port must be from 0 to 65535")
    return with_changes(
        settings,
        host=options.host,
        port=options.port,
        access_key_id=options.access_key_id,
        secret=_line(options.secret_file),
        inspection_token=_line(options.inspection_token_file),
        rules=None if options.faults is None else read_rules(_json(options.faults)),
        seed=options.seed,
        receipts=_receipts(settings.receipts, options),
    )


def _receipts(given: ReceiptSettings | None, options: argparse.Namespace) -> ReceiptSettings | None:
    """The receipts of the settings file, changed by the options. Raises InvalidInput."""
    # Empty as not given: docker-compose.yml has it from a variable.
    wanted = {"url": options.receipts or None, "shape": options.receipt_shape}
    changes = {name: value for name, value in wanted.items() if value is not None}
    if not changes:
        return None
    if given is None and not options.receipts:
        raise InvalidInput("--receipt-shape needs --receipts URL")
    try:
        return ReceiptSettings(**changes) if given is None else replace(given, **changes)
    except ValueError as error:
        raise InvalidInput(f"--receipts: {error}") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{path} is not UTF-8") from None


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise InvalidInput(
            f"{path} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise InvalidInput(f"{path} is nested too deep") from None


def _line(path: Path | None) -> str | None:
    if path is None:
        return None
    line = _text(path).strip()
    if not line:
        raise InvalidInput(f"{path} is empty")
    return line
