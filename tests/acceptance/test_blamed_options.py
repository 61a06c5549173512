"""An error names the option as it was typed, not the field that it becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.many_commands import Cli

SEND = "send p.csv --sender 8615000579987 --type text --content c.json --kind marketing"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("line", "option"),
    [
        (f"{SEND} --region UK", "--region"),
        (f"{SEND} --at soon", "--at"),
        (f"{SEND} --ttl soon", "--ttl"),
        (f"{SEND} --rate fast", "--rate"),
        (f"{SEND} --timezone Mars/Base", "--timezone"),
        (f"{SEND} --on-unknown maybe", "--on-unknown"),
        (f"{SEND} --key {'k' * 201}", "--key"),
        (f"{SEND} --continue nothing", "nothing"),
        (f"{SEND} --cap often", "--cap"),
        (f"{SEND.replace('marketing', 'utility')} --cap 2/7d", "--cap"),
        (f"{SEND} --exclude :unsent", "--exclude"),
        (f"{SEND} --only nothing", "nothing"),
        (f"{SEND} --test 12", "--test"),
        (f"{SEND} --test 447700900009 --row 7", "--row"),
        (f"{SEND} --row 2", "--row"),
        (f"{SEND} --rate fast".replace("send", "plan", 1), "--rate"),
        (f"{SEND} --speed 0".replace("send", "rehearse", 1), "--speed"),
        (SEND.replace("8615000579987", "12"), "--sender"),
        (SEND.replace("text", "fax"), "--type"),
        (SEND.replace("marketing", "spam"), "--kind"),
        ("messages find --since soon", "--since"),
        ("messages find --until soon", "--until"),
        ("messages find --phone 12", "--phone"),
        ("messages find --status odd", "--status"),
        ("messages unknown --since soon", "--since"),
        ("suppressions add 447700900001 --reason x --until soon", "--until"),
        ("suppressions add 447700900001 --reason x --scope odd", "--scope"),
        ("suppressions import p.csv --region UK", "--region"),
        ("suppressions import p.csv --map Mobile", "--map"),
        ("suppressions add (478)5550142 --reason x --region UK", "--region"),
        ("suppressions add country:UK --reason x", "PHONE"),
        ("suppressions add country:ZZZ --reason x", "PHONE"),
        ("suppressions remove 447700900001 --why x --scope odd", "--scope"),
        ("suppressions list --phone 447700900001 --region UK", "--region"),
        ("suppressions export -o s.doc", "--output"),
        ("consent report -o c.csv --phone 12", "--phone"),
        ("forget 12 --why x", "PHONE"),
        ("forget 447700900001 --why +447700900001", "--why"),
        ("export --person 12 -o out.json", "--person"),
        ("export --person 447700900001 -o none/out.json", "--output"),
        ("export --person 447700900001 -o /dev/null", "--output"),
        ("audit --metrics /dev/null", "--metrics"),
        ("holds add --phone 12 --why x", "--phone"),
        ("holds add --campaign nothing --why x", "nothing"),
        ("senders set 8615000579987 --rate fast", "--rate"),
        ("campaigns set spring --max-failed many", "--max-failed"),
        ("events --types message.sent", "--types"),
        ("events --after 99", "--after"),
        ("events --follow --after 99", "--after"),
        ("exports list --after x", "--after"),
        ("stats --by week", "--by"),
        ("stats --since soon", "--since"),
        ("stats --until soon", "--until"),
        ("stats --since 2030-01-02T00:00Z --until 2030-01-01T00:00Z", "--until"),
        ("export spring -o out.jsonl --audience nobody", "--audience"),
        ("export spring -o out.csv --audience unread", "--output"),
        ("keys add --name shop --role boss", "--role"),
        ("webhooks add http://hooks.example.com/", "URL"),
        ("webhooks add https://10.0.0.1/", "URL"),
        ("webhooks add https://hooks.example.com/ --events message.sent", "--events"),
        ("webhooks replay nothing --since soon", "--since"),
        ("templates preview sale --row x", "--row"),
        ("media upload p.csv --sender 12", "--sender"),
        (f"{SEND} --media none", "--media"),
        ("users add ann --role boss", "--role"),
        ("tokens add --name console --ips everywhere", "--ips"),
        ("keys add --name shop --role sender --kinds otp,spam", "--kinds"),
        ("keys add --name shop --role sender --senders 12", "--senders"),
        ("keys add --name shop --role sender --expires 2020-01-01T00:00:00Z", "--expires"),
    ],
)
def test_a_bad_value_is_blamed_on_the_option_as_typed(
    cli: Cli, tmp_path: Path, line: str, option: str
) -> None:
    (tmp_path / "p.csv").write_text("to\n447700900001\n")
    (tmp_path / "c.json").write_text('{"body": "Hello"}')
    done = cli(*line.split())
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith(f"bulksend: {option}") or option == "nothing", done.stderr
    assert option in done.stderr


@pytest.mark.parametrize(
    "words", ["messages find", "messages unknown", "messages resolve --as failed --why x --campaign c"]
)
def test_a_time_span_that_ends_before_it_begins_is_refused(cli: Cli, tmp_path: Path, words: str) -> None:
    """It matched nothing, and said so with status 0."""
    (tmp_path / "p.csv").write_text("to\n447700900001\n")
    (tmp_path / "c.json").write_text('{"body": "Hello"}')
    cli(*SEND.split(), "--name", "c")
    span = ["--since", "2030-03-02T00:00Z", "--until", "2030-03-01T00:00Z"]
    done = cli(*words.split(), *span)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "--until: is before 2030-03-02T00:00Z, the start; exchange the two times" in done.stderr
