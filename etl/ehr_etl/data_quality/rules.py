"""The one-pass quality rules: a data file, turned into one DuckDB query that names the faults."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from ehr_fhir.errors import Fault


@dataclass(frozen=True)
class QualityRule:
    """`sql` holds for a good record of `types` (of every type if there are none)."""

    name: str
    types: tuple[str, ...]
    sql: str


@dataclass(frozen=True)
class QualityRules:
    """The rules, and the elements (name to type, nested) that their expressions read as `r`."""

    elements: Mapping[str, Any]
    rules: tuple[QualityRule, ...]

    def broken_sql(self, source: str) -> str:
        """Return the query for number and reasons of the rows of a source that break a rule.

        The source has the columns number, type, id, version, last_updated and resource (JSON).
        """
        shape = json.dumps(self.elements).replace("'", "''")
        names = ", ".join(map(_rule_sql, self.rules))
        return (
            f"SELECT number, list_filter([{names}], lambda name: name IS NOT NULL) AS reasons FROM"  # noqa: S608
            f" (SELECT *, CASE WHEN json_valid(resource) THEN json_transform(resource, '{shape}')"
            f" END AS r FROM {source}) WHERE len(reasons) > 0"
        )


def load_quality_rules(text: str | None = None) -> QualityRules:
    """Read data_quality/rules.toml, or the text given, and check its shape."""
    source = (files(__package__) / "rules.toml").read_text() if text is None else text
    content = tomllib.loads(source)
    try:
        rules = tuple(
            QualityRule(row["name"], tuple(row["types"]), row["sql"].strip())
            for row in content["rule"]
        )
        elements = content["elements"]
    except KeyError as error:
        raise Fault(f"data_quality/rules.toml lacks {error}.") from error
    if len({rule.name for rule in rules}) != len(rules):
        raise Fault("data_quality/rules.toml names two rules alike.")
    return QualityRules(elements, rules)


def rules_digest() -> str:
    """Return a digest of the rules, and of this version, by which silver is made."""
    content = (files(__package__) / "rules.toml").read_bytes() + version("ehr-commons").encode()
    return hashlib.sha256(content).hexdigest()[:32]


def _rule_sql(rule: QualityRule) -> str:
    # NULL counts as broken: a rule that cannot be evaluated has not been kept.
    broken = f"NOT coalesce(({rule.sql}), false)"
    if rule.types:
        listed = ", ".join(f"'{name}'" for name in rule.types)
        broken = f"type IN ({listed}) AND {broken}"
    return f"CASE WHEN {broken} THEN '{rule.name}' END"
