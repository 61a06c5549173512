"""Templates: notices and lists kept by one rule, the contents that do not fit, the campaigns that stop."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bulksend.errors import InvalidValue, NotFound, WrongState
from bulksend.gateway import PhoneList
from bulksend.gateway.phones import SenderPhone
from bulksend.gateway.templates import TemplatePage, VendorTemplate
from bulksend.ledger import campaigns, operator_log, senders, templates
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.database import Database
from bulksend.ledger.direct_sends import SendRequest
from bulksend.ledger.templates import TemplateChange
from bulksend.messaging.states import CampaignStatus, Kind
from bulksend.messaging.template_shape import read_shape
from bulksend.operations.campaigns import Act, act
from bulksend.operations.templates import list_templates, preview_template, show_template, sync, unknown_note
from producer.direct_sends import DirectSends
from producer.templates import KEPT_S, NOTED_S, TemplateChecks
from producer.vendor_sync import FAILED_S, MOST_AT_ONCE, VendorSync
from tests.integration.ledger.conftest import ACTOR, SENDER, Desk

OTHER = "15550100101"

T0 = 1_764_400_300_000


@pytest.fixture
def desk(ledger: Any) -> Desk:
    made = Desk(ledger)
    made.write(senders.register, SENDER)
    return made


def content(variables: int = 1, language: str = "en") -> str:
    parameters = [{"type": "text", "text": "{{name}}"}] * variables
    return json.dumps(
        {
            "name": "sale",
            "language": {"code": language, "policy": "deterministic"},
            "components": [{"type": "body", "parameters": parameters}],
        }
    )


def told(desk: Desk, at: int = T0, language: str = "en", variables: int = 1, **more: Any) -> bool:
    """What the vendor's list says."""
    text = " ".join(["Hi", *(f"{{{{{n + 1}}}}}" for n in range(variables)), "there"])
    shape = read_shape([{"Type": "BODY", "Text": text}], [{"Type": "BODY", "NamedVar": ["first name"]}])
    change = TemplateChange("sale", language, at=at, shape=shape, synced=True)
    return bool(
        desk.write(templates.change_template, change._replace(**{"status": "APPROVED", **more}), actor="sync")
    )


def noticed(desk: Desk, at: int, language: str = "en", **more: Any) -> bool:
    change = TemplateChange("sale", language, at=at, **more)
    return bool(desk.write(templates.change_template, change, actor="receipts"))


def campaign(desk: Desk, **more: Any) -> Campaign:
    made = desk.campaign(type="template", content=more.pop("content", content()), **more)
    desk.write(campaigns.finish_intake, made.id)
    return made


def state(desk: Desk, made: Campaign) -> tuple[CampaignStatus, str | None]:
    now = desk.read(campaigns.get, made.id)
    return now.status, now.pause_why


def test_the_newest_by_the_vendors_clock_wins_whether_notice_or_list(desk: Desk) -> None:
    assert noticed(desk, T0 + 10, status="PAUSED")
    assert told(desk, T0, quality="GREEN", category="MARKETING")
    (found,) = desk.read(templates.page)
    assert (found.status, found.quality, found.category) == ("PAUSED", "GREEN", "MARKETING")
    assert not told(desk, T0 + 5)
    assert told(desk, T0 + 20)
    # The list saw it unchanged later: an older notice says nothing new.
    assert not told(desk, T0 + 60)
    assert not noticed(desk, T0 + 50, status="DISABLED")
    (found,) = desk.read(templates.page)
    assert found.status == "APPROVED"
    assert [act.why for act in desk.read(operator_log.of, "template", "sale en")] == [
        "the vendor's notice",
        "the vendor's list",
        "the vendor's list",
    ]


def test_a_notice_without_a_language_is_about_all_of_them(desk: Desk) -> None:
    told(desk)
    told(desk, language="de")
    noticed(desk, T0 + 1, language="", status="PAUSED")
    assert {each.status for each in desk.read(templates.named, "sale")} == {"PAUSED"}


