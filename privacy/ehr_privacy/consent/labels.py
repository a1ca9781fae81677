"""The sensitivity labels that rules know (HL7 DS4P): their systems, and what is part of what."""

from __future__ import annotations

from collections.abc import Iterable

_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
ACT_CODE = f"{_TERMINOLOGY}/v3-ActCode"
CONFIDENTIALITY = f"{_TERMINOLOGY}/v3-Confidentiality"
LABEL_SYSTEMS = (ACT_CODE, CONFIDENTIALITY)
_BROADER = {"ETHUD": "ETH", "OPIOIDUD": "ETH"}
LABELS = frozenset({"PSY", "HIV", "SDV", "SEX", "ETH", "GDIS", "STD", "R", "V", *_BROADER})
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


def labels_of_codings(codings: Iterable[tuple[str | None, str]]) -> frozenset[str]:
    """Return the labels of `meta.security`, by (system, code), with those they are part of.

    A code of the labels' own system that is not known here counts as restricted: in doubt, closed.

    >>> sorted(labels_of_codings([(ACT_CODE, "ETHUD"), (ACT_CODE, "SPI"), (None, "HTEST")]))
    ['ETH', 'ETHUD', 'HTEST', 'R', 'SPI']
    """
    found: set[str] = set()
    for system, code in codings:
        found |= {code, parent_label(code)}
        if system == ACT_CODE and code not in LABELS:
            found.add("R")
    return frozenset(found)
