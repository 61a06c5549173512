"""The vendor's other calls, at a vendor that answers, refuses, hangs or talks without end."""

from __future__ import annotations

import asyncio
import json

import pytest

from bulksend.gateway import Credentials, PhoneList, sign
from bulksend.gateway.vendor_calls import VendorCalls
from tests.contracts.test_vendor_client_contract import (
    Behave,
    Certificate,
    Talk,
    http,
    make_certificate,
    never_stops_talking,
    reads_all_then_hangs,
    reads_all_then_resets,
    says,
    vendor_that,
)

CREDENTIALS = Credentials("key-id", "secret", 8899)
LIST = http({"RetCode": 0, "Data": {"PhoneList": [{"Number": "8615000579987", "Status": "CONNECTED"}]}})


def ask(behave: Behave, seconds: float = 20.0) -> tuple[PhoneList, int]:
    """The answer, and how many requests the vendor read whole."""

    async def run() -> tuple[PhoneList, int]:
        async with vendor_that(behave) as vendor:
            answer = await VendorCalls(vendor.url, CREDENTIALS, seconds=seconds).phone_list()
            return answer, len(vendor.requests)

    return asyncio.run(run())


def test_a_call_is_one_signed_post(monkeypatch: pytest.MonkeyPatch) -> None:
    # A proxy that is not there: the call would fail by it.
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

    async def run() -> None:
        async with vendor_that(says(LIST)) as vendor:
            answer = await VendorCalls(vendor.url, CREDENTIALS).phone_list()
            assert [phone.number for phone in answer.phones] == ["8615000579987"]
            (body,) = vendor.requests
            assert body == {"Action": "GetAccountPhoneList", "AccountId": 8899}
            head = vendor.heads[0].decode().lower()
            assert f"x-signature: {sign(body, 'secret')}" in head
            assert "accept-encoding: identity" in head

    asyncio.run(run())


@pytest.mark.parametrize(
    ("behave", "seconds", "problem"),
    [
        (reads_all_then_hangs, 0.3, "no reply within 0.3 s"),
        (reads_all_then_resets, 20.0, "the connection failed before the reply was complete"),
        (says(b"220 smtp.example ESMTP\r\n"), 20.0, "the connection failed before the reply was complete"),
    ],
    ids=["hangs", "resets", "speaks no HTTP"],
)
def test_a_call_without_a_reply_says_why_and_is_not_repeated(
    behave: Behave, seconds: float, problem: str
) -> None:
    answer, requests = ask(behave, seconds)
    assert answer.problem.startswith(problem)
    assert not answer.answered
    assert requests == 1


def test_a_vendor_that_is_not_there_is_said_to_be_so() -> None:
    answer = asyncio.run(VendorCalls("http://127.0.0.1:1/api", CREDENTIALS).phone_list())
    assert answer.problem.startswith("no connection: ")


def test_a_redirect_is_not_followed_and_a_reply_is_read_no_further_than_its_limit() -> None:
    redirect, requests = ask(says(http(b"", "307 Elsewhere", "Location: /api")))
    assert "redirects" in redirect.problem
    assert requests == 1
    endless, _ = ask(never_stops_talking)
    assert endless.answered
    assert endless.problem


def test_a_certificate_of_an_unknown_authority_is_refused_and_a_given_one_is_used(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    certificate: Certificate = make_certificate(tmp_path_factory.mktemp("tls"), "good", "127.0.0.1", 365)

    async def run() -> None:
        async with vendor_that(says(LIST), tls=certificate.server_side()) as vendor:
            refused = await VendorCalls(vendor.url, CREDENTIALS).phone_list()
            assert "certificate" in refused.problem.lower()
            assert not vendor.requests
            known = await VendorCalls(vendor.url, CREDENTIALS, verify=certificate.pem).phone_list()
            assert known.problem == ""

    asyncio.run(run())


def test_no_problem_quotes_the_key() -> None:
    for behave in (reads_all_then_resets, says(http({"RetCode": 171}))):
        shown = json.dumps(ask(behave)[0].problem)
        assert "key-id" not in shown
        assert "secret" not in shown.replace("then the secret", "")


def pages(*bodies: dict[str, object]) -> Behave:
    """A vendor that answers the calls one after the other."""
    left = [http(body) for body in bodies]

    async def behave(talk: Talk) -> None:
        await says(left.pop(0))(talk)

    return behave


def page(name: str, after: str) -> dict[str, object]:
    paging = {"Cursors": {"After": after}, "Next": "more" if after else ""}
    return {"RetCode": 0, "Data": {"Data": [{"Name": name, "Language": "en"}], "Paging": paging}}


def test_all_pages_of_templates_are_read_and_a_read_is_repeated_while_its_failure_may_pass() -> None:
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    async def run() -> None:
        told = pages(page("a", "1"), {"RetCode": 153}, {"RetCode": 17108}, page("b", ""))
        async with vendor_that(told) as vendor:
            calls = VendorCalls(vendor.url, CREDENTIALS, tries=3, wait=wait)
            found = await calls.templates("8615000579987", name="x", limit=1)
            assert [one.name for one in found.templates] == ["a", "b"]
            assert found.problem == ""
            assert waits == [0.5, 1.0]
            assert vendor.requests[3] == vendor.requests[2] == vendor.requests[1]
            assert vendor.requests[3]["After"] == "1"
        async with vendor_that(pages({"RetCode": 171}, page("b", ""))) as vendor:
            refused = await VendorCalls(vendor.url, CREDENTIALS, tries=3, wait=wait).templates(
                "8615000579987"
            )
            assert "(171)" in refused.problem
            assert len(vendor.requests) == 1

    asyncio.run(run())


def test_an_upload_and_a_deletion_are_never_repeated() -> None:
    async def run() -> None:
        async with vendor_that(pages({"RetCode": 153}, {"RetCode": 17114})) as vendor:
            calls = VendorCalls(vendor.url, CREDENTIALS, tries=3)
            assert "(153)" in (await calls.upload("8615000579987", b"\xff\xd8\xff")).problem
            assert "(17114)" in await calls.delete_media("8615000579987", "m-1")
            assert vendor.requests[0]["File"] == "/9j/"
            assert vendor.requests[1]["MediaId"] == "m-1"
            assert len(vendor.requests) == 2

    asyncio.run(run())
