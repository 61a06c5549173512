"""What the bench found, as figures, and the page that shows them. Pure: a test holds the page to its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.figures import table

#: The promises in the order of the page.
PROMISES = {
    "P1": "No accepted job is ever lost",
    "P2": "Nothing is sent twice unless a campaign or a person asked for it",
    "P3": "Doubt is bounded: no more `unknown` per kill than could be in flight, none without a fault",
    "P4": "Every POST has an attempt that was committed before it",
    "P5": "Every MessageId that we were told is kept",
    "P6": "No one-time code is POSTed after its time to live",
    "P7": "One-time codes are on time under a blast",
    "P8": "The rate is never above the limit, over all processes, in any second",
    "P9": "Recovery: normal rate again after a fault's end",
    "P10": "A clean stop: quick, nothing lost, doubled or in doubt",
    "P11": "The same key is one job",
    "P12": "Nothing private outside the ledger",
    "P13": "Unknown answers are never read as success or as failure",
    "P14": "A poison message stops itself only",
    "P15": "A cancel and a pause take hold, and say truly what was sent",
    "P16": "A message is what its receipts say, in whatever order they come",
    "P17": "Every receipt that was answered with 200 counts",
    "P18": "Every request over HTTP that was answered is done, once and wholly",
    "P19": "A reader of the events misses none and sees none twice",
    "P20": "Every event reaches each endpoint of webhooks, or its delivery is shown",
    "P21": "Of two codes for one person and purpose that wait only the newer one is sent",
    "P22": "A canary holds the rest of its campaign until its receipts are good",
}
#: None of them, and asked of everything that runs for months.
BESIDE = {"flat": "Memory, files and connections stay flat under faults"}


@dataclass(frozen=True, slots=True)
class Figure:
    """One number against its target."""

    promise: str
    what: str
    value: str
    target: str
    holds: bool


@dataclass(slots=True)
class Part:
    """One command's figures and what else it has to tell."""

    command: str
    when: str
    seed: int
    seconds: float
    figures: list[Figure] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    complaints: str = ""

    @property
    def holds(self) -> bool:
        """Whether every figure meets its target."""
        return all(figure.holds for figure in self.figures) and not self.complaints


def as_json(parts: Mapping[str, Part], machine: Mapping[str, str]) -> dict[str, Any]:
    """What is kept beside the page."""
    return {"machine": dict(machine), "parts": {name: asdict(part) for name, part in parts.items()}}


def from_json(value: Mapping[str, Any]) -> tuple[dict[str, Part], dict[str, str]]:
    """The parts and the machine of ``as_json``."""
    parts = {
        name: Part(**{**part, "figures": [Figure(**figure) for figure in part["figures"]]})
        for name, part in value["parts"].items()
    }
    return parts, dict(value["machine"])


def page(parts: Mapping[str, Part], machine: Mapping[str, str]) -> str:
    """docs/reliability.md."""
    return "\n".join([*_head(machine), *_promises(parts), *_runs(parts)]).rstrip() + "\n"


def _head(machine: Mapping[str, str]) -> list[str]:
    return [
        "# Reliability: what was broken, and what held",
        "",
        "Written by `./run faults --write`; nothing on this page is typed by hand. Real processes (workers, relays,",
        "`serve`, notifiers, Valkey, PostgreSQL, the simulated vendor), every link through a proxy, faults drawn from",
        "a seed. The judge compares the ledger with the vendor's own record and with the bench's notes of what it",
        "asked for, recipient by recipient. It knows no code of the vendor: what counts is whether a message went out,",
        "not the answer. What programs sent over HTTP, read as events and took as webhooks is compared alike.",
        "",
        *table([["", ""], *[[name, value] for name, value in machine.items()]]),
        "",
    ]


def _promises(parts: Mapping[str, Part]) -> list[str]:
    rows = [["promise", "figure", "measured", "target", "", "command"]]
    for promise, words in (PROMISES | BESIDE).items():
        first = True
        for part in parts.values():
            for figure in part.figures:
                if figure.promise == promise:
                    title = f"**{promise}** {words}" if first else ""
                    mark = "held" if figure.holds else "**BROKEN**"
                    rows.append([title, figure.what, figure.value, figure.target, mark, f"`{part.command}`"])
                    first = False
    return ["## The promises", "", *table(rows), ""]


def _runs(parts: Mapping[str, Part]) -> list[str]:
    lines = ["## The runs", ""]
    for name, part in parts.items():
        lines += [
            f"### {name}",
            "",
            f"`{part.command}`, {part.when}, {part.seconds:.0f} s"
            + (f", seed {part.seed}" if part.seed else "")
            + ".",
            "",
        ]
        if part.facts:
            lines += [*table([["", ""], *[[key, value] for key, value in part.facts.items()]]), ""]
        for title, rows in part.tables.items():
            lines += [f"{title}:", "", *table(rows), ""]
        if part.complaints:
            lines += ["What did not hold:", "", "```text", part.complaints, "```", ""]
    return lines


def spread(values: Sequence[float], unit: str = "s") -> str:
    """Median and worst of measured values."""
    if not values:
        return "none"
    ordered = sorted(values)
    return f"median {ordered[len(ordered) // 2]:.1f} {unit}, worst {ordered[-1]:.1f} {unit} of {len(ordered)}"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of them lies; nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
