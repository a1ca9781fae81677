"""Care plans as a patient needs them: what for, which goals, what is to be done and by whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from ehr_portal.gateway.client import Resource
from ehr_portal.record.code_texts import code_text
from ehr_portal.record.display import Text, concept_text, text_of_record
from ehr_portal.record.record import sort_rows
from ehr_portal.record.rows import RecordRow, build_row

_PATIENT = "Patient"


@dataclass(frozen=True)
class Activity:
    """One thing to be done."""

    text: Text
    # Its state in words, and whether it is done or will not be.
    status: Text
    is_over: bool
    # Who does it; empty where the plan does not say.
    performers: tuple[Text, ...]
    note: Text
    # The reference of a record that says what it is; empty where the plan says it itself.
    reference: str = ""


@dataclass(frozen=True)
class PlanMember:
    """Somebody of the team that looks after a plan."""

    name: Text
    roles: tuple[Text, ...]


@dataclass(frozen=True)
class CarePlan:
    """One plan with what belongs to it."""

    row: RecordRow
    # Goals of the plan that the reader may see.
    goals: tuple[RecordRow, ...]
    activities: tuple[Activity, ...]
    # Whose plan it is, and who looks after it.
    authors: tuple[Text, ...]
    team: tuple[PlanMember, ...]
    # Titles of the problems that it is for.
    addresses: tuple[Text, ...]


def build_care_plans(
    plans: Iterable[Resource],
    goals: Iterable[Resource],
    targets: Mapping[str, Resource],
    language: str,
    now: datetime,
) -> tuple[list[CarePlan], list[RecordRow]]:
    """Return the plans, those that hold now first, and the goals of no plan.

    `targets` are teams and problems that plans refer to, by reference.
    """
    goal_rows = {
        f"Goal/{goal['id']}": build_row(goal, targets, language, now)
        for goal in goals
        if goal.get("lifecycleStatus") != "entered-in-error"
    }
    rows = sort_rows(build_row(plan, targets, language, now) for plan in plans)
    built = [_build_plan(row, goal_rows, targets, language, now) for row in rows]
    used = {f"Goal/{goal.id}" for plan in built for goal in plan.goals}
    return built, [row for reference, row in goal_rows.items() if reference not in used]


def _build_plan(
    row: RecordRow,
    goals: Mapping[str, RecordRow],
    targets: Mapping[str, Resource],
    language: str,
    now: datetime,
) -> CarePlan:
    plan = row.resource
    teams = [targets.get(_reference(team), {}) for team in plan.get("careTeam", ())]
    authors = [plan["author"]] if "author" in plan else []
    problems = [targets.get(_reference(problem)) for problem in plan.get("addresses", ())]
    return CarePlan(
        row=row,
        goals=tuple(goals[_reference(g)] for g in plan.get("goal", ()) if _reference(g) in goals),
        activities=tuple(_build_activity(a, language) for a in plan.get("activity", ())),
        authors=_names([*authors, *plan.get("contributor", ())]),
        team=tuple(
            PlanMember(
                text_of_record(str(member["member"]["display"])),
                tuple(concept_text(role, language) for role in member.get("role", ())),
            )
            for team in teams
            for member in team.get("participant", ())
            if member.get("member", {}).get("display")
            and not _reference(member["member"]).startswith(f"{_PATIENT}/")
        ),
        addresses=tuple(concept_text(p.get("code"), language) for p in problems if p),
    )


def _build_activity(activity: Resource, language: str) -> Activity:
    detail = activity.get("detail", {})
    status = str(detail.get("status", ""))
    reference = activity.get("reference", {})
    text = concept_text(detail.get("code"), language)
    if not text.text:
        written = detail.get("description") or reference.get("display") or ""
        text = text_of_record(str(written))
    notes = [str(note.get("text", "")) for note in activity.get("progress", ())]
    described = str(detail.get("description", "")) if detail.get("code") else ""
    return Activity(
        text=text,
        status=code_text("CarePlan.activity.detail.status", status, language),
        is_over=status in ("completed", "cancelled", "stopped", "entered-in-error"),
        performers=_names(detail.get("performer", ())),
        note=text_of_record(" ".join(part for part in (described, *notes) if part)),
        reference=_reference(reference) if not detail else "",
    )


def _names(references: Iterable[Resource]) -> tuple[Text, ...]:
    return tuple(
        text_of_record(str(reference["display"]))
        for reference in references
        if reference.get("display")
    )


def _reference(reference: Resource) -> str:
    return str(reference.get("reference", ""))
