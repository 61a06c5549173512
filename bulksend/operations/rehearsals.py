"""What a rehearsal takes from the real ledger into its own: the sender, the template, who must not get messages."""

from __future__ import annotations

from sqlalchemy import Connection

from bulksend.ledger import media, senders, suppressions, templates
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.media import NewMedia
from bulksend.ledger.person_keys import make_person_key, person_key
from bulksend.ledger.suppressions import SCOPES
from bulksend.ledger.templates import Template, TemplateChange
from bulksend.messaging import MessageType
from bulksend.messaging.content import load_content_json
from bulksend.messaging.media_references import our_files
from bulksend.messaging.template_fit import content_of, template_of
from bulksend.messaging.template_shape import shape_from_json

ACTOR = "rehearsal"
_HIGHEST_RATE = 100_000.0
_REASON = "as in the real ledger"
#: Suppressions that are read at once.
_PAGE = 2000


def copy_surroundings(
    real: Database | None, into: Database, *, sender: str, type: str, content: str, rate: float, speed: float
) -> float:
    """Copy what a campaign of this sender and content meets; returns the rate that its sender has in ``into``.

    ``real`` is only read; None: there is none, and the sender has ``rate``. Rates are ``speed`` times as high. The
    quota is left out: its 24 hours do not become shorter.
    """
    used = template_of(type, content_of(content))
    template: Template | None = None
    files: list[NewMedia] = []
    if real is not None:
        with real.read() as tx:
            record = senders.by_phones(tx, [sender]).get(sender)
            rate = rate if record is None else record.rate
            template = None if used is None else templates.get(tx, *used)
            files = _files(tx, type, content)
    faster = min(_HIGHEST_RATE, rate * speed)
    with into.write() as tx:
        senders.register(tx, sender, rate=faster)
        if template is not None:
            templates.change_template(tx, _as_told(template), actor=ACTOR)
        for file in files:
            media.keep(tx, file, actor=ACTOR)
    if real is not None:
        _copy_suppressions(real, into)
    return faster


def _files(tx: Connection, type: str, content: str) -> list[NewMedia]:
    """The files that the content names by our ids, as far as the ledger has them."""
    ours = our_files(MessageType(type), load_content_json(content))
    found = [row for row in media.every(tx) if row.id in ours]
    return [NewMedia(*(getattr(row, name) for name in NewMedia._fields)) for row in found]


def _copy_suppressions(real: Database, into: Database) -> None:
    """A page at a time, with the key of the hashes of forgotten persons."""
    with real.read() as tx:
        key = person_key(tx)
    if key is not None:
        with into.write() as tx:
            make_person_key(tx, copied=key)
    after = ""
    while True:
        with real.read() as tx:
            found = suppressions.page(tx, after=after, limit=_PAGE)
            now = read_clock(tx)
        if not found:
            return
        after = found[-1].subject
        live = [each for each in found if each.until is None or each.until > now]
        with into.write() as tx:
            for scope in SCOPES:
                asked = {each.subject: None for each in live if each.scope == scope}
                suppressions.add_many(tx, asked, scope=scope, reason=_REASON, source=ACTOR)


def _as_told(template: Template) -> TemplateChange:
    return TemplateChange(
        template.name,
        template.language,
        template.status or "",
        template.category or "",
        template.quality or "",
        template.rejected_reason or "",
        shape=shape_from_json(template.shape),
        synced=True,
    )
