"""A release as an RO-Crate 1.2: what its files are, how they were made, and what was controlled.

Written beside `controls.json`, from it and the project. Researcher and checkers are there by their
part, without names: whoever is to know these reads the record of the controls. One flat graph, as
the specification demands; the study is named by title and digest, and not quoted.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ehr_analytics.project import Project
from ehr_privacy.disclosure import POLICIES

__all__ = ["CRATE_FILE", "build_crate"]

CRATE_FILE = "ro-crate-metadata.json"
_SPECIFICATION = "https://w3id.org/ro/crate/1.2"
_MEDIA: Mapping[str, str] = MappingProxyType(
    {".csv": "text/csv", ".png": "image/png", ".json": "application/json"}
)
_SOFTWARE, _STUDY, _POLICY, _TERMS = "#software", "#study", "#policy", "#terms"
_RESEARCHER, _PLATFORM = "#researcher", "#platform"


def build_crate(
    project: Project, record: Mapping[str, Any], sizes: Mapping[str, int]
) -> dict[str, object]:
    """Return the crate of a release; `record` is its controls.json, `sizes` bytes of each file."""
    digests = {entry["file"]: entry["sha256"] for entry in record["files"]}
    entries = {entry["file"]: entry["controls"] for entry in record["files"]}
    checks = [
        _describe_check(number, check, check["file"] if check["file"] in digests else "./")
        for number, check in enumerate(record["checks"], 1)
    ]
    decisions, checkers = _describe_decisions(record["checkers"])
    run: dict[str, object] = {
        "@id": "#run",
        "@type": "CreateAction",
        "name": f"Run {record['run']} of the study {record['study_title'] or record['study']}",
        "endTime": record["run_at"],
        "agent": {"@id": _RESEARCHER},
        "instrument": {"@id": _SOFTWARE},
        "object": [{"@id": _STUDY}, *({"@id": f"#table-{name}"} for name in record["tables"])],
        "result": [{"@id": name} for name in digests],
    }
    root: dict[str, object] = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"{project.title}: {record['study']}",
        "description": f"Results of the project {project.id}, released under disclosure control. "
        f"The question: {project.purpose}",
        "identifier": record["run"],
        "datePublished": record["released_at"],
        "license": {"@id": _TERMS},
        "publisher": {"@id": _PLATFORM},
        "hasPart": [{"@id": name} for name in sizes],
        "mentions": [{"@id": node["@id"]} for node in (run, *checks, *decisions)],
    }
    graph: list[dict[str, object]] = [
        {
            "@id": CRATE_FILE,
            "@type": "CreativeWork",
            "conformsTo": {"@id": _SPECIFICATION},
            "about": {"@id": "./"},
        },
        root,
        *(_describe_file(name, size, digests, entries) for name, size in sizes.items()),
        run,
        *checks,
        *decisions,
        *_describe_context(project, record),
        *checkers,
    ]
    return {"@context": f"{_SPECIFICATION}/context", "@graph": graph}


def _describe_file(
    name: str, size: int, digests: Mapping[str, str], entries: Mapping[str, Mapping[str, Any]]
) -> dict[str, object]:
    file: dict[str, object] = {
        "@id": name,
        "@type": "File",
        "name": name,
        "encodingFormat": _MEDIA.get(Path(name).suffix, "application/octet-stream"),
        "contentSize": str(size),
    }
    if name not in digests:
        return {**file, "description": "The record of the controls on each file."}
    hidden, cells = entries[name].get("cells_hidden"), entries[name].get("cells")
    file["sha256"] = digests[name]
    file["conditionsOfAccess"] = "Released under the terms of the project's agreement."
    file["publishingPrinciples"] = {"@id": _POLICY}
    if cells is not None:
        file["description"] = f"{cells} cells, of which {hidden} are hidden."
    return file


def _describe_check(number: int, check: Mapping[str, Any], checked: str) -> dict[str, object]:
    state = "Completed" if check["passed"] else "Failed"
    return {
        "@id": f"#check-{number}",
        "@type": "AssessAction",
        "name": f"Automatic check: {check['name']}",
        "description": check["reason"],
        "object": {"@id": checked},
        "instrument": {"@id": _SOFTWARE},
        "actionStatus": f"http://schema.org/{state}ActionStatus",
    }


def _describe_decisions(
    given: list[Mapping[str, Any]],
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Return the decisions of the checkers, and these by number instead of name."""
    people = list(dict.fromkeys(decision["person"] for decision in given))
    decisions: list[dict[str, object]] = [
        {
            "@id": f"#decision-{number}",
            "@type": "AssessAction",
            "name": f"Decision of an output checker: {decision['verdict']}",
            "agent": {"@id": f"#checker-{people.index(decision['person']) + 1}"},
            "object": {"@id": "./"},
            "endTime": decision["at"],
            "actionStatus": "http://schema.org/CompletedActionStatus",
        }
        for number, decision in enumerate(given, 1)
    ]
    return decisions, [
        {"@id": f"#checker-{number}", "@type": "Person", "name": f"Output checker {number}"}
        for number in range(1, len(people) + 1)
    ]


def _describe_context(project: Project, record: Mapping[str, Any]) -> list[dict[str, object]]:
    policy = POLICIES[project.policy]
    unsafe = " It is unsafe output, which people judged." if record["unsafe_output"] else ""
    tables: list[dict[str, object]] = [
        {
            "@id": f"#table-{name}",
            "@type": "CreativeWork",
            "name": f"De-identified table {name}",
            "version": str(version),
            "description": "It stays in the platform; the version is that of its Delta table.",
        }
        for name, version in record["tables"].items()
    ]
    return [
        {"@id": _RESEARCHER, "@type": "Person", "name": "A researcher of the project"},
        {"@id": _PLATFORM, "@type": "Organization", "name": "eHR Commons"},
        {
            "@id": _SOFTWARE,
            "@type": "SoftwareApplication",
            "name": "eHR Commons",
            "softwareVersion": record["code"]["version"],
        },
        {
            "@id": _STUDY,
            "@type": "SoftwareSourceCode",
            "name": record["study_title"] or record["study"],
            "alternateName": record["study"],
            # Of the file with the cohort's definition; of own code there is one digest in all.
            "sha256": record["study_sha256"] or record["code"]["sha256"],
            "description": f"The study with its cohort's definition.{unsafe}",
            "identifier": f"sha256:{record['code']['sha256']}",
            "programmingLanguage": "TOML" if record["study_sha256"] else "Python",
        },
        {
            "@id": _POLICY,
            "@type": "CreativeWork",
            "name": policy.name,
            "version": policy.version,
            "description": f"Disclosure control: numbers of fewer than {policy.min_persons} people "
            f"are hidden or rounded ({policy.method}).",
        },
        {
            "@id": _TERMS,
            "@type": "CreativeWork",
            "name": "Terms of the project's agreement",
            "description": f"Ethics reference {project.ethics}. Nobody may try to find out "
            "whom a number is about.",
        },
        *tables,
    ]
