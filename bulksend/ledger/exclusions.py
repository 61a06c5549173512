"""Which new messages of a campaign are left out, by what the ledger has for the same people: two statements a chunk.

The error of a message that was left out begins with the name of the rule, one of RULES.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, func, select

from bulksend.errors import CampaignNotFound
from bulksend.ledger import campaigns, installation, suppressions
from bulksend.ledger.bulk_parameters import array, statement
from bulksend.ledger.campaigns import Campaign, CampaignOptions
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import prefer_indexes
from bulksend.ledger.endings import listed
from bulksend.ledger.ids import new_id
from bulksend.ledger.schema import messages
from bulksend.messaging.exclusions import Cap, Exclusions, PeopleOf, exceeds_cap
from bulksend.messaging.number_forms import canonical_number, number_forms
from bulksend.messaging.sentences import say
from bulksend.messaging.states import UNSENT, WAITING, Kind, Status
from bulksend.messaging.units import counted

if TYPE_CHECKING:
    from typing import TypeVar

    from bulksend.ledger.message_rows import NewMessage

    Options = TypeVar("Options", bound=CampaignOptions)

#: The rules by the first word of the error.
RULES = (suppressions.SUPPRESSED, "cap", "exclude", "only")

_UNSENT, _NOT_STARTED = f"({listed(UNSENT)})", f"({listed(WAITING)})"
#: ``counts`` is when a message counts for a cap, null where it does not: marketing that was sent, may have been sent or
#: will be sent, within ``since`` and ``until``. ``until`` is 0 where there is no cap.
_ASKS = f"""SELECT recipient, {{times}} FROM (
        SELECT m.recipient, m.campaign_id, CASE WHEN m.status IN {_UNSENT} THEN 1 ELSE 0 END AS unsent,
            CASE WHEN m.kind = 'marketing' AND m.due_at < :until THEN
                CASE WHEN m.status IN {_NOT_STARTED} THEN CASE WHEN m.due_at > :now THEN m.due_at ELSE :now END
                    WHEN m.status NOT IN {_UNSENT} AND COALESCE(m.sent_at, m.due_at) > :since
                    THEN COALESCE(m.sent_at, m.due_at) END END AS counts
        FROM {{messages}}) AS found
    WHERE {{concerns}} GROUP BY recipient HAVING {{may_leave_out}}"""  # noqa: S608 - our own words
_JOINED_TIMES = {
    "sqlite": "group_concat(counts, ' ')",
    "postgresql": "string_agg(CAST(counts AS text), ' ')",
}
#: An array is half the work of a lookup for each of its numbers. OFFSET 0: the messages are found by index first.
_MESSAGES = {
    "sqlite": "json_each(:recipients) AS r CROSS JOIN messages AS m ON m.recipient = r.value",
    "postgresql": "messages AS m WHERE m.recipient = ANY(CAST(:recipients AS text[])) OFFSET 0",
}
_CAMPAIGN = {"sqlite": ":campaign_{}", "postgresql": "CAST(:campaign_{} AS uuid)"}
#: The entry of the installation that the transaction that counts for a cap locks: the campaign that last did, and an id
#: that changes with it.
_CAP_TURN = "cap_turn"


def resolved(tx: Connection, options: Options) -> Options:
    """The options with the ids of the campaigns that their exclusions name. Raises CampaignNotFound."""
    if options.exclusions is None:
        return options
    exclusions = Exclusions.from_json(options.exclusions)

    def by_id(people: Iterable[PeopleOf]) -> tuple[PeopleOf, ...]:
        return tuple(replace(of, campaign=_named(tx, of.campaign)) for of in people)

    found = replace(exclusions, exclude=by_id(exclusions.exclude), only=by_id(exclusions.only))
    return replace(options, exclusions=found.to_json())


def _named(tx: Connection, campaign: str) -> str:
    try:
        return campaigns.find(tx, campaign).id
    except CampaignNotFound as error:
        if ":" not in campaign:
            raise
        raise CampaignNotFound(f"{error}; behind a campaign may stand :unsent alone") from None


class LeftOut(NamedTuple):
    """Whom a chunk of rows leaves out, asked before the transaction that stores it."""

    found: Mapping[int, str]
    """Position -> why."""
    turn: bytes | None
    """The turn under a cap that was the newest before it was asked."""
    now: int
    """The ledger's clock then."""


