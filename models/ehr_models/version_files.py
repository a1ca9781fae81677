"""The files of a version that decisions are made by: gates, summary, and who trained it.

Their names and shapes are declared here alone.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = [
    "GATES_FILE",
    "SUMMARY_FILE",
    "TRAINER_FILE",
    "GateResult",
    "read_gates",
    "read_summary",
    "read_trainer",
    "write_gates",
    "write_trainer",
]

# How the gates were judged when the version was trained.
GATES_FILE = "gates.json"
# What a list of models shows of a version: title and verdict by language, grade, results.
SUMMARY_FILE = "summary.json"
# Who trained the version: the names of all accounts of the person.
TRAINER_FILE = "trainer.json"


class Version(Protocol):
    """A version of a model, as `ehr_models.model_store` reads it."""

    @property
    def files(self) -> Mapping[str, bytes]:
        """Return its files by name."""

    def read_json(self, name: str) -> Any:
        """Return the JSON of a file; NotFound where it has no such file."""


@dataclass(frozen=True)
class GateResult:
    """One condition that a version has to meet before it may score, and why in a sentence.

    `message` is the code of what `text` says and `values` what stands in it, so that a page may say
    the same in another language.
    """

    gate: str
    is_met: bool
    text: str
    message: str = ""
    values: Mapping[str, str] = field(default_factory=dict)


def read_gates(version: Version) -> tuple[GateResult, ...]:
    """Return how the gates of a version were judged when it was trained."""
    return tuple(GateResult(**result) for result in version.read_json(GATES_FILE))


def write_gates(results: Collection[GateResult]) -> bytes:
    """Return the content of a version's GATES_FILE."""
    return _to_json([vars(result) for result in results])


def read_trainer(version: Version) -> frozenset[str]:
    """Return the names of who trained a version; none where it was not said."""
    content = version.read_json(TRAINER_FILE) if TRAINER_FILE in version.files else {}
    return frozenset(content.get("names", ()))


def write_trainer(names: Collection[str]) -> bytes:
    """Return the content of a version's TRAINER_FILE."""
    return _to_json({"names": sorted(names)})


def read_summary(version: Version) -> Mapping[str, Any]:
    """Return what a list shows of a version; empty where it has no such file."""
    summary: Mapping[str, Any] = json.loads(version.files.get(SUMMARY_FILE, b"{}"))
    return summary


def _to_json(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False, indent=1).encode()
