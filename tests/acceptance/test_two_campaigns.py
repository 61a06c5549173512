"""The whole product at its work: a blast, and codes that fall due while it runs, on two workers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from bulksend.messaging.units import format_instant
from producer.files import plan_file
from producer.intake import Intake

pytestmark = pytest.mark.alone

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ROWS = 640
CODES = 60
#: Kinds of trouble that leave no doubt, and one that does.
FAULTS = [
    {"name": "answer lost", "match": {"every": 97}, "fault": {"do": "accept_then_reset"}},
    {
        "name": "busy",
        "match": {"every": 41},
        "fault": {"do": "ret_code", "ret_code": 17115, "message": "busy"},
    },
    {
        "name": "unreachable",
        "match": {"every": 53},
        "fault": {"do": "ret_code", "ret_code": 17115, "message": "(#131026) Message undeliverable"},
    },
    {
        "name": "a throttle, once",
        "match": {"nth": 200},
        "fault": {"do": "ret_code", "ret_code": 153, "message": "slow"},
    },
]


def test_a_blast_and_codes_on_two_workers_end_as_the_vendor_saw_them_and_the_codes_overtake(
    make_site: Any, tmp_path: Path
) -> None:
    vendor = {"latency": {"kind": "lognormal", "median_ms": 60, "p99_ms": 400}}
    with make_site(workers=2, faults=FAULTS, vendor=vendor) as site:
        blast = _take_in(site, _first_rows("spring-sale.csv", ROWS, tmp_path), "spring-sale", "marketing")
        codes_at = int((time.time() + 3) * 1000)
        codes_file = _first_rows("login-codes.csv", CODES, tmp_path)
        codes = _take_in(site, codes_file, "login-codes", "otp", at=format_instant(codes_at), ttl="5m")
        ended = site.wait_ended(blast, codes, seconds=60)
        assert ended.keys() <= {"accepted", "unknown", "failed"}
        assert ended["accepted"] > 500
        assert ended["unknown"] > 0
        site.agrees()
        assert site.fullest_second() <= 80

        posts = site.attempts(blast)
        first = sorted(a["started_at"] for a in site.attempts(codes) if a["n"] == 1)
        assert len(first) == CODES
        assert first[0] >= codes_at
        # Codes overtake: once they have begun, most of what goes out are codes, however fast the machine is.
        nearly_all = first[CODES * 9 // 10]
        meanwhile = sum(first[0] <= a["started_at"] <= nearly_all for a in posts)
        assert meanwhile < CODES
        assert posts[0]["started_at"] < first[0]
        assert nearly_all < posts[-1]["started_at"]

        assert len({a["worker"] for a in posts}) == 2


def _take_in(site: Any, file: Path, name: str, kind: str, **more: Any) -> str:
    plan = plan_file(
        file,
        content=EXAMPLES / f"{name}.content.json",
        type="template",
        sender=site.sender,
        kind=kind,
        name=name,
        created_by="test",
        **more,
    )
    return str(plan.run(Intake.from_settings(site.stack.settings, site.ledger)).campaign_id)


def _first_rows(name: str, count: int, folder: Path) -> Path:
    with (EXAMPLES / name).open(encoding="utf-8-sig", newline="") as source:
        lines = source.readlines()  # no cell of the examples holds a line's end
    cut = folder / name
    cut.write_text("".join(lines[: count + 1]), encoding="utf-8")
    return cut
