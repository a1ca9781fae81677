"""What Consents opened before openings were recorded is read from their versions."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
import sqlalchemy as sa

from ehr_gateway.migrations.upgrade import revision_scripts
from tests.lib.gateway import consent

Step = tuple[str, dict[str, Any] | None]

ACTORS = [{"reference": {"reference": "Organization/b"}}]
GRANT = consent("g", "step-up", provision={"type": "permit", "actor": ACTORS})
SHARING = consent("s", "sharing", provision={"type": "permit", "actor": ACTORS})
JOINING = consent("j", "joining")
EMERGENCY = consent("e", "emergency", provision={"type": "permit", "actor": ACTORS})


def off(body: dict[str, Any], status: str = "inactive") -> dict[str, Any]:
    return {**body, "status": status}


def read_openings(*steps: Step) -> dict[tuple[str, str, str], Any]:
    engine = sa.create_engine("sqlite://")
    with engine.begin() as bind:
        bind.exec_driver_sql(
            "CREATE TABLE resource (pk INTEGER, type TEXT, id TEXT, deleted INTEGER,"
            " last_updated INTEGER, body BLOB)"
        )
        for pk, (identity, body) in enumerate(steps, 1):
            values = (pk, identity, int(body is None), pk * 10, orjson.dumps(body) if body else b"")
            bind.exec_driver_sql("INSERT INTO resource VALUES (?, 'Consent', ?, ?, ?, ?)", values)
        revision: Any = revision_scripts().get_revision("0006")
        openings: dict[tuple[str, str, str], Any] = revision.module._read_openings(bind)
    return openings


GIVEN: list[Step] = [
    ("j", JOINING), ("s", SHARING), ("g", off(GRANT, "proposed")), ("g", GRANT),
]  # fmt: skip


@pytest.mark.parametrize(
    ("later", "ended_ms"),
    [
        ([], None),
        ([("s", SHARING)], None),
        ([("s", off(SHARING)), ("s", SHARING)], 50),
        ([("s", None), ("s", SHARING)], 50),
        ([("j", off(JOINING)), ("j", JOINING)], 50),
        ([("g", off(GRANT)), ("g", GRANT)], 50),
        ([("g", None)], 50),
        ([("other", off({**SHARING, "patient": {"reference": "Patient/pat-2"}}))], None),
    ],
)
def test_a_grant_has_ended_if_its_sharing_was_ever_switched_off(
    later: list[Step], ended_ms: int | None
) -> None:
    openings = read_openings(*GIVEN, *later)

    assert list(openings) == [("g", "pat-1", "b")]
    (found,) = openings.values()
    assert (found.kind, found.position, found.ended_ms) == ("consent_grant", 4, ended_ms)


def test_an_emergency_ends_with_its_own_consent_alone() -> None:
    steps: list[Step] = [("s", SHARING), ("e", EMERGENCY), ("s", off(SHARING))]

    (lasting,) = read_openings(*steps).values()
    (ended,) = read_openings(*steps, ("e", off(EMERGENCY))).values()

    assert (lasting.kind, lasting.ended_ms) == ("consent_emergency", None)
    assert ended.ended_ms == 40
