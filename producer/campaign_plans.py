"""Plans of campaigns: what a send would do, frozen with a hash; applied later only if nothing of it changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bulksend import bootstrap
from bulksend.errors import InvalidInput, InvalidValue, PlanChanged, WrongState
from bulksend.ledger import plans
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import CannotDecrypt, Cipher
from bulksend.ledger.ids import new_id
from bulksend.ledger.message_rows import NewMessage
from bulksend.ledger.plans import NewPlan, Plan
from bulksend.ledger.templates import Template
from bulksend.messaging import Kind, mask_phone
from bulksend.messaging.argument_naming import ArgumentNaming
from bulksend.messaging.failure_share import format_max_failed
from bulksend.messaging.media_references import our_files, reference, with_vendor_ids
from bulksend.messaging.plan import RefusedRow
from bulksend.messaging.plan_facts import Facts, differences, plan_hash, told
from bulksend.messaging.preview import Preview, preview
from bulksend.messaging.template_shape import TemplateShape, shape_from_json
from bulksend.messaging.time_rules import TimeRules
from bulksend.messaging.units import format_instant
from bulksend.operations.json_shape import Page, checked_after
from bulksend.settings import Settings
from producer.files import FilePlan
from producer.forecast import Forecast, ForecastLimits, forecast
from producer.intake import Intake
from producer.intake_report import IntakeReport, repeated_text
from producer.uploads.requests import CampaignOptions

#: Refused rows that a plan shows one by one.
_REFUSED_SHOWN = 100


@dataclass(frozen=True, slots=True)
class PlanFile:
    """Where the file of a plan is. ``posted``: in the folder of posted files, where ``path`` ends with its name."""

    path: Path
    posted: bool = False
    sha256: str | None = None

    @property
    def kept_as(self) -> str:
        """What the ledger keeps of it."""
        return self.path.name if self.posted else str(self.path.absolute())


@dataclass(frozen=True, slots=True)
class OpenPlan:
    """A plan that may be applied now, and the send that it is. ``is_new``: its campaign does not exist yet."""

    plan: Plan
    run: FilePlan
    is_new: bool

    @property
    def to_send(self) -> int:
        """How many people get it."""
        return int(json.loads(self.plan.facts)["counts"]["to_send"])


@dataclass(frozen=True, slots=True)
class CampaignPlans:
    """Makes plans, shows them and applies them."""

    database: Database
    cipher: Cipher
    limits: ForecastLimits
    lives_ms: int = 86_400_000

    @classmethod
    def from_settings(cls, of: Settings, database: Database) -> CampaignPlans:
        """With the prices and limits of these settings. Raises InvalidInput when the prices cannot be read."""
        lives_ms = int(of.plan_hours * 3_600_000)
        return cls(database, bootstrap.cipher(of), ForecastLimits.from_settings(of), lives_ms)

    def make(
        self,
        plan: FilePlan,
        options: CampaignOptions,
        file: PlanFile,
        *,
        id: str | None = None,
        request_key: str | None = None,
        refused: Callable[[Sequence[RefusedRow]], None] = lambda rows: None,
    ) -> Plan:
        """Freeze what a run of the file would do. Nothing is sent. ``request_key`` finds the plan again.

        ``refused`` is told the first refused rows, before the plan is on record.

        Raises InvalidInput where a run would, SamePeople; WrongState where the campaign exists already.
        """
        made = forecast(plan, self.database, self.cipher, self.limits)
        if made.refusal is not None:
            raise made.refusal
        if made.repeats is not None:
            raise WrongState(f"there is nothing to plan: {repeated_text(made.repeats)}")
        if not made.messages:
            raise InvalidInput(f"there is nothing to plan: no row of {plan.path.name} becomes a message")
        refused(made.refused)
        facts = facts_of(plan, made, self.limits.rules)
        plan_id = id or new_id()
        new = NewPlan(
            id=plan_id,
            hash=plan_hash(facts),
            facts=json.dumps(facts),
            outlook=json.dumps(_outlook(made, file)),
            samples=self.cipher.seal(json.dumps(samples_of(plan, made)).encode(), plan_id),
            options=json.dumps(asdict(options)),
            campaign_key=plan.key,
            source_hash=plan.hash,
            file=file.kept_as,
            posted=int(file.posted),
            rows_planned=made.rows,
            messages_planned=made.messages,
            request_key=request_key,
            created_by=plan.created_by,
        )
        return self.database.retrying(lambda tx: plans.add(tx, new, lives_ms=self.lives_ms))

    def make_here(self, asked: FilePlan) -> Plan:
        """Freeze a send of a file on this machine. Raises as ``make``."""
        options = options_of(asked)
        # As ``apply`` will read it: a rate, for one, is rounded where it is kept.
        run = options.plan(asked.path, created_by=asked.created_by, naming=asked.naming)
        run = replace(run, given_key=asked.given_key, digest=asked.digest)
        return self.make(run, options, PlanFile(asked.path))

    def show(self, id: str) -> dict[str, Any]:
        """A plan by its id. Raises NotFound."""
        with self.database.read() as tx:
            plan = plans.get(tx, id)
            now = read_clock(tx)
        return self.shown(plan, now)

    def page(self, *, limit: int, after: str | None = None) -> Page:
        """The newest plans, without what only one of them shows. Raises InvalidValue when ``after`` is no id."""
        with self.database.read() as tx:
            found = plans.newest(tx, limit, before=checked_after(after))
            now = read_clock(tx)
        return Page([_summary(plan, now) for plan in found], found[-1].id if len(found) == limit else None)

    def shown(self, plan: Plan, now: int) -> dict[str, Any]:
        """A plan as JSON."""
        facts = json.loads(plan.facts)
        return {
            **_summary(plan, now),
            "type": facts["options"]["type"],
            **facts["counts"],
            "refused_reasons": facts["refused"],
            **{name: facts[name] for name in ("countries", "limits", "template")},
            "quiet_hours": facts.get("quiet_hours", {}),
            **json.loads(plan.outlook),
            "samples": self._samples(plan),
        }

    def open(
        self,
        id: str,
        *,
        actor: str,
        naming: ArgumentNaming,
        ask: Callable[[FilePlan], None] = lambda run: None,
    ) -> OpenPlan:
        """A plan of a file on this machine, checked for ``apply``. ``ask`` may ask the vendor about the template first.

        Raises NotFound; WrongState when the plan has expired; PlanChanged, with the differences; and what a forecast
        raises.
        """
        with self.database.read() as tx:
            plan = plans.get(tx, id)
        if plan.posted:
            raise WrongState(
                f"plan {plan.id} is of a file that was posted; POST /v1/plans/{plan.id}/apply applies it"
            )
        run = self.file_plan(plan, Path(plan.file), actor=actor, naming=naming)
        ask(run)
        return OpenPlan(plan, run, self.check(plan, run))

    def apply(self, opened: OpenPlan, intake: Intake) -> IntakeReport:
        """Send exactly what the plan says. Raises what ``Intake.run`` raises.

        A repeated call goes on where an earlier one stopped, and sends nothing twice.
        """
        began = intake.began

        def begun(campaign: Campaign) -> None:
            self.applied(opened.plan, campaign.id, actor=opened.run.created_by)
            began(campaign)

        return opened.run.run(replace(intake, began=begun))

    def file_plan(self, plan: Plan, path: Path, *, actor: str, naming: ArgumentNaming) -> FilePlan:
        """The send that a plan froze. Raises InvalidInput when its file cannot be read any more."""
        run = frozen_options(plan).plan(path, created_by=actor, naming=naming)
        return replace(run, given_key=plan.campaign_key)

    def check(self, plan: Plan, run: FilePlan) -> bool:
        """Whether the plan is new to the ledger; False: its campaign exists.

        Raises WrongState when it has expired, PlanChanged when something of it changed, and what a forecast raises.
        """
        if plan.campaign_id is not None:
            # What is left of its rows is taken in, if they are the same.
            self._compare(plan, {"source_hash": plan.source_hash}, {"source_hash": run.hash})
            return False
        made = forecast(run, self.database, self.cipher, self.limits)
        if made.repeats is not None:
            return False
        with self.database.read() as tx:
            plans.check_live(tx, plan)
        self._compare(plan, json.loads(plan.facts), facts_of(run, made, self.limits.rules))
        if made.refusal is not None:
            raise made.refusal
        return True

    def _compare(self, plan: Plan, before: Facts, after: Facts) -> None:
        changes = differences(before, after)
        if changes:
            raise PlanChanged(
                f"plan {plan.id} is not applied, since it is not what would be sent now: {told(changes)}. Nothing was "
                "changed; make a new plan with the same options",
                changes=changes,
            )

    def applied(self, plan: Plan, campaign_id: str, *, actor: str) -> None:
        """Record the campaign that a plan became."""
        self.database.retrying(lambda tx: plans.applied(tx, plan, campaign_id, actor=actor))

    def _samples(self, plan: Plan) -> list[dict[str, Any]]:
        if plan.samples is None:
            return []
        try:
            found: list[dict[str, Any]] = json.loads(self.cipher.unseal(plan.samples, plan.id))
        except CannotDecrypt:
            return []
        return found


def _summary(plan: Plan, now: int) -> dict[str, Any]:
    facts = json.loads(plan.facts)
    return {
        "plan_id": plan.id,
        "hash": plan.hash,
        "status": _status(plan, now),
        **{name: facts["options"][name] for name in ("name", "kind", "sender")},
        "to_send": facts["counts"]["to_send"],
        "cost": facts["cost"],
        "created_at": format_instant(plan.created_at),
        "created_by": plan.created_by,
        "expires_at": format_instant(plan.expires_at),
        "campaign_id": plan.campaign_id,
        "applied_at": None if plan.applied_at is None else format_instant(plan.applied_at),
        "applied_by": plan.applied_by,
        "ended_why": plan.ended_why,
    }


def _status(plan: Plan, now: int) -> str:
    if plan.campaign_id is not None:
        return "applied"
    if plan.ended_why is not None:
        return "ended"
    return "expired" if plan.expires_at <= now else "open"


def options_of(plan: FilePlan) -> CampaignOptions:
    """The options that make the same send of the same file."""
    given = set(plan.given.values())
    return CampaignOptions(
        sender=plan.sender,
        kind=plan.kind.value,
        type=plan.type.value,
        content=plan.template.to_json(),
        name=plan.name if "name" in given else None,
        key=plan.given_key if "key" in given else None,
        send_at=None if plan.due_at_ms is None else format_instant(plan.due_at_ms),
        local_time=None if plan.local_time is None else str(plan.local_time),
        ttl_seconds=None if plan.ttl_ms is None else plan.ttl_ms / 1000,
        rate=None if plan.rate is None else f"{plan.rate:.9f}",
        on_unknown=plan.on_unknown.value if "on_unknown" in given else None,
        cap=None if plan.exclusions.cap is None else str(plan.exclusions.cap),
        exclude=tuple(str(of) for of in plan.exclusions.exclude),
        only=tuple(str(of) for of in plan.exclusions.only),
        require_consent=plan.exclusions.require_consent,
        timezone=plan.timezone,
        region=plan.default_region,
        map=dict(plan.columns),
        encoding=plan.encoding,
        sheet=plan.sheet,
        again=plan.again,
        into=plan.into,
        canary=plan.canary,
        max_failed=None if plan.max_failed is None else format_max_failed(plan.max_failed),
        weight=plan.weight,
    )


def frozen_options(plan: Plan) -> CampaignOptions:
    """The options that a plan froze."""
    return CampaignOptions(**json.loads(plan.options))


def facts_of(plan: FilePlan, made: Forecast, rules: TimeRules) -> dict[str, Any]:
    """What ``apply`` insists on."""
    return {
        "source_hash": plan.hash,
        "recipients_hash": made.recipients_hash,
        "options": {
            "name": plan.name,
            "kind": plan.kind.value,
            "sender": plan.sender,
            "type": plan.type.value,
            "due_at": plan.due_at_ms,
            "local_time": None if plan.local_time is None else str(plan.local_time),
            "ttl_ms": made.ttl_ms,
            "rate": plan.rate,
            "on_unknown": plan.on_unknown.value,
            "leaves_out": plan.exclusions.to_json(),
            "into": plan.into,
            "again": plan.again,
            "canary": plan.canary,
            "max_failed": plan.max_failed,
            "weight": plan.weight,
        },
        "template": None if made.template is None else template_facts(made.template),
        "counts": {
            "rows": made.rows,
            "messages": made.messages,
            "duplicates": made.duplicates,
            "superseded": made.superseded,
            "already": made.found.total(),
            "suppressed": made.suppressed,
            "suppressed_by": dict(sorted(made.suppressed_by.items())),
            "to_send": made.due.total(),
            "refused_count": made.refused_count,
        },
        "refused": dict(sorted(made.reasons.items())),
        "countries": dict(sorted(made.countries.items())),
        "limits": {"rate": made.rate, "quota": made.quota},
        "quiet_hours": rules.quiet_hours_told(plan.kind, made.countries),
        "cost": None if made.cost is None else made.cost.as_json(),
    }


def template_facts(template: Template) -> dict[str, Any]:
    """A template as it is known; ``version`` is a hash of its texts and variables, None: not read."""
    version = None if template.shape is None else plan_hash({"shape": template.shape})
    return {
        "name": template.name,
        "language": template.language,
        "status": template.status,
        "category": template.category,
        "version": version,
    }


def samples_of(plan: FilePlan, made: Forecast) -> list[dict[str, Any]]:
    """Some of the messages as they will look: their rows, masked recipients, due times and parts."""
    shape = None if made.template is None else shape_from_json(made.template.shape)
    return [sample(plan, message, shape) for message in made.samples.each()]


def sample(
    plan: FilePlan,
    message: NewMessage,
    shape: TemplateShape | None,
    files: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """One message as it will look; a one-time code is stars. ``due_at``: where the recipient's clock gives its time.

    ``files``: what stands for a file of ours, by its id.
    """
    values: Mapping[str, str] = message.body["v"]  # type: ignore[assignment]
    looks = _looks(plan, values, shape, files)
    by_clock = plan.local_time is not None or message.in_quiet_hours
    due_at = format_instant(message.due_at) if by_clock else None
    return {"row": message.row, "to": mask_phone(message.recipient), "due_at": due_at, **looks.as_json()}


def _looks(
    plan: FilePlan, values: Mapping[str, str], shape: TemplateShape | None, files: Mapping[str, str]
) -> Preview:
    if plan.kind is Kind.OTP:
        values = {name: "*" * len(value) for name, value in values.items()}
    try:
        content = json.loads(plan.template.render(values))
        ours = {id: reference(id) for id in our_files(plan.type, content)}
        return preview(plan.type, with_vendor_ids(plan.type, content, {**ours, **files}), shape)
    except InvalidValue:
        # Stars stand where the content needs a number or a link.
        return Preview(body="[a one-time code is not shown]")


def _outlook(made: Forecast, file: PlanFile) -> dict[str, Any]:
    """What a plan shows and does not insist on: it changes with time."""
    shown = made.as_json()
    return {
        **{name: shown[name] for name in ("begins_at", "done_by", "beside", "notes")},
        "refused": [row._asdict() for row in made.refused[:_REFUSED_SHOWN]],
        "file": {"name": file.path.name, "bytes": file.path.stat().st_size, "sha256": file.sha256},
    }
