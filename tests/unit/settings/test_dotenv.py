"""A ``.env`` file: each line is read or refused, and none is skipped."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulksend.errors import InvalidInput
from bulksend.settings import Settings, read_dotenv

SECRET = "hush"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"DATABASE_URL: {SECRET}\n", "line 1 is not NAME=value"),
        (f"# first\n\nDATABASE_URL: {SECRET}\n", "line 3 is not NAME=value"),
        (f'DATABASE_URL="{SECRET}\n', "line 1 is not NAME=value"),
        (f"DATABASE_URL='{SECRET}\nREDIS_URL=x\n", "line 1 is not NAME=value"),
        (f"BULKSEND_DEFAULT_RATE=5\n{SECRET}\n", "line 2 is not NAME=value"),
        (f"={SECRET}\n", "line 1 is not NAME=value"),
        (f"NAME WITH BLANKS={SECRET}\n", "line 1 is not NAME=value"),
        (f"set BULKSEND_DEFAULT_RATE={SECRET}\n", "line 1 is not NAME=value"),
        (f'REDIS_URL="{SECRET}" and more\n', "line 1 is not NAME=value"),
        (f"REDIS_URL={SECRET}\nA=1\nREDIS_URL=b\n", "line 3: REDIS_URL is also set on line 1"),
        ("DATABASE_URL=sqlite:///$HOME/ledger.db\n", "DATABASE_URL in .env: refers to another variable"),
        (f"REDIS_URL=redis://:{SECRET}@${{HOST}}/0\n", "REDIS_URL in .env: refers to another variable"),
        ("database_url=sqlite:///x.db\n", "write DATABASE_URL"),
        (f"DATABASE-URL={SECRET}\n", "write DATABASE_URL"),
        (f"bulksend.default-rate={SECRET}\n", "write BULKSEND_DEFAULT_RATE"),
        (f"DATABASEURL={SECRET}\n", "did you mean DATABASE_URL"),
        (f"DATABASE_URI={SECRET}\n", "did you mean DATABASE_URL"),
        (f"DATABSE_URL={SECRET}\n", "did you mean DATABASE_URL"),
        (f"REDIS_ULR={SECRET}\n", "did you mean REDIS_URL"),
        (f"REDISURL={SECRET}\n", "did you mean REDIS_URL"),
    ],
)
def test_a_line_that_cannot_be_read_is_named_and_not_shown(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / ".env"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInput, match=said) as found:
        Settings.from_env({}, file)
    assert SECRET not in str(found.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp037"])
def test_a_file_in_another_encoding_is_refused(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / ".env"
    file.write_bytes("BULKSEND_ACTOR=Zo\xeb\n".encode(encoding))
    with pytest.raises(InvalidInput, match=r"cannot be read|is not NAME=value"):
        Settings.from_env({}, file)


def test_names_of_other_programs_are_ignored(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        "POSTGRES_PASSWORD=x\nREDIS_PASSWORD=x\nDATABASE_NAME=x\nREDIS_HOST=h\nBASE_URL=http://h\n"
    )
    assert Settings.from_env({"DATABASE_URI": "x"}, file).redis_url is None


def test_a_folder_or_a_broken_link_of_that_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("folder", "link"):
        with pytest.raises(InvalidInput, match="cannot be read"):
            Settings.from_env({}, tmp_path / name)
    assert read_dotenv(tmp_path / "absent") == {}


def test_every_usual_form_is_read(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        "\ufeff# comment\n\nexport A=1\nB = two words \nC='a # b'\nD=\"x\\ny\"\nE=\nF=v # comment\r\n  G=7\n",
        encoding="utf-8",
    )
    assert read_dotenv(file) == {
        "A": "1",
        "B": "two words",
        "C": "a # b",
        "D": "x\ny",
        "E": "",
        "F": "v",
        "G": "7",
    }


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.mktemp("env") / ".env"
    file.write_text(text, encoding="utf-8")
    found: dict[str, str] = {}
    with contextlib.suppress(InvalidInput):
        found = read_dotenv(file)
    assert all(name.isascii() for name in found)
