"""A search's filters as conditions on `r`, the current version, over the index tables.

Each resource that a chain or `_has` passes through is a table of its own before the query (`WITH`),
with the consent predicate in it: what the requester may not find leads nowhere. The tables stand
side by side because SQLite's parser bears about a hundred open levels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ehr_fhir.errors import Invalid
from ehr_fhir.query_filters import AnyOf, Chain, Clause, Filter, Has, InCompartment
from ehr_fhir.query_values import SearchValue
from ehr_fhir.search_parameters import SearchParameter
from ehr_fhir.strings import normal

__all__ = ["Conditions"]

# How a stored range [low, high) lies to the searched range :low, :high (R4 §3.1.1.4.3), instants.
_DATES = {
    "eq": "low >= {low} AND high <= {high}",
    "ne": "NOT (low >= {low} AND high <= {high})",
    "gt": "high > {high}",
    "lt": "low < {low}",
    "ge": "(high > {high} OR (low >= {low} AND high <= {high}))",
    "le": "(low < {low} OR (low >= {low} AND high <= {high}))",
    "sa": "low >= {high}",
    "eb": "high <= {low}",
    "ap": "low < {high} AND high > {low}",
}
# A stored number is exact, or a range with both its ends; comparisons use the exact value.
_NUMBERS = {
    "eq": "low >= {low} AND high < {high}",
    "ne": "NOT (low >= {low} AND high < {high})",
    "gt": "high > {exact}",
    "lt": "low < {exact}",
    "ge": "high >= {exact}",
    "le": "low <= {exact}",
    "sa": "low > {exact}",
    "eb": "high < {exact}",
    "ap": "low <= {high} AND high >= {low}",
}


@dataclass
class Conditions:
    """The conditions of a query, gathered with their parameters under names of their own."""

    parameter_ids: Mapping[tuple[str, str], int]
    now_ms: int
    visible: str
    sql: list[str] = field(default_factory=list)
    params: dict[str, object] = field(default_factory=dict)
    hops: list[str] = field(default_factory=list)

    @property
    def start(self) -> str:
        """Return what stands before SELECT: the resources that chains pass through."""
        return f"WITH {', '.join(self.hops)} " if self.hops else ""

    def bind(self, value: object) -> str:
        """Give a value a name and return its placeholder."""
        name = f"q{len(self.params)}"
        self.params[name] = value
        return f":{name}"

    def add(self, one: Filter) -> None:
        """Add one filter."""
        if isinstance(one, Chain):
            self.sql.append(f"r.pk IN ({self._chain(one)})")
        elif isinstance(one, AnyOf):
            groups = [f"({' AND '.join(self._inner(group))})" for group in one.groups]
            self.sql.append(f"({' OR '.join(groups)})")
        elif isinstance(one, InCompartment):
            patient = self.bind(one.patient)
            own = f"SELECT pk FROM record_patient WHERE patient = {patient}"  # noqa: S608
            self.sql.append(f"r.pk IN ({own})")
        elif isinstance(one, Has):
            self.sql.append(f"r.id IN ({self._has(one)})")
        elif one.parameter.code == "_id":
            names = ", ".join(self.bind(value.code) for value in one.values)
            self.sql.append(f"r.id IN ({names})")
        elif one.parameter.code == "_lastUpdated":
            self.sql.append("(" + " OR ".join(map(self._updated, one.values)) + ")")
        else:
            self._add_indexed(one)

    def _chain(self, chain: Chain) -> str:
        selects = []
        for kind, after in chain.targets:
            hop = self._hop(kind, after)
            param, target = self._param(chain.parameter), self.bind(kind)
            # CROSS JOIN: what the chain leads to comes first, and SQLite keeps the order.
            selects.append(
                f"SELECT i.pk FROM {hop} CROSS JOIN idx_reference i WHERE i.param = {param}"  # noqa: S608
                f" AND i.target_id = {hop}.id AND i.target_type = {target}"
            )
        return " UNION ALL ".join(selects)

    def _has(self, has: Has) -> str:
        kind = has.parameter.resource_type
        hop = self._hop(kind, has.filter)
        param, referred = self._param(has.parameter), self.bind(has.referred)
        return (
            f"SELECT i.target_id FROM {hop} CROSS JOIN idx_reference i WHERE i.pk = {hop}.pk"  # noqa: S608
            f" AND i.param = {param} AND i.target_type = {referred}"
        )

    def _hop(self, kind: str, after: Filter) -> str:
        if kind == "AuditEvent":
            raise Invalid("The audit log is searched at its own address, not through others.")
        inner = self._inner([after])
        name = f"hop{len(self.hops)}"
        where = " AND ".join(
            [f"r.type = {self.bind(kind)}", "r.current = 1", "r.deleted = 0", *inner]
        )
        self.hops.append(
            f"{name} AS MATERIALIZED (SELECT r.pk, r.id FROM resource r"  # noqa: S608
            f" WHERE {where} AND ({self.visible}))"
        )
        return name

    def _inner(self, filters: Sequence[Filter]) -> list[str]:
        """Return the conditions of some filters on an `r` of their own."""
        conditions = replace(self, sql=[])
        for one in filters:
            conditions.add(one)
        return conditions.sql

    def _param(self, parameter: SearchParameter) -> str:
        return self.bind(self.parameter_ids[parameter.resource_type, parameter.code])

    def _add_indexed(self, clause: Clause) -> None:
        parameter = clause.parameter
        kind = "token" if clause.modifier == "identifier" else parameter.type
        start = f"SELECT pk FROM idx_{kind} WHERE param = {self._param(parameter)}"  # noqa: S608
        if clause.modifier == "missing":
            outside = "NOT IN" if clause.values[0].code == "true" else "IN"
            self.sql.append(f"r.pk {outside} ({self._any_row(clause, start)})")
            return
        test = _TESTS[kind]
        selects = [f"{start} AND {test(self, clause, value)}" for value in clause.values]
        outside = "NOT IN" if clause.modifier == "not" else "IN"
        self.sql.append(f"r.pk {outside} ({' UNION ALL '.join(selects)})")

    def _any_row(self, clause: Clause, start: str) -> str:
        if clause.parameter.type != "reference":
            return start
        # A reference by identifier alone has its row among the tokens.
        return f"{start} UNION ALL {start.replace('idx_reference', 'idx_token')}"

    def _updated(self, value: SearchValue) -> str:
        test = self._dates(value).replace("low ", "r.last_updated ")
        return "(" + test.replace("high ", "r.last_updated + 1 ") + ")"

    def _dates(self, value: SearchValue) -> str:
        low, high = value.low, value.high
        if value.prefix == "ap":
            margin = abs(self.now_ms - low) // 10
            low, high = low - margin, high + margin
        names = {"low": self.bind(int(low)), "high": self.bind(int(high))}
        return _DATES[value.prefix].format(**names)

    def _numbers(self, value: SearchValue) -> str:
        low, high = value.low, value.high
        if value.prefix == "ap":
            margin = abs(value.exact) / 10
            low, high = min(low, value.exact - margin), max(high, value.exact + margin)
        names = {
            "low": self.bind(low), "high": self.bind(high), "exact": self.bind(value.exact)
        }  # fmt: skip
        return _NUMBERS[value.prefix].format(**names)

    def _date(self, clause: Clause, value: SearchValue) -> str:
        return self._dates(value)

    def _number(self, clause: Clause, value: SearchValue) -> str:
        return self._numbers(value)

    def _quantity(self, clause: Clause, value: SearchValue) -> str:
        test = self._numbers(value)
        if value.system is not None:
            return (
                f"{test} AND system = {self.bind(value.system)} AND code = {self.bind(value.code)}"
            )
        if value.code is not None:
            name = self.bind(value.code)
            return f"{test} AND (code = {name} OR unit = {name})"
        return test

    def _reference(self, clause: Clause, value: SearchValue) -> str:
        if value.url is not None:
            return f"target_id = {self.bind(value.url)} AND target_type = ''"
        test = f"target_id = {self.bind(value.code)}"
        if value.system is None:
            return f"{test} AND target_type <> ''"
        return f"{test} AND target_type = {self.bind(value.system)}"

    def _string(self, clause: Clause, value: SearchValue) -> str:
        text = value.code or ""
        if clause.modifier == "exact":
            folded = self.bind(normal(text))
            return f"normal = {folded} AND exact = {self.bind(text)}"
        if clause.modifier == "contains":
            return f"instr(normal, {self.bind(normal(text))}) > 0"
        return self._begins("normal", normal(text))

    def _token(self, clause: Clause, value: SearchValue) -> str:
        tests = []
        if value.code is not None:
            tests.append(f"code = {self.bind(value.code)}")
        # The system of a plain `code` is fixed by its definition, so naming it narrows nothing.
        implied = clause.parameter.datatypes <= {"code"} and value.code is not None
        if value.system is not None and not implied:
            tests.append(f"system = {self.bind(value.system)}")
        return " AND ".join(tests)

    def _uri(self, clause: Clause, value: SearchValue) -> str:
        text = value.code or ""
        if clause.modifier == "below":
            return self._begins("value", text)
        if clause.modifier == "above":
            name = self.bind(text)
            return f"substr({name}, 1, length(value)) = value"
        return f"value = {self.bind(text)}"

    def _begins(self, column: str, text: str) -> str:
        # A range, unlike LIKE, uses the key; no character sorts after U+10FFFF.
        end = self.bind(text + "\U0010ffff")
        return f"{column} >= {self.bind(text)} AND {column} < {end}"


_Test = Callable[[Conditions, Clause, SearchValue], str]
_TESTS: Mapping[str, _Test] = {
    "date": Conditions._date,
    "number": Conditions._number,
    "quantity": Conditions._quantity,
    "reference": Conditions._reference,
    "string": Conditions._string,
    "token": Conditions._token,
    "uri": Conditions._uri,
}
