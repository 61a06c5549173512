"""The forecast of a posted file: made in this process, or in another one that finds the question beside the file."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bulksend.errors import InvalidInput
from producer.files import FilePlan
from producer.forecast import forecast
from producer.intake_report import SamePeople
from producer.uploads.requests import CampaignOptions, Poster, Uploads
from producer.uploads.store import StoredFile

#: No posted file has such a name: none begins with a dot.
_QUESTION, _ANSWER = ".question.json", ".answer.json"


def forecast_here(of: Uploads, options: CampaignOptions, file: StoredFile, by: Poster) -> dict[str, Any]:
    """What the campaign would be; nothing is changed. Raises InvalidInput, AccessDenied, SamePeople."""
    return _forecast(of, of.check(options, file, by)[1])


def ask(of: Uploads, options: CampaignOptions, file: StoredFile, by: Poster) -> None:
    """Leave the question for ``answer``. Raises InvalidInput where options and header are wrong, AccessDenied."""
    options, _ = of.check(options, file, by)
    question = {"file": file.path.name, "created_by": by.actor, "options": asdict(options)}
    _write(file.path.with_name(_QUESTION), question)


def answer(of: Uploads, id: str) -> None:
    """Answer the question beside the file ``id``. Raises OSError where there is none."""
    folder = of.store.folder / id
    asked = json.loads((folder / _QUESTION).read_text())
    said: dict[str, Any]
    try:
        plan = CampaignOptions(**asked["options"]).plan(
            folder / asked["file"], created_by=asked["created_by"]
        )
        said = {"forecast": _forecast(of, plan)}
    except InvalidInput as error:
        said = {"refused": str(error), "same_people": isinstance(error, SamePeople)}
    _write(folder / _ANSWER, said)


def read_answer(file: StoredFile) -> dict[str, Any]:
    """What ``answer`` said. Raises InvalidInput, SamePeople."""
    said = json.loads(file.path.with_name(_ANSWER).read_text())
    if "refused" in said:
        raise (SamePeople if said["same_people"] else InvalidInput)(said["refused"])
    found: dict[str, Any] = said["forecast"]
    return found


def _forecast(of: Uploads, plan: FilePlan) -> dict[str, Any]:
    made = forecast(plan, of.database, of.intake.cipher, of.intake.rules)
    if made.refusal is not None:
        raise made.refusal
    return {**made.as_json(), "refused_count": made.refused_count}


def _write(path: Path, value: object) -> None:
    opened = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(opened, "w") as file:
        json.dump(value, file)
