"""``python -m simulator``: the options of a rehearsal vendor, read from the command line and from files."""

from __future__ import annotations

import argparse
import gc
import json
import logging
import sys
from pathlib import Path
from typing import Any

from bulksend.errors import InvalidInput
from simulator.faults import read_rules
from simulator.server import serve
from simulator.settings import SimulatorSettings, read_settings, with_changes


def main(argv: list[str] | None = None) -> int:
    """Exit codes: 0 stopped by a signal, 2 bad options or files, 3 the address cannot be listened on."""
    options = _parser().parse_args(argv)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    try:
        settings = _settings(options)
    except InvalidInput as wrong:
        sys.stderr.write(f"simulator: {wrong}\n")
        return 2
    _collect_garbage_briefly()
    return serve(settings)


def _collect_garbage_briefly() -> None:
    """Leave the imported modules out of every collection, and look at the records rarely.

    A full collection stood still for 60 to 100 ms: requests that came in meanwhile all got the instant at which
    it ended, and a second looked up to 8 requests fuller than it was.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulator",
        description="A vendor to rehearse against: the SendMessage contract, with faults on demand.",
        epilog="File formats and inspection (/_/messages, /_/stats, /_/duplicates): simulator/README.md",
    )
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port; 0 lets the system choose (default)")
    parser.add_argument("--access-key-id", help="the only AccessKeyId that is let in")
    parser.add_argument(
        "--secret-file",
        type=Path,
        metavar="FILE",
        help="file with the AccessKeySecret; default: a published one that opens nothing but simulators",
    )
    parser.add_argument(
        "--inspection-token-file", type=Path, metavar="FILE", help="file with the token for /_/"
    )
    parser.add_argument(
        "--settings", type=Path, metavar="FILE.json", help="latency, limits, templates, receipts, …"
    )
    parser.add_argument("--faults", type=Path, metavar="FILE.json", help="the list of fault rules")
    parser.add_argument("--seed", type=int, help="seed of all dice (default 0)")
    return parser


def _settings(options: argparse.Namespace) -> SimulatorSettings:
    """Raises InvalidInput that names the file or the field."""
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
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as wrong:
        raise InvalidInput(f"cannot read {path}: {wrong.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{path} is not UTF-8") from None


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except json.JSONDecodeError as wrong:
        raise InvalidInput(
            f"{path} is not JSON: {wrong.msg} at line {wrong.lineno}, column {wrong.colno}"
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
