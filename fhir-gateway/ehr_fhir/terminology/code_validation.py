"""`$validate-code`: whether a code is in a value set or a code system, and why it is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ehr_fhir.string_folding import normalize_string
from ehr_fhir.terminology.code_system import CodeSystem
from ehr_fhir.terminology.concepts import Concept
from ehr_fhir.terminology.library import Library
from ehr_fhir.terminology.value_sets import NO_VERSIONS, ResolvedValueSet, Versions

__all__ = ["CodeToCheck", "Finding", "Verdict", "validate_code"]


@dataclass(frozen=True)
class CodeToCheck:
    """A code as it was sent; `path` is where it stands in what was sent."""

    system: str | None
    code: str
    version: str | None = None
    display: str | None = None
    path: str = ""


@dataclass(frozen=True)
class Finding:
    """One reason, with the codes of OperationOutcome.issue and of HL7's tx-issue-type."""

    severity: str
    issue_code: str
    kind: str
    text: str
    path: str = ""


@dataclass(frozen=True)
class Verdict:
    """The answer about one code."""

    is_valid: bool
    findings: tuple[Finding, ...] = ()
    concept: Concept | None = None
    display: str | None = None
    system: str | None = None
    version: str | None = None
    # A code system that would have to be here to tell.
    unknown_system: str | None = None


def validate_code(
    coded: CodeToCheck,
    library: Library,
    value_set: ResolvedValueSet | None = None,
    *,
    versions: Versions = NO_VERSIONS,
    languages: Sequence[str] = (),
    allow_abstract: bool = True,
    active_only: bool = False,
    infer_system: bool = False,
) -> Verdict:
    """Judge a code; of a value set where one is given, else of its code system."""
    url = coded.system
    if url is None and value_set is not None and infer_system:
        url = _infer_system(value_set, coded.code)
    if url is None:
        if infer_system:
            text = "The system of the code cannot be told: the value set has no such code."
            return _refuse(coded, None, "not-found", "cannot-infer", text)
        text = "The system of the code is missing."
        return _refuse(coded, None, "invalid", "invalid-data", text)
    system = library.code_system(url, versions.of(url, coded.version))
    membership = value_set.holds(url, coded.code) if value_set else None
    if system is None:
        return _judge_unknown_system(coded, library, url, membership)
    concept = system.find(coded.code)
    version = system.header.version
    if concept is None and membership != "yes":
        if system.header.content != "complete":
            return Verdict(
                is_valid=membership is None,
                findings=(
                    Finding(
                        "warning" if membership is None else "error", "code-invalid",
                        "invalid-code",
                        "The code is not in the part of the code system that is here.", coded.path,
                    ),
                ),
                system=url, version=version,
            )  # fmt: skip
        return _refuse(
            coded, url, "code-invalid", "invalid-code", "The code system has no such code.",
            version=version,
        )  # fmt: skip
    display = concept.display_in(languages, system.header.language) if concept else None
    findings = list(_find_faults(coded, system, concept, languages, allow_abstract=allow_abstract))
    if membership == "no":
        findings.insert(0, Finding(
            "error", "code-invalid", "not-in-vs", "The code is not in the value set.", coded.path
        ))  # fmt: skip
    if membership == "unknown":
        findings.insert(0, Finding(
            "error", "not-found", "vs-invalid",
            "The value set takes codes of a code system that is not here.", coded.path,
        ))  # fmt: skip
    if concept is not None and concept.is_inactive:
        findings.append(Finding(
            "error" if active_only else "warning", "business-rule", "code-rule",
            "The code is no longer used.", coded.path,
        ))  # fmt: skip
    is_valid = all(one.severity != "error" for one in findings)
    return Verdict(is_valid, tuple(findings), concept, display, url, version)


def _find_faults(
    coded: CodeToCheck,
    system: CodeSystem,
    concept: Concept | None,
    languages: Sequence[str],
    *,
    allow_abstract: bool,
) -> list[Finding]:
    """Return what is wrong with a code beside its membership."""
    if concept is None:
        return []
    findings = []
    if concept.is_abstract and not allow_abstract:
        findings.append(Finding(
            "error", "business-rule", "code-rule",
            "The code groups others; no record may have it.", coded.path,
        ))  # fmt: skip
    if concept.code != coded.code:
        findings.append(Finding(
            "information", "business-rule", "code-rule",
            "The code is written otherwise in the code system.", coded.path,
        ))  # fmt: skip
    if coded.display is not None and not _is_name(concept, coded.display):
        findings.append(Finding(
            "error", "invalid", "invalid-display",
            "The display is not a name of the code in any language.", coded.path,
        ))  # fmt: skip
    return findings


def _is_name(concept: Concept, display: str) -> bool:
    wanted = normalize_string(display)
    return any(normalize_string(name) == wanted for name in concept.names())


def _judge_unknown_system(
    coded: CodeToCheck, library: Library, url: str, membership: str | None
) -> Verdict:
    if membership == "yes":
        # The value set lists it: that is certain without the code system.
        return Verdict(True, (Finding(
            "warning", "not-found", "not-found",
            "The code system is not here: only that the value set lists the code is known.",
            coded.path,
        ),), system=url, version=coded.version)  # fmt: skip
    named = f"{url}|{coded.version}" if coded.version and library.code_system(url) else url
    finding = Finding(
        "error", "not-found", "not-found", "The code system is not here, or not in this version.",
        coded.path,
    )  # fmt: skip
    findings = [finding]
    if membership == "no":
        findings.insert(0, Finding(
            "error", "code-invalid", "not-in-vs", "The code is not in the value set.", coded.path
        ))  # fmt: skip
    return Verdict(False, tuple(findings), system=url, unknown_system=named)


def _infer_system(value_set: ResolvedValueSet, code: str) -> str | None:
    """Return the only system of a value set in which a code is in it."""
    urls = {part.url for part in value_set.parts() if part.url}
    urls |= {one.system for part in value_set.parts() for one in part.listed}
    found = [url for url in sorted(urls) if value_set.holds(url, code) == "yes"]
    return found[0] if len(found) == 1 else None


def _refuse(
    coded: CodeToCheck,
    url: str | None,
    issue_code: str,
    kind: str,
    text: str,
    *,
    version: str | None = None,
) -> Verdict:
    finding = Finding("error", issue_code, kind, text, coded.path)
    return Verdict(False, (finding,), system=url, version=version)
