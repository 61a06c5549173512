"""Whom a campaign leaves out: by a cap of messages to a person, the people of other campaigns, and consent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bulksend.errors import InvalidValue
from bulksend.messaging.argument_naming import ArgumentNaming
from bulksend.messaging.states import Kind
from bulksend.messaging.units import parse_duration_ms

#: The word that takes the default cap from a campaign.
NO_CAP = "none"
_CAP = re.compile(r"(\d{1,4})\s*/\s*(\S.*)", re.ASCII)
_UNITS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_UNSENT = ":unsent"
#: The most campaigns that one argument names.
_MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class Cap:
    """The most marketing messages to a person in any span of this length, over all campaigns."""

    most: int
    within_ms: int

    def __str__(self) -> str:
        """As it is given: ``2/7d``."""
        unit, length = next((unit, ms) for unit, ms in _UNITS.items() if not self.within_ms % ms)
        return f"{self.most}/{self.within_ms // length}{unit}"


def parse_cap(text: str, *, field: str = "cap") -> Cap:
    """``2/7d`` as a cap. Raises InvalidValue."""
    found = _CAP.fullmatch(text.strip())
    if found is None or not int(found[1]):
        raise InvalidValue(field, text[:40], "is not a number of messages in a time; write it like 2/7d")
    return Cap(int(found[1]), parse_duration_ms(found[2], field=field))


def exceeds_cap(times: Iterable[int], at: int, cap: Cap) -> bool:
    """Whether one more message at ``at`` is too many in a span with those of ``times``, all in ms.

    Messages of the days to come count as those of the days before: any span of the cap's length that has ``at`` in it.
    """
    near = [time for time in times if abs(time - at) < cap.within_ms]
    if len(near) < cap.most:
        return False
    together = sorted([*near, at])
    spans = zip(together, together[cap.most :], strict=False)
    return any(last - first < cap.within_ms and first <= at <= last for first, last in spans)


@dataclass(frozen=True, slots=True)
class PeopleOf:
    """The people of another campaign, by its id or name: those it reaches, or with ``unsent`` the others.

    A campaign reaches those it has sent to, may have sent to, or will send to. ``unsent`` are those whom it surely did
    not reach, by ``states.UNSENT``.
    """

    campaign: str
    unsent: bool = False

    def __str__(self) -> str:
        """As it is given."""
        return self.campaign + (_UNSENT if self.unsent else "")


def parse_people(texts: Sequence[str], *, field: str) -> tuple[PeopleOf, ...]:
    """``CAMPAIGN`` or ``CAMPAIGN:unsent``, each once; one text is one of them. Raises InvalidValue."""
    found = dict.fromkeys(_people(text, field) for text in ([texts] if isinstance(texts, str) else texts))
    if len(found) > _MOST_NAMED:
        raise InvalidValue(field, f"{len(found)} campaigns", f"may be at most {_MOST_NAMED}")
    return tuple(found)


def _people(text: str, field: str) -> PeopleOf:
    name = text.strip()
    unsent = name.endswith(_UNSENT)
    name = name.removesuffix(_UNSENT).strip()
    if not name:
        raise InvalidValue(field, text[:40], f"names no campaign; write its id or name, or CAMPAIGN{_UNSENT}")
    return PeopleOf(name, unsent)


@dataclass(frozen=True, slots=True)
class Exclusions:
    """Whom a campaign leaves out besides the suppressed."""

    cap: Cap | None = None
    exclude: tuple[PeopleOf, ...] = ()
    only: tuple[PeopleOf, ...] = ()
    """Where there are any, people of none of these are left out."""
    require_consent: bool = False

    def to_json(self) -> str | None:
        """As the ledger keeps it; None where nothing is left out."""
        if self == Exclusions():
            return None
        cap = None if self.cap is None else [self.cap.most, self.cap.within_ms]
        people = {name: [[of.campaign, of.unsent] for of in getattr(self, name)] for name in _PEOPLE}
        return json.dumps({"cap": cap, **people, "require_consent": self.require_consent}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | None) -> Exclusions:
        """What ``to_json`` wrote."""
        if text is None:
            return cls()
        kept = json.loads(text)
        people = {name: tuple(PeopleOf(*of) for of in kept[name]) for name in _PEOPLE}
        return cls(
            cap=None if kept["cap"] is None else Cap(*kept["cap"]),
            require_consent=kept["require_consent"],
            **people,
        )

    def shown(self) -> dict[str, object]:
        """For people and programs."""
        return {
            "cap": None if self.cap is None else str(self.cap),
            **{name: [str(of) for of in getattr(self, name)] for name in _PEOPLE},
            "require_consent": self.require_consent,
        }


_PEOPLE = ("exclude", "only")


def read_exclusions(
    kind: Kind,
    *,
    cap: str | None,
    exclude: Sequence[str],
    only: Sequence[str],
    require_consent: bool,
    default_cap: str | None,
    naming: ArgumentNaming,
) -> Exclusions:
    """The exclusions that these arguments ask for; ``default_cap`` is the installation's, for marketing without a cap.

    Raises InvalidValue.
    """
    is_marketing = kind is Kind.MARKETING
    if cap is not None and not is_marketing:
        raise InvalidValue(
            naming("cap"),
            cap[:40],
            f"counts marketing messages, and these are of kind {kind.value}; leave it out",
        )
    wanted = cap if cap is not None else default_cap if is_marketing else None
    return Exclusions(
        cap=None if wanted is None or wanted.strip() == NO_CAP else parse_cap(wanted, field=naming("cap")),
        exclude=parse_people(exclude, field=naming("exclude")),
        only=parse_people(only, field=naming("only")),
        require_consent=require_consent,
    )


@dataclass(frozen=True, slots=True)
class Consent:
    """That a person agreed to get messages: where, and when (ms since the epoch)."""

    source: str
    at: int
