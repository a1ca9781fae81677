"""A merge is one transaction: a process that is killed in the middle of one has changed nothing."""

from __future__ import annotations

import os
import signal
from importlib import import_module
from multiprocessing import get_context
from typing import Any

import pytest

from ehr_gateway.settings import GatewaySettings
from tests.lib.gateway import House, must
from tests.spec.access.steps import named, told
from tests.spec.test_merge_http import count_rows, decide, propose, staffed, stored, task_of

__all__ = ["staffed"]

_STEP = "ehr_gateway.access_requests.step_transaction"
_DECISION = "ehr_gateway.access_requests.merge_decisions"


def decide_and_die(
    settings: GatewaySettings, identity: str, place: str, name: str, number: int
) -> None:
    """Approve a merge in a process that kills itself at the n-th call of a function."""
    owner: Any = import_module(place)
    *path, attribute = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    call, calls = getattr(owner, attribute), list[str]()

    def count_then_die(*given: Any, **named: Any) -> Any:
        calls.append(attribute)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*given, **named)

    setattr(owner, attribute, count_then_die)
    house = House(settings.data, database_url=settings.database_url)
    with house.client:
        decide(house, identity)


@pytest.mark.parametrize(
    ("place", "name", "number"),
    [
        (_STEP, "StepTransaction.update", 2),
        (_STEP, "StepTransaction.create", 2),
        (_DECISION, "tell_patients", 1),
        # The last that is written; the commit is next.
        (_STEP, "recorder.build_opened_rows", 1),
    ],
    ids=["between the Patients", "between the Provenances", "before the notices", "at the end"],
)
def test_a_process_that_is_killed_in_a_merge_has_changed_nothing(
    staffed: House, place: str, name: str, number: int
) -> None:
    identity = task_of(propose(staffed))
    rows, before = count_rows(staffed), stored(staffed, "pat-1")

    # It begins with all that is imported here, and has a gateway of its own.
    killed = get_context("fork").Process(
        target=decide_and_die, args=(staffed.settings, identity, place, name, number)
    )
    killed.start()
    killed.join(60)

    assert killed.exitcode == -signal.SIGKILL
    assert count_rows(staffed) == rows
    assert stored(staffed, "pat-1") == before
    assert told(staffed) == []
    assert named(must(decide(staffed, identity)))["outcome"] == ["merged"]
    assert stored(staffed, "pat-1")["active"] is False