def ask_ahead(tx: Connection, campaign: Campaign, planned: Sequence[NewMessage]) -> LeftOut | None:
    """Whom these rows leave out, or None where only the transaction that stores them can ask.

    By keys of the producer's a person may have messages in several chunks, and a cap counts the chunk before as well,
    which is stored meanwhile. Otherwise each person has one.
    """
    has_cap = _has_cap(campaign)
    if has_cap and any(message.explicit_key for message in planned):
        return None
    prefer_indexes(tx)
    # Before the messages: what is stored after this turn is then asked again.
    turn = installation.get(tx, _CAP_TURN) if has_cap else None
    now = read_clock(tx)
    return LeftOut(left_out(tx, campaign.kind, campaign.exclusions, planned, now), turn, now)


def take_turn(tx: Connection, campaign: Campaign) -> bytes | None:
    """Where the campaign has a cap, no other one counts for a cap until the end of this transaction.

    The value changes whenever another campaign takes a turn. None: it has no cap.
    """
    if not _has_cap(campaign):
        return None
    turn = installation.locked(tx, _CAP_TURN, b"")
    if not turn.startswith(campaign.id.encode()):
        turn = f"{campaign.id} {new_id()}".encode()
        installation.put(tx, _CAP_TURN, turn)
    return turn


def _has_cap(campaign: Campaign) -> bool:
    return Exclusions.from_json(campaign.exclusions).cap is not None


def left_out(
    tx: Connection, kind: Kind, kept: str | None, planned: Sequence[NewMessage], now: int
) -> dict[int, str]:
    """Which of ``planned`` suppressions or the exclusions ``kept`` leave out: position -> why.

    Those of suppressed people do not count for the cap.
    """
    if not planned:
        return {}
    # A suppression that ends before the first of them is due, such as a cool-down of a day, does not concern them.
    first_due = max(now, min(message.due_at for message in planned))
    forms = [number_forms(message.recipient) for message in planned]
    recipients = {message.recipient for message in planned}
    reasons = suppressions.reasons_for(tx, recipients, kind, at=first_due, forms=chain.from_iterable(forms))
    found = {} if kept is None else _left_out(tx, Exclusions.from_json(kept), planned, forms, reasons, now)
    if reasons:
        found |= {
            n: suppressions.why(reasons[message.recipient])
            for n, message in enumerate(planned)
            if message.recipient in reasons
        }
    return found


def _left_out(
    tx: Connection,
    exclusions: Exclusions,
    planned: Sequence[NewMessage],
    forms: Sequence[Sequence[str]],
    suppressed: Collection[str],
    now: int,
) -> dict[int, str]:
    if not (exclusions.cap or exclusions.exclude or exclusions.only):
        return {}
    # The first form of a number stands for the person.
    people = [of[0] for of in forms]
    most = 1 if len(set(people)) == len(people) else max(Counter(people).values())
    rules = _Rules.of(exclusions)
    each = forms if most == 1 else set(forms)
    before = _before(tx, rules, each, {message.due_at for message in planned}, most, now)
    every = exclusions.only or (exclusions.cap and most > 1)
    found: dict[int, str] = {}
    times: dict[str, list[int]] = {}
    for n, person in enumerate(people):
        if not every and person not in before:
            continue
        message, of_person = planned[n], before.get(person, rules.nothing)
        why = rules.by_people(of_person)
        if why is None and exclusions.cap is not None and message.recipient not in suppressed:
            at = max(message.due_at, now)
            counted = times.get(person) or [int(time) for time in (of_person[0] or "").split()]
            if exceeds_cap(counted, at, exclusions.cap):
                why = rules.over_cap
            elif most > 1:
                # Only by keys of the producer's has one person several messages of a campaign.
                times[person] = [*counted, at]
        if why is not None:
            found[n] = why
    return found


def cap_error(cap: Cap) -> str:
    """The error of a message that a cap left out."""
    within = str(cap).partition("/")[2]
    return say(
        "cap: this person gets {messages} in {time} already, sent or waiting",
        messages=counted(cap.most, "marketing message"),
        time=within,
    )


