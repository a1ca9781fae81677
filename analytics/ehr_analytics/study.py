"""A study: a TOML file with a cohort in SQL and the counts wanted of it."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ehr_fhir.errors import NotFound, Unprocessable

_TEXT_KEYS = ("name", "project", "title", "question")


@dataclass(frozen=True)
class Measure:
    """One table of counts: by which columns of the cohort, and only the largest `top` rows."""

    name: str
    title: str
    by: tuple[str, ...]
    top: int | None = None


@dataclass(frozen=True)
class Study:
    """What a study's file says, with the digest of its text."""

    name: str
    project: str
    title: str
    question: str
    sql: str
    unit: str
    person: str
    outcomes: tuple[tuple[str, str], ...]
    measures: tuple[Measure, ...]
    digest: str

    def count_columns(self) -> tuple[str, ...]:
        """Return the names of the counts in every table of this study."""
        outcomes = [
            name for outcome, _ in self.outcomes for name in (outcome, people_column(outcome))
        ]
        return ("people", self.unit, *outcomes)


def people_column(count: str) -> str:
    """Return the name of the count of people behind a count."""
    return f"{count}_people"


def bundled_study_path(name: str) -> Path:
    """Return the file of a study that comes with the platform."""
    path = Path(str(files(__package__).joinpath("studies", f"{name}.toml")))
    if not path.is_file():
        raise NotFound(f"No study of the name {name!r} comes with the platform.")
    return path


def load_study(path: Path) -> Study:
    """Read a study's file; a fault in it is refused by name."""
    try:
        content = path.read_bytes()
        document = tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise NotFound(f"The study file {path.name} cannot be read.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Unprocessable(f"The study file {path.name} is not TOML: {error}.") from error
    if "policy" in document:
        raise Unprocessable(
            f"The study file {path.name} names a policy: that is its project's agreement."
        )
    try:
        cohort = document["cohort"]
        study = Study(
            **{key: str(document[key]) for key in _TEXT_KEYS},
            sql=str(cohort["sql"]),
            unit=str(cohort["unit"]),
            person=str(cohort["person"]),
            outcomes=tuple((str(k), str(v)) for k, v in document.get("outcomes", {}).items()),
            measures=tuple(_parse_measure(measure) for measure in document["measure"]),
            digest=hashlib.sha256(content).hexdigest(),
        )
    except (KeyError, TypeError) as error:
        raise Unprocessable(f"The study file {path.name} lacks or misuses {error}.") from error
    _require_names(study)
    return study


def read_stored_study(folder: Path) -> Study:
    """Return the study as it was when the run in this folder was made."""
    document = json.loads((folder / "study.json").read_text("utf-8"))
    # Runs made before the policy was the project's have one here.
    document.pop("policy", None)
    measures = tuple(Measure(**{**m, "by": tuple(m["by"])}) for m in document["measures"])
    outcomes = tuple((name, column) for name, column in document["outcomes"])
    return Study(**{**document, "measures": measures, "outcomes": outcomes})


def _parse_measure(document: Mapping[str, object]) -> Measure:
    by, top = document["by"], document.get("top")
    if not isinstance(by, list) or not (top is None or isinstance(top, int)):
        raise TypeError("measure.by (a list) or measure.top (a number)")
    return Measure(str(document["name"]), str(document["title"]), tuple(map(str, by)), top)


def _require_names(study: Study) -> None:
    # These names become file names and column names.
    names = [study.name, *(measure.name for measure in study.measures)]
    if not all(name.replace("-", "").isalnum() and name.islower() for name in names):
        raise Unprocessable("Names of studies and measures are small letters, digits and hyphens.")
    if len(set(names[1:])) < len(study.measures):
        raise Unprocessable("Two measures have the same name.")
    if any(set(measure.by) & set(study.count_columns()) for measure in study.measures):
        raise Unprocessable("A measure counts by a column that has the name of a count.")
