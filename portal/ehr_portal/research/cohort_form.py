"""A cohort as a form in plain words: its fields become the cohort language, and come back from it.

The form says less than the language. A text that it cannot say is told apart by making the text
anew from the fields and comparing: nothing of a definition is ever lost in silence.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from ehr_portal.i18n import N_
from ehr_portal.record.form_fields import FormFault
from ehr_portal.research.data_offer import DataOffer, EventSource
from ehr_portal.research.toml_text import Document

__all__ = ["BEFORE_ROWS", "FIELDS", "build_cohort", "list_rows", "parse_cohort", "read_document"]

# What may be asked of the time before the index event. Chosen: a page that is still read; the text
# takes more.
BEFORE_ROWS = 6
ROW_FIELDS = ("use", "name", "source", "codes", "days")
FIELDS = (
    *("title", "age_from", "age_to", "sex", "region"),
    *("index_source", "index_codes", "pick", "since", "until"),
    *("washout_days", "lookback_days", "lookback_source"),
    *("follow_up_days", "whole", "data_until", "outcome_name", "outcome_source", "outcome_codes"),
    *(f"{row}.{name}" for row in range(1, BEFORE_ROWS + 1) for name in ROW_FIELDS),
)
_AGE_BANDS = [18, 40, 65, 80]
_SEXES = ["female", "male"]
# A century, as the language has it.
_MOST_DAYS = 36_525
_MOST_YEARS = 130
# Of a study's file, what is no part of its cohort.
STUDY_KEYS = ("project", "question", "analysis")
# Names of columns that the form gives itself, or the language keeps for itself.
_TAKEN = ("age_band", "sex", "region", "person", "index_date", "left_at", "follow_up_days")
_CHOOSE_SOURCE = N_("Choose what kind of event it is.")
_WHOLE_DAYS = N_("Write whole days, at most a hundred years.")

Fields = Mapping[str, str]


class _Reader:
    """Reads typed fields into values, and keeps what is wrong with them."""

    def __init__(self, fields: Fields, offer: DataOffer) -> None:
        self._fields = fields
        self._offer = offer
        self.faults: list[FormFault] = []

    def text(self, name: str) -> str:
        return " ".join(self._fields.get(name, "").split())

    def number(self, name: str, most: int, fault: str) -> int | None:
        text = self.text(name)
        if not text:
            return None
        if not text.isdecimal() or int(text) > most:
            self.faults.append(FormFault(name, fault))
            return None
        return int(text)

    def days(self, name: str) -> int | None:
        return self.number(name, _MOST_DAYS, _WHOLE_DAYS)

    def day(self, name: str) -> date | None:
        text = self.text(name)
        try:
            return date.fromisoformat(text) if text else None
        except ValueError:
            self.faults.append(FormFault(name, N_("Choose a day.")))
            return None

    def source(self, name: str) -> EventSource | None:
        source = self._offer.find_source(self.text(name))
        if source is None:
            self.faults.append(FormFault(name, _CHOOSE_SOURCE))
        return source

    def events(self, source_name: str, codes_name: str) -> dict[str, Any] | None:
        source = self.source(source_name)
        if source is None:
            return None
        conditions = _build_conditions(source, self.text(codes_name))
        if source.code and not conditions:
            self.faults.append(FormFault(codes_name, N_("Write at least one code.")))
        return _build_events(source, conditions)


def build_cohort(fields: Fields, offer: DataOffer) -> tuple[Document, list[FormFault]]:
    """Return the cohort that fields say, as a TOML document, and what is wrong with them."""
    reader = _Reader(fields, offer)
    title = reader.text("title")
    if not title:
        reader.faults.append(FormFault("title", N_("Give the cohort a name.")))
    sections = _Sections(reader, offer)
    index = sections.add_index()
    sections.add_person()
    sections.add_before()
    follow_up = sections.add_follow_up()
    document = {
        "name": _make_name(title, "-") or "cohort",
        "title": title,
        "population": sections.population,
        "events": sections.events,
        "index": index,
        "include": sections.include,
        "exclude": sections.exclude,
        "column": sections.columns,
        "follow_up": follow_up,
    }
    return {key: value for key, value in document.items() if value}, reader.faults


class _Sections:
    """The parts of a cohort as they grow, field by field."""

    def __init__(self, reader: _Reader, offer: DataOffer) -> None:
        self._reader = reader
        self._offer = offer
        self.population: list[Document] = []
        self.events: dict[str, Document] = {}
        self.include: list[Document] = []
        self.exclude: list[Document] = []
        self.columns: list[Document] = []

    def add_index(self) -> Document:
        read = self._reader
        events = read.events("index_source", "index_codes")
        if events:
            self.events["index_events"] = events
        index: dict[str, Any] = {"events": "index_events"}
        if read.text("pick") == "last":
            index["pick"] = "last"
        for name in ("since", "until"):
            if (day := read.day(name)) is not None:
                index[name] = day
        if index.get("since", date.min) > index.get("until", date.max):
            read.faults.append(FormFault("until", N_("The last day comes after the first.")))
        if washout := read.days("washout_days"):
            index["washout_days"] = washout
        if lookback := read.days("lookback_days"):
            source = read.source("lookback_source")
            if source is not None:
                self.events["seen"] = _build_events(source, [])
                index |= {"lookback_days": lookback, "observed": "seen"}
        return index

    def add_person(self) -> None:
        read, offer = self._reader, self._offer
        sex, region = read.text("sex"), read.text("region")
        if offer.has_sex and sex in _SEXES:
            self.population.append({"column": "gender", "in": [sex]})
        if region in offer.regions:
            self.population.append({"column": "region", "in": [region]})
        years = N_("Write whole years.")
        low = read.number("age_from", _MOST_YEARS, years)
        high = read.number("age_to", _MOST_YEARS, years)
        if low is not None and high is not None and low > high:
            read.faults.append(FormFault("age_to", N_("The second age is not below the first.")))
        bounds = {"from": low, "to": high}
        bounds = {key: value for key, value in bounds.items() if value is not None}
        if offer.has_age and bounds:
            self.include.append({"name": _name_age(low, high), "kind": "age", **bounds})
        if offer.has_age:
            self.columns.append({"name": "age_band", "kind": "age", "bands": _AGE_BANDS})
        if offer.has_sex:
            self._add_person_column("sex", "gender", _SEXES)
        if offer.regions:
            self._add_person_column("region", "region", list(offer.regions))

    def _add_person_column(self, name: str, column: str, values: list[str]) -> None:
        self.columns.append({"name": name, "kind": "person", "column": column, "values": values})

    def add_before(self) -> None:
        """Add what must, or must not, have been before the index event, or is only noted."""
        read = self._reader
        names: set[str] = set()
        for row in range(1, BEFORE_ROWS + 1):
            if not any(read.text(f"{row}.{name}") for name in ("name", "source", "codes")):
                continue
            events = read.events(f"{row}.source", f"{row}.codes")
            days = read.days(f"{row}.days")
            name = read.text(f"{row}.name") or read.text(f"{row}.codes") or f"before {row}"
            if name in names:
                read.faults.append(FormFault(f"{row}.name", N_("Give each a name of its own.")))
            names.add(name)
            if events is None:
                continue
            self.events[f"before_{row}"] = events
            measure: dict[str, Any] = {"kind": "count", "events": f"before_{row}"}
            measure |= {"from_days": -days, "to_days": -1} if days else {"to_days": -1}
            use = read.text(f"{row}.use")
            if use == "exclude":
                self.exclude.append({"name": name, **measure})
            elif use == "note":
                column = self._name_column(name, f"before_{row}")
                self.columns.append({"name": column, **measure, "from": 1})
            else:
                self.include.append({"name": name, **measure})

    def add_follow_up(self) -> Document:
        read = self._reader
        days = read.days("follow_up_days")
        if not days:
            if read.text("outcome_source") or read.text("outcome_codes"):
                fault = N_("Write for how many days people are followed.")
                read.faults.append(FormFault("follow_up_days", fault))
            return {}
        last_day = read.day("data_until")
        follow_up: dict[str, Any] = {"days": days, "data_until": last_day or "latest"}
        if read.text("whole"):
            follow_up["whole"] = True
            if last_day is None:
                # With the latest day of anybody, one person would decide whether others stay, and
                # a live count could tell of that person.
                fault = N_("Choose the day until which the data is taken as complete.")
                read.faults.append(FormFault("data_until", fault))
        if read.text("outcome_source") or read.text("outcome_codes"):
            events = read.events("outcome_source", "outcome_codes")
            if events:
                self.events["outcome_events"] = events
                name = self._name_column(read.text("outcome_name"), "outcome")
                follow_up["outcome"] = [{"name": name, "events": "outcome_events"}]
        return follow_up

    def _name_column(self, text: str, otherwise: str) -> str:
        name = _make_name(text, "_")
        taken = {*_TAKEN, *(str(column["name"]) for column in self.columns)}
        return otherwise if not name or name in taken or name.endswith("_days") else name


def read_document(text: str) -> Document:
    """Return the cohort of a text, without what a study's file adds; ValueError for no TOML."""
    document = tomllib.loads(text)
    return {key: value for key, value in document.items() if key not in STUDY_KEYS}


