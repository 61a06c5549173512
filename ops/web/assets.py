"""Files for the browser, under addresses that change with their contents: a browser keeps them for a year."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.responses import Response

FOLDER = Path(__file__).parent / "static"
PREFIX = "/assets"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class _Asset:
    hash: str
    media_type: str
    plain: bytes
    small: bytes


class Assets:
    """The files of ``static``, read once."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files = {
            file.relative_to(folder).as_posix(): _asset(file)
            for file in sorted(folder.rglob("*"))
            if file.suffix in _TYPES
        }

    def url(self, name: str) -> str:
        """The address of a file. Raises KeyError for one that there is not."""
        return f"{PREFIX}/{self._files[name].hash}/{name}"

    def answer(self, hash: str, name: str, accepted: str) -> Response | None:
        """The file; None where there is none. A page of an older version gets the file of today."""
        file = self._files.get(name)
        if file is None:
            return None
        kept = _FOR_EVER if hash == file.hash else "no-cache"
        headers = {"Cache-Control": kept, "Vary": "Accept-Encoding"}
        if "gzip" in accepted:
            headers["Content-Encoding"] = "gzip"
            return Response(file.small, media_type=file.media_type, headers=headers)
        return Response(file.plain, media_type=file.media_type, headers=headers)


def _asset(file: Path) -> _Asset:
    plain = file.read_bytes()
    return _Asset(
        hashlib.sha256(plain).hexdigest()[:12], _TYPES[file.suffix], plain, gzip.compress(plain, 9, mtime=0)
    )
