"""The replies to GetTemplates, UploadMedia, GetMedia and DeleteMedia."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bulksend.gateway import RawReply
from bulksend.gateway.call_replies import CallReply, read_call
from bulksend.gateway.media import read_media, read_uploaded
from bulksend.gateway.templates import read_template_page

DATE, DATE_MS = "Tue, 14 Nov 2023 22:13:20 GMT", 1_700_000_000_000
ENTRY = {
    "ID": "1",
    "Name": "spring_sale",
    "Language": "en_US",
    "Category": "marketing",
    "Status": "APPROVED",
    "RejectedReason": "NONE",
    "QualityScore": {"Score": "GREEN"},
    "Attributes": [{"Type": "BODY", "NamedVar": ["first name", {"Name": "order"}]}],
    "Components": [
        {"Type": "HEADER", "Format": "IMAGE", "Example": {"HeaderHandle": ["x"]}},
        {
            "Type": "BODY",
            "Text": "Dear {{1}}, order {{2}} is here, {{1}}",
            "Example": {"BodyText": [["a", "b"]]},
        },
        {"Type": "FOOTER", "Text": "The shop"},
        {
            "Type": "BUTTONS",
            "Buttons": [
                {"Type": "URL", "Text": "Open", "URL": "https://shop.example/{{1}}", "Example": ["x"]},
                {"Type": "QUICK_REPLY", "Text": "Stop"},
            ],
        },
        7,
    ],
}


def call(data: object, ret_code: object = 0, status: int = 200, **headers: str) -> CallReply:
    body = {"RetCode": ret_code, "Data": data, "Message": "" if ret_code == 0 else "because +447700900123"}
    return read_call(RawReply(status, headers, json.dumps(body).encode()))


def test_a_template_has_its_components_and_the_human_names_of_its_variables() -> None:
    page = read_template_page(call({"Data": [ENTRY, 7, {"Name": ""}]}, date=DATE))
    (found,) = page.templates
    assert (found.name, found.language, found.category, found.status) == (
        "spring_sale",
        "en_US",
        "MARKETING",
        "APPROVED",
    )
    assert (found.quality, found.rejected_reason, page.at_ms) == ("GREEN", "", DATE_MS)
    assert found.shape is not None
    assert found.shape.header_format == "IMAGE"
    assert found.shape.body.variables == ("first name", "order")
    assert [button.variables for button in found.shape.buttons] == [("1",), ()]


@pytest.mark.parametrize("data", [[ENTRY], {"Data": [ENTRY]}], ids=["documentation", "SDK"])
def test_the_list_stands_in_data_or_one_level_deeper(data: object) -> None:
    assert [one.name for one in read_template_page(call(data)).templates] == ["spring_sale"]


@pytest.mark.parametrize(
    ("paging", "count", "after"),
    [
        ({"Cursors": {"After": "c"}, "Next": "?"}, 1, "c"),
        ({"Cursor": {"After": "c"}, "Next": "?"}, 1, "c"),
        ({"Cursors": {"After": "c"}, "Next": ""}, 1, ""),
        ({"Cursors": {"After": "c"}}, 2, "c"),
        ({"Cursors": {"After": "c"}, "Next": "?"}, 0, ""),
        ({"Cursors": {"After": 5}, "Next": "?"}, 1, ""),
        (None, 2, ""),
    ],
)
def test_the_next_page_is_asked_for_while_there_is_one(paging: object, count: int, after: str) -> None:
    assert read_template_page(call({"Data": [ENTRY] * count, "Paging": paging}), limit=2).after == after


def test_empty_fields_and_unknown_words_are_kept_as_they_are() -> None:
    entry = {"Name": "a", "Language": "en", "Status": "", "QualityScore": None, "Category": "NEW_ONE"}
    (found,) = read_template_page(call([entry])).templates
    assert (found.status, found.quality, found.category, found.shape) == ("", "", "NEW_ONE", None)


@pytest.mark.parametrize(
    ("reply", "problem", "passing"),
    [
        (call(None, 17108), "the templates could not be read (17108): because +***", True),
        (call(None, 153), "(153)", True),
        (call(None, 171), "(171)", False),
        (call(None, 291), "(291)", False),
        (call(None, status=503, ret_code=None), "(HTTP 503)", True),
        (call(None, status=403, ret_code=None), "(HTTP 403)", False),
        (read_call(RawReply(200, {}, b"<html>")), "gave no answer that can be read", True),
        (read_call("no reply within 5 s"), "no reply within 5 s", True),
        (call("odd"), "holds no list of templates", False),
    ],
)
def test_a_list_that_cannot_be_had_says_why_and_whether_that_may_pass(
    reply: CallReply, problem: str, passing: bool
) -> None:
    page = read_template_page(reply)
    assert problem in page.problem
    assert reply.passing == passing
    assert "447700900123" not in page.problem
    assert "gone out" not in page.problem


@pytest.mark.parametrize(
    ("data", "id"),
    [({"Id": "a-1"}, "a-1"), ({"Id": 15}, "15"), ({"Id": ""}, ""), ({"Id": "x" * 300}, ""), ([], "")],
)
def test_an_upload_has_a_whole_id_or_a_problem(data: Any, id: str) -> None:
    uploaded = read_uploaded(call(data))
    assert uploaded.id == id
    assert bool(uploaded.problem) == (not id)


def test_a_file_is_described_without_the_address_that_opens_it() -> None:
    found = read_media(call({"FileName": "a.png", "MimeType": "image/png", "URL": "https://secret.example"}))
    assert (found.file_name, found.mime_type, found.problem) == ("a.png", "image/png", "")
    assert "secret" not in repr(found)
    assert "17113" in read_media(call(None, 17113)).problem
    assert read_media(call({})).problem
