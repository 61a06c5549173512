"""An option of a campaign is one of every face, and neither a plan nor a clone loses it."""

from __future__ import annotations

import inspect
from dataclasses import fields, replace
from pathlib import Path

import pytest

from bulksend.client.shapes import Campaign, CloneOptions
from ops.cli.send_arguments import AskedCampaign
from ops.http.routes.campaigns import CampaignBody, CloneBody
from producer.campaign_plans import options_of
from producer.uploads import CampaignOptions
from tests.unit.producer.workbooks import parts_of, row_of_texts, save, sheet_xml

PLAIN = CampaignOptions(
    sender="15550100100", kind="utility", type="text", content='{"body":"Hi {{name}}"}', timezone="UTC"
)
#: Every option with a value that is not its default, in sends that are possible.
GIVEN = (
    replace(PLAIN, name="spring", key="k-1", send_at="2090-01-01T00:00:00.000+00:00", ttl_seconds=90.0),
    replace(PLAIN, rate="40.000000000", on_unknown="resend", timezone="Europe/London", region="GB"),
    replace(PLAIN, map={"name": "first name"}, again=True, encoding="cp1252"),
    replace(PLAIN, into="summer", sheet="June"),
    replace(
        PLAIN, kind="marketing", cap="2/7d", exclude=("spring",), only=("may:unsent",), require_consent=True
    ),
    replace(PLAIN, local_time="09:00", canary="1%", max_failed="7%", weight=3),
)
#: The installation's cap is no option; it becomes the campaign's ``cap``.
NAMES = {each.name for each in fields(CampaignOptions)} - {"default_cap"}
#: It is put into the content, and a plan and a clone have the content.
IN_CONTENT = {"media"}
REQUIRED = {"sender", "kind", "type", "content"}
#: How the command line calls them.
TYPED = {"at": "send_at", "ttl": "ttl_seconds"}


def test_every_face_has_every_option() -> None:
    typed = {TYPED.get(name, name) for name in inspect.signature(AskedCampaign).parameters}
    assert typed - {"file"} == NAMES
    assert set(CampaignBody.model_fields) - {"dry_run"} == NAMES
    assert Campaign.__required_keys__ | Campaign.__optional_keys__ == NAMES | {"dry_run"}
    assert (
        set(CloneBody.model_fields)
        == CloneOptions.__optional_keys__
        == NAMES - REQUIRED - IN_CONTENT | {"dry_run"}
    )


@pytest.fixture
def file(tmp_path: Path, options: CampaignOptions) -> Path:
    """A file that can be sent with the options."""
    columns = ("to", options.map.get("name", "name"))
    if options.sheet is not None:
        sheet = sheet_xml(row_of_texts(*columns) + row_of_texts("447700900123", "Ada"))
        return save(tmp_path / "people.xlsx", parts_of(sheet, names=(options.sheet,)))
    path = tmp_path / "people.csv"
    path.write_text(f"{','.join(columns)}\n447700900123,Ada\n")
    return path


@pytest.mark.parametrize("options", GIVEN)
def test_a_plan_freezes_the_options_that_it_was_made_with(options: CampaignOptions, file: Path) -> None:
    assert options_of(options.plan(file, created_by="ada")) == options


def test_each_option_is_among_those_that_a_plan_freezes_here() -> None:
    defaults = {each.name: each.default for each in fields(CampaignOptions)}
    given = {name for name in NAMES for options in GIVEN if getattr(options, name) != defaults[name]}
    assert given == NAMES - IN_CONTENT
