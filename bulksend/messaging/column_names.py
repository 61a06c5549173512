"""The names of a file's columns, and the one that holds the recipients."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from bulksend.errors import InvalidInput
from bulksend.messaging.argument_naming import ArgumentNaming
from bulksend.messaging.masking import mask_digits
from bulksend.messaging.value_checks import HAS_REPLACEMENT_CHARACTER, REPLACEMENT_CHARACTER

#: The documented names of the recipients' column.
ALIASES = ("to", "phone", "mobile", "msisdn", "number", "whatsapp")
RESERVED = ("send_at", "ttl", "timezone", "key", "consent_source", "consent_at", "purpose")
#: Marks that copy and paste adds: soft hyphen, zero-width, bidi, variation selector, byte-order mark.
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe0e\ufe0f\ufeff\ufff9-\ufffb]"
)

#: Names of that column in exports and address books, without blanks and punctuation: owner, device, "No.".
_OWNERS = "contact customer client user guest member patient recipient primary main"
_DEVICES = """
phone mobile cell telephone tel whatsapp msisdn gsm cellphone mobilephone handphone whatsappphone whatsappmobile
"""
_SUFFIXES = "no nr num number numbers 1 1value"
_OTHER_LANGUAGES = """
wanumber, wano, contactno, contactnumber, recipientnumber, mobileno1, phoneno1, Telefonnummer, Telefon,
Telefonnr, Tel.-Nr., Handy, Handynummer, Handynr, Mobil, Mobilnummer, Mobilfunknummer, Mobiltelefon,
Rufnummer, WhatsApp-Nummer, Téléphone, Tél, Téléphone portable, Téléphone mobile, Portable,
Numéro de téléphone, Numéro de portable, N° de téléphone, N° téléphone, Numéro WhatsApp, Numéro mobile,
Teléfono, Teléfono móvil, Móvil, Celular, Número de teléfono, Número de celular, Número de móvil,
Número de WhatsApp, Telefone, Telemóvel, Número de telefone, Nº de celular, Telefono, Cellulare,
Numero di telefono, Numero di cellulare, Numero cellulare, Telefoon, Telefoonnummer, Mobiel,
Mobiel nummer, Numer telefonu, Nr telefonu, Komórka, Cep, Cep telefonu, Cep no, Telefon numarası,
GSM no, No HP, No. HP, Nomor HP, HP, Nomor telepon, No. telepon, Telepon, No. Telp, Nomor WA, No WA,
Nomor WhatsApp, Nombor telefon, No. telefon, No tel, Телефон, Номер телефона, Мобильный,
Мобильный телефон, Тел., Номер телефону, رقم الهاتف, الهاتف, هاتف, رقم الجوال, الجوال, جوال,
رقم الموبايل, الموبايل, رقم الواتساب, شماره موبایل, شماره تلفن, טלפון, נייד, מספר טלפון, मोबाइल,
मोबाइल नंबर, फ़ोन, फ़ोन नंबर, মোবাইল, মোবাইল নম্বর, ফোন নম্বর, 手机, 手机号, 手机号码, 电话, 电话号码,
联系电话, 手機, 手機號碼, 電話, 電話號碼, 電話番号, 携帯番号, 携帯電話, 携帯電話番号, 전화번호, 휴대폰,
휴대폰번호, 휴대폰 번호, 휴대전화, Số điện thoại, Điện thoại, SĐT, เบอร์โทร, เบอร์โทรศัพท์,
เบอร์มือถือ, โทรศัพท์
"""


def clean_name(cell: object) -> str:
    """A column's name as it is shown and used: one line, without invisible marks."""
    return " ".join(INVISIBLE.sub("", str(cell)).split())


@lru_cache(4096)
def normal_name(name: str) -> str:
    """The form in which names of columns and variables are compared: case, blanks and invisible marks are ignored."""
    if not name.isascii():
        name = unicodedata.normalize("NFC", INVISIBLE.sub("", name))
    return " ".join(name.split()).casefold()


