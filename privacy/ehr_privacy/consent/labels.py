"""The sensitivity labels that rules know (HL7 DS4P): their systems, and what is part of what."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from importlib.resources import files

from ehr_privacy.consent.code_systems import NO_SYSTEM, normalize_code, normalize_system

_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
ACT_CODE = f"{_TERMINOLOGY}/v3-ActCode"
CONFIDENTIALITY = f"{_TERMINOLOGY}/v3-Confidentiality"
LABEL_SYSTEMS = (ACT_CODE, CONFIDENTIALITY)
_BROADER = {"ETHUD": "ETH", "OPIOIDUD": "ETH"}
SENSITIVITIES = frozenset({"PSY", "HIV", "SDV", "SEX", "ETH", "GDIS", "STD", *_BROADER})
LABELS = SENSITIVITIES | {"R", "V"}
_NONE: frozenset[str] = frozenset()
_IN_DOUBT = SENSITIVITIES | {"R"}
# Levels of confidentiality that a provision may name. A record without a label is normal (N); one
# with a sensitivity label counts as restricted (R).
LEVELS = ("N", "R", "V")


def parent_label(label: str) -> str:
    """Return the broader label of a label; the label itself if it has none.

    >>> parent_label("OPIOIDUD"), parent_label("HIV")
    ('ETH', 'HIV')
    """
    return _BROADER.get(label, label)


def permits_at_level(level: str, label: str) -> bool:
    """Say whether a permission at a level of confidentiality covers what bears a label.

    R4, Consent.provision.securityLabel: a level stands for itself and all that is lower.

    >>> permits_at_level("R", "HIV"), permits_at_level("N", "HIV"), permits_at_level("R", "V")
    (True, False, False)
    """
    return LEVELS.index(level) >= (LEVELS.index(label) if label in LEVELS else LEVELS.index("R"))


def labels_of_codings(codings: Iterable[tuple[object, object]]) -> frozenset[str]:
    """Return the labels of security labels, by (system, code), with those they are part of.

    A code without a system counts as any system's. In doubt, closed: a label that is not known here
    counts as every sensitivity and as R.

    >>> act = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
    >>> sorted(labels_of_codings([(act, "ETHUD"), (None, "mh"), (act, "NOAUTH")]))
    ['ETH', 'ETHUD', 'MH', 'NOAUTH', 'PSY', 'R']
    >>> labels_of_codings([("https://hospital.example/labels", "X")]) >= SENSITIVITIES
    True
    """
    labels: frozenset[str] = frozenset()
    for system, code in codings:
        labels |= _labels_of_coding(system, code)
    return labels


# Records name few labels; each write asks for all of them.
@lru_cache(maxsize=4096)
def _labels_of_coding(system: object, code: object) -> frozenset[str]:
    meanings, silent = _load_security_labels()
    name = normalize_system(system)
    if name in silent:
        return _NONE
    if not isinstance(code, str) or not code.strip():
        return _IN_DOUBT
    compared = normalize_code(code)
    itself = frozenset({compared})
    if name in meanings:
        return itself | meanings[name].get(compared, _IN_DOUBT)
    of_any = [codes[compared] for codes in meanings.values() if compared in codes]
    if name == NO_SYSTEM and of_any:
        return itself.union(*of_any)
    return itself.union(_IN_DOUBT)


@cache
def _load_security_labels() -> tuple[Mapping[str, Mapping[str, frozenset[str]]], frozenset[str]]:
    """Return (system -> code -> labels, the systems whose labels say nothing of the content)."""
    text = files("ehr_privacy").joinpath("rules/security_labels.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    silent = frozenset(data.pop("silent")["systems"])
    meanings = {}
    for system, codes in data.items():
        handling = codes.pop("handling", {"codes": (), "labels": ()})
        labels = {code: frozenset(handling["labels"]) for code in handling["codes"]}
        labels |= {code: frozenset(some) for code, some in codes.items()}
        if unknown := frozenset().union(*labels.values()) - LABELS:
            raise ValueError(f"security_labels.toml: {system}: unknown labels {sorted(unknown)}")
        meanings[system] = labels
    return meanings, silent
