"""Single rows of a file: how they will look, and one of them sent really, as a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from time import time
from typing import Any

from sqlalchemy import Connection

from bulksend import bootstrap
from bulksend.errors import InvalidValue
from bulksend.ledger import media, templates
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.direct_sends import SendRequest
from bulksend.ledger.ids import new_id
from bulksend.ledger.message_rows import NewMessage
from bulksend.messaging.content import load_content_json
from bulksend.messaging.media_references import our_files, reference, with_vendor_ids
from bulksend.messaging.plan import RefusedRow
from bulksend.messaging.template_fit import content_of, template_of
from bulksend.messaging.template_shape import TemplateShape, shape_from_json
from bulksend.messaging.time_rules import TimeRules
from bulksend.settings import Settings
from producer.campaign_plans import sample
from producer.direct_sends import DirectSends, SendReceipt, receipt
from producer.files import FilePlan
from producer.publisher import publisher_of
from producer.rows import IntakeRequest, RowPlanner

#: Rows that are planned at once: most callers want the first few.
_CHUNK = 50
#: A person looks at no row behind this many: to read them takes a second.
_LOOKED_THROUGH = 200_000


@dataclass(frozen=True, slots=True)
class SentRow:
    """A row that was sent as a test, and its message."""

    receipt: SendReceipt
    row: int

    def as_json(self) -> dict[str, Any]:
        """The answer of ``send --test``."""
        return {
            "id": self.receipt.id,
            "status": self.receipt.status.value,
            "row": self.row,
            "test": True,
        }


def preview_rows(
    plan: FilePlan, database: Database | None, count: int, *, rules: TimeRules
) -> list[dict[str, Any]]:
    """The first rows that become messages, as they will look and when by these rules. Nothing is changed.

    Raises InvalidValue where there is none, InvalidInput when the file cannot be read.
    """
    with nullcontext() if database is None else database.read() as tx:
        now = int(time() * 1000) if tx is None else read_clock(tx)
        shape, files = (None, {}) if tx is None else (_shape(tx, plan), _files(tx, plan))
    planned = (row for row in _planned(plan, now, rules) if isinstance(row, NewMessage))
    found = [sample(plan, message, shape, files) for message in islice(planned, count)]
    if not found:
        raise InvalidValue(plan.path.name, "", "has no row that becomes a message")
    return found


@dataclass(frozen=True, slots=True)
class LookedAt:
    """A row of a file as its message will look, or why it is refused. ``before``, ``after``: the rows beside it."""

    row: int
    message: dict[str, Any] | None
    refused: RefusedRow | None
    before: int | None
    after: int | None


def look_at_row(plan: FilePlan, database: Database, number: int | None, *, rules: TimeRules) -> LookedAt:
    """The row of a number, else the next that there is; None: the first. Its time is by ``rules``. Nothing is changed.

    Raises InvalidValue where the file ends before it, or it is too far behind; InvalidInput when it cannot be read.
    """
    with database.read() as tx:
        now, shape, files = read_clock(tx), _shape(tx, plan), _files(tx, plan)
    before: int | None = None
    rows = plan.rows(0)
    for row in islice(rows, _LOOKED_THROUGH):
        if number is not None and row.row < number:
            before = row.row
            continue
        chunk = _planner(plan, now, rules).next(iter([row]), 1)
        message = next((sample(plan, each, shape, files) for each in chunk.planned), None)
        after = next((each.row for each in rows), None)
        return LookedAt(row.row, message, next(iter(chunk.refused), None), before, after)
    field, last = plan.naming("row"), 0 if before is None else before
    if next(rows, None) is not None:
        raise InvalidValue(field, str(number), f"is too far behind; the rows up to {last:,} are shown here")
    raise InvalidValue(field, str(number), f"is not in the file, whose last row is {last:,}")


def find_row(plan: FilePlan, number: int | None, now_ms: int) -> NewMessage:
    """The message of a row by its number in the file; None: the first that there is. Raises InvalidValue."""
    field = plan.naming("row")
    for row in _planned(plan, now_ms, TimeRules()):
        if isinstance(row, RefusedRow):
            if row.row == number:
                raise InvalidValue(field, str(number), f"would be refused: {row.field}: {row.why}")
        elif number is None or row.row == number:
            return row
    raise InvalidValue(field, "" if number is None else str(number), "is no row that becomes a message")


def send_test(
    of: Settings,
    database: Database,
    plan: FilePlan,
    *,
    to: str,
    row: int | None = None,
    key: str | None = None,
) -> SentRow:
    """Send one row of the file to a number of ours. It is a real message, and no part of a campaign.

    A repeated call with the same ``key`` sends nothing twice.

    Raises InvalidInput when the row or the number is wrong, TooLate for a code that would be late, LedgerUnreachable.
    """
    direct = DirectSends(
        database,
        publisher_of(of),
        bootstrap.cipher(of),
        encrypts=bootstrap.encryption_policy(of),
        default_region=plan.default_region,
        timezone=plan.timezone,
        default_rate=of.default_rate,
        account=of.account(),
        test=True,
        rules=bootstrap.time_rules(of),
        account_rate=of.account_rate,
        limiter=partial(bootstrap.forecast_limiter, of, database),
    )
    with database.read() as tx:
        now = read_clock(tx)
        content = _for_the_vendor(tx, plan)
    message = find_row(plan, row, now)
    ready = direct.ready(
        to=to,
        sender=plan.sender,
        kind=plan.kind.value,
        type=plan.type.value,
        content=content,
        variables=message.body["v"],  # type: ignore[arg-type]
        lives_ms=plan.ttl_ms,
        key=f"test:{key or new_id()}",
        purpose=message.purpose,
    )
    direct.register(ready)
    (results,) = direct.take([SendRequest([ready])])
    result = (results or [])[0]
    direct.hand_over([(ready, result)])
    return SentRow(receipt(ready.send, result, ttl=plan.naming("ttl")), message.row)


def _for_the_vendor(tx: Connection, plan: FilePlan) -> dict[str, Any]:
    """The content with the vendor's ids of its files. Raises InvalidValue for a file that the vendor has no more."""
    text = plan.template.to_json()
    media.check_new(tx, plan.sender, plan.type.value, text, field=plan.naming("content"), lock=False)
    content = load_content_json(text)
    return with_vendor_ids(plan.type, content, media.vendor_ids(tx, our_files(plan.type, content)))


def _shape(tx: Connection, plan: FilePlan) -> TemplateShape | None:
    used = template_of(plan.type.value, content_of(plan.template.to_json()))
    template = None if used is None else templates.get(tx, *used)
    return None if template is None else shape_from_json(template.shape)


def _files(tx: Connection, plan: FilePlan) -> dict[str, str]:
    """What stands for the files of ours in the content, by their ids: with their names."""
    names = media.names(tx, our_files(plan.type, content_of(plan.template.to_json())))
    return {id: f"{reference(id)} ({name})" for id, name in names.items()}


def _planner(plan: FilePlan, now_ms: int, rules: TimeRules) -> RowPlanner:
    new = plan.campaign(now_ms)
    request = IntakeRequest(plan.rows, new, plan.template, plan.default_region, plan.timezone, rules)
    return RowPlanner(request, None, now_ms, now_ms, ())


def _planned(plan: FilePlan, now_ms: int, rules: TimeRules) -> Iterator[NewMessage | RefusedRow]:
    """The rows of the file, in its order."""
    for chunk in _planner(plan, now_ms, rules).chunks(_CHUNK):
        rows: list[NewMessage | RefusedRow] = [*chunk.planned, *chunk.refused]
        yield from sorted(rows, key=lambda each: each.row)
