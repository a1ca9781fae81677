"""Declaration of an open dataset: what it is, by whom, under which licence and which policy.

A TOML file. It is what two people approve: a change of one character needs their approval anew.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

from ehr_analytics.open_data.periods import PERIOD_FORMS
from ehr_fhir.errors import NotFound, Unprocessable
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_privacy.disclosure import POLICIES

__all__ = ["Column", "Declaration", "list_shipped", "load_declaration", "parse_declaration"]

# A text in every language of the pages, by its tag.
Texts = Mapping[str, str]

_ID = re.compile("[a-z][a-z0-9-]{2,63}")
_COLUMN = re.compile("[a-z][a-z0-9_]{0,63}")
_TYPES = ("string", *PERIOD_FORMS, "number")
# The authority tables of the European Union that DCAT-AP names, as far as they fit here.
_FREQUENCIES = ("HOURLY", "DAILY", "MONTHLY", "QUARTERLY", "ANNUAL")
_KEYS = {
    "id", "figures", "policy", "settle_days", "licence", "theme", "frequency",
    "title", "description", "publisher", "contact", "column",
}  # fmt: skip
_OPTIONAL_KEYS = {"period", "settle_hours", "kept"}
_LONGEST_SETTLING = 366
_MOST_KEPT = 10_000


@dataclass(frozen=True)
class Column:
    """A column of a dataset, with its meaning in every language of the pages."""

    name: str
    type: str
    title: Texts
    description: Texts
    unit: str


@dataclass(frozen=True)
class Declaration:
    """A declared dataset; `text` is the file that is approved."""

    id: str
    # A key of `figures.FIGURES`: how its numbers are made.
    figures: str
    policy: str
    period: str
    # How long after the end of a period its numbers are made: records come late.
    settling: timedelta
    # The newest periods that the files have; 0 for all of them.
    kept: int
    licence: str
    theme: str
    frequency: str
    title: Texts
    description: Texts
    publisher: Texts
    publisher_page: str
    contact: str
    columns: tuple[Column, ...]
    text: str

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the file, which an approval names."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def list_shipped() -> tuple[str, ...]:
    """Return the ids of the declarations that come with the platform."""
    folder = files(__package__).joinpath("datasets")
    return tuple(sorted(file.name.removesuffix(".toml") for file in folder.iterdir()))


def load_declaration(source: str) -> Declaration:
    """Read a declaration: one that comes with the platform by its id, or a file by its path."""
    if source in list_shipped():
        return parse_declaration(
            files(__package__).joinpath("datasets", f"{source}.toml").read_text("utf-8")
        )
    try:
        return parse_declaration(Path(source).read_text("utf-8"))
    except (OSError, UnicodeDecodeError):
        shipped = ", ".join(list_shipped())
        raise NotFound(
            f"There is no declaration {source}: give a file, or one of {shipped}."
        ) from None


def parse_declaration(text: str) -> Declaration:
    """Return the declaration of a TOML text; Unprocessable names what is wrong with it."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Unprocessable(f"The declaration is not TOML: {error}.") from error
    _require_keys(table, _KEYS, "The declaration", _OPTIONAL_KEYS)
    publisher = _read(table, "publisher", dict)
    _require_keys(publisher, {"name", "page"}, "The publisher")
    declaration = Declaration(
        id=_read_matching(table, "id", _ID),
        figures=_read(table, "figures", str),
        policy=_read_choice(table, "policy", POLICIES),
        period=_read_choice(table, "period", PERIOD_FORMS) if "period" in table else "month",
        settling=timedelta(
            days=_read_number(table, "settle_days", _LONGEST_SETTLING),
            hours=_read_number(table, "settle_hours", 23),
        ),
        kept=_read_number(table, "kept", _MOST_KEPT),
        licence=_read_address(table, "licence", ("https://",)),
        theme=_read(table, "theme", str),
        frequency=_read_choice(table, "frequency", _FREQUENCIES),
        title=_read_texts(table, "title"),
        description=_read_texts(table, "description"),
        publisher=_read_texts(publisher, "name"),
        publisher_page=_read_address(publisher, "page", ("https://",)),
        contact=_read_address(table, "contact", ("mailto:", "https://")),
        columns=tuple(_parse_column(column) for column in _read(table, "column", list)),
        text=text,
    )
    names = [column.name for column in declaration.columns]
    if len(set(names)) < len(names) or not names:
        raise Unprocessable("The declaration has columns, no two of one name.")
    return declaration


def _parse_column(table: Any) -> Column:  # Any: TOML's value
    if not isinstance(table, dict):
        raise Unprocessable("A column is a table.")
    _require_keys(table, {"name", "type", "title", "description"}, "A column", {"unit"})
    return Column(
        name=_read_matching(table, "name", _COLUMN),
        type=_read_choice(table, "type", _TYPES),
        title=_read_texts(table, "title"),
        description=_read_texts(table, "description"),
        unit=_read(table, "unit", str) if "unit" in table else "",
    )


def _require_keys(
    table: Mapping[str, Any],
    required: set[str],
    what: str,
    optional: Collection[str] = (),
) -> None:
    if missing := required - table.keys():
        raise Unprocessable(f"{what} lacks {', '.join(sorted(missing))}.")
    if unknown := table.keys() - required - {*optional}:
        raise Unprocessable(f"{what} has no {', '.join(sorted(unknown))}.")


def _read(table: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
    value = table[name]
    if type(value) is not kind or value in ("", [], {}):
        raise Unprocessable(f"{name} is empty, or not of its type.")
    return value


def _read_number(table: Mapping[str, Any], name: str, most: int) -> int:
    number: int = _read(table, name, int) if name in table else 0
    if not 0 <= number <= most:
        raise Unprocessable(f"{name} is 0 to {most}.")
    return number


def _read_choice(table: Mapping[str, Any], name: str, choices: Any) -> str:
    value: str = _read(table, name, str)
    if value not in choices:
        raise Unprocessable(f"{name} is one of {', '.join(choices)}.")
    return value


def _read_matching(table: Mapping[str, Any], name: str, form: re.Pattern[str]) -> str:
    value: str = _read(table, name, str)
    if not form.fullmatch(value):
        raise Unprocessable(f"{name} has the form {form.pattern}.")
    return value


def _read_address(table: Mapping[str, Any], name: str, begins: tuple[str, ...]) -> str:
    value: str = _read(table, name, str)
    if not value.startswith(begins) or not value.isprintable() or " " in value:
        raise Unprocessable(f"{name} is an address that begins with {' or '.join(begins)}.")
    return value


def _read_texts(table: Mapping[str, Any], name: str) -> Texts:
    value = _read(table, name, dict)
    for language in JURISDICTION.languages:
        if not isinstance(value.get(language.tag), str) or not value[language.tag].strip():
            raise Unprocessable(f"{name} lacks a text in {language.tag}.")
    return {language.tag: value[language.tag].strip() for language in JURISDICTION.languages}
