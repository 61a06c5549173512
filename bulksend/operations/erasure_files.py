"""Where a person's number may be outside the ledger: files on the disk of this host, and Redis."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any

from bulksend.ledger import jobs, plans, uploads
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import CannotDecrypt, Cipher
from bulksend.ledger.erasure import Left, Person
from bulksend.ledger.erasure_bodies import has_number
from bulksend.ledger.erasure_bytes import search_file
from bulksend.ledger.ids import is_id
from bulksend.ledger.raw_receipts import unpack
from bulksend.ledger.receipt_spool import groups_of
from bulksend.operations.media_files import FOLDER

if TYPE_CHECKING:
    import redis

    from bulksend.settings import Settings

_AT_ONCE = 1 << 20
#: Two pieces of a file overlap by more than the longest way to write a number.
_OVERLAP = 256
#: Why a plan ends whose file is deleted.
PLAN_ENDS = "its file was deleted, since a person in it was forgotten"
_AGAIN = "repeat `forget` once it has ended"


def erase_exports(database: Database, folder: Path, person: Person) -> tuple[int, list[Left]]:
    """Delete the files of exports that have the number, or may have it; returns how many, and those being written.

    A Parquet file is compressed in a way of its own: every one may. The one who needs a file requests it again.
    """
    found: dict[str, list[Path]] = {}
    for path in _files(folder):
        if path.suffix == ".parquet" or has_number_in(path, person):
            found.setdefault(path.name.lstrip(".").partition(".")[0], []).append(path)
    with database.write() as tx:
        running = jobs.open_ids(tx, [*filter(is_id, found)])
        jobs.expire(tx, sorted(found.keys() - running))
    deleted = [path for id, paths in found.items() if id not in running for path in paths]
    for path in deleted:
        path.unlink(missing_ok=True)
    return len(deleted), [
        Left(f"export {id}", f"its file is being written; {_AGAIN}") for id in sorted(running)
    ]


def erase_uploads(database: Database, folder: Path, person: Person, *, actor: str) -> tuple[int, list[Left]]:
    """Delete posted files that have the number and are taken in; returns how many, and those still needed.

    A plan of such a file ends, on record.
    """
    # A posted file has a folder of its own, by its id; opt-out lists lie a folder deeper.
    kept = folder / FOLDER
    posted = [path for path in _files(folder) if path.parent != kept]
    found = {path.parent.name: path.parent for path in posted if has_number_in(path, person)}
    ids = sorted(filter(is_id, found))
    with database.read() as tx:
        taken = set(ids) - uploads.live_ids(tx, ids) - jobs.open_ids(tx, ids)
    if taken:
        database.retrying(lambda tx: plans.end(tx, sorted(taken), actor=actor, why=PLAN_ENDS))
    for id in taken:
        rmtree(found[id], ignore_errors=True)
    left = [
        Left(f"posted file {name}", f"it arrives, or is being taken in; {_AGAIN}")
        for name in sorted(found.keys() - taken)
    ]
    # A file of messages is the same for all who get it, and a campaign may need it.
    left += [
        Left(f"file {path.name} of messages", "`bulksend media delete` deletes it")
        for path in _files(kept)
        if has_number_in(path, person)
    ]
    return len(taken), left


def search_spool(folder: Path, person: Person, cipher: Cipher) -> Iterator[Left]:
    """Files of the spool that have the number: they go into the ledger once it answers."""
    for path in _files(folder):
        if _spooled_callbacks(path, person, cipher) or has_number_in(path, person):
            yield Left(
                f"spool file {path.name}", "`serve` or a worker brings it into the ledger; repeat it then"
            )


def _spooled_callbacks(path: Path, person: Person, cipher: Cipher) -> bool:
    if path.suffix != ".receipts":
        return False
    try:
        groups = list(groups_of(path))
        return any(has_number(each, person) for group in groups for each in unpack(group, cipher))
    except FileNotFoundError:
        return False
    except CannotDecrypt:
        return True


def has_number_in(path: Path, person: Person) -> bool:
    """Whether a file has the number; a workbook is unpacked. A file that is deleted meanwhile has not."""
    try:
        if not zipfile.is_zipfile(path):
            return search_file(path, person.traces.in_bytes)
        with zipfile.ZipFile(path) as packed:
            return any(_in_stream(packed.open(each), person.traces.in_bytes) for each in packed.infolist())
    except FileNotFoundError:
        return False
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError):
        # Cut off, or encrypted: it cannot be shown that it has not.
        return True


def _in_stream(opened: Any, is_in: Callable[[bytes], bool]) -> bool:
    with opened as stream:
        before = b""
        while piece := stream.read(_AT_ONCE):
            if is_in(before + piece):
                return True
            before = piece[-_OVERLAP:]
    return False


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []


def search_redis(client: redis.Redis, person: Person) -> Iterator[Left]:
    """Keys of Redis that have the number in their name or value. Ours hold ids and keyed hashes."""
    for key in client.scan_iter(count=1000):
        if any(person.traces.in_bytes(value) for value in (key, *_values(client, key))):
            shown = person.traces.masked(key.decode("utf-8", "replace"))[:60]
            yield Left(f"Redis, {shown!r}", "bulksend stores no number there; see what wrote it")


def _values(client: Any, key: bytes) -> Iterator[bytes]:
    match client.type(key):
        case b"string":
            yield client.get(key) or b""
        case b"list":
            yield from client.lrange(key, 0, -1)
        case b"set":
            yield from client.sscan_iter(key)
        case b"zset":
            yield from (member for member, _ in client.zscan_iter(key))
        case b"hash":
            for name, value in client.hscan_iter(key):
                yield from (name, value)
        case b"stream":
            yield repr(client.xrange(key)).encode()


def folders(of: Settings) -> tuple[Path, Path, Path]:
    """The folders of exports, posted files and the spool."""
    return Path(of.export_dir), Path(of.upload_dir), Path(of.spool_dir)
