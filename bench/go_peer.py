"""The peer in Go: whether it can be built here, and its program. Debian has its packages:

golang-go, golang-github-jackc-pgx-v4-dev, golang-github-gomodule-redigo-dev
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from bench.stand import ROOT

SOURCE = ROOT / "bench" / "peers" / "go" / "worker.go"
#: Where Debian puts what its packages of Go libraries hold.
LIBRARIES = Path("/usr/share/gocode")
_IMPORTED = ("github.com/jackc/pgx/v4/pgxpool", "github.com/gomodule/redigo/redis")


def lacks(libraries: Path = LIBRARIES, path: str | None = None) -> str:
    """What is not here of what the peer needs, in words; empty where all is."""
    if shutil.which("go", path=path) is None:
        return "there is no go here"
    absent = [name for name in _IMPORTED if not (libraries / "src" / name).is_dir()]
    return f"there is no {' and no '.join(absent)} in {libraries}" if absent else ""


def version() -> str:
    """Of Go."""
    return _go("env", "GOVERSION").removeprefix("go")


def build(folder: Path) -> Path:
    """Build the peer into a folder; its program. What Go keeps for the next build is there too."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "worker"
    _go("build", "-o", str(program), str(SOURCE), cache=folder / "cache")
    return program


def _go(*arguments: str, cache: Path | None = None) -> str:
    environ = os.environ | {"GO111MODULE": "off", "GOPATH": str(LIBRARIES)}
    if cache is not None:
        environ["GOCACHE"] = str(cache)
    done = subprocess.run(  # noqa: S603
        [str(shutil.which("go")), *arguments], env=environ, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.strip()
