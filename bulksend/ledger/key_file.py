"""Encryption keys: how one is made, and the file of mode 0600 that keeps it beside a SQLite ledger."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url

from bulksend.errors import InvalidInput

if TYPE_CHECKING:
    from bulksend.settings import Settings


def new_encryption_key() -> str:
    """Url-safe base64 of 32 random bytes."""
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def encryption_keys(of: Settings) -> str:
    """``BULKSEND_ENCRYPTION_KEY``; for a SQLite ledger without it, the key file beside it, created at first use.

    Empty on PostgreSQL without the setting: then an OTP is refused at intake, with the remedy. Raises InvalidInput when
    the key file's folder is missing, or refuses it.
    """
    kept = kept_keys(of)
    file = key_file(of.database_url_text())
    return kept if kept or file is None else read_or_make(file)


def kept_keys(of: Settings) -> str:
    """The same without creating a key file; empty where there is no key."""
    text = of.encryption_key_text()
    file = key_file(of.database_url_text())
    if text or file is None or not file.exists():
        return text
    return file.read_text().strip()


def key_file(database_url: str) -> Path | None:
    """The key file of a SQLite ledger; None for a server."""
    file = ledger_file(database_url)
    return None if file is None else file.with_name(file.name + ".key")


def ledger_file(database_url: str) -> Path | None:
    """The file of a SQLite ledger; None for a server."""
    url = make_url(database_url)
    if url.get_backend_name() != "sqlite" or not url.database:
        return None
    return Path(url.database)


def read_or_make(file: Path) -> str:
    """The key in the file, which is created with a new key if it is missing. Two processes at once get the same key.

    Raises InvalidInput when its folder is missing, or refuses it.
    """
    try:
        return _read_or_make(file)
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise InvalidInput(
            f"the file of the encryption key {file}: {error.strerror}; check the folder and its rights, set "
            "BULKSEND_ENCRYPTION_KEY, or set DATABASE_URL to another file"
        ) from None


def _read_or_make(file: Path) -> str:
    if not file.exists():
        partial = file.with_name(f"{file.name}.{os.getpid()}")
        descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w") as opened:
            opened.write(new_encryption_key() + "\n")
        try:
            # A link fails if the name exists, so the first process's whole file stays.
            os.link(partial, file)
        except FileExistsError:
            pass
        finally:
            partial.unlink()
    return file.read_text().strip()
