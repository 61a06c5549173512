"""What was sent before is not sent again without being asked for: the same people, new options, another file."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.many_commands import Cli

SENDER = "8615000579987"
PEOPLE = "to,name,price\n+44 7700 900140,Ann,5\n+44 7700 900141,Bob,5\n{third},Cy,5\n"
NATIONAL, WHOLE = "07700 900142", "+44 7700 900142"
pytestmark = pytest.mark.timeout(300)


class Site:
    """A folder with a list, its content and a ledger."""

    def __init__(self, cli: Cli, folder: Path) -> None:
        self.cli = cli
        self.folder = folder
        self.write("c.json", '{"body": "Hello {{name}}, pay {{price}}."}')

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def send(
        self, file: str, *more: str, kind: str = "marketing", code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        done = self.cli(
            *("send", file, "--sender", SENDER, "--type", "text", "--content", "c.json", "--kind", kind),
            *more,
            DATABASE_URL="sqlite:///case.db",
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def json(self, *words: str) -> list[dict[str, Any]]:
        done = self.cli(*words, "--json", DATABASE_URL="sqlite:///case.db")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def people(self) -> list[str]:
        """The recipient of each message there is."""
        return sorted(row["to"] for row in self.json("messages", "find"))

    def show(self, id: str) -> dict[str, Any]:
        (shown,) = self.json("campaigns", "show", id)
        return shown


@pytest.fixture
def site(cli: Cli, tmp_path: Path) -> Site:
    return Site(cli, tmp_path)


def from_now(**length: float) -> str:
    return (datetime.now(UTC) + timedelta(**length)).isoformat(timespec="seconds")


# -- the same people ---------------------------------------------------------------------------------------------


def test_a_repeat_of_what_was_cancelled_is_refused_and_names_the_ways_on(site: Site) -> None:
    """case 01: it said "this was sent before" with status 0, and not one of them had it."""
    site.write("list.csv", PEOPLE.format(third=WHOLE))
    site.send("list.csv", "--name", "spring")
    (cancelled,) = site.json("campaigns", "list")
    site.json("campaigns", "cancel", "spring")
    for more in ((), ("--name", "other"), ("--dry-run",), ("--rate", "1/s")):
        said = site.send("list.csv", *more, code=2).stderr
        assert f"{cancelled['campaign_id']} (spring), which is cancelled: of 3 messages 0 were sent" in said
        assert "`--again` sends to all of them" in said
        assert (
            f"`--continue {cancelled['campaign_id']}` sends to the recipients who do not have it yet" in said
        )
    site.send("list.csv", "--again")
    assert len(site.people()) == 6


def test_the_rest_of_what_was_cancelled_is_sent_as_the_refusal_says(site: Site) -> None:
    """case 01: the ways on were an export and a list cut by hand, or all of them once more."""
    site.write("list.csv", PEOPLE.format(third=WHOLE))
    site.send("list.csv", "--name", "spring", "--rate", "5/s")
    with closing(sqlite3.connect(site.folder / "case.db")) as ledger, ledger:
        ledger.execute("UPDATE messages SET status = 'unknown', ended_at = 1 WHERE row = 2")
    site.json("campaigns", "cancel", "spring")
    said = site.send("list.csv", code=2).stderr
    assert "of 3 messages 1 was sent or may have been sent, and no more will be sent" in said
    site.write("list.csv", PEOPLE.format(third=WHOLE) + "+44 7700 900143,Dan,5\n")
    for more in ((), ("--dry-run",)):
        said = site.send("list.csv", *more, code=2).stderr
        assert "1 of 4 rows is for a person who has this message already" in said
    (id,) = re.findall(
        r"`--continue (\S+)` sends to the recipients who do not have it yet, in a new campaign", said
    )
    for more in (("--dry-run",), ()):
        done = site.send("list.csv", "--continue", id, *more, "--json")
        assert json.loads(done.stdout)["messages"] == 3
        assert f"campaign {id} (spring) is cancelled: its rest goes into" in done.stderr
    told = json.loads(site.send("list.csv", "--continue", "spring", "--json").stdout)
    assert told["continued"] == {"rows": 4, "messages": 0, "already": 4}
    assert site.show(told["campaign_id"])["rate_limit"] == 5
    assert site.show(told["campaign_id"])["name"] == "spring (rest)"
    assert f"the rest is campaign {told['campaign_id']}" in [a["why"] for a in site.show(id)["acts"]]
    assert len(site.people()) == 6
    assert site.json("audit")[0]["holds"]
    refused = site.cli("campaigns", "retry", id, DATABASE_URL="sqlite:///case.db")
    assert refused.returncode == 2
    assert f"--continue {id}" in refused.stderr


def test_a_refusal_advises_the_options_that_work(site: Site) -> None:
    """It advised ``--continue``, which was then refused by kind, or by the other options of the same command."""
    site.write("list.csv", PEOPLE.format(third=WHOLE))
    site.send("list.csv", "--name", "spring")
    said = site.send(
        "list.csv", "--rate", "1/s", "--key", "k", "--name", "new", kind="utility", code=2
    ).stderr
    assert "`--kind marketing` and `--continue " in said
    assert "`, without --rate, --name and --key, sends to the recipients who do not have it yet" in said
    assert "`--again` without the key sends to all of them" in said
    site.send("list.csv", "--continue", "spring")
    site.send("list.csv", "--again", kind="utility")


@pytest.mark.parametrize("second", [("--name", "spring"), ("--name", "other"), ("--key", "monday")])
def test_a_mended_list_is_not_sent_to_those_who_have_it(site: Site, second: tuple[str, ...]) -> None:
    """case 01: the row that was refused is mended, and the command run again."""
    site.write("list.csv", PEOPLE.format(third=NATIONAL))
    site.send("list.csv", "--name", "spring")
    site.write("list.csv", PEOPLE.format(third=WHOLE))
    for more in (("--dry-run",), ("--dry-run", "--json"), ()):
        refused = site.send("list.csv", *second, *more, code=2)
        (id,) = {c["campaign_id"] for c in site.json("campaigns", "list")}
        assert "2 of 3 rows are for people who have this message already" in refused.stderr
        assert f"`--continue {id}`" in refused.stderr
        assert "`--again`" in refused.stderr
    assert len(site.people()) == 2

    done = site.send("list.csv", "--continue", "spring", "--json")
    told = json.loads(done.stdout)
    assert told["campaign_id"] == id
    assert told["continued"] == {"rows": 3, "messages": 1, "already": 2}
    assert (told["rows"], told["messages"], told["duplicates"], told["refused"]) == (3, 3, 0, [])
    assert len(site.people()) == len(set(site.people())) == 3
    shown = site.show("spring")
    assert (shown["total"], shown["rows"], shown["refused_count"], shown["refused"]) == (3, 3, 0, [])
    # It may be repeated, and says so.
    assert json.loads(site.send("list.csv", "--continue", id, "--json").stdout)["continued"]["already"] == 3
    assert len(site.people()) == 3
    assert site.json("audit")[0]["holds"]

    site.send("list.csv", "--again")
    assert len(site.people()) == 6


def test_a_row_that_is_refused_again_is_counted_once(site: Site) -> None:
    site.write("list.csv", PEOPLE.format(third=NATIONAL))
    site.send("list.csv", "--name", "spring")
    site.write("list.csv", PEOPLE.format(third=NATIONAL) + "+44 7700 900143,Di,6\n")
    told = json.loads(site.send("list.csv", "--continue", "spring", "--json").stdout)
    assert told["continued"] == {"rows": 4, "messages": 1, "already": 2}
    assert (told["rows"], told["messages"], told["refused_count"]) == (4, 3, 1)
    assert site.show("spring")["refused_count"] == 1
    assert site.json("audit")[0]["holds"]


def test_what_the_first_command_says_after_its_campaign_was_continued(site: Site) -> None:
    site.write("first.csv", PEOPLE.format(third=NATIONAL))
    site.write("second.csv", "to,name,price\n+44 7700 900149,Eve,5\n")
    site.send("first.csv")
    site.send("second.csv", "--continue", "first")
    refused = site.send("first.csv", code=2)
    assert "was continued with second.csv" in refused.stderr
    assert "`--continue" in refused.stderr
    assert len(site.people()) == 3


@pytest.mark.parametrize(
    ("change", "words", "says"),
    [
        (None, ("--continue", "nothing"), "there is no campaign with the id or name 'nothing'"),
        (None, ("--continue", "spring", "--again"), "--continue and --again exclude each other"),
        (None, ("--continue", "spring", "--key", "k"), "--continue and --key exclude each other"),
        (None, ("--continue", "spring", "--rate", "1/s"), "--rate: not changed"),
        ("cancel", ("--continue", "spring", "--at", "2001-01-01T00:00Z"), "omit --at to send now"),
        ("cancel", ("--continue", "spring", "--sender", "447700900999"), "has the sender 8615000579987"),
        ("content", ("--continue", "spring"), "has another content"),
    ],
)
def test_a_campaign_that_cannot_be_continued_says_why(
    site: Site, change: str | None, words: tuple[str, ...], says: str
) -> None:
    site.write("list.csv", PEOPLE.format(third=WHOLE))
    site.send("list.csv", "--name", "spring")
    if change == "cancel":
        site.json("campaigns", "cancel", "spring")
    if change == "content":
        site.write("c.json", '{"body": "Bye {{name}}"}')
    for more in ((), ("--dry-run",)):
        assert says in site.send("list.csv", *words, *more, code=2).stderr
    assert len(site.people()) == 3


def test_new_codes_for_the_same_people_are_the_usual_case_and_the_same_codes_are_not(site: Site) -> None:
    site.write("c.json", '{"body": "Your code is {{code}}"}')
    site.write("codes.csv", "to,code\n+44 7700 900140,111111\n+44 7700 900141,222222\n")
    site.send("codes.csv", kind="otp")
    site.write("codes.csv", "to,code\n+44 7700 900140,333333\n+44 7700 900141,444444\n")
    site.send("codes.csv", kind="otp")
    site.write("codes.csv", "to,code\n+44 7700 900140,333333\n+44 7700 900141,555555\n")
    assert "1 of 2 rows" in site.send("codes.csv", kind="otp", code=2).stderr
    assert len(site.people()) == 4


def test_a_reminder_of_something_else_is_another_message(site: Site) -> None:
    site.write("list.csv", "to,name,price\n+44 7700 900140,Ann,5\n+44 7700 900141,Bob,5\n")
    site.send("list.csv", kind="utility")
    site.write("list.csv", "to,name,price\n+44 7700 900140,Ann,6\n+44 7700 900141,Bob,6\n")
    site.send("list.csv", kind="utility")
    site.write("list.csv", "to,name,price\n+44 7700 900140,Ann,6\n+44 7700 900142,Bob,6\n")
    assert "1 of 2 rows" in site.send("list.csv", kind="utility", code=2).stderr


def test_the_parts_of_a_list_are_sent_one_after_the_other(site: Site) -> None:
    for n, part in enumerate((PEOPLE.format(third=WHOLE), "to,name,price\n+44 7700 900150,Di,5\n")):
        site.write(f"part{n}.csv", part)
        site.send(f"part{n}.csv")
    assert len(site.people()) == 4


# -- times and other options -------------------------------------------------------------------------------------


def test_a_time_long_past_is_refused(site: Site) -> None:
    """case 02: a year that was typed wrong sent everything at once."""
    site.write("one.csv", "to,name,price\n+44 7700 900143,Ann,5\n")
    past = from_now(days=-362, hours=-1)
    for more in ((), ("--dry-run",), ("--wait",)):
        said = site.send("one.csv", "--at", past, *more, code=2).stderr
        assert "--at: is 362 days ago; omit --at to send now" in said
    row = f"to,name,price,send_at\n+44 7700 900144,Ann,5,{past}\n+44 7700 900145,Ann,5,\n"
    site.write("rows.csv", row)
    (refused,) = json.loads(site.send("rows.csv", "--json").stdout)["refused"]
    assert (refused["row"], refused["field"]) == (2, "send_at")
    assert refused["why"] == "is 362 days ago; leave send_at empty to send now"
    site.write(
        "rows.jsonl", json.dumps({"to": "447700900146", "name": "A", "price": "5", "send_at": past}) + "\n"
    )
    # Nothing of the file can be sent: a timer sees it by the exit code.
    (refused,) = json.loads(site.send("rows.jsonl", "--json", code=1).stdout)["refused"]
    assert refused["field"] == "send_at"
    assert site.people() == ["447700900145"]


def test_a_time_that_has_just_passed_means_now_and_the_year_9999_nothing(site: Site) -> None:
    site.write("one.csv", "to,name,price\n+44 7700 900143,Ann,5\n")
    assert (
        "--at: has a year outside 2000 to 2100"
        in site.send("one.csv", "--at", "9999-01-01T00:00Z", code=2).stderr
    )
    site.send("one.csv", "--at", from_now(minutes=-2))
    assert len(site.people()) == 1


def test_new_options_for_what_waits_already_are_not_ignored(site: Site) -> None:
    """case 18: the same file again with another time was a repeat, and stayed due when it was."""
    site.write("one.csv", "to,name,price\n+44 7700 900147,Ann,5\n")
    first, second = from_now(days=90), from_now(days=120)
    site.send("one.csv", "--at", first)
    (campaign,) = site.json("campaigns", "list")
    for words in (("list",), ("show", campaign["campaign_id"])):
        said = site.cli("campaigns", *words, DATABASE_URL="sqlite:///case.db").stdout
        assert ("scheduled" in said, "running" in said) == (True, False)
    for more in ((), ("--dry-run",)):
        said = site.send("one.csv", "--at", second, "--rate", "1/s", "--ttl", "5m", *more, code=2).stderr
        assert "--at, --ttl and --rate: not changed" in said
        assert campaign["campaign_id"] in said
        assert first[:16] in said
        assert "the sender's rate" in said
        assert "no time to live" in said
        assert "campaigns cancel" in said
    for option, value in (("--on-unknown", "resend"), ("--name", "spring")):
        assert f"{option}: not changed" in site.send("one.csv", option, value, code=2).stderr
    # What is asked for as it stands, or not at all, is a repeat.
    for same in (("--at", first), (), ("--on-unknown", "hold"), ("--name", "one")):
        assert "nothing is sent twice" in site.send("one.csv", *same).stderr
    assert len(site.people()) == 1


def test_a_repeat_after_its_time_has_passed_is_still_a_repeat(site: Site) -> None:
    site.write("one.csv", "to,name,price\n+44 7700 900147,Ann,5\n")
    past = from_now(minutes=-4)
    site.send("one.csv", "--at", past)
    import sqlite3

    hours_ago = datetime.fromisoformat(past) - timedelta(hours=3)
    with sqlite3.connect(site.folder / "case.db") as ledger:
        ledger.execute("UPDATE campaigns SET due_at = ?", (int(hours_ago.timestamp() * 1000),))
    assert "nothing is sent twice" in site.send("one.csv", "--at", hours_ago.isoformat()).stderr


# -- two codes for one number ------------------------------------------------------------------------------------


def test_of_two_codes_for_one_number_the_last_row_is_sent(site: Site) -> None:
    site.write("c.json", '{"body": "Your code is {{code}}"}')
    rows = [f"+44 7700 90{n:04d},1{n:05d}" for n in range(6)]
    rows += ["447700900000,999999", "447700900000,888888"]
    site.write("codes.csv", "to,code\n" + "\n".join(rows) + "\n")
    for more in (("--dry-run",), ()):
        said = site.send("codes.csv", *more, kind="otp").stderr
        assert "2 rows are replaced by a newer row for the same number" in said
    found = {row["to"]: row["row"] for row in site.json("messages", "find")}
    assert found["447700900000"] == 9
    assert len(found) == 6
    assert site.show("codes")["duplicates"] == 2
    assert site.json("audit")[0]["holds"]


def test_of_two_rows_of_a_blast_for_one_number_the_first_is_sent(site: Site) -> None:
    site.write("list.csv", "to,name,price\n447700900000,Ann,5\n447700900000,Ann,6\n")
    assert "replaced by" not in site.send("list.csv").stderr
    (only,) = site.json("messages", "find")
    assert only["row"] == 2


def test_a_dry_run_reckons_with_the_times_of_the_rows(site: Site) -> None:
    at = (datetime.now(UTC) + timedelta(days=2)).replace(microsecond=0)
    rows = "".join(f"+44 7700 90{n:04d},A,5,{at.isoformat()}\n" for n in range(10))
    site.write("list.csv", f"to,name,price,send_at\n{rows}")
    told = json.loads(site.send("list.csv", "--dry-run", "--json", "--rate", "1/s").stdout)
    assert datetime.fromisoformat(told["begins_at"]) == at
    assert datetime.fromisoformat(told["done_by"]) == at + timedelta(seconds=10)
    shown = site.send("list.csv", "--dry-run").stdout
    assert re.search(rf"begins\s+{re.escape(f'{at:%Y-%m-%d %H:%M}')}", shown)
    site.write(
        "list.csv", "to,name,price,timezone\n+44 7700 900000,A,5,\n+44 7700 900001,B,5,America/New_York\n"
    )
    nine = (
        "--dry-run",
        "--at",
        "2031-01-10T12:00:00Z",
        "--local-time",
        "09:00",
        "--timezone",
        "Europe/Paris",
    )
    assert json.loads(site.send("list.csv", *nine, "--json").stdout)["begins_at"][:16] == "2031-01-10T14:00"
    shown = site.send("list.csv", *nine).stdout
    assert "2031-01-11 10:00:00 Europe/Paris (2031-01-11 09:00:00 UTC)" in shown
    assert "2031-01-10 15:00:00 Europe/Paris (2031-01-10 14:00:00 UTC)" in shown
