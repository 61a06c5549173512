"""The example files: what the demo sends, and what it must refuse."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

from bulksend.messaging import (
    Kind,
    MessageType,
    PlannedMessage,
    Planner,
    PlanningContext,
    compile_content,
    map_columns,
)
from bulksend.messaging.content import load_content_json
from bulksend.messaging.plan import RefusedRow
from producer.reading import RawRow, open_rows

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
NOW_MS = 1_900_000_000_000


def plan(name: str, kind: Kind) -> list[PlannedMessage | RefusedRow]:
    content = load_content_json((EXAMPLES / f"{name}.content.json").read_bytes())
    facts = PlanningContext(
        kind=kind,
        sender="8615000579987",
        template=compile_content(MessageType.TEMPLATE, content),
        due_at_ms=NOW_MS,
        ttl_ms=None,
        now_ms=NOW_MS,
        asked_at_ms=NOW_MS,
    )
    planner = Planner(facts)
    with open_rows(EXAMPLES / f"{name}.csv") as rows:
        columns = map_columns(rows.header)
        return [
            planner.plan(row.row, columns.rename(row.values)) if isinstance(row, RawRow) else row
            for row in rows
        ]


def test_the_sale_reaches_2000_people_and_names_60_of_them_twice() -> None:
    planned = [row for row in plan("spring-sale", Kind.MARKETING) if isinstance(row, PlannedMessage)]
    assert len(planned) == 2060
    assert len({row.to for row in planned}) == 2000


def test_the_sale_has_39_bad_rows_refused_by_the_field_that_is_wrong() -> None:
    refused = [row for row in plan("spring-sale", Kind.MARKETING) if not isinstance(row, PlannedMessage)]
    assert Counter(row.field.lower() for row in refused) == {
        "to": 23,
        "name": 9,
        "row": 3,
        "discount": 2,
        "city": 2,
    }


def test_a_refusal_of_the_sale_shows_no_number() -> None:
    for row in plan("spring-sale", Kind.MARKETING):
        if not isinstance(row, PlannedMessage):
            assert not any(len(run) >= 7 and run.isdigit() for run in f"{row.value} {row.why}".split())


def test_the_rows_after_the_quote_that_is_never_closed_are_planned() -> None:
    last = plan("spring-sale", Kind.MARKETING)[-4:]
    assert [type(row) for row in last] == [RefusedRow, PlannedMessage, PlannedMessage, PlannedMessage]


def test_the_200_login_codes_are_all_planned_and_none_goes_to_a_number_of_the_sale() -> None:
    codes = plan("login-codes", Kind.OTP)
    assert len({row.to for row in codes if isinstance(row, PlannedMessage)}) == len(codes) == 200
    sale = {row.to for row in plan("spring-sale", Kind.MARKETING) if isinstance(row, PlannedMessage)}
    assert not sale & {row.to for row in codes if isinstance(row, PlannedMessage)}


def test_the_script_makes_the_files_that_are_there(tmp_path: Path) -> None:
    subprocess.run([sys.executable, EXAMPLES / "make_examples.py", tmp_path], check=True)
    for name in ("spring-sale.csv", "login-codes.csv"):
        assert (tmp_path / name).read_bytes() == (EXAMPLES / name).read_bytes()
