"""Tables that a cohort may read: their columns' types, and which column names the person.

The person of a row is what the platform's own schemas say (the subject of a view's resource, the
CDM's person_id), so no study chooses whom a row is about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ehr_etl.omop.cdm import PERSON_TABLES, load_cdm
from ehr_etl.sql_on_fhir import ViewDefinition, compile_parts
from ehr_etl.sql_on_fhir.keys import KeyUse, key_use_by_column
from ehr_fhir.errors import Unprocessable
from ehr_fhir.fhirpath.syntax import Call, Member, Node

__all__ = [
    "OMOP_PREFIX",
    "PERSON_SOURCES",
    "PersonSource",
    "Source",
    "ValueType",
    "list_omop_sources",
    "source_of_view",
]

# A project's data items of OMOP tables, `omop_person.person_id`: views have names like theirs.
OMOP_PREFIX = "omop_"
_SUBJECTS = frozenset({"subject", "patient", "beneficiary", "individual"})


class ValueType(StrEnum):
    """What a column holds, as the language sees it."""

    TEXT = "text"
    CODE = "code"
    CONCEPT = "concept"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    # A FHIR date or dateTime as text; only one that names a whole day is a date.
    DATE_TEXT = "date text"
    KEY = "key"

    @property
    def is_date(self) -> bool:
        """Say whether its values are days."""
        return self in (ValueType.DATE, ValueType.DATE_TEXT)


@dataclass(frozen=True)
class Source:
    """A table: the column that names the person, and the types of all columns."""

    name: str
    person: str
    columns: Mapping[str, ValueType]


@dataclass(frozen=True)
class PersonSource:
    """The table with one row per person, and its column of the year of birth."""

    table: str
    birth_year: str


PERSON_SOURCES: Mapping[str, PersonSource] = {
    "views": PersonSource("patient_demographics", "birth_year"),
    "omop": PersonSource("person", "year_of_birth"),
}
_TYPES: Mapping[str, ValueType] = {
    "boolean": ValueType.BOOLEAN,
    "code": ValueType.CODE,
    "date": ValueType.DATE_TEXT,
    "dateTime": ValueType.DATE_TEXT,
    "decimal": ValueType.NUMBER,
    "instant": ValueType.DATE_TEXT,
    "integer": ValueType.INTEGER,
    "positiveInt": ValueType.INTEGER,
    "unsignedInt": ValueType.INTEGER,
}
_OMOP_TYPES: Mapping[str, ValueType] = {
    "date": ValueType.DATE,
    "datetime": ValueType.DATE,
    "float": ValueType.NUMBER,
    "integer": ValueType.INTEGER,
}


def source_of_view(view: ViewDefinition) -> Source:
    """Return what a cohort sees of a view; Unprocessable where no column names its patient."""
    uses = key_use_by_column(view)
    # A view of views has the same columns in each part: of these, what is the patient in all.
    first, *others = (_list_person_columns(part) for part in view.parts)
    people = [name for name in first if all(name in names for names in others)]
    if not people:
        raise Unprocessable(f"The view {view.name} has no column that names the patient.")
    columns = {
        column.name: ValueType.KEY
        if uses.get(column.name, KeyUse.WHOLE) is not KeyUse.NONE
        else _TYPES.get(column.fhir_type, ValueType.TEXT)
        for column in compile_parts(view)[0].columns
    }
    return Source(view.name, people[0], columns)


def list_omop_sources() -> Mapping[str, Source]:
    """Return the CDM's tables of persons by name.

    >>> list_omop_sources()["death"].columns["death_date"].value
    'date'
    """
    sources = {}
    for table in PERSON_TABLES:
        columns = {}
        for field in load_cdm()[table]:
            if field.foreign_table == "concept":
                columns[field.name] = ValueType.CONCEPT
            elif field.is_primary_key or field.foreign_table or field.name.endswith("_id"):
                columns[field.name] = ValueType.KEY
            else:
                columns[field.name] = _OMOP_TYPES.get(field.datatype, ValueType.TEXT)
        sources[table] = Source(table, "person_id", columns)
    return sources


def _list_person_columns(view: ViewDefinition) -> list[str]:
    return [
        column.name
        for select in view.selects
        if select.for_each is None and select.for_each_or_null is None and not select.repeat
        for column in select.columns
        if _names_person(view.resource, column.path)
    ]


def _names_person(resource: str, path: Node) -> bool:
    match path:
        case Call(base=None, name="getResourceKey"):
            return resource == "Patient"
        case Call(
            base=Member(base=None, name=element),
            name="getReferenceKey",
            arguments=(Member(base=None, name="Patient"),),
        ):
            return element in _SUBJECTS
    return False
