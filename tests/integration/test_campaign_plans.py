"""Plans: what a send would do is frozen, and applied only as it was frozen."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from bulksend.errors import InvalidValue, NotFound, PlanChanged, WrongState
from bulksend.ledger import (
    audit,
    campaign_control,
    campaigns,
    messages,
    operator_log,
    plans,
    senders,
    suppressions,
    templates,
)
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.templates import TemplateChange
from bulksend.messaging.argument_naming import as_cli_option
from bulksend.messaging.price_table import read_prices
from bulksend.messaging.quiet_hours import read_quiet_hours
from bulksend.messaging.template_shape import read_shape
from bulksend.messaging.time_rules import TimeRules
from bulksend.settings import Settings
from producer.campaign_plans import CampaignPlans, OpenPlan
from producer.files import plan_file
from producer.forecast import ForecastLimits
from producer.intake import Intake
from producer.intake_report import IntakeReport, SamePeople
from producer.publisher import NoPublisher
from producer.row_sends import send_test

SENDER = "15550100100"
ROWS = (
    "to,name\n447700900001,Ann\n447700900002,Bartholomew\n12,Zed\n447700900002,Bob\n447700900003,Eve\n"
    "353850123456,Flo\n"
)
QUIET = (
    "kind,where,quiet,days\nmarketing,GB,20:00-09:00\nmarketing,GB,all day,sun\nmarketing,*,21:00-08:00\n"
    "marketing,DE,none\nutility,GB,none\n"
)
PRICES = "country,category,price,currency\nGB,service,0.05,USD\n*,service,0.1,USD\n"


class Desk:
    """One file, its content, and a ledger to plan it for."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.file = folder / "people.csv"
        self.file.write_text(ROWS)
        self.content: dict[str, Any] = {"body": "Hello {{name}}"}
        self.options: dict[str, Any] = {"type": "text", "kind": "marketing"}
        self.cipher = Cipher([b"k" * 32])
        self.limits = ForecastLimits(prices=read_prices(PRICES))
        self.lives_ms = 60_000

    @property
    def plans(self) -> CampaignPlans:
        return CampaignPlans(self.database, self.cipher, self.limits, self.lives_ms)

    def make(self, **more: Any) -> dict[str, Any]:
        asked = plan_file(
            self.file,
            content=json.dumps(self.content).encode(),
            created_by="ada",
            sender=SENDER,
            naming=as_cli_option,
            **(self.options | more),
        )
        return self.plans.show(self.plans.make_here(asked).id)

    def open(self, id: str) -> OpenPlan:
        return self.plans.open(id, actor="bob", naming=as_cli_option)

    def apply(self, id: str, **more: Any) -> IntakeReport:
        intake = Intake(self.database, NoPublisher(), self.cipher, **more)
        return self.plans.apply(self.open(id), intake)

    def write(self, work: Callable[..., Any], *args: Any, **named: Any) -> Any:
        with self.database.write() as tx:
            return work(tx, *args, **named)

    def suppress(self, phone: str) -> None:
        self.write(
            suppressions.add, {phone: None}, scope="marketing", reason="STOP", source="stop word", actor="ada"
        )

    def template(self, text: str = "Hi {{1}}", **more: Any) -> None:
        shape = read_shape([{"Type": "BODY", "Text": text}])
        change = TemplateChange("sale", "en", status="APPROVED", category="UTILITY", shape=shape, synced=True)
        self.write(templates.change_template, change._replace(**more), actor="sync")

    def sends_template(self) -> None:
        parameters = [{"type": "text", "text": "{{name}}"}]
        self.content = {
            "name": "sale",
            "language": {"code": "en", "policy": "deterministic"},
            "components": [{"type": "body", "parameters": parameters}],
        }
        self.options["type"] = "template"

    def campaigns(self) -> list[campaigns.Campaign]:
        with self.database.read() as tx:
            return campaigns.newest(tx)


@pytest.fixture
def desk(ledger: Database, tmp_path: Path) -> Desk:
    return Desk(ledger, tmp_path)


def test_a_plan_says_what_a_send_would_do_and_sends_nothing(desk: Desk) -> None:
    desk.suppress("447700900003")
    made = desk.make(rate="40/s")
    counted = ("rows", "messages", "duplicates", "suppressed", "refused_count", "to_send")
    assert [made[name] for name in counted] == [6, 4, 1, 1, 1, 3]
    assert made["countries"] == {"GB": 2, "IE": 1}
    assert made["cost"] == {"min": "0.20", "max": "0.20", "currency": "USD", "unpriced": 0}
    assert made["limits"] == {"rate": 40, "quota": None}
    assert [(each["row"], each["to"], each["body"]) for each in made["samples"]] == [
        (2, "4477*****001", "Hello Ann"),
        (3, "4477*****002", "Hello Bartholomew"),
        (7, "3538*****456", "Hello Flo"),
    ]
    assert made["status"] == "open"
    assert desk.campaigns() == []