def test_a_content_that_does_not_fit_is_refused_before_a_message_is_stored(desk: Desk) -> None:
    campaign(desk)
    told(desk, variables=2)
    with pytest.raises(
        InvalidValue, match=r"2 variables \(first name, 2\) in its body, and the content gives 1"
    ):
        desk.campaign(type="template", content=content())
    with pytest.raises(InvalidValue, match="has no language fr at the vendor: use one of en"):
        desk.campaign(type="template", content=content(language="fr"))
    assert desk.scalar("SELECT count(*) FROM campaigns") == 1
    assert campaign(desk, content=content(2)).type == "template"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"status": "PAUSED"}, "template sale (en) is PAUSED"),
        ({"category": "UTILITY"}, "moved template sale (en) from MARKETING to UTILITY"),
        ({"quality": "RED"}, "fell from GREEN to RED"),
        ({"quality": "UNKNOWN"}, None),
    ],
)
def test_a_change_for_the_worse_pauses_the_campaigns_that_use_it(
    desk: Desk, change: dict[str, Any], words: str | None
) -> None:
    told(desk, category="MARKETING", quality="GREEN")
    mine, other = campaign(desk), desk.campaign()
    told(desk, language="de", category="MARKETING")
    german = campaign(desk, content=content(language="de"))
    noticed(desk, T0 + 1, **change)
    status, why = state(desk, mine)
    assert status is (CampaignStatus.RUNNING if words is None else CampaignStatus.PAUSED)
    assert (words or "") in (why or "")
    assert state(desk, german)[0] is CampaignStatus.RUNNING
    assert state(desk, other)[0] is CampaignStatus.INTAKE
    assert [act.act for act in desk.read(operator_log.of, "campaign", mine.id)][1:] == ["pause"] * bool(words)


def test_a_template_that_got_other_variables_pauses_its_campaigns(desk: Desk) -> None:
    told(desk)
    made = campaign(desk)
    told(desk, T0 + 1, variables=2)
    assert "2 variables" in (state(desk, made)[1] or "")
    (_, change) = desk.read(operator_log.of, "template", "sale en")
    assert (change.before, change.after) == (
        {"shape": "body (first name)"},
        {"shape": "body (first name, 2)"},
    )


def test_a_resume_is_refused_while_no_message_could_succeed_unless_it_is_forced(desk: Desk) -> None:
    told(desk)
    made = campaign(desk)
    noticed(desk, T0 + 1, status="PAUSED")

    def resume(force: bool = False) -> object:
        return act(
            desk.database, lambda: None, made.id, Act.RESUME, actor=ACTOR, why=None, force=force
        ).changed

    with pytest.raises(WrongState, match=r"stays paused: template sale .* is PAUSED"):
        resume()
    assert resume(force=True)
    act(desk.database, lambda: None, made.id, Act.PAUSE, actor=ACTOR, why=None)
    told(desk, T0 + 2)
    assert resume()


class Vendor:
    """Answers as it is told, and keeps what it was asked for."""

    def __init__(self, *pages: TemplatePage, phones: PhoneList | None = None) -> None:
        self.pages = list(pages)
        self.phones = phones or PhoneList((), "", True, None)
        self.asked: list[tuple[str, str]] = []

    async def templates(self, sender: str, *, name: str = "") -> TemplatePage:
        self.asked.append((sender, name))
        return self.pages.pop(0) if len(self.pages) > 1 else self.pages[0]

    async def phone_list(self) -> PhoneList:
        self.asked.append(("", ""))
        return self.phones


def page(status: str, at: int = T0) -> TemplatePage:
    shape = read_shape(
        [{"Type": "BODY", "Text": "Dear {{1}}, {{2}}"}], [{"Type": "BODY", "NamedVar": ["who"]}]
    )
    one = VendorTemplate("sale", "en", "MARKETING", status, "GREEN", "", shape)
    return TemplatePage((one,), "", at_ms=at)


