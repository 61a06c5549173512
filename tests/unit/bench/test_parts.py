"""What each bench hands to the page, made of what it measured."""

from __future__ import annotations

from typing import Any

from bench import http, intake, otp, pacing, receipts, sending, startup, webhooks
from bench.figures import Figure
from bench.machine import Cost


def held(figures: list[Figure]) -> dict[str, bool | None]:
    return {one.what: one.holds for one in figures if one.target}


def test_a_code_is_judged_under_the_blast_and_shown_beside_one_without() -> None:
    figures = otp.part([otp.Run(500, [0.010] * 100, [0.030] * 90 + [0.130] * 10, 480)]).figures
    assert [one.holds for one in figures] == [True, False]
    assert figures[0] == Figure(
        "from `send` to the POST, p50; blast of 480/s, limit 500/s",
        "30 ms",
        "without a blast 10 ms",
        "≤ 40 ms",
        True,
    )


def test_a_limit_is_held_in_every_second_and_used_where_it_is_low() -> None:
    def run(rate: float, fullest: int, share: float) -> pacing.Paced:
        return pacing.Paced(rate, 2, 1200, fullest, share, 1.0, 1.0, 1.0, {}, 0.5, 0.0)

    assert held(pacing.part([run(80, 81, 0.96), run(1000, 1000, 0.9)]).figures) == {
        "fullest second at 80/s, 2 workers": False,
        "share of the limit used at 80/s, 2 workers": False,
        "fullest second at 1,000/s, 2 workers": True,
    }


def test_more_workers_are_set_against_one_of_the_same_round() -> None:
    def run(cpu: float) -> sending.Run:
        return sending.Run(1000, 1.0, {"worker": cpu, "vendor": 1000.0}, {})

    rounds = [{("400", 1): run(100), ("400", 2): run(109)}, {("400", 1): run(200), ("400", 2): run(222)}]
    figures = sending.part(rounds).figures
    assert [one.value for one in figures] == ["1,000", "1,000", "1.10"]
    assert held(figures) == {"CPU a message of 2 workers / of one": True}


def test_intake_is_set_against_its_peer_and_shuffled_against_in_order() -> None:
    def taken(rate: float) -> intake.Taken:
        return intake.Taken(rate, 50_000, 2.1, 100, 119, Cost({}))

    found = {"postgresql": taken(20_000), "sqlite": taken(20_000), "sqlite-shuffled": taken(17_000)}
    assert held(intake.part(found).figures) == {
        "rows a second / bare COPY, PostgreSQL": True,
        "first POST, PostgreSQL": False,
        "memory of `send` at its end / after a quarter of its time, PostgreSQL": True,
        "first POST, SQLite, in order": False,
        "memory of `send` at its end / after a quarter of its time, SQLite, in order": True,
        "first POST, SQLite, shuffled": False,
        "memory of `send` at its end / after a quarter of its time, SQLite, shuffled": True,
        "rows a second on SQLite, shuffled / in order": False,
    }


def test_receipts_stand_beside_the_bare_endpoint_and_none_may_be_lost() -> None:
    ours: dict[str, Any] = {
        "answered a second": 6000,
        "applied a second": 3000,
        "lag, s": 2.5,
        "messages": 500,
    }
    ours |= {"us of CPU a callback": {"serve": 100}, "read with the right times": 499}
    figures = receipts.part(ours, {"answered a second": 4000, "us of CPU a callback": 200}).figures
    assert figures[0] == Figure("callbacks answered a second", "6,000", "bare endpoint 4,000")
    assert figures[1].value == "1.50"
    assert held(figures) == {"messages read, with the times of their receipts": False}


def test_a_notifier_stands_beside_a_bare_poster() -> None:
    alone, bare, batches = (
        webhooks.Delivered(*of) for of in ((500, 500, 0.001), (400, 400, 0.002), (9000, 90, 0.01))
    )
    figures = webhooks.part(alone, bare, batches, (10, 20), (30, 40)).figures
    assert [(one.value, one.beside) for one in figures] == [
        ("500", "bare 400"),
        ("1.25", ""),
        ("1.00 ms", "bare 2.00 ms"),
        ("9,000", "one event a request 500"),
        ("30 ms", "by itself 10 ms"),
        ("40 ms", "by itself 20 ms"),
    ]


def test_calls_over_http_stand_beside_python_and_where_there_is_one_a_bare_endpoint() -> None:
    def way(backend: str, name: str, rate: float) -> http.Way:
        return http.Way(backend, name, rate, 1, 2, 3, 4, None, None)

    ways = [way(backend, f"{name}, all they can", 1000) for backend in ("a", "b") for name in http.WAYS[:2]]
    part = http.part([*ways, way("a", "bare endpoint, all they can", 2000)])
    assert [(one.what, one.value, one.beside) for one in part.figures] == [
        ("calls a second over HTTP, a", "1,000", "Python 1,000, bare endpoint 2,000"),
        ("calls a second, HTTP / bare endpoint, a", "0.50", ""),
        ("calls a second over HTTP, b", "1,000", "Python 1,000"),
    ]
    assert {len(rows) for rows in part.tables.values()} == {6}


def test_a_start_is_judged_by_its_median() -> None:
    seen = {name: [0.1, 0.2, 9.0] for name in startup.WITHIN} | {"python -c pass": [0.02]}
    assert held(startup.part(seen).figures) == {
        "`bulksend --help`": True,
        "`bulksend messages find`": True,
        "a worker is ready": True,
    }
