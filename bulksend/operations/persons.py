"""What a person may ask of us: to be forgotten, and to get all that is held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from bulksend.errors import InvalidValue, RedisUnreachable, Unfit
from bulksend.ledger import erasure, operator_log, senders
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.erasure import ErasedRows, Left, Person
from bulksend.ledger.erasure_bodies import erase_callbacks, erase_deliveries
from bulksend.ledger.erasure_bytes import files_with, let_go
from bulksend.messaging.number_traces import NumberTraces
from bulksend.messaging.units import counted
from bulksend.operations import erasure_files as places

if TYPE_CHECKING:
    import redis

    from bulksend.settings import Settings

FORGET = "forget"
SCOPE = "person"

#: Opens Redis for the search; raises RedisUnreachable. None: there is none.
OpenRedis = Callable[[], "AbstractContextManager[redis.Redis]"]


@dataclass(slots=True)
class Forgotten:
    """What was erased, by what it was; what is left, and what was searched for it."""

    person: str
    """The number, masked."""
    erased: dict[str, int] = field(default_factory=dict)
    suppressed: list[str] = field(default_factory=list)
    """The scopes of the person's suppressions, which go on."""
    left: list[Left] = field(default_factory=list)
    searched: list[str] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether the search found nothing."""
        return not self.left

    def as_json(self) -> dict[str, Any]:
        """The interface's answer."""
        return {
            "person": self.person,
            "complete": self.is_complete,
            "erased": self.erased,
            "suppressed": self.suppressed,
            "left": [{"where": each.where, "why": each.why} for each in self.left],
            "searched": self.searched,
        }


def forget(
    database: Database,
    cipher: Cipher,
    of: Settings,
    number: str,
    *,
    actor: str,
    why: str,
    open_redis: OpenRedis | None,
) -> Forgotten:
    """Erase a person from the ledger and from the disk of this host, then search for what is left. May be repeated.

    ``number`` is E.164 digits. The act is on record under the person's hash. Raises WrongState while a message is being
    sent to the person and under a legal hold, InvalidValue for a number of a sender and a reason with the number in it.
    """
    _check(database, number, why)

    def erase(tx: Connection) -> tuple[Person, ErasedRows]:
        person = Person.of(tx, number)
        rows = erasure.erase_rows(tx, person, cipher)
        operator_log.record(
            tx, actor=actor, act=FORGET, scope=SCOPE, subject=person.hash, why=why, after=rows.counts
        )
        return person, rows

    person, rows = database.retrying(erase)
    done = Forgotten(person.masked, dict(rows.counts))
    _erase_the_rest(database, cipher, person, rows, done)
    _erase_files(database, cipher, of, person, done, actor)
    problem = let_go(database)
    _search(database, person, done, problem, open_redis)
    with database.read() as tx:
        done.suppressed = erasure.suppressed_scopes(tx, person)
    return done


def _check(database: Database, number: str, why: str) -> None:
    traces = NumberTraces(number)
    if traces.in_text(why):
        raise InvalidValue("why", "", "has the person's number in it, and the reason is kept; leave it out")
    with database.read() as tx:
        if senders.by_phones(tx, traces.forms):
            raise InvalidValue("phone", "", "is a sender of yours; a business number is not forgotten")


def _erase_the_rest(
    database: Database, cipher: Cipher, person: Person, rows: ErasedRows, done: Forgotten
) -> None:
    """What is stored as a whole, and words in which the number may stand, in transactions of their own."""
    callbacks = erase_callbacks(database, person, cipher)
    done.erased["callbacks"] = callbacks.erased
    if callbacks.waiting:
        done.left.append(
            Left(
                counted(callbacks.waiting, "callback"),
                "the relay has not read them yet; repeat it once it has",
            )
        )
    if callbacks.sealed:
        done.left.append(
            Left(
                counted(callbacks.sealed, "row") + " of callbacks",
                "no key of BULKSEND_ENCRYPTION_KEY opens them; add the old key to the list, and repeat it",
            )
        )
    done.erased["webhooks"] = erase_deliveries(database, person, rows.messages)
    done.erased["orphans"] = database.retrying(lambda tx: erasure.orphans_with_number(tx, person))
    done.erased["contents_of_others"] = _wipe_contents_of_others(database, person, done)
    done.erased["texts"] = _mask_texts(database, person, done)


def _wipe_contents_of_others(database: Database, person: Person, done: Forgotten) -> int:
    with database.read() as tx:
        found = erasure.payloads_with_number(tx, person)
    ended = [id for id, why_kept in found if why_kept is None]
    if ended:
        database.retrying(lambda tx: erasure.wipe_payloads(tx, ended))
    done.left += [
        Left(f"message {id}, to another person", why_kept) for id, why_kept in found if why_kept is not None
    ]
    return len(ended)


def _mask_texts(database: Database, person: Person, done: Forgotten) -> int:
    with database.read() as tx:
        found = list(erasure.texts(tx, person))
    masked = 0
    for each in found:
        if each.why_kept is not None:
            done.left.append(Left(f"{each.table.name}.{each.column}", each.why_kept))
        else:
            masked += database.retrying(lambda tx, each=each: erasure.mask_text(tx, each, person))  # type: ignore[misc]
    return masked


def _erase_files(
    database: Database, cipher: Cipher, of: Settings, person: Person, done: Forgotten, actor: str
) -> None:
    exports, posted, spool = places.folders(of)
    done.erased["exports"], left = places.erase_exports(database, exports, person)
    done.left += left
    done.erased["uploads"], left = places.erase_uploads(database, posted, person, actor=actor)
    done.left += left
    done.left += places.search_spool(spool, person, cipher)
    done.searched += ["folders of exports, posted files and the spool on this host"]


def _search(
    database: Database, person: Person, done: Forgotten, problem: str | None, open_redis: OpenRedis | None
) -> None:
    """Look for the number wherever it may be, whatever was erased."""
    with database.read() as tx:
        found = Counter(erasure.search_everything(tx, person))
    known = {each.where for each in done.left}
    done.left += [
        Left(where, "it was written meanwhile, or is at work; repeat it")
        for where in found
        if where.partition(" ")[0] not in known
    ]
    done.searched.append("every column of the ledger")
    if database.is_sqlite:
        problem = _search_files(database, person, done, problem)
    if problem is not None:
        done.left.append(Left("old versions of rows in the database's files", problem))
    done.left += _search_redis(person, done, open_redis)


def _search_files(database: Database, person: Person, done: Forgotten, problem: str | None) -> str | None:
    """Search the bytes of a SQLite ledger; where an older program left some, its file is written again as a whole."""
    names = files_with(database, person.traces.in_bytes)
    if names and problem is None:
        problem = let_go(database, whole_file=True)
        names = files_with(database, person.traces.in_bytes)
    done.searched.append("every byte of the ledger's files")
    if not done.left:
        done.left += [
            Left(f"file {name}", problem or "bytes of it are still there; repeat it") for name in names
        ]
    return problem


def _search_redis(person: Person, done: Forgotten, open_redis: OpenRedis | None) -> Iterator[Left]:
    if open_redis is None:
        return
    from redis import RedisError

    from bulksend.broker import problem_of

    try:
        with open_redis() as client:
            yield from places.search_redis(client, person)
    except (RedisUnreachable, Unfit) as error:
        yield Left("Redis", f"it was not searched: {error}")
    except RedisError as error:
        yield Left("Redis", f"it was not searched: {problem_of(error).text('Redis')}")
    else:
        done.searched.append("every key of Redis")