def test_apply_sends_exactly_that_once_and_says_by_whom(desk: Desk) -> None:
    made = desk.make(name="spring")
    opened = desk.open(made["plan_id"])
    assert (opened.is_new, opened.to_send) == (True, 4)
    assert desk.campaigns() == []
    report = desk.apply(made["plan_id"])
    assert (report.messages, report.duplicates, report.refused_count, report.repeated) == (4, 1, 1, False)
    assert not desk.open(made["plan_id"]).is_new
    again = desk.apply(made["plan_id"])
    assert (again.campaign_id, again.repeated) == (report.campaign_id, True)
    shown = desk.plans.show(made["plan_id"])
    assert (shown["status"], shown["campaign_id"], shown["applied_by"]) == (
        "applied",
        report.campaign_id,
        "bob",
    )
    with desk.database.read() as tx:
        (act,) = [each for each in operator_log.of(tx, "campaign", report.campaign_id) if each.act == "apply"]
    assert (act.actor, act.why) == ("bob", f"plan {made['plan_id']}, hash {made['hash'][:12]}, by ada")


def test_the_audit_compares_a_campaign_with_its_plan(desk: Desk) -> None:
    report = desk.apply(desk.make()["plan_id"])

    def kept() -> tuple[int, int]:
        with desk.database.read() as tx:
            (found,) = [each for each in audit.audit(tx).findings if each.rule == "plans kept"]
        return found.checked, found.broken

    assert kept() == (1, 0)
    desk.write(lambda tx: tx.execute(plans.plans.update().values(messages_planned=3)))
    assert kept() == (1, 1)
    desk.write(lambda tx: tx.execute(plans.plans.update().values(source_hash="+" * 64)))
    assert kept() == (0, 0)
    assert report.messages == 4


def add_a_row(desk: Desk) -> None:
    desk.file.write_text(ROWS + "447700900009,Gil\n")


def swap_suppressions(desk: Desk) -> None:
    """As many people as before are suppressed, and others."""
    desk.suppress("447700900001")
    desk.write(suppressions.remove, "447700900003", scope=None, actor="ada", why="wrong")


