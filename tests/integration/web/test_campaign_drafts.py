"""A campaign is made of a file in the console: chosen, composed, planned, tried, and sent once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bulksend.ledger import campaign_control as campaign_acts
from bulksend.ledger import campaigns, operator_log, plans, suppressions, templates
from bulksend.ledger.templates import TemplateChange
from bulksend.messaging.template_shape import read_shape
from bulksend.operations.access import Role
from ops.web import csrf
from tests.html_pages import Html, words_of
from tests.integration.http.test_campaigns_posted import count
from tests.integration.web.conftest import ON_ONE_DATABASE, Web
from tests.integration.web.test_nasty_strings import MARK, NASTY

SENDER = "8615000579987"
FILE = (
    "Mobile,First name,Order,Notes\n"
    "+447700900123,Ann,1001,hello\n"
    "+447700900124,Ben,1002,<script>alert(1)</script>\n"
    "12345,Dan,1003,short\n"
    "+447700900125,Eve,,\n"
    "+447700900123,Ann,1001,twice\n"
)
TEXT = {
    "sender": SENDER,
    "kind": "marketing",
    "type": "text",
    "name": "spring",
    "body": "Hi {{First name}}, order {{Order}}",
    "timezone": "Asia/Shanghai",
}


def uploaded(
    web: Web, data: str | bytes = FILE, *, name: str = "people.csv", role: Role = Role.SENDER, **fields: str
) -> Any:
    token = csrf.token_of(web.token(role))
    return web.ask(
        "POST",
        "/campaigns/new",
        role,
        data={csrf.FIELD: token, **fields},
        files={"file": (name, data.encode() if isinstance(data, str) else data)},
    )


def draft(web: Web, data: str = FILE, **fields: str) -> str:
    """The address of the form of a file that was just chosen."""
    answer = uploaded(web, data, **fields)
    assert answer.status_code == 303, answer.text[:500]
    return str(answer.headers["location"])


def planned(web: Web, data: str = FILE, **fields: str) -> str:
    answer = web.post(draft(web, data), {**TEXT, **fields, "act": "plan"}, Role.SENDER)
    assert answer.status_code == 303, Html(answer.text).text()[:500]
    return str(answer.headers["location"])


def folder(web: Web) -> list[Path]:
    found = Path(web.api.services.settings.upload_dir)
    return sorted(found.iterdir()) if found.exists() else []


def test_a_file_becomes_a_plan_and_the_plan_a_campaign_once(web: Web) -> None:
    where = draft(web)
    form = web.get(where, Role.SENDER)
    fields = form.fields(".//form[@id='build']")
    assert (fields["use.0"], fields["use.1"], fields["kind"]) == ("to", "", "marketing")
    assert "Ann Ben Dan" in form.text(".//tbody/tr[2]")
    plan = planned(web)
    page = web.get(plan, Role.SENDER)
    main = page.text()
    assert "2 Messages to send" in main
    assert "Repeat another row 1" in main
    bad = [each.text or "" for each in page.all(".//td[@class='bad-cell']")]
    marked = [
        "".join(each.itertext()).replace("Wrong:", "").strip()
        for each in page.all(".//td[@class='bad-cell']")
    ]
    assert (len(bad), marked) == (2, ["12345", "–"])
    assert "Order is empty, but the content needs it" in main
    assert page.text(".//*[@class='bubble']") == "Hi Ann, order 1001"
    assert count(web.api, "campaigns") == 0
    wrong = web.post(f"{plan}/send", {"count": "3"}, Role.SENDER)
    assert (wrong.status_code, count(web.api, "campaigns")) == (422, 0)
    assert "type 2" in Html(wrong.text).text(".//*[@class='boxed sending']")
    sent = [web.post(f"{plan}/send", {"count": "2"}, Role.SENDER) for _ in range(2)]
    places = {answer.headers["location"] for answer in sent}
    assert [answer.status_code for answer in sent] == [303, 303]
    assert (len(places), count(web.api, "campaigns"), count(web.api, "messages")) == (1, 1, 2)
    campaign_id = places.pop().rpartition("/")[2]
    with web.api.ledger.read() as tx:
        campaign = campaigns.get(tx, campaign_id)
    assert (campaign.name, campaign.timezone) == ("spring", "Asia/Shanghai")
    assert "sender-user" in campaign.created_by
    done = web.get(plan, Role.SENDER)
    assert done.one(f".//a[@href='/campaigns/{campaign_id}']") is not None
    assert not done.all(f".//form[@action='{plan}/send']")


def test_what_changed_since_is_shown_before_and_now_and_planned_again(web: Web) -> None:
    plan = planned(web)
    with web.api.ledger.write() as tx:
        suppressions.add(
            tx, {"447700900124": None}, scope="marketing", reason="STOP", source="test", actor="test"
        )
    refused = web.post(f"{plan}/send", {"count": "2"}, Role.SENDER)
    assert (refused.status_code, count(web.api, "campaigns")) == (409, 0)
    rows = Html(refused.text).rows(".//*[@class='changed']//tbody/tr")
    assert ["Messages to send", "2", "1"] in rows
    again = web.post(f"{plan}/again", {}, Role.SENDER)
    assert again.headers["location"] != plan
    assert "1 Messages to send" in web.get(again.headers["location"], Role.SENDER).text()
    listed = web.get("/plans", Role.VIEWER)
    assert len(listed.rows()) == 2


def test_a_template_asks_for_its_values_and_columns_of_their_names_are_filled_in(web: Web) -> None:
    shape = read_shape(
        [
            {"Type": "HEADER", "Format": "IMAGE"},
            {"Type": "BODY", "Text": "Hi {{1}}, order {{2}}"},
            {
                "Type": "BUTTONS",
                "Buttons": [{"Type": "URL", "Text": "Open", "Url": "https://a.example/{{1}}"}],
            },
        ]
    )
    assert shape is not None
    change = TemplateChange("sale", "en", "APPROVED", "MARKETING", "GREEN", "", 1, shape, synced=True)
    with web.api.ledger.write() as tx:
        templates.change_template(tx, change, actor="test")
    where = draft(web)
    web.post(where, {**TEXT, "type": "template", "template": "en sale", "act": "show"}, Role.SENDER)
    fields = web.get(where, Role.SENDER).fields(".//form[@id='build']")
    assert {name for name in fields if name.startswith("p.")} == {
        "p.header.file",
        "p.body.0",
        "p.body.1",
        "p.button.0",
    }
    missing = web.post(where, {**fields, "act": "plan"}, Role.SENDER)
    assert missing.status_code == 422
    assert Html(missing.text).by_id("f-p.header.file").get("aria-invalid") == "true"
    filled = fields | {
        "p.header.file": "https://a.example/x.jpg",
        "p.body.0": "{{First name}}",
        "p.body.1": "{{Order}}",
        "p.button.0": "{{Order}}",
    }
    answer = web.post(where, {**filled, "act": "plan"}, Role.SENDER)
    bubble = web.get(answer.headers["location"], Role.SENDER).text(".//*[@class='bubble']")
    assert bubble == "[image https://a.example/x.jpg] Hi Ann, order 1001 Open: https://a.example/1001"


def add_template(web: Web, body: str, *names: str) -> None:
    shape = read_shape(
        [{"Type": "BODY", "Text": body}], [{"Type": "BODY", "NamedVar": list(names)}] if names else None
    )
    change = TemplateChange("sale", "en", "APPROVED", "MARKETING", "GREEN", "", 1, shape, synced=True)
    with web.api.ledger.write() as tx:
        templates.change_template(tx, change, actor="test")


@ON_ONE_DATABASE
def test_columns_of_awkward_names_fill_a_template(web: Web) -> None:
    add_template(web, "Hi {{1}}, {{2}} off", "name", "discount")
    data = (
        "Kunden-Nr.;Mobil (WhatsApp);Vor-/Nachname;Rabatt in %\n"
        "7;+447700900123;Ann;10 %\n"
        "8;0151;Ben;20 %\n"
        "9;+447700900124;Eve;5 %\n"
    )
    where = draft(web, data)
    show = {**TEXT, "type": "template", "template": "en sale", "act": "show"}
    web.post(where, show, Role.SENDER)
    html = web.get(where, Role.SENDER)
    fields = html.fields(".//form[@id='build']")
    # No number stands where a text is wanted because it is the next column.
    assert (fields["use.1"], fields["p.body.0"], fields["p.body.1"]) == ("to", "", "")
    assert "Body: name: is missing" in html.text(".//aside")
    assert html.text(".//*[@data-chips]") == (
        "Columns to use: {{Kunden-Nr.}} {{Vor-/Nachname}} {{Rabatt in %}}"
    )
    fields |= {"p.body.0": "{{Vor-/Nachname}}", "p.body.1": "{{20 %}}"}
    wrong = web.post(where, {**fields, "act": "plan"}, Role.SENDER)
    assert "Body: discount: has a placeholder that is not a column name" in Html(wrong.text).text()
    assert Html(wrong.text).by_id("f-p.body.1").get("aria-invalid") == "true"
    fields["p.body.1"] = "{{Rabatt in %}}"
    answer = web.post(where, {**fields, "act": "plan"}, Role.SENDER)
    plan = answer.headers["location"]
    page = web.get(plan, Role.SENDER)
    assert page.text(".//*[@class='bubble']") == "Hi Ann, 10 % off"
    assert "Mobil (WhatsApp)" in web.get(f"{plan}?row=3", Role.SENDER).text(".//*[@id='preview']")
    assert "Row 9: is not in the file" in web.get(f"{plan}?row=9", Role.SENDER).text(".//*[@id='preview']")


@ON_ONE_DATABASE
def test_values_without_a_name_are_filled_in_the_order_of_the_columns(web: Web) -> None:
    add_template(web, "Hi {{1}}, order {{2}}")
    where = draft(web)
    web.post(where, {**TEXT, "type": "template", "template": "en sale", "act": "show"}, Role.SENDER)
    fields = web.get(where, Role.SENDER).fields(".//form[@id='build']")
    assert (fields["p.body.0"], fields["p.body.1"]) == ("{{First name}}", "{{Order}}")


@ON_ONE_DATABASE
def test_the_reasons_of_refused_rows_name_the_column_and_keep_the_example(web: Web) -> None:
    page = web.get(planned(web, FILE + "99,Zoe,1,\n0151 2345678,Tim,1,\n"), Role.SENDER)
    assert "name their country with “Change something first”" in page.text(".//section[@id='refused']")
    reasons = [row[0] for row in page.rows(".//section[@id='refused']//tbody/tr")]
    assert any(
        each.startswith("Mobile: is too short") and each.endswith("+44 7700 900123") for each in reasons
    )


@ON_ONE_DATABASE
def test_what_was_typed_stays_with_its_errors_and_its_zone(web: Web) -> None:
    where = draft(web)
    wrong = web.post(
        where,
        {**TEXT, "send_at": "2030-03-31T02:30", "timezone": "Europe/Berlin", "weight": "many", "act": "plan"},
        Role.SENDER,
    )
    html = Html(wrong.text)
    assert wrong.status_code == 422
    fields = html.fields(".//form[@id='build']")
    assert (fields["send_at"], fields["timezone"], fields["weight"]) == (
        "2030-03-31T02:30",
        "Europe/Berlin",
        "many",
    )
    assert html.by_id("f-weight").get("aria-invalid") == "true"
    gap = web.post(
        where,
        {**TEXT, "send_at": "2030-03-31T02:30", "timezone": "Europe/Berlin", "act": "plan"},
        Role.SENDER,
    )
    assert "where clocks skip it" in Html(gap.text).text()
    good = web.post(
        where,
        {**TEXT, "send_at": "2030-03-31T09:30", "timezone": "Europe/Berlin", "act": "plan"},
        Role.SENDER,
    )
    page = web.get(good.headers["location"], Role.VIEWER)
    assert "2030-03-31 09:30 Europe/Berlin" in page.text()
    assert page.all(".//time[@datetime='2030-03-31T07:30:00.000+00:00']")
    with web.api.ledger.read() as tx:
        frozen = plans.get(tx, good.headers["location"].rpartition("/")[2])
    assert json.loads(frozen.options)["send_at"] == "2030-03-31 09:30"


@ON_ONE_DATABASE
def test_a_file_that_is_not_utf_8_is_taken_with_its_encoding(web: Web) -> None:
    """Excel saves "CSV" in the encoding of its country, which the page must be able to say."""
    data = "手机号,姓名\n8613800138000,李雷\n8613800138001,韩梅梅\n".encode("gb18030")
    refused = uploaded(web, data)
    page = Html(refused.text)
    assert (refused.status_code, '"encoding": "gb18030"' in page.text()) == (422, True)
    assert page.one(".//form//details").get("open") is not None
    wrong = uploaded(web, data, encoding="gbk2")
    assert (wrong.status_code, Html(wrong.text).by_id("f-encoding").get("value")) == (422, "gbk2")
    taken = uploaded(web, data, encoding="gb18030")
    assert taken.status_code == 303
    form = web.get(taken.headers["location"], Role.SENDER)
    assert "李雷 韩梅梅" in form.text(".//tbody/tr[2]")
    assert form.fields(".//form[@id='build']")["encoding"] == "gb18030"
    web.post(taken.headers["location"], {**TEXT, "encoding": "utf-16", "act": "show"}, Role.SENDER)
    unread = web.get(taken.headers["location"], Role.SENDER)
    assert "has no byte-order mark" in unread.text()
    assert unread.by_id("reading").get("open") is not None


@ON_ONE_DATABASE
def test_columns_are_mapped_by_hand(web: Web) -> None:
    data = "A,B,ttl\n447700900123,Ann,5\n447700900124,Ben,6\n"
    where = draft(web, data)
    form = web.get(where, Role.SENDER)
    assert "numbers are in the column A" in form.text()
    assert form.fields(".//form[@id='build']")["use.0"] == "to"
    web.post(where, {**TEXT, "body": "{{B}}", "use.0": "", "act": "show"}, Role.SENDER)
    assert "No column says by its name" in web.get(where, Role.SENDER).text()
    fields = {**TEXT, "body": "{{B}} {{ttl_}}", "use.0": "to", "use.1": "", "use.2": ""}
    twice = web.post(where, {**fields, "use.1": "to", "act": "plan"}, Role.SENDER)
    assert (twice.status_code, "another column is chosen" in Html(twice.text).text()) == (422, True)
    answer = web.post(where, {**fields, "act": "plan"}, Role.SENDER)
    assert answer.status_code == 303, Html(answer.text).text(".//*[@role='alert']")
    assert web.get(answer.headers["location"], Role.SENDER).text(".//*[@class='bubble']") == "Ann 5"
    second = web.get(f"{answer.headers['location']}?row=3", Role.SENDER)
    assert second.text(".//*[@class='bubble']") == "Ben 6"
    assert second.one(".//a[@rel='prev']").get("href", "").endswith("?row=2#preview")
    assert not second.all(".//a[@rel='next']")


@ON_ONE_DATABASE
def test_a_viewer_sees_what_is_wrong_but_no_cell_and_no_button(web: Web) -> None:
    file = FILE.replace("12345,", "4477009001234567890,").replace("Notes", "447700900851")
    plan = planned(web, file + "Zoe +44 7700 900 852,Zoe,1004,,\n")
    page = web.get(plan, Role.VIEWER)
    text = page.text()
    assert "3 rows with errors" in text
    assert "*** +** **** *** 852" in text
    unseen = ("Dan", "Eve", "Zoe", "4477009001234567890", "447700900125", "Hi Ann", "900 852", "447700900851")
    for private in unseen:
        assert private not in text
    assert not page.all(".//form[@method='post']/input[@name='count']")
    for path in (f"{plan}/refused.csv", "/campaigns/new"):
        assert web.ask("GET", path, Role.VIEWER).status_code == 403
    for path in ("send", "test", "again", "edit"):
        assert web.post(f"{plan}/{path}", {"count": "2"}, Role.VIEWER).status_code == 403
    assert count(web.api, "campaigns") == 0


@ON_ONE_DATABASE
def test_a_test_goes_to_ones_own_number_once_and_its_number_is_in_no_address(web: Web) -> None:
    plan = planned(web)
    once = web.get(plan, Role.SENDER).fields(f".//form[@action='{plan}/test']")["once"]
    fields = {"to": "+44 7700 900199", "row": "3", "once": once}
    sent = [web.post(f"{plan}/test", fields, Role.SENDER) for _ in range(2)]
    assert {answer.headers["location"] for answer in sent} == {plan}
    assert "Row 3 was sent as a test" in web.said(sent[0], Role.SENDER).text(".//*[@class='said']")
    assert count(web.api, "messages") == 1
    wrong = web.post(f"{plan}/test", {"to": "12", "row": "3", "once": "x"}, Role.SENDER)
    assert wrong.status_code == 422
    assert Html(wrong.text).by_id("f-to").get("value") == "12"


@ON_ONE_DATABASE
def test_refused_rows_are_downloaded_on_record_and_no_cell_is_a_formula(web: Web) -> None:
    plan = planned(web, FILE + "123,=1+1,7,x\n")
    answer = web.ask("GET", f"{plan}/refused.csv", Role.SENDER)
    lines = answer.text.lstrip("\ufeff").splitlines()
    assert lines[0] == "Mobile,First name,Order,Notes,row,wrong field,why"
    assert lines[1].startswith("12345,Dan,1003,short,4,Mobile,")
    assert any(line.startswith("123,'=1+1,7,x,7,") for line in lines)
    with web.api.ledger.read() as tx:
        acts = [each.act for each in operator_log.of(tx, "read", plan.rpartition("/")[2])]
    assert "download refused rows" in acts


@ON_ONE_DATABASE
def test_a_clone_begins_with_what_the_campaign_had(web: Web) -> None:
    plan = planned(web, rate="500/min", cap="2/7d")
    campaign = web.post(f"{plan}/send", {"count": "2"}, Role.SENDER).headers["location"].rpartition("/")[2]
    chosen = web.get(f"/campaigns/new?from={campaign}", Role.SENDER)
    assert "spring" in chosen.text(".//*[@class='notice']")
    where = draft(web, FILE, **{"from": campaign})
    fields = web.get(where, Role.SENDER).fields(".//form[@id='build']")
    assert (fields["body"], fields["cap"], fields["sender"]) == (TEXT["body"], "2/7d", SENDER)
    assert float(fields["rate"]) == pytest.approx(500 / 60, rel=1e-4)
    assert fields["timezone"] == "Asia/Shanghai"
    assert web.ask("GET", "/campaigns/new?from=nothing", Role.SENDER).status_code == 404


@ON_ONE_DATABASE
def test_a_file_that_cannot_be_used_is_not_kept(web: Web) -> None:
    for name, data in (
        ("people.pdf", "x"),
        ("people.csv", "to\n"),
        ("people.csv", "{}"),
        ("people.csv", "\0"),
    ):
        answer = uploaded(web, data, name=name)
        assert answer.status_code == 422, name
        assert Html(answer.text).one(".//*[@role='alert']") is not None
    stranger = web.ask(
        "POST",
        "/campaigns/new",
        Role.SENDER,
        data={csrf.FIELD: "0"},
        files={"file": ("people.csv", FILE.encode())},
    )
    assert (stranger.status_code, folder(web)) == (403, [])
    assert web.ask("GET", "/campaigns/new/0", Role.SENDER).status_code == 404


@ON_ONE_DATABASE
@pytest.mark.parametrize("nasty", NASTY)
def test_a_nasty_text_is_only_a_text_wherever_it_stands(web: Web, nasty: str) -> None:
    cell = nasty.replace('"', '""')
    data = f'to,"{cell}"\n447700900123,"{cell}"\n"{cell}",x\n'
    answer = uploaded(web, data, name=f"{nasty}.csv")
    where = answer.headers.get("location") or draft(web, "to,name\n447700900123,Ann\n" + f'"{cell}",x\n')
    fields = {**TEXT, "name": nasty, "body": nasty, "exclude_other": nasty, "timezone": nasty, "act": "show"}
    web.post(where, fields, Role.SENDER)
    pages = [web.get(where, Role.SENDER)]
    refused = web.post(where, {**fields, "act": "plan"}, Role.SENDER)
    assert refused.status_code == 422
    pages.append(Html(refused.text))
    made = web.post(where, {**TEXT, "name": f"{nasty}", "act": "plan"} | {"body": "Hi"}, Role.SENDER)
    if made.status_code == 303:
        pages += [web.get(made.headers["location"], Role.SENDER), web.get("/plans", Role.SENDER)]
    else:
        pages.append(Html(made.text))
    for html in pages:
        html.check()
        strange = [
            each.tag for each in html.root.iter() if each.tag in ("img", "svg") and MARK in str(each.attrib)
        ]
        assert (strange, [each for each in html.root.iter("script") if not each.get("src")]) == ([], [])
    assert any(MARK in str(list(html.root.itertext())) for html in pages)


@ON_ONE_DATABASE
def test_the_rest_of_a_cancelled_campaign_is_sent_once(web: Web) -> None:
    plan = planned(web)
    campaign = web.post(f"{plan}/send", {"count": "2"}, Role.SENDER).headers["location"].rpartition("/")[2]
    open_one = web.ask("GET", f"/campaigns/new?from={campaign}&rest=1", Role.SENDER)
    assert open_one.status_code == 409
    campaign_acts.cancel(web.api.ledger, campaign, actor="test", why="test")
    page = web.get(f"/campaigns/new?from={campaign}&rest=1", Role.SENDER)
    assert "2 people were surely not sent to" in page.text()
    fields = page.fields(".//form[@action='/campaigns/new/rest']")
    wrong = web.post("/campaigns/new/rest", {**fields, "count": "1"}, Role.SENDER)
    assert (wrong.status_code, count(web.api, "campaigns")) == (422, 1)
    assert Html(wrong.text).by_id("f-count").get("value") == "1"
    sent = [web.post("/campaigns/new/rest", {**fields, "count": "2"}, Role.SENDER) for _ in range(2)]
    assert len({answer.headers["location"] for answer in sent}) == 1
    assert (count(web.api, "campaigns"), count(web.api, "messages")) == (2, 4)
    assert web.post("/campaigns/new/rest", fields, Role.VIEWER).status_code == 403


@ON_ONE_DATABASE
def test_a_file_with_more_columns_than_a_form_holds_is_refused(web: Web) -> None:
    def wide(columns: int) -> str:
        return f"to,{','.join(f'c{n}' for n in range(columns - 1))}\n447700900123{',x' * (columns - 1)}\n"

    where = draft(web, wide(500))
    assert web.post(where, {**TEXT, "body": "Hi {{c498}}", "act": "plan"}, Role.SENDER).status_code == 303
    answer = uploaded(web, wide(501))
    assert (answer.status_code, "501 columns" in Html(answer.text).text()) == (422, True)
    assert [each.name for each in folder(web)] == [where.rpartition("/")[2]]


@ON_ONE_DATABASE
def test_who_looks_at_rows_of_a_file_is_on_record(web: Web) -> None:
    where = draft(web)
    id = where.rpartition("/")[2]
    web.post(where, {**TEXT, "act": "plan"}, Role.SENDER)
    for path in (f"{where}?row=2", f"/plans/{id}?row=3"):
        before = looked_at(web, id)
        web.get(path, Role.OPERATOR)
        assert len(looked_at(web, id)) == len(before) + 1
        assert ("operator-user", f"row {path[-1]}") in looked_at(web, id)
        web.get(path, Role.VIEWER, status=200 if "plans" in path else 403)
        assert len(looked_at(web, id)) == len(before) + 1


def looked_at(web: Web, id: str) -> list[tuple[str, str]]:
    with web.api.ledger.read() as tx:
        acts = operator_log.of(tx, "read", id)
    return [(each.actor, each.why) for each in acts if each.act == "show rows"]


@ON_ONE_DATABASE
def test_how_a_file_is_read_is_no_warning_but_a_likely_mistake_is(web: Web) -> None:
    where = draft(web, "Mobile No.;name;x\n447700900123;Ann;\n447700900124;N/A;\n")
    page = web.get(where, Role.SENDER)
    assert page.text(".//*[@class='noted']") == "Of the file cells are separated by semicolons"
    assert not page.all(".//*[@class='notice']/h3")
    answer = web.post(where, {**TEXT, "body": "Hi {{name}} [name]", "act": "plan"}, Role.SENDER)
    page = web.get(answer.headers["location"], Role.SENDER)
    assert page.text(".//*[@class='noted']/ul") == (
        "cells are separated by semicolons the recipients are read from the column 'mobile no.'"
    )
    (warned,) = (each for each in page.all(".//*[@class='notice']") if "To look at" in words_of(each))
    said = [words_of(each) for each in warned.iter("li")]
    assert len(said) == 2
    assert all("is sent as it stands" in each for each in said)
