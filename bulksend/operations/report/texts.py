"""The texts of a report in a language. Another language is another ``Texts``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from phonenumbers.geodata.locale import LOCALE_DATA


@dataclass(frozen=True, slots=True)
class Texts:
    """Every text that is not data; ``{}`` and ``{name}`` stand for values."""

    language: str
    """Of the HTML page, BCP 47."""
    country_language: str
    """Of the names of countries: the key that phonenumbers has for it."""
    title: str
    kind: str
    sender: str
    type: str
    created: str
    due: str
    ended: str
    not_scheduled: str
    not_ended: str
    made: str
    zone: str
    by: str
    statuses: Mapping[str, str]
    kinds: Mapping[str, str]
    steps: Mapping[str, str]
    """The steps of the funnel and the endings, by the fields of a breakdown."""
    figures: str
    of_messages: str
    replies: str
    attempts: str
    funnel: str
    funnel_caption: str
    step: str
    count: str
    of_those_before: str
    of_all: str
    not_messages: str
    hours: str
    hours_caption: str
    days_caption: str
    hour: str
    later: str
    later_caption: str
    day: str
    countries: str
    countries_caption: str
    country: str
    unknown_country: str
    other_countries: str
    failures: str
    failures_caption: str
    newest: str
    reason: str
    code: str
    remedy: str
    refused: str
    refused_caption: str
    refused_shown: str
    field: str
    rows: str
    first_row: str
    acts: str
    when: str
    act: str
    actor: str
    why: str
    nothing_sent: str
    nothing_failed: str
    footer: str

    def country_name(self, code: str | None) -> str:
        """The name of an ISO 3166 country; its code where it has none in this language."""
        if code is None:
            return self.unknown_country
        names = LOCALE_DATA.get(code, {})
        name = names.get(self.country_language, code)
        # "*de": the same as in German.
        return names.get(name[1:], code) if name.startswith("*") else name


ENGLISH = Texts(
    language="en",
    country_language="en",
    title="Report of the campaign",
    kind="Kind",
    sender="Sender",
    type="Content",
    created="Created",
    due="Due",
    ended="Ended",
    not_scheduled="not scheduled",
    not_ended="not yet",
    made="Counted",
    zone="All times are in the zone {}.",
    by="{} by {}",
    statuses={
        "intake": "⋯ taken in",
        "running": "▶ running",
        "paused": "‖ paused",
        "finished": "✓ finished",
        "cancelled": "✕ cancelled",
    },
    kinds={"otp": "one-time codes", "utility": "utility", "marketing": "marketing"},
    steps={
        "rows": "Rows",
        "messages": "Messages",
        "accepted": "Accepted",
        "delivered": "Delivered",
        "read": "Read",
        "failed": "Failed",
        "unknown": "In doubt",
        "expired": "Expired",
        "unsent": "Not sent",
        "open": "Not ended",
        "refused": "Refused rows",
        "duplicates": "Duplicate rows",
        "replies": "Replies",
    },
    figures="Figures",
    of_messages="{} of all",
    replies="from people",
    attempts="{} attempts",
    funnel="How far messages came",
    funnel_caption="Rows of the input, the messages made of them, and how many were accepted by the vendor, delivered "
    "to the device and read. Read is known only of people who show it.",
    step="Step",
    count="Count",
    of_those_before="Of the step before",
    of_all="Of the messages",
    not_messages="{refused} rows were refused, and {duplicates} were duplicates of another row.",
    hours="When",
    hours_caption="Messages accepted, delivered, read and failed in each hour. Hours without any are not in the table.",
    days_caption="Messages accepted, delivered, read and failed on each day. Days without any are not in the table.",
    hour="Hour from",
    later="later",
    later_caption="The few that came later are in its last row.",
    day="Day",
    countries="By country",
    countries_caption="Where the recipients are, by their numbers, and how far their messages came.",
    country="Country",
    unknown_country="not shown by the number",
    other_countries="{} other countries",
    failures="Why messages failed",
    failures_caption="Reasons of messages that failed, expired or are in doubt, the most frequent first.",
    newest="Counted from the {counted} newest of {all} messages: {status}.",
    reason="Reason",
    code="Code",
    remedy="What follows",
    refused="Refused rows",
    refused_caption="Rows of the input that did not become messages.",
    refused_shown="Counted from the first {shown} of {all} refused rows.",
    field="Field",
    rows="Rows",
    first_row="First row",
    acts="Acts",
    when="When",
    act="Act",
    actor="By",
    why="Reason",
    nothing_sent="Nothing has been sent yet.",
    nothing_failed="No message has failed, expired or is in doubt.",
    footer="Made by bulksend {version}. Numbers of recipients and contents are not in this report.",
)
