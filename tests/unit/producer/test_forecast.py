"""What a forecast counts, in little memory, and the quota that it names."""

from __future__ import annotations

import shutil
from pathlib import Path

from bulksend.ledger import senders
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from producer.files import plan_file
from producer.forecast import SeenKeys, forecast


def test_a_key_is_new_once() -> None:
    seen = SeenKeys()
    keys = [f"4477{n:08d}" for n in range(200_000)]
    assert all(seen.add(key) for key in keys)
    assert not any(seen.add(key) for key in keys)
    assert seen.add("447700900123x")


def test_the_quota_is_the_accounts_also_for_a_sender_that_is_new(
    sqlite_template: Path, tmp_path: Path
) -> None:
    shutil.copyfile(sqlite_template, tmp_path / "ledger.db")
    ledger = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    with ledger.write() as tx:
        senders.register(tx, "447700900999", quota=1)
    file = tmp_path / "list.csv"
    file.write_text("to\n+44 7700 900123\n+44 7700 900124\n")
    plan = plan_file(
        file,
        sender="8615000579987",
        type="text",
        content=b'{"body": "Hi"}',
        kind="marketing",
        created_by="test",
    )
    made = forecast(plan, ledger, Cipher([b"k" * 32]))
    assert made.summary("UTC")["quota"] == "2 recipients, the account may reach 1 in 24 h: the rest waits"
