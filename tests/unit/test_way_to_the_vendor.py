"""Issue 14, C16 and C17: what a worker refuses at its start, and what doctor says of the way to the vendor."""

from __future__ import annotations

import pytest

from bulksend.errors import InvalidInput
from bulksend.operations.doctor import check_vendor
from bulksend.settings import Settings
from worker.celery_app import build_app

KEYS = {
    "USPEEDO_ACCESSKEY_ID": "key",
    "USPEEDO_ACCESSKEY_SECRET": "word",
    "REDIS_URL": "redis://127.0.0.1:1/0",
}
PROXY = {"HTTPS_PROXY": "http://proxy:3128"}


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_worker_does_not_start_beside_a_proxy_that_it_would_not_use(name: str) -> None:
    with pytest.raises(InvalidInput, match=f"{name} is set.*BULKSEND_IGNORE_PROXY=1"):
        build_app(Settings.from_env(KEYS | {name: "http://proxy:3128"}))


def test_doctor_names_the_proxy_the_missing_account_and_a_link_in_the_clear() -> None:
    clear = {"USPEEDO_BASE_URL": "http://vendor.example/api", "BULKSEND_ALLOW_PLAIN_HTTP": "1"}
    # The proxy is in the way, so the vendor itself is not asked.
    found = {
        d.about: d for d in check_vendor(Settings.from_env(KEYS | clear | {"http_proxy": "http://proxy:1"}))
    }
    assert "page calls AccountId required" in found["account id"].found
    assert not found["vendor link"].well
    assert "in the clear" in found["vendor link"].found
    assert not found["proxy"].well
    assert "http_proxy is set" in found["proxy"].found
    assert "vendor" not in found


def test_doctor_says_nothing_of_a_link_by_tls_nor_of_an_account_that_is_set() -> None:
    found = {
        d.about: d for d in check_vendor(Settings.from_env(KEYS | PROXY | {"USPEEDO_ACCOUNT_ID": "8899"}))
    }
    assert found["account id"].found == "set"
    assert "vendor link" not in found