def test_a_sync_reads_templates_and_senders_and_leaves_what_is_empty(desk: Desk) -> None:
    desk.sql("UPDATE senders SET tier = 'TIER_1K', status = 'CONNECTED'")
    phones = (
        SenderPhone(SENDER, "", "", "RED", "", ""),
        SenderPhone("447700900000", "", "CONNECTED", "", "", ""),
    )
    vendor = Vendor(page("APPROVED"), phones=PhoneList(phones, "", True, None, T0))
    done = sync(desk.database, vendor, actor=ACTOR)
    assert done.as_json() == {"templates": 1, "senders": 2, "changed": 2, "problems": []}
    found = desk.read(senders.get, SENDER)
    assert (found.status, found.quality, found.tier) == ("CONNECTED", "RED", "TIER_1K")
    failing = Vendor(TemplatePage((), "no reply"), phones=PhoneList((), "no reply", False, None))
    assert len(sync(desk.database, failing, actor=ACTOR).problems) == 2
    assert len(list_templates(desk.database).items) == 1


def test_a_sync_before_the_first_sender_is_on_record_reads_those_that_the_vendor_lists(
    ledger: Database,
) -> None:
    phones = PhoneList((SenderPhone(SENDER, "", "CONNECTED", "", "", ""),), "", True, None, T0)
    vendor = Vendor(page("APPROVED"), phones=phones)
    assert sync(ledger, vendor, actor=ACTOR).as_json() == {
        "templates": 1,
        "senders": 1,
        "changed": 1,
        "problems": [],
    }
    assert vendor.asked == [("", ""), (SENDER, "")]


def test_a_template_that_the_vendor_does_not_list_is_not_said_to_be_read_by_another_sync(desk: Desk) -> None:
    told(desk)
    odd = content().replace("sale", "sail")
    assert unknown_note(desk.database, "template", content(), asked=True) is None
    asked = unknown_note(desk.database, "template", odd, asked=True) or ""
    assert asked.startswith("the vendor does not list template sail (en): check its name")
    known = unknown_note(desk.database, "template", odd, asked=False) or ""
    assert known.endswith("`bulksend templates sync` reads it")


def test_a_template_is_shown_with_what_a_message_gives_it_and_previewed_with_a_row(desk: Desk) -> None:
    sync(desk.database, Vendor(page("APPROVED")), actor=ACTOR)
    (shown,) = show_template(desk.database, "sale")["items"]
    assert shown["components"]["body"] == {"text": "Dear {{1}}, {{2}}", "variables": ["who", "2"]}
    assert shown["history"][0]["after"]["status"] == "APPROVED"
    assert shown["synced_at"]
    seen = preview_template(desk.database, "sale", row={"WHO": "Ada", "2": 7})
    assert (seen["body"], seen["missing"]) == ("Dear Ada, 7", [])
    seen = preview_template(desk.database, "sale", row={"1": "Ada"})
    assert (seen["body"], seen["missing"]) == ("Dear Ada, {{2}}", ["2"])
    with pytest.raises(InvalidValue, match="is none of en"):
        preview_template(desk.database, "sale", language="fr")
    for call in (show_template, preview_template):
        with pytest.raises(NotFound, match="templates sync"):
            call(desk.database, "other")


