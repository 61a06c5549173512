"""What is found out about a posted file: in this process, or in another one that finds the question beside the file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from bulksend.errors import InvalidInput, PlanChanged, WrongState
from bulksend.ledger import plans
from bulksend.messaging.argument_naming import as_json_field
from producer.campaign_plans import CampaignPlans, PlanFile
from producer.files import FilePlan
from producer.forecast import ForecastLimits, forecast
from producer.intake_report import SamePeople
from producer.uploads.refused_cells import keep_cells
from producer.uploads.requests import CampaignOptions, Poster, Uploads
from producer.uploads.store import StoredFile

#: No posted file has such a name: none begins with a dot.
_QUESTION, _ANSWER = ".question.json", ".answer.json"
#: Errors that a caller tells from others; the nearest class of an error comes first.
_TOLD: tuple[type[InvalidInput], ...] = (SamePeople, PlanChanged, WrongState, InvalidInput)


class Asked(StrEnum):
    """What is asked about a posted file."""

    FORECAST = "forecast"
    """What the campaign would be."""
    PLAN = "plan"
    """The same, frozen as a plan."""
    CHECK = "check"
    """Whether its plan can be applied as it was frozen."""


#: Asks another process about a file: the question is beside it.
AskElsewhere = Callable[[StoredFile], None]


def find_out(
    of: Uploads,
    asked: Asked,
    options: CampaignOptions,
    file: StoredFile,
    by: Poster,
    *,
    request_key: str | None = None,
    elsewhere: AskElsewhere | None = None,
) -> dict[str, Any]:
    """The answer; ``elsewhere`` has another process find it. A forecast and a check change nothing.

    A plan's answer is its id. Raises InvalidInput, AccessDenied, SamePeople, WrongState, PlanChanged, and what
    ``elsewhere`` raises.
    """
    options, plan = of.check(options, file, by)
    if elsewhere is None:
        return _find_out(of, asked, options, plan, file, request_key)
    question = {
        "asked": asked.value,
        "file": file.path.name,
        "sha256": file.sha256,
        "created_by": by.actor,
        "options": asdict(options),
        "request_key": request_key,
    }
    _write(file.path.with_name(_QUESTION), question)
    elsewhere(file)
    return _read_answer(file)


def answer(of: Uploads, id: str) -> None:
    """Answer the question beside the file ``id``. Raises OSError where there is none."""
    folder = of.store.folder / id
    asked = json.loads((folder / _QUESTION).read_text())
    path = folder / asked["file"]
    said: dict[str, Any]
    try:
        options = CampaignOptions(**asked["options"])
        plan = options.plan(path, created_by=asked["created_by"])
        file = StoredFile(id, path, asked["sha256"], path.stat().st_size)
        found = _find_out(of, Asked(asked["asked"]), options, plan, file, asked["request_key"])
        said = {"found": found}
    except InvalidInput as error:
        kind = next(kind for kind in _TOLD if isinstance(error, kind))
        changes = list(error.changes) if isinstance(error, PlanChanged) else []
        said = {"refused": str(error), "kind": kind.__name__, "changes": changes}
    _write(folder / _ANSWER, said)


def _read_answer(file: StoredFile) -> dict[str, Any]:
    said = json.loads(file.path.with_name(_ANSWER).read_text())
    if "refused" in said:
        raise _as_error(said)
    found: dict[str, Any] = said["found"]
    return found


def _as_error(said: Mapping[str, Any]) -> InvalidInput:
    kind = next(kind for kind in _TOLD if kind.__name__ == said["kind"])
    if kind is PlanChanged:
        return PlanChanged(said["refused"], changes=[(f, b, a) for f, b, a in said["changes"]])
    return kind(said["refused"])


def _find_out(
    of: Uploads,
    asked: Asked,
    options: CampaignOptions,
    plan: FilePlan,
    file: StoredFile,
    request_key: str | None,
) -> dict[str, Any]:
    if asked is Asked.FORECAST:
        return _forecast(of, plan)
    made = CampaignPlans.from_settings(of.settings, of.database)
    if asked is Asked.PLAN:
        kept = PlanFile(file.path, posted=True, sha256=file.sha256)
        frozen = made.make(
            plan, options, kept, id=file.id, request_key=request_key, refused=partial(keep_cells, plan)
        )
        return {"id": frozen.id}
    with of.database.read() as tx:
        frozen = plans.get(tx, file.id)
    made.check(frozen, made.file_plan(frozen, file.path, actor=plan.created_by, naming=as_json_field))
    return {}


def _forecast(of: Uploads, plan: FilePlan) -> dict[str, Any]:
    limits = ForecastLimits.from_settings(of.settings)
    made = forecast(plan, of.database, of.intake.cipher, limits)
    if made.refusal is not None:
        raise made.refusal
    return {**made.as_json(), "refused_count": made.refused_count}


def _write(path: Path, value: object) -> None:
    opened = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(opened, "w") as file:
        json.dump(value, file)
