"""What the operations on the work of research share: who calls, runs and releases as parameters."""

from __future__ import annotations

from typing import Any

from ehr_fhir.errors import Forbidden, Invalid, Unavailable
from ehr_gateway.accounts.accounts import list_names_of_person
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations._research_projects import APPLICANT_ROLES, APPROVER_ROLES
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.research_work import (
    CohortStep,
    ReleaseRequest,
    ResearchPerson,
    ResearchRun,
    ResearchWork,
)

__all__ = [
    "CHECKERS",
    "PEOPLE",
    "begin_work",
    "build_decimal",
    "build_instant",
    "build_release_parameter",
    "build_run_parameter",
    "build_step_parameter",
    "read_query",
]

PEOPLE = "a researcher or clinician who works in the project"
CHECKERS = "a steward or an auditor who is not of the project"


def begin_work(
    context: RequestContext, *, checkers: bool = False, people: bool = True
) -> tuple[ResearchWork, ResearchPerson]:
    """Return the work of research and who asks; Forbidden for other roles.

    Unavailable without the lake.
    """
    requester = context.access.requester
    roles = (APPLICANT_ROLES if people else frozenset()) | (
        APPROVER_ROLES if checkers else frozenset()
    )
    if requester.role not in roles or not requester.person:
        raise Forbidden(f"This is for {', '.join(sorted(roles))}.")
    work = context.gateway.research_work
    if work is None:
        raise Unavailable("This gateway is served without the lake.")
    with context.gateway.store.read_transaction() as connection:
        names = list_names_of_person(connection, context.caller.subject.login)
    return work, ResearchPerson(requester.person, names, requester.role in APPROVER_ROLES)


def read_query(call: OperationCall, *required: str) -> dict[str, str]:
    """Return the parameters of a GET by name, each there once; Invalid where one is missing."""
    sent = dict(call.query)
    if len(sent) < len(call.query):
        raise Invalid("A parameter is there twice.")
    for name in required:
        if not sent.get(name):
            raise Invalid(f"The parameter {name} is missing.", expression=name)
    return sent


def build_instant(name: str, instant: str) -> list[dict[str, Any]]:
    """Return an instant as a parameter; nothing where it is empty."""
    return [{"name": name, "valueInstant": instant}] if instant else []


def build_decimal(name: str, number: float) -> dict[str, Any]:
    """Return a number as a parameter."""
    return {"name": name, "valueDecimal": number}


def build_step_parameter(step: CohortStep) -> dict[str, Any]:
    """Return a step of a cohort; without `people` where there are too few to tell."""
    people = [] if step.people is None else [parameter("people", step.people)]
    return {"name": "step", "part": [parameter("name", step.name), *people]}


def build_run_parameter(run: ResearchRun) -> dict[str, Any]:
    """Return a run as a multi-part parameter."""
    parts = [
        parameter("id", run.id),
        parameter("project", run.project),
        {"name": "kind", "valueCode": run.kind},
        parameter("title", run.title),
        parameter("who", run.who),
        {"name": "state", "valueCode": run.state},
        *build_instant("asked", run.asked),
        *build_instant("started", run.started),
        *build_instant("ended", run.ended),
        *_build_texts(fault=run.fault, definition=run.definition, release=run.release),
        *(parameter("output", name) for name in run.outputs),
        *(build_step_parameter(step) for step in run.steps),
    ]
    parts += [
        {"name": "table", "part": [parameter("name", name), parameter("version", version)]}
        for name, version in run.tables
    ]
    parts += [
        {"name": "log", "part": [*build_instant("at", line.at), parameter("text", line.text)]}
        for line in run.log
    ]
    return {"name": "run", "part": parts}


def build_release_parameter(release: ReleaseRequest) -> dict[str, Any]:
    """Return a request for release as a multi-part parameter."""
    parts = [
        parameter("id", release.id),
        parameter("project", release.project),
        parameter("title", release.title),
        parameter("run", release.id),
        parameter("unsafe", release.is_unsafe),
        parameter("digest", release.digest),
        {"name": "state", "valueCode": release.state},
        *build_instant("asked", release.asked),
        parameter("by", release.by),
        *_build_texts(note=release.note),
    ]
    for file in release.files:
        cells = {"cells": file.cells, "hidden": file.cells_hidden}
        parts.append(
            {
                "name": "file",
                "part": [
                    parameter("name", file.name),
                    parameter("media", file.media_type),
                    parameter("bytes", file.size),
                    parameter("sha256", file.sha256),
                    *(parameter(name, count) for name, count in cells.items() if count is not None),
                ],
            }
        )
    parts += [
        {
            "name": "check",
            "part": [
                parameter("name", check.name),
                parameter("passed", check.passed),
                *_build_texts(detail=check.detail),
            ],
        }
        for check in release.checks
    ]
    parts += [
        {
            "name": "rule",
            "part": [
                parameter("name", rule.name),
                parameter("cells", rule.cells),
                parameter("meaning", rule.meaning),
            ],
        }
        for rule in release.rules
    ]
    parts += [parameter("checker", person) for person in release.checkers]
    parts += [
        {
            "name": "event",
            "part": [
                *build_instant("at", event.at),
                parameter("who", event.who),
                parameter("action", event.action),
                *_build_texts(reason=event.reason),
            ],
        }
        for event in release.events
    ]
    return {"name": "release", "part": parts}


def _build_texts(**texts: str) -> list[dict[str, Any]]:
    return [parameter(name, text) for name, text in texts.items() if text]