def parse_cohort(document: Document, offer: DataOffer) -> Fields | None:
    """Return the fields that say a cohort; None for one that says more than the form can."""
    try:
        fields = dict(_parse_fields(document, offer))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return None
    rebuilt, faults = build_cohort(fields, offer)
    return fields if not faults and rebuilt == document else None


def list_rows(fields: Fields) -> list[int]:
    """Return the rows of earlier events that a form shows: those filled in, and an empty one."""
    filled = [
        row
        for row in range(1, BEFORE_ROWS + 1)
        if any(fields.get(f"{row}.{name}") for name in ("name", "source", "codes"))
    ]
    return list(range(1, min(max(filled, default=0) + 1, BEFORE_ROWS) + 1))


def _parse_fields(document: Document, offer: DataOffer) -> Iterator[tuple[str, str]]:
    yield "title", document["title"]
    for condition in document.get("population", []):
        name = {"gender": "sex", "region": "region"}[condition["column"]]
        yield name, condition["in"][0]
    events, index = document["events"], document["index"]
    yield from _parse_events("index_source", "index_codes", events["index_events"])
    for name in ("pick", "since", "until", "washout_days", "lookback_days"):
        yield name, str(index.get(name, ""))
    if "seen" in events:
        yield "lookback_source", f"{events['seen']['table']}."
    uses = {"include": "include", "exclude": "exclude", "column": "note"}
    for key, use in uses.items():
        for table in document.get(key, []):
            if key == "include" and table["kind"] == "age":
                yield "age_from", str(table.get("from", ""))
                yield "age_to", str(table.get("to", ""))
            elif table["kind"] == "count":
                row = table["events"].removeprefix("before_")
                yield f"{row}.use", use
                yield f"{row}.name", table["name"]
                yield f"{row}.days", str(-table["from_days"]) if "from_days" in table else ""
                yield from _parse_events(f"{row}.source", f"{row}.codes", events[table["events"]])
    follow_up = document.get("follow_up", {})
    yield "follow_up_days", str(follow_up.get("days", ""))
    yield "whole", "1" if follow_up.get("whole") else ""
    last_day = follow_up.get("data_until", "latest")
    yield "data_until", "" if last_day == "latest" else str(last_day)
    for outcome in follow_up.get("outcome", []):
        yield "outcome_name", outcome["name"]
        yield from _parse_events("outcome_source", "outcome_codes", events["outcome_events"])


