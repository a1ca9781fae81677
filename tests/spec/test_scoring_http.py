"""Scoring against a gateway: killed, overtaken by a decision, or by what a patient does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.riskassessment import RiskAssessment

from ehr_fhir.errors import Conflict
from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account
from ehr_models.demo import ScoringReport, score_with_champion, withdraw_without_champion
from ehr_models.learners.portable import LogisticRegression, write_model
from ehr_models.model_store import ModelStore
from ehr_models.promotion import PromotionRegister
from ehr_models.registry import get_task
from ehr_models.risk_assessments import ScoringRun
from ehr_models.score import Prediction
from ehr_models.scored_people import ScoredPeople
from ehr_models.version_files import (
    GATES_FILE,
    TRAINER_FILE,
    GateResult,
    write_gates,
    write_trainer,
)
from ehr_models.write_back import send_predictions
from tests.lib import gold
from tests.lib.gateway import House, consent, must, patient
from tests.spec.test_erasure_http import read_rows

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
_READMISSION = get_task("readmission-28d")
SCOPE = "system/RiskAssessment.cruds system/Provenance.cruds"
VIEWS = gold.end_last_stays(gold.made_up(4), NOW - timedelta(days=9))
PATIENTS = tuple(VIEWS["patient_demographics"]["id"])
_FRAME = _READMISSION.build_frame(VIEWS)
# The same rows each time: worked out once.
TASK = replace(_READMISSION, build_frame=lambda views, **_: _FRAME, build_recent_frame=None)


class Killed(BaseException):
    """The process ended."""


@dataclass
class Line:
    """The way to the gateway, on which something happens before or after the answer of a request.

    `moment` counts both of each request: 2n is before request n is sent, 2n + 1 after its answer
    has come.
    """

    house: House
    moment: int = -1
    happen: Callable[[], None] = lambda: None
    passed: list[str] = field(default_factory=list)

    def post(self, url: str, **options: Any) -> Any:
        return self._send("POST", url, options)

    def get(self, url: str, **options: Any) -> Any:
        return self._send("GET", url, options)

    def _send(self, method: str, url: str, options: dict[str, Any]) -> Any:
        number = len(self.passed)
        self.passed.append(method)
        if self.moment == 2 * number:
            self.happen()
        answer = self.house.client.request(method, url, **options)
        if self.moment == 2 * number + 1:
            self.happen()
        return answer


@dataclass
class Scoring:
    """Four patients of a gateway who have joined, and a model whose versions are promoted."""

    house: House
    register: PromotionRegister
    now: datetime = NOW

    def promote(self) -> int:
        """Promote a new version; return its number."""
        gates = (GateResult("better", True, "Compared with LACE."),)
        number = len(self.register.store.list_versions(TASK.name)) + 1
        # Each version says something else.
        model = LogisticRegression(("age",), -2.0 + number / 8, (0.5,), (60.0,), (60.0,), (10.0,))
        feature = {"name": "age", "title": "Age", "unit": "a", "source": "p", "missing": 0.0}
        files = {
            **write_model(model),
            "features.json": json.dumps({"features": [feature], "codes": {}}).encode(),
            "summary.json": b'{"verdict": {"en": ""}, "grade": "better-than-baseline"}',
            GATES_FILE: write_gates(gates),
            TRAINER_FILE: write_trainer(["lau"]),
        }
        self.register.store.save_version(TASK.name, files, NOW)
        for who in ("ng", "tse"):
            self.register.promote(TASK.name, number, who, "For a test.")
        return number

    def score(self, line: Line) -> ScoringReport:
        """Score a minute after the last time."""
        self.now += timedelta(minutes=1)
        people = ScoredPeople({one: one for one in PATIENTS})
        return score_with_champion(
            TASK, self.register, VIEWS, line, self.token, self.now, people=people
        )

    def withdraw(self) -> int:
        """End what no version stands for any more; return how many."""
        self.now += timedelta(minutes=1)
        return withdraw_without_champion(
            TASK, self.register, Line(self.house), self.token, self.now
        )

    def erase(self, name: str) -> None:
        """Erase a patient with two people."""
        asked = self.house.login("admin").post(
            f"Patient/{name}/$purge", _parameters(reason="Asked for, papers 12/2026")
        )
        erasure = next(
            part["valueString"]
            for part in must(asked).json()["parameter"]
            if part["name"] == "erasure"
        )
        body = _parameters(erasure=erasure, decision="approve", reason="The papers were checked")
        must(self.house.login("steward").post("$decide-erasure", body))

    def write_stale(self, stay: str) -> None:
        """Write an assessment of a stay that another has taken the place of."""
        ended = self.now - timedelta(days=11)
        run = ScoringRun(TASK, "0", self.now)
        told = Prediction(PATIENTS[0], stay, ended, 0.5)
        assert send_predictions(Line(self.house), self.token, run, [told]).accepted == 1

    @property
    def token(self) -> str:
        return self.house.system("ehr-commons", SCOPE).headers["Authorization"][7:]

    def list(self, kind: str = "RiskAssessment") -> list[dict[str, Any]]:
        """Return all resources of a type that the platform wrote."""
        session, found = self.house.system("ehr-commons", SCOPE), []
        url: str | None = f"{kind}?_count=500"
        while url is not None:
            page = must(session.get(url)).json()
            found += [entry["resource"] for entry in page.get("entry", ())]
            links = {link["relation"]: link["url"] for link in page["link"]}
            url = links.get("next")
        return found


def _parameters(**values: str) -> dict[str, Any]:
    parameter = [
        {"name": name, "valueCode" if name == "decision" else "valueString": value}
        for name, value in values.items()
    ]
    return {"resourceType": "Parameters", "parameter": parameter}


@pytest.fixture
def scoring(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scoring]:
    """Lend a scoring of four patients in transactions of two."""
    monkeypatch.setattr("ehr_models.write_back.BATCH_PATIENTS", 2)
    platform = house.system("ehr-commons")
    for number, name in enumerate(PATIENTS):
        platform.store(patient(name, f"ZC12345{number}0"))
        platform.store(consent(f"joining-{number}", "joining", patient=name))
    folder = tmp_path / "platform"
    folder.mkdir()
    yield Scoring(house, PromotionRegister(ModelStore(folder), lambda: NOW))


def is_running(assessment: dict[str, Any], now: datetime) -> bool:
    return datetime.fromisoformat(assessment["prediction"][0]["whenPeriod"]["end"]) > now


def version_of(assessment: dict[str, Any]) -> int:
    return int(assessment["method"]["coding"][0]["version"])


def kill() -> None:
    raise Killed


def test_a_scoring_that_is_killed_anywhere_is_finished_by_the_next(scoring: Scoring) -> None:
    """Nobody has two, no version's stays beside another's, and what was to be ended is, once."""
    moment, killed = 0, True
    while killed:
        scoring.write_stale(f"stale-{moment}")
        scoring.promote()
        try:
            scoring.score(Line(scoring.house, moment, kill))
            killed = False
        except Killed:
            # Whole transactions: a patient has an assessment with its Provenance, or neither.
            provenances = str(scoring.list("Provenance"))
            assert all(f"RiskAssessment/{one['id']}" in provenances for one in scoring.list())
        champion = scoring.promote()
        report = scoring.score(Line(scoring.house))

        assert (report.accepted, report.refused) == (4, 0)
        found = scoring.list()
        stays = Counter(
            (one["subject"]["reference"], one["encounter"]["identifier"]["value"]) for one in found
        )
        assert set(stays.values()) == {1}
        running = [one for one in found if is_running(one, scoring.now)]
        assert sorted(one["subject"]["reference"] for one in running) == sorted(
            f"Patient/{name}" for name in PATIENTS
        )
        assert {(version_of(one), one["status"]) for one in running} == {(champion, "final")}
        ended = [one for one in found if not is_running(one, scoring.now)]
        assert len(ended) == moment + 1
        assert {one["status"] for one in ended} == {"amended"}
        assert {sum("Ended" in note["text"] for note in one["note"]) for one in ended} == {1}
        moment += 1
    # Two transactions, a search, and the end of the stale one.
    assert moment == 8 + 1
    for one in scoring.list():
        RiskAssessment.model_validate(one)


def test_a_roll_back_at_any_moment_of_a_scoring_is_told_and_the_next_writes_anew(
    scoring: Scoring,
) -> None:
    """At most the transaction that was on its way is written by the version of before."""
    before = scoring.promote()
    scoring.score(Line(scoring.house))
    for moment in range(2 * 3):
        taken_away = scoring.promote()

        def roll_back() -> None:
            scoring.register.roll_back(TASK.name, "ng", "For a test.")

        line = Line(scoring.house, moment, roll_back)
        with pytest.raises(Conflict, match=f"Version {taken_away} .* ceased to score"):
            scoring.score(line)
        written = [one for one in scoring.list() if version_of(one) == taken_away]
        assert len(written) == min(2 * (moment // 2 + 1), 4)
        # None is ended by what no longer scores.
        assert all(is_running(one, scoring.now) for one in scoring.list())

        scoring.score(Line(scoring.house))
        assert {version_of(one) for one in scoring.list()} == {before}


def test_nothing_is_ended_while_a_scoring_goes_on(scoring: Scoring) -> None:
    """What ends the assessments of a version that was withdrawn waits for who still scores."""
    scoring.promote()

    def withdraw() -> None:
        scoring.register.roll_back(TASK.name, "ng", "For a test.")
        with pytest.raises(Conflict, match="being scored already"):
            scoring.withdraw()

    with pytest.raises(Conflict, match="ceased to score"):
        scoring.score(Line(scoring.house, 1, withdraw))
    assert scoring.withdraw() == 2
    assert not any(is_running(one, scoring.now) for one in scoring.list())
    # Promoted since it was asked whether any scores: nothing of it is ended.
    scoring.promote()
    scoring.score(Line(scoring.house))
    with pytest.raises(Conflict, match="scores"):
        scoring.withdraw()


@pytest.mark.parametrize("moment", [0, 1, 2, 3])
def test_who_leaves_during_a_scoring_has_nothing_written_after_that(
    scoring: Scoring, moment: int
) -> None:
    """The first two patients are of the first transaction, the others of the second."""
    scoring.promote()
    leaver = PATIENTS[2]

    def leave() -> None:
        left = consent("joining-2", "joining", patient=leaver, status="inactive")
        must(scoring.house.login("leaver").put(left))

    account = Account("leaver", "patient", "Leaver", patient=leaver)
    accounts.add_account(scoring.house.gateway.store, account)

    report = scoring.score(Line(scoring.house, moment, leave))

    about = [one["subject"]["reference"] for one in scoring.list()]
    is_later = moment < 3
    assert (report.accepted, report.refused) == ((3, 1) if is_later else (4, 0))
    assert (f"Patient/{leaver}" in about) is not is_later
    provenances = str(scoring.list("Provenance"))
    assert (f"Patient/{leaver}" in provenances) is not is_later


@pytest.mark.parametrize("moment", [0, 1, 2, 3])
def test_of_who_is_erased_during_a_scoring_no_row_is_left(scoring: Scoring, moment: int) -> None:
    scoring.promote()
    # Scored before, too.
    scoring.score(Line(scoring.house))
    erased = PATIENTS[2]

    report = scoring.score(Line(scoring.house, moment, lambda: scoring.erase(erased)))

    is_later = moment < 3
    assert (report.accepted, report.refused) == ((3, 1) if is_later else (4, 0))
    assert erased not in (report.reason or "")
    scoring.house.gateway.audit_batcher.flush()
    assert not [row for row in read_rows(scoring.house) if erased in row[1]]
    assert {one["subject"]["reference"] for one in scoring.list()} == {
        f"Patient/{name}" for name in PATIENTS if name != erased
    }
