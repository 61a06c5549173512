"""Forms that change something. An endpoint takes one by the role that it needs::

    @router.post("/campaigns/{id}/pause")
    def pause(id: str, form: OperatorForm) -> Response:
        campaigns.act(form.page.database, ..., actor=form.page.user.actor, why=form.optional("why"))
        return form.page.redirect(f"/campaigns/{id}", "campaign.paused")

Of a form that holds a file the endpoint reads the body by itself: ``FileForm``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import Depends, Request

from bulksend.errors import AccessDenied, InvalidInput, InvalidValue, TooLarge
from bulksend.operations.access import Role
from ops.http.body_limits import BodyReader
from ops.http.uploads import receive_fields
from ops.web import csrf
from ops.web.pages import Page, signed_in
from producer.uploads import StoredFile, UploadStore

MOST_BYTES, MOST_FIELDS = 1024 * 1024, 2_000
#: A whole number, plain or in groups of digits with one mark between them. The last group has three digits, or four
#: as in East Asia: 12.5 is no count.
_GROUPED = re.compile(r"\d{1,15}|\d{1,4}(?:[ ,.'_]\d{2,4}){0,4}[ ,.'_]\d{3,4}")
#: Marks between groups of digits that are written otherwise elsewhere, and the blanks that NFKC leaves.
_MARKS = str.maketrans({"\u2019": "'", "\u066c": ",", "\u00b7": "."})


class Fields:
    """The fields of a form, each with the values that it came with."""

    def __init__(self, values: Mapping[str, Sequence[str]]) -> None:
        self._values = values

    def text(self, name: str, default: str = "") -> str:
        """The value without blanks around it; ``default`` where it is not there."""
        found = self._values.get(name)
        return found[0].strip() if found else default

    def raw(self, name: str) -> str:
        """The value as it was typed, such as a password."""
        return self._values.get(name, [""])[0]

    def optional(self, name: str) -> str | None:
        """The value; None where it is empty."""
        return self.text(name) or None

    def required(self, name: str) -> str:
        """The value. Raises InvalidValue where it is empty."""
        text = self.text(name)
        if not text:
            raise InvalidValue(name, "", "is missing")
        return text

    def every(self, name: str) -> list[str]:
        """Each value of a field that may come several times."""
        return [value.strip() for value in self._values.get(name, ())]

    def is_on(self, name: str) -> bool:
        """Whether a box was ticked."""
        return name in self._values

    def names(self) -> list[str]:
        """The fields that came."""
        return list(self._values)


def typed_count(text: str) -> int | None:
    """The whole number that a person typed or pasted, in any locale's notation; None where it is none.

    ``1,234``, ``1.234``, ``1 234`` with any blank, ``1'234``, ``12,34,567``; digits of any script and width.
    """
    plain = unicodedata.normalize("NFKC", text).translate(_MARKS)
    shown = "".join(" " if each.isspace() else each for each in plain if unicodedata.category(each) != "Cf")
    grouped = shown.strip()
    marks = {each for each in grouped if not each.isdecimal()}
    if len(marks) > 1 or _GROUPED.fullmatch(grouped) is None:
        return None
    return int("".join(each for each in grouped if each.isdecimal()))


def check_count(typed: str, count: int) -> None:
    """Raises InvalidValue unless this number of messages was typed."""
    if typed_count(typed) != count:
        raise InvalidValue("count", "", f"is not the number of messages; type {count}")


class Form(Fields):
    """The fields, and the page of the user who sent them."""

    def __init__(self, page: Page, values: Mapping[str, Sequence[str]]) -> None:
        super().__init__(values)
        self.page = page


async def read_fields(request: Request) -> Fields:
    """The fields of a form without files. Raises InvalidInput, TooLarge."""
    return Fields(await _read(request))


async def _read(request: Request) -> dict[str, list[str]]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise InvalidInput("this address takes a form (application/x-www-form-urlencoded)")
    body, receive, more = bytearray(), BodyReader(request.receive), True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MOST_BYTES:
            raise TooLarge(f"the form has more than {MOST_BYTES:,} bytes")
    try:
        return parse_qs(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError:
        raise InvalidInput(f"the form is not UTF-8, or has more than {MOST_FIELDS:,} fields") from None


class FormOf:
    """A dependency that reads a form of a user who has the role. ``role`` is read by the test of who may do what."""

    def __init__(self, role: Role) -> None:
        self.role = role

    async def __call__(self, page: Annotated[Page, Depends(signed_in)]) -> Form:
        page.user.check_role(self.role)
        fields = await _read(page.request)
        csrf.check_token(fields.get(csrf.FIELD, [""])[0], page.token)
        return Form(page, fields)


@dataclass(frozen=True)
class FileForm:
    """A form with a file that works without scripts: its token is a field, which stands before the file."""

    page: Page

    async def receive(self, store: UploadStore, names: Sequence[str]) -> tuple[Fields, StoredFile]:
        """The fields of these names, and the file, which goes to the disk as it comes.

        Nothing is kept on an error. Raises AccessDenied without the session's token, and as ``receive_fields``.
        """
        request = self.page.request
        # A slow sender would hold the file that is being written for hours.
        slow = Request(request.scope, BodyReader(request.receive))
        texts, file = await receive_fields(slow, store, (csrf.FIELD, *names))
        with store.deleted_on_error(file.id, AccessDenied):
            csrf.check_token(texts.get(csrf.FIELD, ""), self.page.token)
        return Fields({name: [text] for name, text in texts.items()}), file


class FileFormOf:
    """A dependency for a form with a file, whose token ``FileForm.receive`` checks."""

    def __init__(self, role: Role) -> None:
        self.role = role

    async def __call__(self, page: Annotated[Page, Depends(signed_in)]) -> FileForm:
        page.user.check_role(self.role)
        return FileForm(page)


#: Parameters of an endpoint that changes something: its user has at least this role.
ViewerForm = Annotated[Form, Depends(FormOf(Role.VIEWER))]
SenderForm = Annotated[Form, Depends(FormOf(Role.SENDER))]
OperatorForm = Annotated[Form, Depends(FormOf(Role.OPERATOR))]
AdminForm = Annotated[Form, Depends(FormOf(Role.ADMIN))]
SenderFileForm = Annotated[FileForm, Depends(FileFormOf(Role.SENDER))]
OperatorFileForm = Annotated[FileForm, Depends(FileFormOf(Role.OPERATOR))]