def letters_and_digits(name: str) -> str:
    """A name's letters and digits, without accents: ``Mobile-No.`` and ``mobile no`` are the same."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    return "".join(letter for letter in plain if letter.isalnum())


_RECIPIENT_NAMES = frozenset(
    {"".join(parts) for parts in product(["", *_OWNERS.split()], _DEVICES.split(), ["", *_SUFFIXES.split()])}
    | {letters_and_digits(name) for name in re.split(r",\s", _OTHER_LANGUAGES)}
)


@lru_cache(4096)
def _is_recipient_name(name: str) -> bool:
    return name in ALIASES or letters_and_digits(name) in _RECIPIENT_NAMES


def recipient_columns(names: Iterable[str]) -> list[str]:
    """The names that can be the recipients' column."""
    return [name for name in names if _is_recipient_name(normal_name(name))]


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """The names of a file's columns: name in the header -> ``to``, a reserved name, or a variable's name."""

    names: Mapping[str, str]

    @property
    def recipient(self) -> str:
        """The header's name of the recipients' column, in its normal form. A content may use it, too."""
        return next(normal_name(column) for column, name in self.names.items() if name == "to")

    @property
    def content_names(self) -> frozenset[str]:
        """The names that a content's placeholders may use."""
        return frozenset(self.names.values()) | {self.recipient}

    def rename(self, values: Mapping[str, object]) -> dict[str, object]:
        """A row by the mapped names, with the recipient also by the file's own name."""
        names = self.names
        renamed = {names[column]: value for column, value in values.items() if column in names}
        recipient = self.recipient
        if recipient not in renamed:
            renamed[recipient] = renamed.get("to")
        return renamed


def map_columns(
    header: Sequence[str], given: Mapping[str, str] | None = None, naming: ArgumentNaming | None = None
) -> ColumnMapping:
    """Find the recipients' column and name the others.

    ``given`` is name -> column, as in ``{"to": "Mobile No."}``; ``naming`` writes it in errors, None when the caller
    cannot give it. ``Send at`` and ``send-at`` are ``send_at``: as a variable, it would be ignored and sent at once.

    Raises InvalidInput when no column or more than one can hold the recipients, when two columns have one name, or when
    a given column does not exist.
    """
    wanted = {normal_name(column): (name, column) for name, column in (given or {}).items()}
    names: dict[str, str] = {}
    seen: dict[str, str] = {}
    for column in map(str, header):
        name = normal_name(column)
        if not name:
            continue
        if REPLACEMENT_CHARACTER in name:
            raise InvalidInput(f"the name of the column {column[:40]!r} {HAS_REPLACEMENT_CHARACTER}")
        name = wanted.pop(name)[0] if name in wanted else reserved_or_own(name)
        if name in seen:
            by = f"; {naming('columns')} calls both {name!r}" if given and naming else ""
            raise InvalidInput(
                f"the columns {seen[name]!r} and {column!r} have the same name{by}; rename one of them"
            )
        seen[name] = column
        names[column] = name
    there = mask_digits(", ".join(names)) or "none"
    if wanted:
        name, column = next(iter(wanted.values()))
        by = naming("columns") if naming else "columns"
        raise InvalidInput(f"{by} {name}={column[:40]}: there is no such column; the columns are: {there}")
    found = ["to"] if "to" in seen else recipient_columns(seen)
    if not found:
        full_width = next((name for name in seen if unicodedata.normalize("NFKC", name) in ALIASES), None)
        if full_width is not None:
            plain = unicodedata.normalize("NFKC", full_width)
            raise InvalidInput(
                f"the column {seen[full_width]!r} is written in full-width letters; write it as {plain!r}"
            )
        raise InvalidInput(
            f"no column holds the recipients; call it `to` (or {', '.join(ALIASES[1:])})"
            f"{_naming_hint('Mobile No.', naming)}; the columns are: {there}"
        )
    if len(found) > 1:
        raise InvalidInput(
            f"the columns {' and '.join(seen[name] for name in found)} could each hold the recipients; call the "
            f"right one `to`{_naming_hint(seen[found[0]], naming)}"
        )
    names[seen[found[0]]] = "to"
    return ColumnMapping(names)


def _naming_hint(column: str, naming: ArgumentNaming | None) -> str:
    return f"; or choose one with {naming('columns', f'to={column}')}" if naming else ""


def reserved_or_own(name: str) -> str:
    """What a column of this name, in its normal form, is taken for: ``send at`` is ``send_at``."""
    reserved = name.replace(" ", "_").replace("-", "_")
    return reserved if reserved in RESERVED else name
