"""What the vendor checks and replies, without sockets."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest

from simulator import Limits, VendorPhone, VendorTemplate
from simulator.settings import VendorButton

#: Reference 1.2: secret of the published vectors, and the body of vector 7 with its changes.
VECTOR_SECRET = "NTk1Mzk0MAItOWI0My10MGM4LTg0NmMMNDM0ZGM5Y2ZkMmNk"
OTP = (
    '{"name":"otp_test_02","language":{"policy":"deterministic","code":"zh_CN"},"components":[{"type":"body",'
    '"parameters":[{"type":"text","text":"123456"}]},{"type":"button","sub_type":"url","index":"0","parameters":'
    '[{"type":"text","text":"123456"}]}]}'
)
PLAIN = '{"body":"text-message-content","preview_url":false}'


def test_a_send_gets_exactly_the_documented_reply(desk: Any) -> None:
    answer = desk.ask()
    assert answer.status == 200
    message_id = answer.json["Data"]["MessageId"]
    assert answer.json == {
        "Action": "SendMessageResponse",
        "Data": {"MessageId": message_id},
        "Message": "",
        "RequestId": answer.headers["x-speedo-request-uuid"],
        "RetCode": 0,
    }
    assert message_id.startswith("wamid.")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["date"] == "Fri, 15 Jan 2027 08:00:00 GMT"


def test_the_sdks_name_of_the_send_call_is_accepted_too(desk: Any) -> None:
    answer = desk.ask(Action="SendWhatsappMessage", AccountId=None)
    assert answer.json["Action"] == "SendWhatsappMessageResponse"
    assert answer.ret_code == 0


def test_no_two_replies_have_the_same_message_id_or_request_id(desk: Any) -> None:
    answers = [desk.ask().json for _ in range(500)]
    assert len({one["Data"]["MessageId"] for one in answers}) == 500
    assert len({one["RequestId"] for one in answers}) == 500


@pytest.mark.parametrize(
    ("changes", "signature"),
    [
        ({"Content": PLAIN}, "937877641e357325cc71ae520652dae3383dfd2f"),
        ({"Content": PLAIN, "Action": "SendWhatsappMessage"}, "270e3bd5eb6ce64eb71f813738f6fcc4bad7807f"),
        ({"Content": '{"body":"你好 🎉","preview_url":true}'}, "50db7830006b21b67aa31b0e0f3ac246721cc3e8"),
        ({"Content": OTP, "Type": "template"}, "513b0f044d6b39f15217b5ee5eef177a3e2a9a40"),
    ],
)
def test_the_published_signatures_are_accepted(
    open_desk: Callable[..., Any], changes: dict[str, Any], signature: str
) -> None:
    desk = open_desk(secret=VECTOR_SECRET)
    assert desk.ask(To="447731688264", headers={"x-signature": signature}, **changes).ret_code == 0
    wrong = signature[:-1] + ("0" if signature[-1] != "0" else "1")
    assert desk.ask(To="447731688264", headers={"x-signature": wrong}, **changes).ret_code == 171


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ({"target": "/"}, 404),
        ({"target": "/api/v1"}, 404),
        ({"method": "GET"}, 405),
        ({"method": "PUT"}, 405),
        ({"headers": {"content-type": None}}, 415),
        ({"headers": {"content-type": "text/plain"}}, 415),
        ({"headers": {"content-type": "application/json; charset=gbk"}}, 415),
        ({"body": b""}, 400),
        ({"body": b"{"}, 400),
        ({"body": b"[]"}, 400),
        ({"body": b'{"a": NaN}'}, 400),
        ({"body": b'{"a": "\xff"}'}, 400),
        ({"body": b"[" * 100_000}, 400),
    ],
)
def test_a_malformed_request_is_rejected_by_an_http_status(
    desk: Any, how: dict[str, Any], status: int
) -> None:
    assert desk.ask(**how).status == status


@pytest.mark.parametrize("target", ["/api", "/api/", "/api?Action=SendMessage", "/api/?Action=SendMessage"])
def test_both_paths_and_the_action_in_the_query_are_accepted(desk: Any, target: str) -> None:
    assert desk.ask(target=target).ret_code == 0


def test_a_content_type_may_name_its_charset(desk: Any) -> None:
    assert desk.ask(headers={"content-type": "application/json; charset=utf-8"}).ret_code == 0


@pytest.mark.parametrize(
    ("how", "ret_code", "named"),
    [
        ({"headers": {"x-signature": None}}, 170, "signature"),
        ({"headers": {"x-signature": "0" * 40}}, 171, "Signature"),
        ({"headers": {"x-signature": "é"}}, 171, "Signature"),
        ({"headers": {"x-access-key-id": "another"}}, 174, "key"),
        ({"headers": {"x-access-key-id": None}}, 174, "key"),
        ({"headers": {"x-timestamp": "1799999699"}}, 171, "X-Timestamp"),
        ({"headers": {"x-timestamp": "1800000301"}}, 171, "X-Timestamp"),
        ({"headers": {"x-timestamp": "1800000000000"}}, 171, "X-Timestamp"),
        ({"headers": {"x-timestamp": "now"}}, 171, "X-Timestamp"),
        ({"headers": {"x-timestamp": None}}, 171, "X-Timestamp"),
        ({"headers": {"x-nonce": None}}, 171, "X-Nonce"),
        ({"headers": {"x-nonce": "x" * 37}}, 171, "X-Nonce"),
        ({"Action": None}, 160, "Action"),
        ({"Action": "SendEverything"}, 161, "Action"),
        ({"target": "/api?Action=GetTemplates"}, 161, "query"),
        ({"AccountId": "someone"}, 172, "Account"),
    ],
)
def test_a_request_is_rejected_with_the_code_of_its_error(
    desk: Any, how: dict[str, Any], ret_code: int, named: str
) -> None:
    answer = desk.ask(**how)
    assert (answer.status, answer.ret_code) == (200, ret_code)
    assert named in answer.message
    assert "Data" not in answer.json
    assert desk.rows[0]["verdict"] == "refused"


@pytest.mark.parametrize("seconds", ["1799999700", "1800000300"])
def test_a_timestamp_five_minutes_off_is_still_accepted(desk: Any, seconds: str) -> None:
    assert desk.ask(headers={"x-timestamp": seconds}).ret_code == 0


def test_a_nonce_of_36_characters_is_accepted_because_the_java_sdk_sends_uuids(desk: Any) -> None:
    assert desk.ask(headers={"x-nonce": "x" * 36}).ret_code == 0


def test_a_nonce_is_rejected_within_its_window_and_accepted_after_it(desk: Any) -> None:
    again = {"x-nonce": "only-once"}
    codes = [desk.ask(at=at, headers=again).ret_code for at in (0, 1, 300, 301)]
    assert codes == [0, 171, 171, 0]


def test_the_nonce_check_can_be_switched_off(open_desk: Callable[..., Any]) -> None:
    desk = open_desk(nonce_window_seconds=0)
    assert [desk.ask(headers={"x-nonce": "same"}).ret_code for _ in range(2)] == [0, 0]


def test_a_body_that_cannot_be_signed_is_a_bad_signature(desk: Any) -> None:
    signed = {"x-signature": "0" * 40}
    assert desk.ask(b'{"Action": null}', headers=signed).ret_code == 171
    assert desk.ask(b'{"Action": "\\ud800"}', headers=signed).ret_code == 171


def test_only_the_set_account_is_accepted(open_desk: Callable[..., Any]) -> None:
    desk = open_desk(account_id=8899)
    assert [desk.ask(AccountId=account).ret_code for account in (8899, "8899", None, 8898)] == [0, 0, 0, 172]


@pytest.mark.parametrize(
    ("changes", "begins"),
    [
        ({"To": None}, "(#100) "),
        ({"To": "+447700900123"}, "(#100) "),
        ({"To": "44 7700 900123"}, "(#100) "),
        ({"To": "٤٤٧٧٠٠٩٠٠١٢٣"}, "(#100) "),
        ({"To": "4" * 16}, "(#100) "),
        ({"To": 447700900123}, "(#100) "),
        ({"BusinessPhone": "sender"}, "(#100) "),
        ({"To": "8615000579987"}, "(#131021) "),
        ({"Type": "interactive"}, "(#100) "),
        ({"Type": None}, "(#100) "),
        ({"Content": None}, "(#100) "),
        ({"Content": "hello"}, "(#100) "),
        ({"Content": {"text": "hello"}}, "(#100) "),
    ],
)
def test_a_wrong_field_of_a_send_is_a_17115_with_the_whatsapp_code(
    desk: Any, changes: dict[str, Any], begins: str
) -> None:
    answer = desk.ask(**changes)
    assert answer.ret_code == 17115
    assert answer.message.startswith(begins)
    assert desk.rows[0]["stored"] is False


def test_fields_of_the_sample_that_are_in_no_table_are_ignored(desk: Any) -> None:
    assert desk.ask(companyId=8899, Purpose=1, accountId=8899).ret_code == 0


@pytest.mark.parametrize(
    ("answer", "status", "ret_code", "message"),
    [
        ("http_429", 429, None, "Too Many Requests"),
        ("ret_code_153", 200, 153, "throttled"),
        ("whatsapp_130429", 200, 17115, "(#130429)"),
    ],
)
def test_a_sender_that_exceeds_its_rate_gets_the_reply_of_the_settings(
    open_desk: Callable[..., Any], answer: Any, status: int, ret_code: int | None, message: str
) -> None:
    desk = open_desk(limits=Limits(per_sender_per_second=2, answer=answer, retry_after_seconds=3))
    first, second, third = (desk.ask(at=0.1) for _ in range(3))
    assert first.ret_code == second.ret_code == 0
    assert (third.status, third.json.get("RetCode")) == (status, ret_code)
    assert message in third.message
    assert third.headers.get("retry-after") == ("3" if status == 429 else None)
    assert desk.rows[2]["verdict"] == "throttled"
    assert desk.ask(at=0.2, BusinessPhone="8615000579988").ret_code == 0
    assert desk.ask(at=1.1).ret_code == 0


def test_a_429_can_come_without_retry_after(open_desk: Callable[..., Any]) -> None:
    desk = open_desk(limits=Limits(per_sender_per_second=1, answer="http_429"))
    desk.ask()
    assert "retry-after" not in desk.ask().headers


def test_the_account_limit_counts_all_senders_together(open_desk: Callable[..., Any]) -> None:
    desk = open_desk(limits=Limits(per_account_per_second=2))
    codes = [desk.ask(BusinessPhone=f"861500057998{place}").ret_code for place in range(3)]
    assert codes == [0, 0, 153]


def test_a_request_that_the_account_limit_rejects_does_not_count_for_the_sender(
    open_desk: Callable[..., Any],
) -> None:
    desk = open_desk(limits=Limits(per_sender_per_second=1, per_account_per_second=1))
    desk.ask(at=0.0, BusinessPhone="8615000579981")
    assert desk.ask(at=0.9).ret_code == 153
    assert desk.ask(at=1.0).ret_code == 0


def test_the_pair_limit_allows_a_burst_and_then_one_an_interval(open_desk: Callable[..., Any]) -> None:
    desk = open_desk(limits=Limits(pair_interval_seconds=6, pair_burst=3))
    burst = [desk.ask(at=0.0) for _ in range(4)]
    assert [one.ret_code for one in burst] == [0, 0, 0, 17115]
    assert "(#131056)" in burst[3].message
    assert desk.ask(at=0.0, To="447700900124").ret_code == 0
    assert desk.ask(at=5.9).ret_code == 17115
    assert [desk.ask(at=6.0).ret_code for _ in range(2)] == [0, 17115]


def test_an_account_without_balance_is_rejected_until_it_has_some(open_desk: Callable[..., Any]) -> None:
    desk = open_desk(balance=2)
    assert [desk.ask().ret_code for _ in range(3)] == [0, 0, 17125]
    assert desk.ask(To="bad").ret_code == 17115
    desk.vendor.balance = 1
    assert [desk.ask().ret_code for _ in range(2)] == [0, 17125]


TEMPLATES = (
    VendorTemplate("otp_test_02", "zh_CN", category="AUTHENTICATION", body_parameters=1),
    VendorTemplate("paused_one", "en_US", status="PAUSED"),
    VendorTemplate("disabled_one", "en_US", status="DISABLED"),
    VendorTemplate("pending_one", "en_US", status="PENDING"),
)


@pytest.mark.parametrize(
    ("name", "code", "texts", "begins"),
    [
        ("otp_test_02", "zh_CN", ["123456"], ""),
        ("otp_test_02", "zh_CN", [], "(#132000) "),
        ("otp_test_02", "en_US", ["123456"], "(#132001) "),
        ("missing", "en_US", [], "(#132001) "),
        ("pending_one", "en_US", [], "(#132001) "),
        ("paused_one", "en_US", [], "(#132015) "),
        ("disabled_one", "en_US", [], "(#132016) "),
    ],
)
def test_a_template_must_exist_be_approved_and_get_its_variables(
    open_desk: Callable[..., Any], name: str, code: str, texts: list[str], begins: str
) -> None:
    parameters = [{"type": "text", "text": text} for text in texts]
    content = {
        "name": name,
        "language": {"code": code, "policy": "deterministic"},
        "components": [{"type": "body", "parameters": parameters}],
    }
    answer = open_desk(templates=TEMPLATES).ask(Type="template", Content=content)
    assert answer.ret_code == (17115 if begins else 0)
    assert answer.message.startswith(begins)


def test_only_the_accounts_own_connected_phones_may_send_when_they_are_listed(
    open_desk: Callable[..., Any],
) -> None:
    phones = (VendorPhone("8615000579987"), VendorPhone("8615000579988", status="DISCONNECTED"))
    desk = open_desk(phones=phones)
    codes = [desk.ask(BusinessPhone=f"861500057998{place}").ret_code for place in (7, 8, 9)]
    assert codes == [0, 17115, 17102]


def test_what_is_not_listed_may_be_accepted_beside_what_is(open_desk: Callable[..., Any]) -> None:
    phones = (VendorPhone("8615000579988", status="DISCONNECTED"),)
    desk = open_desk(phones=phones, templates=TEMPLATES, unlisted="accepted")
    template = {"language": {"code": "en_US", "policy": "deterministic"}, "components": []}

    def code(name: str, sender: str = "8615000579987") -> int:
        answer = desk.ask(Type="template", Content=template | {"name": name}, BusinessPhone=sender)
        return int(answer.ret_code)

    assert [code("missing"), code("paused_one"), code("missing", "8615000579988")] == [0, 17115, 17115]


def test_the_phone_list_has_the_documented_shape(open_desk: Callable[..., Any]) -> None:
    desk = open_desk(phones=(VendorPhone("8615000579987", quality_rating="RED", country="CN"),))
    answer = desk.ask({"Action": "GetAccountPhoneList"})
    assert answer.json["Action"] == "GetAccountPhoneListResponse"
    assert answer.ret_code == 0
    assert answer.json["Data"]["PhoneList"] == [
        {
            "Number": "8615000579987",
            "Country": "CN",
            "Status": "CONNECTED",
            "QualityRating": "RED",
            "DisplayName": "",
            "MessagingLimit": "TIER_UNLIMITED",
        }
    ]


def test_the_template_list_has_the_documented_shape_and_finds_by_name(open_desk: Callable[..., Any]) -> None:
    desk = open_desk(templates=TEMPLATES)
    every = desk.ask({"Action": "GetTemplates", "BusinessPhone": "8615000579987"})
    assert [one["Status"] for one in every.json["Data"]["Data"]] == [
        "APPROVED",
        "PAUSED",
        "DISABLED",
        "PENDING",
    ]
    assert set(every.json["Data"]["Paging"]) == {"Cursors", "Next", "Previous"}
    one = desk.ask({"Action": "GetTemplates", "BusinessPhone": "8615000579987", "Name": "otp_test_02"})
    assert [found["Components"][0]["Text"].count("{{") for found in one.json["Data"]["Data"]] == [1]
    assert desk.ask({"Action": "GetTemplates"}).ret_code == 17108


def test_an_upload_gives_an_id_and_refuses_what_is_not_base64(desk: Any) -> None:
    def upload(**changes: Any) -> Any:
        return desk.ask({"Action": "UploadMedia", "BusinessPhone": "8615000579987"} | changes)

    taken = upload(File=b64encode(b"picture").decode())
    assert taken.ret_code == 0
    assert isinstance(taken.json["Data"]["Id"], str)
    assert upload(File="data:image/png;base64,AAAA").ret_code == 17110
    assert upload(File="").ret_code == 17110
    assert upload(File=5).ret_code == 17110
    assert upload(BusinessPhone="x").ret_code == 17112
    assert [row["verdict"] for row in desk.rows][:2] == ["served", "refused"]


def test_a_message_id_stays_unique_after_a_reset(desk: Any) -> None:
    before = desk.ask().json["Data"]["MessageId"]
    desk.vendor.reset(5.0)
    assert desk.rows == []
    assert desk.ask(at=5.0).json["Data"]["MessageId"] != before


def test_every_reply_is_json(desk: Any) -> None:
    strange = desk.ask(Action='Evil"Action\\')
    assert strange.ret_code == 161
    assert json.loads(strange.raw_body)["Action"] == 'Evil"Action\\Response'


def test_templates_come_in_pages_that_go_both_ways(open_desk: Callable[..., Any]) -> None:
    desk = open_desk(templates=tuple(VendorTemplate(f"t{n}", "en") for n in range(5)))

    def ask(**more: Any) -> Any:
        return desk.ask({"Action": "GetTemplates", "BusinessPhone": "8615000579987", "Limit": 2} | more)

    seen, after = [], ""
    while True:
        data = ask(**({"After": after} if after else {})).json["Data"]
        seen += [one["Name"] for one in data["Data"]]
        if not data["Paging"]["Next"]:
            break
        after = data["Paging"]["Cursors"]["After"]
    assert seen == ["t0", "t1", "t2", "t3", "t4"]
    before = data["Paging"]["Cursors"]["Before"]
    assert [one["Name"] for one in ask(Before=before).json["Data"]["Data"]] == ["t2", "t3"]
    assert ask(After="odd").ret_code == 17108
    assert ask(Limit=0).ret_code == 17108


def test_a_template_with_header_and_buttons_gets_exactly_its_parameters(
    open_desk: Callable[..., Any],
) -> None:
    button = VendorButton(url="https://shop.example/{{1}}")
    template = VendorTemplate(
        "full", "en", body_parameters=1, header="IMAGE", buttons=(button,), variable_names=("name",)
    )
    desk = open_desk(templates=(template,))
    text = {"type": "text", "text": "a"}
    image = {"type": "image", "image": {"link": "https://shop.example/a.png"}}
    body = {"type": "body", "parameters": [text]}
    head = {"type": "header", "parameters": [image]}
    url = {"type": "button", "sub_type": "url", "index": "0", "parameters": [text]}

    def send(*components: Any) -> str:
        language = {"code": "en", "policy": "deterministic"}
        content = {"name": "full", "language": language, "components": list(components)}
        return str(desk.ask(Type="template", Content=content).message)

    assert send(head, body, url) == ""
    assert send(head, body).startswith("(#132000)")
    assert send(body, url).startswith("(#132000)")
    assert send({"type": "header", "parameters": [text]}, body, url).startswith("(#132012)")
    (entry,) = desk.ask({"Action": "GetTemplates", "BusinessPhone": "8615000579987"}).json["Data"]["Data"]
    assert entry["Attributes"] == [{"Type": "BODY", "NamedVar": ["name"]}]
    assert [one["Type"] for one in entry["Components"]] == ["HEADER", "BODY", "BUTTONS"]


def test_the_vendor_changes_templates_and_phones_until_a_reset(open_desk: Callable[..., Any]) -> None:
    desk = open_desk(
        templates=(VendorTemplate("a", "en"), VendorTemplate("a", "de")),
        phones=(VendorPhone("8615000579987"),),
    )
    account = desk.vendor.account
    assert account.change_template("a", None, status="PAUSED", quality="RED") == 2
    assert account.change_template("a", "de", category="UTILITY") == 1
    assert account.change_template("b", None, status="PAUSED") == 0
    listed = desk.ask({"Action": "GetTemplates", "BusinessPhone": "8615000579987"}).json["Data"]["Data"]
    assert [(one["Status"], one["Category"]) for one in listed] == [
        ("PAUSED", "MARKETING"),
        ("PAUSED", "UTILITY"),
    ]
    assert account.change_phone("8615000579987", quality_rating="RED")
    assert not account.change_phone("8615000579980", quality_rating="RED")
    desk.vendor.reset(0.0)
    assert {one.status for one in desk.vendor.account.templates.values()} == {"APPROVED"}


def test_a_file_is_known_to_its_sender_for_30_days_or_until_it_is_deleted(
    open_desk: Callable[..., Any],
) -> None:
    desk = open_desk(media="uploaded", nonce_window_seconds=0)
    sender, other, day = "8615000579987", "8615000579988", 86_400

    def call(action: str, at: float = 0.0, **fields: Any) -> Any:
        return desk.ask({"Action": action, "BusinessPhone": sender} | fields, at=at)

    id = call("UploadMedia", File=b64encode(b"\xff\xd8\xff picture").decode()).json["Data"]["Id"]
    found = call("GetMedia", MediaId=id, at=29 * day).json["Data"]
    assert set(found) == {"FileName", "MimeType", "URL"}
    assert found["MimeType"] == "image/jpeg"
    assert call("GetMedia", MediaId=id, BusinessPhone=other).ret_code == 17113
    assert call("GetMedia", MediaId=id, at=30 * day).ret_code == 17113
    assert desk.ask(Type="image", Content={"id": id}).ret_code == 0
    assert desk.ask(Type="image", Content={"id": "x"}).message.startswith("(#131053)")
    assert call("DeleteMedia", MediaId=id).ret_code == 0
    assert call("DeleteMedia", MediaId=id).ret_code == 17114
    assert desk.ask(Type="image", Content={"id": id}).message.startswith("(#131053)")
