"""What schemathesis must know of the API beside its description: texts of formats that JSON Schema does not have, and
what holds between two fields.

Loaded by schemathesis, in the suite and by hand: see ``schemathesis.toml`` beside it.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import uuid
from datetime import date
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.parameters import ParameterLocation

from bulksend.ledger.events import TYPES
from bulksend.ledger.stats import DIMENSIONS

#: Of fiction, in several notations.
PHONES = ("+44 7700 900123", "447700900851", "+1 (212) 555-0137", "0044 7700 900 124", "12125550138")
KEY = "Idempotency-Key"
#: What there is, by the part of an address before its id.
IDS = {
    what: itertools.cycle(ids) for what, ids in json.loads(os.environ.get("SCHEMATHESIS_IDS", "{}")).items()
}
turns = itertools.cycle((True, True, False))
#: Pairs of times: the second is not before the first.
PERIODS = (("since", "until"), ("from", "to"))


def some_of(names: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(names), unique=True, min_size=1).map(",".join)


FORMATS: dict[str, st.SearchStrategy[str]] = {
    "phone": st.sampled_from(PHONES),
    "phone-or-country": st.sampled_from((*PHONES, "country:GB", "country:us")),
    "country": st.sampled_from(("GB", "us", "DE")),
    # In the future, as a time to send at or to expire at has to be.
    "date-time": st.dates(date(2090, 1, 1), date(2099, 12, 31)).map("{}T12:30:00Z".format),
    "local-time": st.sampled_from(("09:00", "21:30")),
    "time-zone": st.sampled_from(("Europe/London", "America/New_York")),
    # Only an answer has one, so it is left out of the request: see `begin_at_the_first_page`.
    "cursor": st.just(""),
    "name": st.uuids().map("shop {}".format),
    "network": st.sampled_from(("192.0.2.7", "192.0.2.0/24", "2001:db8::/32")),
    "uri": st.uuids().map("https://example.com/{}".format),
    "idempotency-key": st.uuids().map(str),
    "event-types": some_of(TYPES),
    "dimensions": some_of(DIMENSIONS),
}
for name, texts in FORMATS.items():
    schemathesis.openapi.format(name, texts)


@schemathesis.hook
def before_call(_context: Any, case: Any, _options: dict[str, Any]) -> None:
    """Put right what two fields of a valid request have to agree in; a wrong value stays wrong."""
    name_what_there_is(case)
    begin_at_the_first_page(case.query)
    for fields in (case.query, case.body):
        if isinstance(fields, dict):
            order_times(fields)
            do_not_wait(fields)
    if case.headers and is_key(case.headers.get(KEY)):
        case.headers[KEY] = str(uuid.uuid4())  # of this request alone


def name_what_there_is(case: Any) -> None:
    """Two of three valid addresses."""
    found = re.search(r"([\w-]+)/\{(\w+)\}", case.operation.path)
    if found and found[1] in IDS and not case.meta.is_negative_at(ParameterLocation.PATH) and next(turns):
        case.path_parameters[found[2]] = next(IDS[found[1]])


def begin_at_the_first_page(query: Any) -> None:
    """Only an answer has what a page starts after: a cursor, or the number of an event that there is."""
    after = (query or {}).get("after")
    if after == "":
        del query["after"]
    elif isinstance(after, int) and after > 0:
        query["after"] = 1


def order_times(fields: dict[str, Any]) -> None:
    for first, last in PERIODS:
        texts = [text for name in (first, last) if is_time(text := fields.get(name))]
        if len(texts) == 2:
            fields[first], fields[last] = sorted(texts)
        elif is_time(fields.get("from")):
            del fields["from"]  # the end is now, and the times are of the future


def is_time(value: object) -> bool:
    return isinstance(value, str) and value.endswith("T12:30:00Z")


def do_not_wait(body: dict[str, Any]) -> None:
    """For endings that do not come: no worker runs."""
    for message in (body, *(body.get("messages") or ())):
        if isinstance(message, dict) and isinstance(message.get("wait_seconds"), float | int):
            message["wait_seconds"] = min(0, message["wait_seconds"])


def is_key(text: object) -> bool:
    return isinstance(text, str) and 1 <= len(text) <= 255 and text.isascii() and text.isprintable()
