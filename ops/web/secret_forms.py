"""Forms that make a secret: it is in the answer to the form, once. Sending the same form again shows that it was made.

A reload of that answer sends the form again: nothing is made twice, and the secret is not shown. Nothing but its hash
is stored.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bulksend.operations.idempotency import keyed, make_secret_once
from ops.web import csrf
from ops.web.forms import Form

if TYPE_CHECKING:
    from bulksend.ledger.database import Database

#: The hidden field that makes one showing of a form differ from another: ``{{ ui.token() }}`` is the same for all.
FIELD = "once"


def new_form() -> str:
    """The value of the field ``once`` of a form that is shown now."""
    return secrets.token_urlsafe(12)


def answer_once(
    form: Form, act: Callable[[Database], Mapping[str, Any]], *, secret: Sequence[str]
) -> dict[str, Any]:
    """Do the act and return what it returns; where this form was sent before, the same with None for the ``secret``.

    The act uses the database that it is given. Raises what it raises, and RequestRunning.
    """
    page = form.page
    sent = sorted((name, form.every(name)) for name in form.names() if name != csrf.FIELD)
    body = hashlib.sha256(json.dumps(sent).encode()).hexdigest()
    # What is sent is a part of the key: a form that was changed and sent again asks for something else.
    scope = (f"user {page.user.id}", "POST", page.request.url.path)
    request = keyed(f"{form.text(FIELD)[:60]} {body}", scope=scope, body=body, cipher=page.services.cipher)
    return make_secret_once(page.database, page.services.cipher, request, act, secret=secret)
