"""One ``bulksend serve`` on a ledger that is there, as a bench asks it: users of three roles, and what answers cost."""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlencode

from sqlalchemy import text

from bench.stand import CLI, Stand, stand
from bulksend.ledger.database import Database
from bulksend.ledger.ids import new_id
from bulksend.ledger.migrate import migrate
from bulksend.operations import api_keys, sessions, users
from bulksend.operations.access import Origin, Role
from ops.local.ports import free_port
from ops.web import csrf

ROLES = (Role.ADMIN, Role.OPERATOR, Role.VIEWER)
#: Before the process that is measured: other programs share the machine.
NICE = ("nice", "-n", "-15")
_BACKENDS = """SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"""
PEOPLE = b"to,name,code\n" + b"".join(b"+4477009%05d,David,SPRING\n" % n for n in range(100))


def cpu_of(pid: int) -> float:
    """CPU seconds of a process and all its threads, to the nanosecond: /proc counts in ticks of 10 ms."""
    # The clock of another process, as clock_getcpuclockid() of libc makes it. One that has ended has none.
    with suppress(OSError):
        return time.clock_gettime((~pid << 3) | 2)
    return 0.0


@dataclass(frozen=True, slots=True)
class Session:
    """A user who is signed in."""

    role: Role
    name: str
    token: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, and what it took: by the clock of the caller, and of CPU of ``serve`` and PostgreSQL, seconds."""

    request_id: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    clock_s: float
    cpu_s: float
    database_cpu_s: float

    @property
    def bytes_sent(self) -> int:
        """Of the head and the body, as they came; chunks are counted without their lengths."""
        head = sum(len(name) + len(value) + 4 for name, value in self.headers.items())
        return head + len(self.body) + len("HTTP/1.1 200 OK\r\n\r\n")


#: A kept connection is used again for this long: after five seconds the server closes it.
KEPT_S = 3.0


class Console:
    """The server. Not for several threads."""

    def __init__(self, of: Stand, database: Database, port: int, pid: int) -> None:
        self.database, self.port, self.pid = database, port, pid
        self._stand, self._ids, self._backends = of, count(1), list[int]()
        self._connection, self._asked = http.client.HTTPConnection("127.0.0.1", port, timeout=120), 0.0

    @property
    def environ(self) -> Mapping[str, str]:
        """Of its process."""
        return self._stand.environ

    def sign_in(self, role: Role, name: str | None = None) -> Session:
        """A user of the role with a session."""
        name = name or f"bench-{role.value}-{new_id()[-8:]}"
        users.add_user(self.database, name=name, role=role, actor="bench")
        link = str(sessions.make_link(self.database, name, actor="bench")["link_token"])
        return Session(role, name, sessions.use_link(self.database, link, origin=Origin("127.0.0.1")))

    def headers(self, session: Session | None, **more: str) -> dict[str, str]:
        """Of a browser."""
        cookie = {} if session is None else {"Cookie": f"bulksend_session_{self.port}={session.token}"}
        plain = {"Accept": "text/html", "Accept-Encoding": "gzip", "Origin": f"http://127.0.0.1:{self.port}"}
        return plain | cookie | more

    def get(self, path: str, session: Session | None, **headers: str) -> Answer:
        """Ask for a page."""
        return self._ask("GET", path, None, self.headers(session, **headers))

    def post(self, path: str, session: Session, fields: Mapping[str, str]) -> Answer:
        """Send a form."""
        body = urlencode({csrf.FIELD: csrf.token_of(session.token), **fields}).encode()
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._ask("POST", path, body, self.headers(session) | kind)

    def post_file(self, path: str, session: Session, fields: Mapping[str, str], data: bytes) -> Answer:
        """Send a form with a file."""
        parts = [(name, "", value.encode()) for name, value in fields.items()]
        parts = [(csrf.FIELD, "", csrf.token_of(session.token).encode()), *parts]
        parts.append(("file", '; filename="people.csv"', data))
        body = b"".join(
            f'--x\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"
            for name, more, value in parts
        )
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        return self._ask("POST", path, body + b"--x--\r\n", self.headers(session) | kind)

    def api(self, method: str, path: str, body: object = None) -> dict[str, object]:
        """Ask the HTTP API as an admin."""
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        answer = self._ask(method, path, None if body is None else json.dumps(body).encode(), headers)
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.body[:500]!r}")
        return dict(json.loads(answer.body))

    @cached_property
    def _key(self) -> str:
        with self.database.write() as tx:
            return api_keys.add(tx, name="bench", role=Role.ADMIN, actor="bench").key

    def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        # Short: a log masks digits that could be a number.
        id = f"bench-{next(self._ids)}"
        if time.monotonic() - self._asked > KEPT_S:
            self._connection.close()  # the next request opens another
        self._asked = time.monotonic()
        before, of_database, began = cpu_of(self.pid), self._database_cpu(), time.perf_counter()
        self._connection.request(method, path, body, {**headers, "X-Request-Id": id})
        answer = self._connection.getresponse()
        content = answer.read()
        clock = time.perf_counter() - began
        return Answer(
            id,
            answer.status,
            dict(answer.getheaders()),
            content,
            clock,
            cpu_of(self.pid) - before,
            self._database_cpu() - of_database,
        )

    def find_backends(self) -> None:
        """Look which processes of PostgreSQL serve this ledger: their CPU counts from now on."""
        if not self.database.is_sqlite:
            with self.database.read() as tx:
                self._backends = list(tx.execute(text(_BACKENDS)).scalars())

    def _database_cpu(self) -> float:
        return sum(map(cpu_of, self._backends))

    def server_ms(self) -> dict[str, float]:
        """What the access log says that each request took, by its id, ms."""
        lines = (line for file in self._logs() for line in file.read_text(errors="replace").splitlines())
        found = {}
        for line in lines:
            with suppress(ValueError):
                noted = json.loads(line)
                if noted.get("event") == "http_request":
                    found[str(noted["request_id"])] = float(noted["ms"])
        return found

    def _logs(self) -> list[Path]:
        return sorted((self._stand.folder / "logs").glob("serve-*.log"))

    def wait(self, what: str, check: Callable[[], bool], seconds: float = 60) -> None:
        """Ask until the answer is yes."""
        self._stand.wait(what, check, seconds)

    def logs(self) -> str:
        """The end of what it has logged."""
        return self._stand.logs()

    def rss_mb(self) -> float:
        """What the process holds in memory now, MB of 10**6 bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def console(
    url: str | None, backend: str, *, key: str = "", environ: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Console]:
    """``serve`` on the ledger of ``url``, whose encryption key is ``key``; without one on an empty ledger of its own.

    It stops at the end.
    """
    given = {} if url is None else {"DATABASE_URL": url}
    given |= {} if not key else {"BULKSEND_ENCRYPTION_KEY": key}
    with ExitStack() as stack:
        settings = {"BULKSEND_REQUESTS_PER_SECOND": "100000", **given, **environ}
        here = stack.enter_context(stand("sqlite" if url else backend, environ=settings))
        folders = {f"BULKSEND_{name}_DIR": str(here.folder / name.lower()) for name in ("UPLOAD", "EXPORT")}
        here.environ.update(folders)
        database = Database(here.environ["DATABASE_URL"])
        stack.callback(database.close)
        migrate(database)
        yield from _served(here, database)


def _served(here: Stand, database: Database) -> Iterator[Console]:
    port = free_port()
    serve = here.start("serve", *NICE, *CLI, "serve", "--port", str(port))

    def answers() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/sign-in", headers={"Accept": "text/html"})
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    here.wait("serve answers", answers)
    yield Console(here, database, port, serve.pid)
