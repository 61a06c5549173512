"""Canaries: what must not be where it has no business, and a search for it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bulksend.ledger.key_file import new_encryption_key
from bulksend.messaging.secret_text import ID_BYTES, base62, compose
from bulksend.messaging.webhook_signature import secret_text
from simulator import REHEARSAL_SECRET

CODE = "c4n4ry-831-907"
WORDS = "canary-of-the-blast"
OTP_TO = ["12125550137", "447700900851"]
BLAST_TO = [f"1312555{n:04d}" for n in range(100, 160)]
NUMBERS = (*OTP_TO, *BLAST_TO)
KEY = new_encryption_key()


def fixed(byte: int) -> bytes:
    """Instead of random bytes: what is made of them is known before the ledger has it."""
    return bytes([byte]) * 32


API_KEY, RECEIPT_TOKEN = (
    compose(prefix, base62(fixed(n)[:ID_BYTES], 9), fixed(n)) for n, prefix in ((2, "bsk"), (3, "bsr"))
)
WEBHOOK_SECRET, METRICS_TOKEN = secret_text(fixed(4)), "canary-of-the-scraper"
SECRETS = (
    *(REHEARSAL_SECRET, KEY, WEBHOOK_SECRET, METRICS_TOKEN),
    # Their ids are no secrets.
    *(text.rpartition("_")[2] for text in (API_KEY, RECEIPT_TOKEN)),
)


def clean(said: Iterable[str], where: str, *, but: Iterable[str] = ()) -> None:
    """Fails on a canary, however a number is written."""
    for item in said:
        digits = re.sub(r"(?<=\d)[ ()-](?=\d)", "", item)
        for secret in {CODE, WORDS, *NUMBERS, *SECRETS} - set(but):
            at = item.find(secret) if secret in item else digits.find(secret)
            assert at < 0, f"{where}: …{(item if secret in item else digits)[max(0, at - 150) : at + 60]}…"
