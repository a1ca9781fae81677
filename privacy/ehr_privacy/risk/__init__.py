"""Re-identification risk of tables of people, and k-anonymous extracts by Mondrian.

In: Arrow tables, the names of quasi-identifiers and of sensitive columns.
Out: risks; tables with generalised values. What measures shares no code with what generalises.
"""

from ehr_privacy.risk.measure import RiskReport, measure_diversity, measure_risk
from ehr_privacy.risk.mondrian import (
    AnonymityTerms,
    Cut,
    Domain,
    Mondrian,
    Part,
    anonymize,
    encode,
)

__all__ = [
    "AnonymityTerms",
    "Cut",
    "Domain",
    "Mondrian",
    "Part",
    "RiskReport",
    "anonymize",
    "encode",
    "measure_diversity",
    "measure_risk",
]