class _Rules(NamedTuple):
    """What exclusions ask of the people of ``campaigns``."""

    cap: Cap | None
    campaigns: Sequence[str]
    only: Sequence[tuple[int, bool]]
    """Which campaign, counted from 1, and whether those who did not get it are meant."""
    exclude: Sequence[tuple[int, bool, str]]
    """The same with the error."""
    not_of: str
    over_cap: str

    @classmethod
    def of(cls, exclusions: Exclusions) -> _Rules:
        ids = list(dict.fromkeys(of.campaign for of in (*exclusions.exclude, *exclusions.only)))
        place = {id: n for n, id in enumerate(ids, 1)}
        return cls(
            exclusions.cap,
            ids,
            [(place[of.campaign], of.unsent) for of in exclusions.only],
            [
                (place[of.campaign], of.unsent, say("exclude: this person is of campaign {id}", id=of))
                for of in exclusions.exclude
            ],
            say("only: this person is not of campaign {ids}", ids=" or ".join(map(str, exclusions.only))),
            "" if exclusions.cap is None else cap_error(exclusions.cap),
        )

    @property
    def nothing(self) -> Sequence[Any]:
        """What ``_before`` finds of a person without messages."""
        return (None,) * (1 + len(self.campaigns))

    def by_people(self, of_person: Sequence[Any]) -> str | None:
        """Why a person is left out of whom ``_before`` found this, by the people of other campaigns."""
        if self.only and all(of_person[n] != wanted for n, wanted in self.only):
            return self.not_of
        for n, unwanted, why in self.exclude:
            if of_person[n] == unwanted:
                return why
        return None


def _before(
    tx: Connection,
    rules: _Rules,
    people: Collection[Sequence[str]],
    due: Collection[int],
    most: int,
    now: int,
) -> dict[str, Sequence[Any]]:
    """What the ledger has for those of the people who may be left out, by the first form of their number.

    First a text of the instants at which their messages count for the cap. Then for each campaign of the rules: 1 where
    surely none of its messages reached the person, 0 where one did or may have, None where it has none to the person.
    ``people`` are the forms of each person's number; a person has at most ``most`` new messages, due at ``due``.
    """
    recipients = list(chain.from_iterable(people))
    since = until = 0
    least = 1
    if rules.cap is not None:
        since, until = max(now, min(due)) - rules.cap.within_ms, max(now, *due) + rules.cap.within_ms
        if len(recipients) == len(people):
            # Fewer than these are not too many. What was sent to two forms of a number is put together below.
            least = max(1, rules.cap.most - most + 1)
    given: dict[str, Any] = {"since": since, "until": until, "now": now, "least": least}
    given |= {f"campaign_{n}": id for n, id in enumerate(rules.campaigns)}
    if tx.dialect.name == "sqlite":
        given["recipients"] = json.dumps(recipients)
    else:
        prefer_indexes(tx)
        given["recipients"] = array(recipients)
    found: dict[str, Sequence[Any]] = {}
    for row in tx.execute(statement(_asks(tx.dialect.name, len(rules.campaigns))), given).all():
        person, of_form = canonical_number(row[0]), row[1:]
        found[person] = _together(found[person], of_form) if person in found else of_form
    return found


def _together(one: Sequence[Any], other: Sequence[Any]) -> Sequence[Any]:
    """What was found for two forms of a person's number."""
    times = " ".join(filter(None, (one[0], other[0])))
    each = (
        min((of for of in both if of is not None), default=None)
        for both in zip(one[1:], other[1:], strict=True)
    )
    return times, *each


@cache
def _asks(dialect: str, campaigns: int) -> str:
    """The statement of ``_before`` for this number of campaigns."""
    ids = [_CAMPAIGN[dialect].format(n) for n in range(campaigns)]
    unsent = [f"min(unsent) FILTER (WHERE campaign_id = {id})" for id in ids]
    return _ASKS.format(
        times=", ".join([_JOINED_TIMES[dialect], *unsent]),
        messages=_MESSAGES[dialect],
        concerns=" OR ".join(["counts IS NOT NULL", *(f"campaign_id = {id}" for id in ids)]),
        may_leave_out=" OR ".join(["count(counts) >= :least", *(f"{of} IS NOT NULL" for of in unsent)]),
    )


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
