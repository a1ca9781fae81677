"""Models as the gateway tells of them: versions, gates, results, decisions, alarms. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ehr_portal.gateway.client import Resource
from ehr_portal.gateway.operations import MultiPartParameter, parse_multi_parts
from ehr_portal.i18n import N_
from ehr_portal.oversight.model_gates import Gate, parse_gate
from ehr_portal.record.display import HAN

__all__ = ["Model", "ModelVersion", "parse_models"]

GRADE_TITLES = {
    "better-than-baseline": N_("Better than what it was compared with"),
    "not-better": N_("Not better than what it was compared with"),
    "too-few-outcomes": N_("Too few outcomes to judge"),
    "damaged": N_("Its files were changed or lost: it scores nobody"),
}
GRADE_COLOURS = {
    "better-than-baseline": "green",
    "not-better": "red",
    "too-few-outcomes": "grey",
    "damaged": "red",
}
ACTION_TITLES = {
    "propose": N_("Proposed"),
    "promote": N_("Promoted: it scores"),
    "roll-back": N_("Rolled back"),
    "shadow": N_("Put in shadow"),
    "end-shadow": N_("Shadow ended"),
    "sign": N_("Signed anew"),
    "withdraw": N_("Signature withdrawn: the key became known"),
}
ALARM_TITLES = {
    "psi": N_("The values lie differently"),
    "missing": N_("More or fewer values are missing"),
    "calibration": N_("More or fewer outcomes than it said"),
}
# From here on the watch sounds an alarm, as ehr_models.watch has it.
LARGE_PSI = "0.2"
METRIC_TITLES = {
    "auroc": N_("AUROC"),
    "auprc": N_("AUPRC"),
    "brier": N_("Brier score"),
    "slope": N_("Calibration slope"),
}
FILE_TITLES = {
    "report": N_("Report"),
    "card": N_("Model card"),
    "tripod": N_("TRIPOD+AI list"),
    "features": N_("What it reads"),
    "controlled": N_("The forecasts"),
}


@dataclass(frozen=True)
class ModelFile:
    """A file of a version; `is_page` is one that is looked at in the browser."""

    name: str

    @property
    def title(self) -> str:
        """What it is, to be translated."""
        return FILE_TITLES.get(self.name.partition(".")[0], self.name)

    @property
    def is_page(self) -> bool:
        """Whether it is a page."""
        return self.name.endswith(".html")


@dataclass(frozen=True)
class ModelVersion:
    """A version with its gates, results and files."""

    values: MultiPartParameter

    @property
    def number(self) -> str:
        """Its number."""
        return self.values.number

    def verdict_in(self, language: str) -> str:
        """Return its verdict, empty where it is not written in the reader's script.

        What it says the grade and the gates say in every language.
        """
        verdict = self.values.verdict
        return verdict if language == "en" or HAN.search(verdict) else ""

    @property
    def gates(self) -> list[Gate]:
        """Its gates, those that are not met first."""
        gates = map(parse_gate, self.values.parse_parts("gate"))
        return sorted(gates, key=lambda gate: gate.is_met)

    @property
    def may_score(self) -> bool:
        """Whether every gate is met; what has none was not judged."""
        return bool(self.gates) and all(gate.is_met for gate in self.gates)

    @property
    def files(self) -> list[ModelFile]:
        """Its files for people."""
        return [ModelFile(name) for name in self.values.values.get("file", ())]

    def files_in(self, language: str) -> list[ModelFile]:
        """Return its files, of pages in several languages the reader's alone.

        The language stands before the ending: `report.en.html`.
        """
        own = f".{language}.html"
        return [
            file
            for file in self.files
            if not file.is_page or file.name.count(".") == 1 or file.name.endswith(own)
        ]

    @property
    def metrics(self) -> list[str]:
        """The metrics of its results, each once."""
        return list(dict.fromkeys(one.metric for one in self.values.parse_parts("result")))

    @property
    def table(self) -> dict[str, dict[str, MultiPartParameter]]:
        """Its results by predictor and metric."""
        found: dict[str, dict[str, MultiPartParameter]] = {}
        for result in self.values.parse_parts("result"):
            found.setdefault(result.predictor, {})[result.metric] = result
        return found


@dataclass(frozen=True)
class WatchedWeek:
    """A week in use: how far the scores have moved, what was told, and what came true."""

    # The Monday.
    monday: str
    psi: float
    # Shares of 1; `observed` is None until outcomes have arrived.
    expected: float
    observed: float | None


@dataclass(frozen=True)
class Model:
    """The model of a task."""

    values: MultiPartParameter
    versions: list[ModelVersion]
    # The newest first.
    decisions: list[MultiPartParameter]
    alarms: list[MultiPartParameter]
    # The earliest first.
    weeks: list[WatchedWeek]

    @property
    def is_forecast(self) -> bool:
        """Whether it makes forecasts and scores nobody."""
        return self.values.forecast == "true"

    @property
    def task(self) -> str:
        """The name of its task."""
        return self.values.task

    def find_version(self, number: str) -> ModelVersion | None:
        """Return a version by its number."""
        return next((version for version in self.versions if version.number == number), None)

    @property
    def waits(self) -> bool:
        """Whether somebody has to decide or to look."""
        return bool(self.values.proposal or self.alarms)


def parse_models(answer: Resource) -> list[Model]:
    """Read the answer of `$models`."""
    return [
        Model(
            model,
            [ModelVersion(version) for version in model.parse_parts("version")],
            model.parse_parts("decision")[::-1],
            model.parse_parts("alarm")[::-1],
            [_parse_week(week) for week in model.parse_parts("week")],
        )
        for model in parse_multi_parts(answer, "model")
    ]


def _parse_week(week: MultiPartParameter) -> WatchedWeek:
    observed = float(week.observed) if week.observed else None
    return WatchedWeek(week.monday, float(week.psi), float(week.expected), observed)