CHANGES: dict[str, tuple[Callable[[Desk], None], str]] = {
    "the file": (add_a_row, "the file changed"),
    "the suppression list": (lambda desk: desk.suppress("353850123456"), "suppressed: 1 to 2"),
    "who is suppressed": (swap_suppressions, "which people get it changed"),
    "the sender's rate": (
        lambda desk: desk.write(senders.change, SENDER, actor="ada", rate=20.0),
        "limits rate: 80 to 20",
    ),
    "the sender's quota": (
        lambda desk: desk.write(senders.change, SENDER, actor="ada", quota=250),
        "limits quota: none to 250",
    ),
    "the quiet hours": (
        lambda desk: setattr(
            desk, "limits", replace(desk.limits, rules=TimeRules({}, read_quiet_hours(QUIET)))
        ),
        r"quiet hours \*: none to 21:00-08:00; quiet hours GB: none to 20:00-09:00, all day sun",
    ),
    "the prices": (
        lambda desk: setattr(
            desk, "limits", ForecastLimits(prices=read_prices(PRICES.replace("0.05", "0.06")))
        ),
        "cost max: 0.20 to 0.22",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_apply_is_refused_with_the_differences_when_something_changed(desk: Desk, what: str) -> None:
    change, told = CHANGES[what]
    desk.write(senders.register, SENDER)
    desk.suppress("447700900003")
    made = desk.make()
    change(desk)
    with pytest.raises(PlanChanged, match=told) as refused:
        desk.apply(made["plan_id"])
    assert refused.value.changes
    assert desk.campaigns() == []


def test_a_plan_shows_the_quiet_hours_that_concern_it(desk: Desk) -> None:
    desk.limits = ForecastLimits(
        rules=TimeRules({}, read_quiet_hours(QUIET + "marketing,+4477,22:00-07:00,mon-wed\n"))
    )
    made = desk.make()
    assert made["quiet_hours"] == {
        "GB": "20:00-09:00, all day sun",
        "*": "21:00-08:00",
        "+4477": "22:00-07:00 mon tue wed",
    }
    desk.limits = ForecastLimits(rules=TimeRules({}, read_quiet_hours(QUIET)))
    with pytest.raises(PlanChanged, match=r"quiet hours \+4477: 22:00-07:00 mon tue wed to none"):
        desk.apply(made["plan_id"])


def test_a_template_that_changed_is_a_difference(desk: Desk) -> None:
    desk.sends_template()
    desk.template()
    made = desk.make()
    assert made["samples"][0]["body"] == "Hi Ann"
    desk.template("Dear {{1}}")
    with pytest.raises(PlanChanged, match="the template's text or variables changed"):
        desk.apply(made["plan_id"])
    desk.template("Hi {{1}}", category="MARKETING")
    with pytest.raises(PlanChanged, match="template category: UTILITY to MARKETING"):
        desk.apply(made["plan_id"])


def test_what_does_not_concern_the_plan_does_not_stop_it(desk: Desk) -> None:
    made = desk.make()
    desk.suppress("447700900777")
    desk.write(senders.register, "15550199201")
    assert desk.apply(made["plan_id"]).messages == 4


def test_people_who_got_it_meanwhile_stop_the_plan(desk: Desk) -> None:
    made = desk.make()
    other = desk.file.with_name("others.csv")
    other.write_text("to,name\n447700900001,Ann\n")
    desk.file = other
    desk.apply(desk.make()["plan_id"])
    with pytest.raises((SamePeople, PlanChanged)):
        desk.apply(made["plan_id"])


def test_a_plan_expires_and_its_samples_go(desk: Desk) -> None:
    desk.lives_ms = 0
    made = desk.make()
    with pytest.raises(WrongState, match="expired"):
        desk.apply(made["plan_id"])
    assert desk.write(plans.delete_old) == {"wiped": 1, "deleted": 0}
    shown = desk.plans.show(made["plan_id"])
    assert (shown["status"], shown["samples"]) == ("expired", [])


def test_an_intake_that_was_cut_off_goes_on_by_the_same_command_after_the_plan_expired(desk: Desk) -> None:
    class Killed(BaseException):
        pass

    def die(_: int) -> None:
        raise Killed

    desk.lives_ms = 0
    made = desk.make()
    desk.write(lambda tx: tx.execute(plans.plans.update().values(expires_at=2**52)))
    with pytest.raises(Killed):
        desk.apply(made["plan_id"], chunk=2, batch_size=2, progress=die)
    desk.write(lambda tx: tx.execute(plans.plans.update().values(expires_at=0)))
    report = desk.apply(made["plan_id"])
    assert (report.messages, report.resumed_at) == (4, 2)


def test_a_continuation_is_planned_and_applied_once(desk: Desk) -> None:
    first = desk.apply(desk.make(name="spring")["plan_id"]).campaign_id
    desk.file.write_text(ROWS + "447700900009,Gil\n")
    made = desk.make(into="spring")
    assert (made["to_send"], made["already"]) == (1, 4)
    assert desk.apply(made["plan_id"]).campaign_id == first
    assert desk.apply(made["plan_id"]).campaign_id == first
    assert desk.campaigns()[0].messages == 5
    desk.file.write_text(ROWS)
    with pytest.raises(PlanChanged, match="the file changed"):
        desk.apply(made["plan_id"])


def test_a_test_send_lives_as_long_as_the_installation_says(desk: Desk) -> None:
    of = Settings.from_env({"BULKSEND_UTILITY_TTL_SECONDS": "60"})
    content = json.dumps(desk.content).encode()
    plan = plan_file(desk.file, content=content, created_by="ada", sender=SENDER, type="text", kind="utility")
    sent = send_test(of, desk.database, plan, to="447700900111").receipt.id
    with desk.database.read() as tx:
        row = messages.get(tx, sent)
    assert row["expires_at"] - row["queued_at"] == 60_000


def test_a_finished_campaign_takes_no_rows_while_its_template_cannot_be_sent(desk: Desk) -> None:
    desk.sends_template()
    desk.template(category="MARKETING")
    first = desk.apply(desk.make()["plan_id"]).campaign_id
    desk.file.write_text(f"{ROWS}447700900009,Ida\n")
    made = desk.make(into=first)
    desk.write(lambda tx: tx.execute(text("UPDATE campaigns SET status = 'finished', ended_at = 1")))
    desk.template(category="MARKETING", status="PAUSED")
    for send in (lambda: desk.make(into=first), lambda: desk.apply(made["plan_id"])):
        with pytest.raises(InvalidValue, match="PAUSED"):
            send()
    (campaign,) = desk.campaigns()
    assert (campaign.status, campaign.intake_done_at is None) == ("finished", False)


def test_the_plan_of_a_continuation_is_forecast_at_the_rate_of_its_campaign(desk: Desk) -> None:
    first = desk.apply(desk.make(rate="2/s")["plan_id"]).campaign_id
    desk.file.write_text(f"{ROWS}447700900009,Ida\n")
    assert desk.make(into=first)["limits"]["rate"] == 2
    campaign_control.cancel(desk.database, first, actor="ada", why="wrong")
    rest = desk.make(into=first)
    assert (rest["limits"]["rate"], rest["to_send"]) == (2, 5)
    assert desk.make(into=first, rate="3/s")["limits"]["rate"] == 3


def test_a_code_is_in_no_plan(desk: Desk) -> None:
    desk.file.write_text("to,code\n447700900001,135790\n")
    desk.content = {"body": "Your code is {{code}}"}
    made = desk.make(kind="otp")
    assert made["samples"][0]["body"] == "Your code is ******"
    with desk.database.read() as tx:
        kept = plans.get(tx, made["plan_id"])
    assert "135790" not in repr(replace(kept, samples=desk.cipher.unseal(kept.samples or b"", kept.id)))


def test_what_cannot_be_planned_is_refused(desk: Desk) -> None:
    desk.apply(desk.make()["plan_id"])
    with pytest.raises(WrongState, match="there is nothing to plan: this was sent before"):
        desk.make()
    with pytest.raises(NotFound):
        desk.apply("447700900001")
