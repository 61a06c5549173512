"""Bad requests for the API, from a seed, and what each answer must be: a problem, and none of what was sent.

    ./run python -m tests.http_fuzz [--requests 10000] [--seed 1] [--backend sqlite]

Wrong methods, paths, headers, texts, types in each field, bodies that are no JSON, no form or in no encoding, lengths
that are wrong, bodies that do not end, and what is no HTTP. Each request holds a phone number and a one-time code.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import re
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

NUMBER, CODE = "447700900851", "c4n4ry-831-907"
#: Where a code may be; elsewhere a problem quotes what it refuses.
SECRET = {"content", "variables", "key", "why", "reason"}
#: An answer that takes longer is missing.
ANSWER_S = 20.0
_AT_ONCE = 8
#: Its answer does not end.
ENDLESS = "/v1/events/stream"
#: Has answers of its own, without an id of the request.
RECEIPTS = "/v1/receipts/"
#: What uvicorn says of what is no HTTP.
NOT_HTTP = b"Invalid HTTP request received."
PROBLEM = {"type", "title", "status", "detail", "code", "request_id", "errors"}

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**40, -(10**40), 0.1, -0.0, 1e308, 5e-324),
    *("", " ", "\0", "a\0b", "\ud800", "\udfff" + NUMBER, "\u202e", "x" * 300, "x" * 70_000, "9" * 5_000),
    *(
        NUMBER,
        f"{NUMBER}x",
        f"+{NUMBER}00000",
        CODE,
        f"{{{{{CODE}}}}}",
        "{{",
        "none",
        "NaN",
        "2030-13-45",
        "P1Y",
    ),
    *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2030-01-01T00:00:00+99:99", "../../etc/passwd", "%00"),
    *([], [[]], [None], [NUMBER] * 50, {}, {"": None}, {CODE: NUMBER}, {"a": {"b": {"c": [CODE]}}}),
)
BROKEN_JSON: tuple[bytes, ...] = (
    *(
        b"",
        b"{",
        b"}",
        b"null",
        b"0",
        b'"',
        b"[]",
        b"[1,",
        b'{"a":}',
        b"{'a': 1}",
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\0}\0",
    ),
    *(b'{"to": NaN}', b'{"rate": Infinity}', b'{"rate": -Infinity}', b'{"rate": 1e999}', b'{"rate": 1e-999}'),
    b'{"why": "a", "why": "' + NUMBER.encode() + b'"}',
    b'{"why": "\xc3\x28"}',
    rb'{"why": "\ud800"}',
    rb'{"why": "\u0000"}',
    b"[" * 5_000,
    b'{"a":' * 5_000,
    b"[" * 2_000 + b"]" * 2_000,
    b'{"content":' + b"[" * 900 + b"]" * 900 + b"}",
    b'{"rate": ' + b"9" * 5_000 + b"}",
    b'{"why": "' + b"x" * 2_000_000 + b'"}',
    b"{" + b",".join(b'"%d": 1' % n for n in range(20_000)) + b"}",
)
BROKEN_FORMS: tuple[tuple[str, bytes], ...] = (
    ("multipart/form-data", b"--x\r\n\r\n"),
    ("multipart/form-data; boundary=", b"--\r\n"),
    ("multipart/form-data; boundary=x", b""),
    ("multipart/form-data; boundary=x", b"--y--\r\n"),
    ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=file\r\n"),
    ("multipart/form-data; boundary=x", b"--x\r\n" + b"A" * 70_000 + b": b\r\n\r\n"),
    ("multipart/form-data; boundary=" + "x" * 300, b"--x--\r\n"),
    ("multipart/form-data; boundary=x; boundary=y", b"--y--\r\n"),
    ("multipart/form-data; boundary=\xff", b"--\xff--\r\n"),
    ("multipart/mixed; boundary=x", b"--x--\r\n"),
)
_CAMPAIGN = {"sender": "8615000579987", "kind": "otp", "type": "text", "content": {"body": CODE}}
#: Addresses that take a form: its part with the options, and good options.
FORMS: dict[str, tuple[bytes, dict[str, Any]]] = {
    "/v1/campaigns": (b"campaign", _CAMPAIGN | {"dry_run": True}),
    "/v1/plans": (b"campaign", _CAMPAIGN),
    "/v1/suppressions/import": (b"import", {"reason": CODE}),
    "/v1/media": (b"media", {"sender": "8615000579987"}),
}
FILE_NAMES = (
    *(b"a.csv", b"a.xlsx", b"a.jsonl", b"a.exe", b"../a.csv", b"\xff.csv", b"a.jpg", NUMBER.encode()),
    b"a" * 300 + b".csv",
)
FILES = (
    *(b"", b"to\n" + NUMBER.encode() + b"x\n", b"\xff\xfe\0", b"PK\x03\x04rubbish", b"\0" * 99),
    *(b'{"to": 1}\n[', b'to\n"'),
    *(b"\xff\xd8\xff\xe0" + b"\0" * 99, b"\x89PNG\r\n\x1a\n\0\0", b"%PDF-1.7\n" + NUMBER.encode()),
)
CHUNKS = (
    *(b"5\r\nhello\r\n", b"5\r\nhell", b"z\r\n", b"-1\r\n", b"ffffffffffffffff\r\n", b"1;\0=b\r\na"),
    *(b"0\r\nX: " + NUMBER.encode() + b"\r\n\r\n", b"3;" + b"a" * 9_000 + b"\r\nabc\r\n"),
)
CONTENT_TYPES = (
    *(
        "",
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
    ),
    *(
        "application/JSON",
        "json",
        "application/json;;;",
        "\xff/\xff",
        "a" * 5_000,
        "application/problem+json",
    ),
)
PATHS = (
    *(
        "/",
        "//",
        "/v1",
        "/v1/",
        "/v2/messages",
        "/v1/messages/",
        "/v1//messages",
        "/v1/messages/%00",
        "/V1/MESSAGES",
    ),
    *(
        "/static/../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/etc/passwd",
        "/static/",
        "/v1/%ff%fe",
        "/%",
        "/v1/%zz",
    ),
    *(
        f"/v1/messages/{NUMBER}",
        f"/v1/messages/+{NUMBER}/why",
        "/v1/messages/%F0%9F%92%A9",
        "/" + "a" * 8_000,
    ),
    *(
        f"/v1/receipts/{NUMBER}",
        "/v1/receipts/%ff",
        "/v1/receipts/a/b",
        f"/v1/senders/{NUMBER}x",
        "/v1/keys/%0d%0aX:1",
    ),
    *(
        "http://elsewhere.example/v1/me",
        "*",
        "/v1/me#a",
        "/v1/me?" + "a=1&" * 2_000,
        "/v1/campaigns/%2e%2e%2f",
    ),
)
METHODS = (
    *("PUT", "TRACE", "OPTIONS", "HEAD", "CONNECT", "PROPFIND", "get", "X" * 40, NUMBER),
    "DELETE",
    "PATCH",
)
ODD_HEADERS: tuple[tuple[str, str], ...] = (
    *(
        ("X-Request-Id", NUMBER + " x"),
        ("X-Request-Id", "\xff"),
        ("X-Request-Id", "a" * 500),
        ("X-Request-Id", ""),
    ),
    *(("Idempotency-Key", ""), ("Idempotency-Key", "\xe9" + NUMBER), ("Idempotency-Key", "k" * 300)),
    *(("Authorization", "Bearer"), ("Authorization", "Basic eDp5"), ("Authorization", f"Bearer bsk_{CODE}")),
    *(
        ("Authorization", "Bearer \xff\xfe"),
        ("Authorization", "Bearer " + "b" * 9_000),
        ("Authorization", ""),
    ),
    *(
        ("Last-Event-ID", CODE),
        ("Accept", "\xff"),
        ("Accept-Encoding", "gzip, \xff"),
        ("Cookie", f"a={CODE}"),
    ),
    *(
        ("Range", "bytes=5-1"),
        ("If-None-Match", '"\xff"'),
        ("Expect", "100-continue"),
        ("Expect", "200-maybe"),
    ),
    *(("X-Forwarded-For", f"{NUMBER}, \xff"), ("Forwarded", f"for={CODE}"), ("Host", "\xff"), ("Host", "")),
    *(("traceparent", "\xff"), ("Origin", "null"), ("Upgrade", "websocket"), ("Connection", "upgrade, \xff")),
    *(
        ("Content-Encoding", "gzip"),
        ("Transfer-Encoding", "gzip"),
        ("Content-Length", "-1"),
        ("Content-Length", "1e3"),
    ),
    ("X-Long", "h" * 20_000),
)
NO_HTTP: tuple[bytes, ...] = (
    *(
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"\0" * 100,
    ),
    *(b"GET / HTTP/1.1\r\nA\r\n\r\n", b"GET / HTTP/1.1\r\n: b\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    b"GET /v1/me?%s HTTP/1.1\r\nHost: a\r\n\r\n" % (b"\x80" + NUMBER.encode()),
    b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(3_000)) + b"\r\n",
)


@dataclass(frozen=True)
class BadRequest:
    """``parts`` are sent one after another; then, if ``cut``, nothing more, though more was promised."""

    what: str
    parts: tuple[bytes, ...]
    path: str = ""
    cut: bool = False
    is_http: bool = True
    method: str = "GET"


@dataclass
class Found:
    """What was answered, and what of it must not be."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Fuzz:
    """Requests for an API with this description, asked with ``key``. The same seed makes the same ones.

    ``ids`` are what there is: half of the addresses name one of them.
    """

    def __init__(
        self, description: Mapping[str, Any], key: str, seed: int, ids: Mapping[str, list[str]] = {}
    ) -> None:
        self._random = random.Random(seed)
        self._ids = ids
        self._key = key
        self._schemas: Mapping[str, Any] = description["components"]["schemas"]
        self._operations = [
            (method.upper(), path, told)
            for path, methods in description["paths"].items()
            for method, told in methods.items()
            if path != ENDLESS
        ]
        self._kinds: tuple[Callable[[], BadRequest], ...] = (
            *(self._wrong_field, self._wrong_field, self._wrong_field, self._wrong_query, self._wrong_query),
            *(self._broken_json, self._wrong_path, self._wrong_method, self._odd_header, self._wrong_type),
            *(
                self._wrong_form,
                self._wrong_length,
                self._endless,
                self._in_drops,
                self._garbage,
                self._no_http,
            ),
        )

    def requests(self, count: int) -> Iterator[BadRequest]:
        for _ in range(count):
            yield self._random.choice(self._kinds)()

    # -- one of each kind --------------------------------------------------------------------------------------

    def _wrong_field(self) -> BadRequest:
        method, path, told = self._random.choice(
            [each for each in self._operations if "requestBody" in each[2]]
        )
        content = told["requestBody"]["content"]
        body = self._example(content.get("application/json", {}).get("schema", {"type": "object"}))
        if isinstance(body, dict):
            name = self._random.choice([*body, NUMBER])
            value = self._random.choice(ODD_VALUES)
            body[name] = value if name in SECRET else public(value)
            if self._random.random() < 0.2:
                body.pop(self._random.choice(list(body)))
        return self._asked("a field", method, path, json.dumps(body).encode())

    def _wrong_query(self) -> BadRequest:
        method, path, told = self._random.choice(self._operations)
        names = [each["name"] for each in told.get("parameters", ()) if each["in"] == "query"] or ["limit"]
        values = {self._random.choice([*names, NUMBER]): self._random.choice(ODD_VALUES) for _ in range(2)}
        query = "&".join(f"{name}={self._quoted(value)}" for name, value in values.items())
        return self._asked("a query", method, f"{path}?{query[:20_000]}")

    def _broken_json(self) -> BadRequest:
        method, path, _ = self._random.choice(self._operations)
        return self._asked("no JSON", method, path, self._random.choice(BROKEN_JSON))

    def _wrong_path(self) -> BadRequest:
        return self._asked(
            "a path", self._random.choice(("GET", "POST", "DELETE")), self._random.choice(PATHS)
        )

    def _wrong_method(self) -> BadRequest:
        _, path, _ = self._random.choice(self._operations)
        return self._asked("a method", self._random.choice(METHODS), path, b"{}")

    def _odd_header(self) -> BadRequest:
        method, path, _ = self._random.choice(self._operations)
        headers = [self._random.choice(ODD_HEADERS) for _ in range(self._random.randint(1, 3))]
        return self._asked("a header", method, path, b"{}", headers, key=self._random.random() < 0.5)

    def _wrong_type(self) -> BadRequest:
        method, path, _ = self._random.choice(self._operations)
        headers = [("Content-Type", self._random.choice(CONTENT_TYPES))]
        if self._random.random() < 0.5:
            headers.append(("Idempotency-Key", str(self._random.random())))
        return self._asked("a content type", method, path, self._random.choice(BROKEN_JSON), headers)

    def _wrong_form(self) -> BadRequest:
        path = self._random.choice((*FORMS, "/v1/messages", "/v1/keys"))
        kind, body = self._random.choice(BROKEN_FORMS)
        if self._random.random() < 0.6:
            kind, body = (
                "multipart/form-data; boundary=x",
                self._form(*FORMS.get(path, FORMS["/v1/campaigns"])),
            )
        return self._asked("a form", "POST", path, body, [("Content-Type", kind)])

    def _form(self, part: bytes, good: dict[str, Any]) -> bytes:
        """A whole form with odd parts."""
        options = self._random.choice(
            BROKEN_JSON + tuple(json.dumps(public(each)).encode() for each in ODD_VALUES)
        )
        if self._random.random() < 0.6:
            changed = {self._random.choice(list(good)): public(self._random.choice(ODD_VALUES))}
            options = json.dumps(good | self._random.choice(({}, changed))).encode()
        parts = [
            (self._random.choice((part, part, NUMBER.encode())), b"", options),
            (b"file", b"; filename=" + self._random.choice(FILE_NAMES), self._random.choice(FILES)),
        ]
        if self._random.random() < 0.2:
            parts.append(parts[0])
        head = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
        return b"".join(head % part for part in parts) + b"--x--\r\n"

    def _wrong_length(self) -> BadRequest:
        method, path, _ = self._random.choice(self._operations)
        body = json.dumps({"why": CODE}).encode()
        length = self._random.choice((0, 1, len(body) - 1, len(body) + 5, 2**31, 2**63, 10**30))
        made = self._asked("a length", method, path, body, [("Content-Length", str(length))])
        return BadRequest(made.what, made.parts, path, cut=True, method=method)

    def _endless(self) -> BadRequest:
        method, path, _ = self._random.choice(self._operations)
        chunk = self._random.choice(CHUNKS)
        made = self._asked("chunks", method, path, chunk * 3, [("Transfer-Encoding", "chunked")])
        return BadRequest(made.what, made.parts, path, cut=True, method=method)

    def _in_drops(self) -> BadRequest:
        made = self._wrong_field()
        (data,) = made.parts
        if len(data) > 4_000:
            return made
        at = sorted(self._random.sample(range(1, len(data)), 4))
        parts = tuple(data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True))
        return BadRequest("drops", parts, made.path, method=made.method)

    def _garbage(self) -> BadRequest:
        """A request with something behind it."""
        made = self._wrong_query()
        more = (
            self._random.choice((b"\0\0\0", b"GARBAGE", b"GET / HTTP/1.1\r\nA", b"{}\r\n\r\n"))
            + NUMBER.encode()
        )
        return BadRequest("garbage behind", (made.parts[0] + more,), made.path, method=made.method)

    def _no_http(self) -> BadRequest:
        data = self._random.choice(NO_HTTP)
        if self._random.random() < 0.3:
            data = self._random.randbytes(self._random.randint(1, 300))
        return BadRequest("no HTTP", (data,), is_http=False, cut=True)

    # -- how one is made ---------------------------------------------------------------------------------------

    def _asked(
        self,
        what: str,
        method: str,
        path: str,
        body: bytes = b"",
        headers: list[tuple[str, str]] = [],  # noqa: B006 - it is not changed
        *,
        key: bool = True,
    ) -> BadRequest:
        filled = re.sub(r"(\w[\w-]*)/\{\w+\}", lambda found: f"{found[1]}/{self._id_of(found[1])}", path)
        given = {name.lower() for name, _ in headers}
        told = [*headers]
        for name, value in (
            ("Host", "127.0.0.1"),
            ("Connection", "close"),
            ("Content-Type", "application/json"),
            *((("Authorization", f"Bearer {self._key}"),) if key else ()),
            *((("Content-Length", str(len(body))),) if body and "transfer-encoding" not in given else ()),
        ):
            if name.lower() not in given:
                told.append((name, value))
        lines = [f"{method} {filled} HTTP/1.1", *(f"{name}: {value}" for name, value in told)]
        data = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body
        return BadRequest(what, (data,), filled, method=method)

    def _id_of(self, what: str) -> str:
        if what in self._ids and self._random.random() < 0.5:
            return self._random.choice(self._ids[what])
        return self._quoted(self._random.choice(ODD_VALUES))[:3_000] or "0"

    def _quoted(self, value: Any) -> str:
        text = value if isinstance(value, str) else json.dumps(value)
        text = text.replace(CODE, "word")
        return quote(text.encode("utf-8", "surrogatepass"), safe="")

    def _example(self, schema: Any) -> Any:
        """Something that nearly is what the schema says."""
        if not isinstance(schema, dict):
            return None
        if "$ref" in schema:
            return self._example(self._schemas.get(schema["$ref"].rpartition("/")[2], {}))
        if "enum" in schema:
            return self._random.choice(schema["enum"])
        for choice in ("anyOf", "oneOf", "allOf"):
            if choice in schema:
                return self._example(self._random.choice(schema[choice]))
        match schema.get("type"):
            case "object":
                fields = schema.get("properties", {}).items()
                made = {name: self._example(each) for name, each in fields}
                return made | dict.fromkeys(SECRET & made.keys(), CODE)
            case "array":
                return [self._example(schema.get("items", {}))]
            case "boolean":
                return self._random.random() < 0.5
            case "integer" | "number":
                return self._random.choice((1, 5, 0.5))
            case "string":
                samples = {
                    "phone": NUMBER,
                    "date-time": "2090-01-01T00:00:00Z",
                    "uri": "https://example.com/a",
                    "local-time": "09:00",
                    "time-zone": "Europe/London",
                }
                return samples.get(schema.get("format", ""), "word")
        return None