def test_the_relay_reads_only_templates_in_use_and_waits_longer_after_a_failure(desk: Desk) -> None:
    vendor = Vendor(
        page("APPROVED"), page("PAUSED", T0 + 1), page("APPROVED", T0 + 2), TemplatePage((), "no reply")
    )
    now = [0.0]
    reads = VendorSync(desk.database, vendor, every_s=5.0, clock=lambda: now[0])
    assert reads.round() == 5.0
    assert vendor.asked == []
    made = campaign(desk, content=content(2))
    assert reads.round() == 5.0
    assert vendor.asked == [(SENDER, "sale"), ("", "")]
    assert reads.round() == 5.0
    assert state(desk, made)[0] is CampaignStatus.PAUSED
    # What a template paused is asked for, so that a resume knows.
    assert reads.round() == 5.0
    assert desk.read(templates.not_approved) == set()
    act(desk.database, lambda: None, made.id, Act.RESUME, actor=ACTOR, why=None)
    assert [reads.round() for _ in range(5)] == [10.0, 20.0, 40.0, FAILED_S, FAILED_S]


def test_templates_of_single_sends_are_read_too_and_of_many_each_has_its_turn(desk: Desk) -> None:
    for n in range(MOST_AT_ONCE + 5):
        desk.write(templates.note_use, SENDER, f"sale_{n:02}")
        desk.write(templates.note_use, SENDER, f"sale_{n:02}")
    desk.write(templates.note_use, OTHER, "old")
    desk.sql("UPDATE template_uses SET used_at = 1 WHERE sender = :other", other=OTHER)
    vendor = Vendor(*[page("APPROVED")] * (2 * MOST_AT_ONCE))
    reads = VendorSync(desk.database, vendor, every_s=5.0, clock=lambda: 0.0)
    assert [reads.round(), reads.round()] == [5.0, 5.0]
    asked = [name for _, name in vendor.asked if name]
    assert asked[:MOST_AT_ONCE] == [f"sale_{n:02}" for n in range(MOST_AT_ONCE)]
    assert asked[MOST_AT_ONCE:] == [
        *(f"sale_{n:02}" for n in range(MOST_AT_ONCE, MOST_AT_ONCE + 5)),
        *(f"sale_{n:02}" for n in range(MOST_AT_ONCE - 5)),
    ]
    desk.write(templates.note_use, SENDER, "sale_00")
    assert desk.scalar("SELECT count(*) FROM template_uses WHERE used_at = 1") == 0


def test_a_use_is_told_once_a_minute_also_of_a_template_that_is_not_known(desk: Desk) -> None:
    now = [0.0]
    checks = TemplateChecks(desk.database, clock=lambda: now[0])

    def uses() -> set[tuple[str, str]]:
        found: set[tuple[str, str]] = desk.read(templates.in_use)
        return found

    def send() -> None:
        checks.check(
            Kind.UTILITY,
            desk.new_send(type="template", content=content(0), sender=SENDER),
            is_stored=lambda: False,
        )

    send()
    assert uses() == {(SENDER, "sale")}
    desk.sql("UPDATE template_uses SET used_at = 1")
    now[0] = NOTED_S - 1
    send()
    assert uses() == set()
    now[0] = NOTED_S + KEPT_S
    send()
    assert uses() == {(SENDER, "sale")}


class Quiet:
    def publish(self, kind: Kind, ids: Any) -> None: ...

    hand_over = publish


def test_a_single_send_that_does_not_fit_is_refused_and_a_repeat_of_one_that_was_taken_is_not(
    desk: Desk,
) -> None:
    told(desk)
    direct = DirectSends(desk.database, Quiet(), desk.cipher, encrypts=lambda kind: False)  # type: ignore[arg-type]

    def ready(key: str, variables: int = 1) -> Any:
        given = json.loads(content(variables).replace("{{name}}", "Ada"))
        return direct.ready(
            to="447700900123", sender=SENDER, kind="marketing", type="template", content=given, key=key
        )

    first = ready("a")
    assert not direct.knows(first)
    direct.register(first)
    assert direct.knows(first)
    direct.take([SendRequest([first])])
    wrong = ready("b", 3)
    assert not direct.knows(wrong)
    with pytest.raises(InvalidValue, match=r"1 variable .* gives 3: give exactly 1.*; nothing was sent"):
        direct.register(wrong)
    direct.register(ready("a", 3))
