"""Words by which a person stops or resumes marketing messages: the whole of a message, in any spelling."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from enum import StrEnum


class Keyword(StrEnum):
    """What a person asks for."""

    STOP = "stop"
    START = "start"


#: The words of the FCC (docs/vendor.md#sources: R2) and of the CTIA, and those of languages that are served.
STOP_WORDS = (
    *("stop", "stop all", "stopall", "unsubscribe", "quit", "end", "revoke", "opt out", "optout", "cancel"),
    *(
        "remove me",
        "stop promotions",
        "stop promos",
        "unsubscribe from promos",
        "unsubscribe from promotions",
    ),
    # Chinese
    *("退订", "退訂", "td", "取消订阅", "取消訂閱", "拒收", "停止"),
    # Spanish, Portuguese
    *("baja", "dar de baja", "darme de baja", "cancelar", "parar"),
    *("sair", "pare", "descadastrar", "cancelar inscricao"),
    # Indonesian, Malay
    *("berhenti", "stop promo", "henti"),
    # French, German, Italian, Dutch, Polish, Turkish
    *("arret", "arreter", "desabonner", "desinscrire", "abmelden", "abbestellen", "stopp", "annulla"),
    *("cancellami", "disiscrivimi", "afmelden", "uitschrijven", "wypisz", "iptal"),
    # Russian, Arabic, Hindi, Japanese, Korean, Thai, Vietnamese
    *(
        "стоп",
        "отписаться",
        "отмена",
        "توقف",
        "إلغاء",
        "إيقاف",
        "ايقاف",
        "रोकें",
        "बंद करें",
        "停止する",
        "配信停止",
        "解除",
    ),
    *("수신거부", "중지", "หยุด", "ยกเลิก"),
)
START_WORDS = (
    *("start", "unstop", "subscribe", "resume", "opt in", "optin"),
    *(
        "订阅",
        "訂閱",
        "恢复",
        "alta",
        "iniciar",
        "voltar",
        "mulai",
        "demarrer",
        "anmelden",
        "старт",
        "ابدأ",
        "再開",
        "시작",
    ),
)
#: Longer messages are no keyword, whatever they hold.
MAX_LENGTH = 60


def normal_form(text: str) -> str:
    """Small letters without accents, punctuation and emoji, single spaces."""
    if len(text) > 4 * MAX_LENGTH:
        return ""
    # First the letters that others stand for: a capital among the mathematical ones has no small letter.
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    letters = "".join(c if _is_written(c) else "" if _is_dropped(c) else " " for c in plain)
    found = " ".join(unicodedata.normalize("NFKC", letters).split())
    return found if len(found) <= MAX_LENGTH else ""


def _is_written(c: str) -> bool:
    """Letters, numbers and the marks that belong to letters of Indic, Thai and Arabic words."""
    return unicodedata.category(c)[0] in "LMN" and not _is_dropped(c)


def _is_dropped(c: str) -> bool:
    """Accents, which are often left out, and what is not seen: joiners, variants of emoji."""
    return 0x300 <= ord(c) < 0x370 or 0xFE00 <= ord(c) < 0xFE10 or unicodedata.category(c) in ("Cf", "Me")


class StopWords:
    """The words in use: ours, and those that the operator adds."""

    def __init__(self, more_stops: Iterable[str] = (), more_starts: Iterable[str] = ()) -> None:
        self._words = dict.fromkeys(_joined((*START_WORDS, *more_starts)), Keyword.START)
        self._words |= dict.fromkeys(_joined((*STOP_WORDS, *more_stops)), Keyword.STOP)

    def find(self, text: str, payload: str = "") -> Keyword | None:
        """The keyword that the whole text is, or that the payload of a tapped button names."""
        for each in (payload, text):
            keyword = self._words.get(normal_form(each).replace(" ", "")) if each else None
            if keyword is not None:
                return keyword
        return None


def _joined(words: Iterable[str]) -> list[str]:
    """``opt out``, ``opt-out`` and ``optout`` are one word."""
    return [form for word in words if (form := normal_form(word).replace(" ", ""))]