def public(value: Any) -> Any:
    """The same without a code."""
    return json.loads(json.dumps(value).replace(CODE, "word"))


def ask(port: int, request: BadRequest) -> bytes | None:
    """All that comes back; None where nothing does in time."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for part in request.parts:
                connection.sendall(part)
            if request.cut:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has been answered before it was read
        try:
            while data := connection.recv(65_536):
                answer += data
        except TimeoutError:
            return None
        except OSError:
            pass  # closed with something of ours unread
    return answer


def check(request: BadRequest, answer: bytes | None) -> tuple[int, str]:
    """The status, and what is wrong with the answer: nothing, if it is as it must be."""
    if answer is None:
        return 0, "no answer, and the connection stays open"
    if not answer:
        return 0, "" if request.cut or request.what in ("garbage behind", "no HTTP") else "no answer"
    head, _, body = answer.partition(b"\r\n\r\n")
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
    if found is None:
        return 0, f"this is no HTTP: {answer[:60]!r}"
    status = int(found[1])
    if status == 100:  # Expect: 100-continue
        return check(request, body)
    return status, _wrong(request, status, head, body)


def _wrong(request: BadRequest, status: int, head: bytes, body: bytes) -> str:
    if status >= 500:
        return f"{status}: {body[:200]!r}"
    if status < 400:
        return ""
    for secret in (NUMBER, CODE):
        if secret.encode() in head + body:
            return f"{secret} is in the answer: {body[:400]!r}"
    if body.startswith(NOT_HTTP) or request.method == "HEAD":
        return ""
    if b"content-type: application/problem+json" not in head.lower():
        return f"no problem: {head[:300]!r} {body[:200]!r}"
    try:
        problem = json.loads(body.partition(b"HTTP/1.1 ")[0])
    except ValueError:
        return f"no JSON: {body[:200]!r}"
    if RECEIPTS in request.path:
        return ""
    if set(problem) < PROBLEM or problem["status"] != status:
        return f"not a whole problem: {problem}"
    id = re.search(rb"(?i)x-request-id: (\S+)", head)
    return "" if id and id[1].decode() == problem["request_id"] else "not the request's id"


def run(port: int, fuzz: Fuzz, count: int) -> Found:
    """Ask all of them, a few at a time: those that are never whole are answered after a while."""
    found = Found()
    requests = list(fuzz.requests(count))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = list(pool.map(lambda request: ask(port, request), requests))
    for number, (request, answer) in enumerate(zip(requests, answers, strict=True)):
        status, wrong = check(request, answer)
        found.statuses[status] += 1
        if wrong:
            found.wrong.append(f"request {number}, {request.what}: {request.parts[0][:300]!r}\n  {wrong}")
    return found


def main() -> None:
    """Run it against a server of its own."""
    # Only here: the test has these already.
    from bulksend import logs
    from tests.served import own_server

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--backend", choices=("sqlite", "postgresql"), default="sqlite")
    given = parser.parse_args()
    log = io.StringIO()
    with (
        tempfile.TemporaryDirectory() as folder,
        own_server(given.backend, Path(folder)) as (served, key, ids),
    ):
        logs.configure("DEBUG", "json", log)
        found = run(served.port, Fuzz(served.description(), key, given.seed, ids), given.requests)
    found.wrong += [
        f"in the log: {line[:2_000]}"
        for line in log.getvalue().splitlines()
        if any(secret in line for secret in (NUMBER, CODE, "Traceback", key))
    ]
    sys.stdout.write("\n".join([*found.wrong, ""]))
    answers = dict(sorted(found.statuses.items()))
    sys.stdout.write(f"{given.requests:,} requests, seed {given.seed}, {given.backend}; answers: {answers}\n")
    raise SystemExit(1 if found.wrong else 0)


if __name__ == "__main__":
    main()
