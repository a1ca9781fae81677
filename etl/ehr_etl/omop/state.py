"""State of the OMOP tables of a lake: whether they are kept at all, and by which vocabulary."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path

import orjson

from ehr_etl.atomic_files import replace_file
from ehr_etl.lake import Lake
from ehr_etl.omop.cdm import CDM_VERSION
from ehr_etl.omop.mappings import load_mappings, mappings_digest
from ehr_etl.omop.vocabulary import BUILT_IN, Vocabulary

__all__ = [
    "OmopState",
    "find_vocabulary",
    "load_state",
    "omop_digest",
    "open_vocabulary",
    "record_run",
    "runs_file",
    "save_state",
    "send_vocabulary",
    "vocabulary_file",
]


@dataclass(frozen=True)
class OmopState:
    """What `ehr lake omop` set up: release and digest of the vocabulary that is loaded."""

    release: str = BUILT_IN
    vocabulary: str = ""

    def describe_run(self) -> dict[str, str]:
        """Return what was used: CDM, vocabulary, guide, rules and software (f2o-102)."""
        rules = load_mappings()
        return {
            "cdm_version": f"v{CDM_VERSION}",
            "vocabulary_release": self.release,
            "implementation_guide": f"hl7.fhir.uv.omop {rules.guide}",
            "fhir_version": rules.fhir,
            "filter_rules_since": rules.rules_since,
            "mappings": mappings_digest(),
            "software": f"eHR Commons {package_version('ehr-commons')}",
        }


def load_state(lake: Lake) -> OmopState | None:
    """Return the state; None where the lake keeps no OMOP tables."""
    file = _file(lake)
    return OmopState(**orjson.loads(file.read_bytes())) if file.exists() else None


def save_state(lake: Lake, state: OmopState) -> None:
    """Keep the state, whole or not at all."""
    file = _file(lake)
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, orjson.dumps(asdict(state)))


def record_run(lake: Lake, state: OmopState, now_ms: int) -> None:
    """Add a line on a run that wrote to the log of runs: what was used, and when (f2o-102).

    A lake that follows its gateway runs many times a day: a day on which nothing else is used than
    before is one line, with the time of its first run.
    """
    at = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="seconds")
    line = {"time": at, **state.describe_run()}
    file = runs_file(lake)
    lines = file.read_bytes().splitlines() if file.exists() else []
    last = orjson.loads(lines[-1]) if lines else {}
    if {**last, "time": str(last.get("time"))[:10]} == {**line, "time": at[:10]}:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as out:
        out.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


def runs_file(lake: Lake) -> Path:
    """Return the log of runs."""
    return lake.root / "omop_etl" / "runs.jsonl"


def omop_digest(state: OmopState, deid: str) -> str:
    """Return a digest of all that decides how the rows are made of deid, the vocabulary too."""
    text = f"{deid}\n{mappings_digest()}\n{package_version('ehr-commons')}\n{state.vocabulary}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def vocabulary_file(lake: Lake, digest: str) -> Path:
    """Return the database of a loaded vocabulary."""
    return lake.root / "omop_etl" / f"vocabulary-{digest}.sqlite"


def find_vocabulary(lake: Lake) -> Path | None:
    """Return the database of the vocabulary that the user loaded; None where there is none here."""
    state = load_state(lake)
    if state is None or not state.vocabulary:
        return None
    file = vocabulary_file(lake, state.vocabulary)
    return file if file.exists() else None


def open_vocabulary(lake: Lake, state: OmopState) -> Vocabulary:
    """Return the vocabulary of a lake: the user's, or the built-in crosswalk alone."""
    if not state.vocabulary:
        return Vocabulary()
    file = vocabulary_file(lake, state.vocabulary)
    if not file.exists() and lake.tables_url:
        file = _fetch(lake, file)
    return Vocabulary(file, state.release)


def send_vocabulary(lake: Lake, file: Path) -> None:
    """Put the database beside the tables, where those are in an object store that workers read."""
    if lake.tables_url:
        filesystem, root = lake.open_storage()
        with filesystem.open_output_stream(f"{root}omop_etl/{file.name}") as out:
            out.write(file.read_bytes())


def _fetch(lake: Lake, file: Path) -> Path:
    """Copy the database from the object store to this machine, once."""
    target = Path(tempfile.gettempdir()) / f"ehr-{file.name}"
    if not target.exists():
        filesystem, root = lake.open_storage()
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as partial:
            with filesystem.open_input_stream(f"{root}omop_etl/{file.name}") as content:
                partial.write(content.read())
        Path(partial.name).replace(target)
    return target


def _file(lake: Lake) -> Path:
    return lake.root / "omop_etl" / "state.json"
