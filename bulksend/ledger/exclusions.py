"""Which new messages of a campaign are left out, by what the ledger has for the same people: a statement a chunk.

The error of a message that was left out begins with the name of the rule: ``cap``, ``exclude``, ``only``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Connection, func, select

from bulksend.ledger import campaigns, suppressions
from bulksend.ledger.bulk_parameters import array, statement
from bulksend.ledger.campaigns import CampaignOptions
from bulksend.ledger.endings import listed
from bulksend.ledger.schema import messages
from bulksend.messaging.exclusions import Cap, Exclusions, PeopleOf, exceeds_cap
from bulksend.messaging.number_forms import canonical_number, number_forms
from bulksend.messaging.states import UNSENT, WAITING, Kind, Status

if TYPE_CHECKING:
    from typing import TypeVar

    from bulksend.ledger.message_rows import NewMessage

    Options = TypeVar("Options", bound=CampaignOptions)

#: The rules by the first word of the error.
RULES = (suppressions.SUPPRESSED, "cap", "exclude", "only")

_UNSENT, _NOT_STARTED = f"({listed(UNSENT)})", f"({listed(WAITING | {Status.CLAIMED})})"
_COLUMNS = "m.campaign_id, m.status, m.due_at, m.sent_at, m.kind"
#: What counts for a cap: marketing that was sent, may have been sent or will be sent, within ``since`` and ``until``.
#: ``until`` is 0 where there is no cap.
_COUNTS = f"""{{m}}.kind = 'marketing' AND {{m}}.due_at < :until AND {{m}}.status NOT IN {_UNSENT}
    AND ({{m}}.status IN {_NOT_STARTED} OR COALESCE({{m}}.sent_at, {{m}}.due_at) > :since)"""
_SQLITE = f"""SELECT m.recipient, {_COLUMNS}
    FROM json_each(:recipients) AS r CROSS JOIN messages AS m ON m.recipient = r.value
    WHERE +m.campaign_id IN (SELECT value FROM json_each(:campaigns)) OR ({_COUNTS.format(m="m")})"""  # noqa: S608
#: OFFSET 0 as in ``sent_before``: the few messages of each recipient are found by index first.
_POSTGRESQL = f"""SELECT r.recipient, found.* FROM unnest(CAST(:recipients AS text[])) AS r(recipient),
    LATERAL (SELECT {_COLUMNS} FROM messages m WHERE m.recipient = r.recipient OFFSET 0) AS found
    WHERE found.campaign_id = ANY(CAST(:campaigns AS uuid[])) OR ({_COUNTS.format(m="found")})"""  # noqa: S608
#: A lock of PostgreSQL that is held by the transaction that counts for a cap.
_CAP_LOCK = int.from_bytes(hashlib.blake2b(b"bulksend cap", digest_size=8).digest(), "big", signed=True)


def resolved(tx: Connection, options: Options) -> Options:
    """The options with the ids of the campaigns that their exclusions name. Raises CampaignNotFound."""
    if options.exclusions is None:
        return options
    exclusions = Exclusions.from_json(options.exclusions)

    def by_id(people: Iterable[PeopleOf]) -> tuple[PeopleOf, ...]:
        return tuple(replace(of, campaign=campaigns.find(tx, of.campaign).id) for of in people)

    found = replace(exclusions, exclude=by_id(exclusions.exclude), only=by_id(exclusions.only))
    return replace(options, exclusions=found.to_json())


class _Before(NamedTuple):
    """A message that the ledger has for the same person."""

    campaign: str
    status: str
    due_at: int
    sent_at: int | None
    kind: str

    @property
    def unsent(self) -> bool:
        """Whether it surely did not reach the person."""
        return Status(self.status) in UNSENT

    def counted_at(self, now: int) -> int | None:
        """When it counts for a cap; None where it does not."""
        status = Status(self.status)
        if self.kind != Kind.MARKETING.value or status in UNSENT:
            return None
        if status in WAITING or status is Status.CLAIMED:
            return max(self.due_at, now)
        return self.due_at if self.sent_at is None else self.sent_at


def lock_cap(tx: Connection, kept: str | None) -> None:
    """Where the exclusions have a cap, no other transaction counts for one until the end of this one."""
    if tx.dialect.name == "postgresql" and Exclusions.from_json(kept).cap is not None:
        tx.execute(select(func.pg_advisory_xact_lock(_CAP_LOCK)))


def left_out(
    tx: Connection, kept: str, planned: Sequence[NewMessage], suppressed: Collection[str], now: int
) -> dict[int, str]:
    """Which of ``planned`` the exclusions ``kept`` leave out: position -> why. Those of ``suppressed`` people do not
    count for its cap.
    """
    exclusions = Exclusions.from_json(kept)
    if not planned or not (exclusions.cap or exclusions.exclude or exclusions.only):
        return {}
    # The forms of each person's number; the first stands for the person.
    forms = [number_forms(message.recipient) for message in planned]
    due = [max(message.due_at, now) for message in planned]
    of_person = _before(tx, exclusions, {form for of in forms for form in of}, min(due), max(due))
    found: dict[int, str] = {}
    times: dict[str, list[int]] = {}
    for n, (message, (person, *_), at) in enumerate(zip(planned, forms, due, strict=True)):
        before = of_person.get(person, ())
        if not (before or exclusions.only or message.explicit_key):
            continue
        why = _by_people(exclusions, before)
        if why is None and exclusions.cap is not None and message.recipient not in suppressed:
            counted = times.get(person)
            if counted is None:
                counted = [when for each in before if (when := each.counted_at(now)) is not None]
            if exceeds_cap(counted, at, exclusions.cap):
                why = cap_error(exclusions.cap)
            elif message.explicit_key:
                # Only by keys of the producer's has one person several messages of a campaign.
                times[person] = [*counted, at]
        if why is not None:
            found[n] = why
    return found


def cap_error(cap: Cap) -> str:
    """The error of a message that a cap left out."""
    return f"cap: this person has or will have {cap.most} marketing messages in the span of {cap} without this one"


def _by_people(exclusions: Exclusions, before: Sequence[_Before]) -> str | None:
    """Why this person is left out by its messages of other campaigns."""
    wanted = [of for of in exclusions.only if _is_of(of, before)]
    if exclusions.only and not wanted:
        return f"only: this person is not of campaign {' or '.join(map(str, exclusions.only))}"
    excluded = next((of for of in exclusions.exclude if _is_of(of, before)), None)
    return None if excluded is None else f"exclude: this person is of campaign {excluded}"


def _is_of(people: PeopleOf, before: Sequence[_Before]) -> bool:
    of = [each.unsent for each in before if each.campaign == people.campaign]
    return bool(of) and all(of) is people.unsent


def _before(
    tx: Connection, exclusions: Exclusions, forms: Collection[str], first_due: int, last_due: int
) -> Mapping[str, Sequence[_Before]]:
    """The messages by person, to any of these forms of a number, that may leave one out that is due in this time."""
    since = until = 0
    if exclusions.cap is not None:
        since, until = first_due - exclusions.cap.within_ms, last_due + exclusions.cap.within_ms
    ids = list({of.campaign for of in (*exclusions.exclude, *exclusions.only)})
    if tx.dialect.name == "sqlite":
        sql, given = _SQLITE, {"recipients": json.dumps(list(forms)), "campaigns": json.dumps(ids)}
    else:
        sql, given = _POSTGRESQL, {"recipients": array(forms), "campaigns": array(ids)}
    found: dict[str, list[_Before]] = {}
    for recipient, campaign, *rest in tx.execute(statement(sql), {**given, "since": since, "until": until}):
        found.setdefault(canonical_number(recipient), []).append(_Before(str(campaign), *rest))
    return found


def left_out_by_rule(tx: Connection, campaign_id: str) -> dict[str, int]:
    """How many messages of a campaign each of RULES ended; only those that ended any."""
    word = (
        func.substr(messages.c.error, 1, func.instr(messages.c.error, ":") - 1)
        if tx.dialect.name == "sqlite"
        else func.split_part(messages.c.error, ":", 1)
    )
    of = messages.c.campaign_id == campaign_id, messages.c.status == Status.SUPPRESSED.value
    found = tx.execute(select(word, func.count()).where(*of).group_by(word))
    counts = {str(rule): int(count) for rule, count in found}
    return {rule: counts[rule] for rule in RULES if rule in counts}
