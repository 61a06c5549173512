"""Make the example files again: ``python examples/make_examples.py``. The same seed makes the same bytes.

Every number is reserved for fiction, no person can be reached by one:
  +44 7700 900000-900999, +44 1632 960000-960999 and the premium +44 909 879 0xxx (Ofcom, numbers for drama)
  +1 NPA 555 0100-0199 (North American Numbering Plan; the area codes here are Canadian)
  +61 491 570 006 and so on (ACMA, numbers for fiction)
"""

from __future__ import annotations

import argparse
import csv
import io
import random
from collections.abc import Callable, Iterator
from pathlib import Path

SEED = 20_260_301
HEADER = ["Customer", "Name", "Mobile", "City", "Discount"]
RECIPIENTS = 2000
DUPLICATES = 60

AUSTRALIAN = [
    "491570006",
    "491570156",
    "491570157",
    "491570158",
    "491570159",
    "491570110",
    "491570313",
    "491570737",
]
CANADIAN = {
    "204": "Winnipeg",
    "306": "Regina",
    "403": "Calgary",
    "416": "Toronto",
    "506": "Moncton",
    "514": "Montréal",
    "604": "Vancouver",
    "613": "Ottawa",
    "709": "St. John's",
    "902": "Halifax",
}
BRITISH_CITIES = [
    "London",
    "Leeds",
    "Cardiff",
    "Glasgow",
    "Belfast",
    "Brighton",
    "Stoke-on-Trent",
    "Newcastle, Tyne",
]
AUSTRALIAN_CITIES = ["Sydney", "Perth", "Hobart"]

#: Given names and family names that go together, and what stands between them.
NAMES: list[tuple[list[str], list[str], str]] = [
    (
        ["David", "Emma", "Oliver", "Grace", "Noah", "Amelia", "Jack", "Sophie", "Harry", "Isla"],
        ["Smith", "Jones", "O'Brien", "Taylor-Reed", "Evans", "McDonald", "Clarke", "Wood"],
        " ",
    ),
    (["José", "Lucía", "Ángel", "Begoña", "Íñigo"], ["García", "Muñoz", "Peña", "Núñez"], " "),
    (["Zoë", "François", "Chloé", "Noël", "Hélène"], ["Lefèvre", "Gagné", "Côté", "Brûlé"], " "),
    (["Jürgen", "Käthe", "Björn", "Åsa", "Søren"], ["Müller", "Weiß", "Øberg", "Ångström"], " "),
    (["Łukasz", "Agnieszka", "Šárka", "Ждана", "Gergő"], ["Wójcik", "Dvořák", "Kovács", "Çelik"], " "),
    (["Иван", "Ольга", "Дмитрий", "Соломія"], ["Петров", "Шевченко", "Волков"], " "),
    (["Γιώργος", "Ελένη", "Νίκος"], ["Παπαδόπουλος", "Ιωάννου"], " "),
    (["李", "王", "张", "陈"], ["雷", "小明", "美丽", "伟"], ""),
    (["佐藤", "鈴木", "高橋"], ["花子", "太郎", "さくら"], " "),
    (["김", "이", "박"], ["민준", "서연", "지우"], ""),
    (["محمد", "فاطمة", "عمر"], ["حسن", "الأحمد"], " "),
    (["דוד", "נועה"], ["כהן", "לוי"], " "),
    (["आरव", "प्रिया"], ["शर्मा", "पटेल"], " "),
    (["สมชาย", "มาลี"], ["ใจดี", "สุขใจ"], " "),
    (["Nguyễn", "Trần", "Phạm"], ["Thị Hương", "Văn Đức"], " "),
]
#: Names that a careless program trips over; each is a name all the same.
ODD_NAMES = [
    'Robert "Bobby" Tables',
    "Smith; Sons & Co",
    "Anne-Marie 👩‍👩‍👧",
    "=HYPERLINK(A1)",
    "{{7*7}}",
    "<b>Bea</b>",
    "NULL",
    "-1",
    "X Æ A-12",
    "李 雷 (Lei)",
]


def number_forms(code: str, national: str) -> list[str]:
    """A number as people write it: ``code`` is the country's, ``national`` the rest without a leading 0."""
    first, second = (4, 7) if code == "44" else (3, 6)
    a, b, c = national[:first], national[first:second], national[second:]
    return [
        f"+{code} {a} {b}{c}",
        f"{code}{national}",
        f"+{code}{national}",
        f"00{code}{national}",
        f"00 {code} {a} {b} {c}",
        f"+{code}-{a}-{b}-{c}",
        f"+{code} ({a}) {b} {c}",
        f"(+{code}) {a} {b}{c}",
        f"{code} {a}/{b}-{c}",
        f"+{code}.{a}.{b}.{c}",
        f"'+{code}{national}",
        f" +{code} {a} {b} {c} ",
        f"+{code}\u00a0{a}\u00a0{b}{c}",
        f"\u202a+{code} {a} {b} {c}\u202c",
        f"{code}{national}.0",
        "".join(chr(ord(digit) + 0xFEE0) for digit in f"{code}{national}"),
    ]


def recipients() -> list[tuple[str, str, str]]:
    """(country code, national number, kind of place) of each of the 2,000; login codes go to the other
    numbers.
    """
    british = [("44", f"7700900{n:03d}", "british") for n in range(800)]
    more = [("44", f"1632960{n:03d}", "british") for n in range(192)]
    canadian = [("1", f"{area}5550{n}", area) for area in CANADIAN for n in range(100, 200)]
    australian = [("61", number, "australian") for number in AUSTRALIAN]
    return [*british, *more, *canadian, *australian]