def _parse_events(source_name: str, codes_name: str, events: Document) -> Iterator[tuple[str, str]]:
    conditions = events.get("where", [])
    parts = [part for each in conditions for part in each.get("any", [each])]
    column = parts[0]["column"] if parts else ""
    yield source_name, f"{events['table']}.{column}"
    codes = [code for part in parts for code in part.get("in", [])]
    codes += [f"{start}*" for part in parts for start in part.get("starts_with", [])]
    yield codes_name, " ".join(codes)


def _build_conditions(source: EventSource, text: str) -> list[Document]:
    """Return the condition that a row has one of the codes; `I63*` is how a code begins."""
    if not source.code:
        return []
    words = list(dict.fromkeys(re.split(r"[\s,;、，；]+", text.strip()))) if text else []
    exact = [word for word in words if word and not word.endswith("*")]
    starts = [word.rstrip("*") for word in words if word.endswith("*") and word.rstrip("*")]
    tests: list[Document] = []
    if exact:
        tests.append({"column": source.code, "in": exact})
    if starts:
        tests.append({"column": source.code, "starts_with": starts})
    return [{"any": tests}] if len(tests) > 1 else tests


def _build_events(source: EventSource, conditions: list[Document]) -> dict[str, Any]:
    events: dict[str, Any] = {"table": source.view, "date": source.date}
    return {**events, "where": conditions} if conditions else events


def _name_age(low: int | None, high: int | None) -> str:
    if low is None:
        return f"age {high} or less"
    return f"age {low} or more" if high is None else f"age {low} to {high}"


def _make_name(text: str, joint: str) -> str:
    """Return a name of the language from a text where that has Latin letters, else nothing.

    >>> _make_name("Falls at home, 2024", "_"), _make_name("2 falls", "-"), _make_name("跌倒", "_")
    ('falls_at_home_2024', 'falls', '')
    """
    words = re.sub(r"[^a-z0-9]+", joint, text.lower()).lstrip("0123456789" + joint)
    return words[:40].strip(joint)