def spring_sale(dice: random.Random) -> str:
    """A list as a CRM exports it: semicolons, CRLF, quotes where they are needed, and what people do to a
    list.
    """
    people = recipients()
    dice.shuffle(people)
    customers = iter(range(100_001, 200_000))
    good = [
        [str(next(customers)), name_of(dice), write(dice, p), city_of(dice, p[2]), discount(dice)]
        for p in people
    ]
    for row, name in zip(dice.sample(good, len(ODD_NAMES)), ODD_NAMES, strict=True):
        row[1] = name
    again = [
        [str(next(customers)), name_of(dice), write(dice, p), city_of(dice, p[2]), discount(dice)]
        for p in dice.sample(people, DUPLICATES)
    ]
    lines = [as_line(row) for row in good]
    for line in [*map(as_line, again), *bad_lines(dice, customers)]:
        lines.insert(dice.randrange(20, len(lines)), line)
    # A quote that is never closed, with good rows below it that must not be swallowed.
    lines.insert(-3, f'{next(customers)};"Nina Park;+44 7700 900815;Leeds;20%')
    return "\r\n".join([as_line(HEADER), *lines]) + "\r\n"


def write(dice: random.Random, person: tuple[str, str, str]) -> str:
    """One of the ways to write a number; the plain ones most often."""
    forms = number_forms(person[0], person[1])
    return dice.choice(forms[:4] if dice.random() < 0.6 else forms)


def name_of(dice: random.Random) -> str:
    """A name; half of them in Latin letters without accents."""
    given, family, between = NAMES[0] if dice.random() < 0.5 else dice.choice(NAMES)
    return f"{dice.choice(given)}{between}{dice.choice(family)}"


def city_of(dice: random.Random, place: str) -> str:
    """A city of the number's country; some are not on record, and the content has a default for them."""
    if dice.random() < 0.05:
        return ""
    if place in CANADIAN:
        return CANADIAN[place]
    return dice.choice(BRITISH_CITIES if place == "british" else AUSTRALIAN_CITIES)


def discount(dice: random.Random) -> str:
    """Ten to thirty percent."""
    return dice.choice(["10%", "15%", "20%", "30%"])


def bad_lines(dice: random.Random, customers: Iterator[int]) -> list[str]:
    """Rows that must be refused, each for a reason of its own kind."""

    def row(name: str, mobile: str, discount: str = "20%") -> str:
        return as_line([str(next(customers)), name, mobile, "Leeds", discount])

    makers: list[tuple[int, Callable[[int], str]]] = [
        (4, lambda n: row(name_of(dice), "")),
        (2, lambda n: row(name_of(dice), "+")),
        (2, lambda n: row(name_of(dice), ["call me first", "n/a"][n])),
        (2, lambda n: row(name_of(dice), ["+44 7700 9OO8I6", "+44 7700 900817 / 900818"][n])),
        (3, lambda n: row(name_of(dice), f"+44 7700 {n}")),
        (2, lambda n: row(name_of(dice), f"+44 7700 900820 00{n}")),
        (2, lambda n: row(name_of(dice), f"07700 90082{n}")),
        (2, lambda n: row(name_of(dice), ["4.477E+11", "4,477E+11"][n])),
        (2, lambda n: row(name_of(dice), f"+44 7700 900822 ext. {n + 1}")),
        (1, lambda n: row(name_of(dice), "+44 909 879 0123")),
        (1, lambda n: row(name_of(dice), "+999 7700 900823")),
        (4, lambda n: row(["", "  ", "", "\t"][n], f"+44 7700 90083{n}")),
        (2, lambda n: row(["Dana\nScully", "Fox\tMulder"][n], f"+44 7700 90084{n}")),
        (1, lambda n: row("Walter      Skinner", "+44 7700 900842")),
        (2, lambda n: row(name_of(dice), f"+44 7700 90085{n}", discount="")),
        (3, lambda n: f"{next(customers)};Lee; Bruce;+44 7700 90086{n};London;20%"),
        (2, lambda n: f"{next(customers)};Carla Ruiz;+44 7700 90087{n}"),
        (1, lambda n: f'{next(customers)};"Al" Capone;+44 7700 900880;Leeds;20%'),
    ]
    return [make(n) for count, make in makers for n in range(count)]


def as_line(cells: list[str]) -> str:
    """A row of the list, without its end."""
    text = io.StringIO()
    csv.writer(text, delimiter=";", lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n")


def login_codes(dice: random.Random) -> str:
    """200 one-time codes to numbers that the list above does not have."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["to", "code"])
    for n in range(800, 1000):
        writer.writerow([f"447700900{n}", f"{dice.randrange(1_000_000):06d}"])
    return text.getvalue()


def make(folder: Path) -> None:
    """Write both lists; their content files are written by hand."""
    sale, codes = spring_sale(random.Random(SEED)), login_codes(random.Random(SEED))
    (folder / "spring-sale.csv").write_bytes(b"\xef\xbb\xbf" + sale.encode("utf-8"))
    (folder / "login-codes.csv").write_bytes(codes.encode("utf-8"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the example files again.")
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path(__file__).parent, help="where to write them"
    )
    make(parser.parse_args().folder)
