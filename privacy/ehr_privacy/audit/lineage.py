"""Records of lineage: what a leaf says of a refresh of the lake, a step of research, or of a model.

A record holds places, versions, digests and names of staff: no content and no pseudonym. It is
canonical JSON, and its digest names the leaf, so that telling the log twice adds nothing.

A refresh of the lake (`lake-refresh`):

    store, epoch     whose feed was read
    from, to         the lines of it that were applied, as the lake numbers them
    position, decision   how far the feed was read
    rules            digest of the rules, keys and views that every table is made by
    tables           of each that was written: name, version, digest; since: the version before
    previous         the record before this one; null in the first

A step of research (`research-step`):

    seq, at, project, run, who, action, before, after   the step, as the register has it
    digest           of the whole event of the register, reason included
    facts            digests and versions that the step is about: see `STEP_FACTS`

A decision about a model (`model-decision`):

    seq, at, task, number, action, who, reason   the decision, as the register has it
    version          SHA-256 of the manifest of the version's files; null where it is about none
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import orjson

from ehr_fhir.errors import Invalid

__all__ = [
    "LAKE_REFRESH",
    "MODEL_DECISION",
    "RESEARCH_STEP",
    "STEP_FACTS",
    "canonical_json",
    "digest_json",
    "lineage_id",
    "parse_record",
]

# The interactions of these leaves in the log.
LAKE_REFRESH, RESEARCH_STEP = "lake-refresh", "research-step"
MODEL_DECISION = "model-decision"
# Facts of a step. `code`: of study and package. `tables`: name, version, digest, and the record of
# the refresh known then. `files`: of the files' names and SHA-256 together. `checks`: of what the
# checks said. `policy`: of disclosure control. `application`: of what was approved. `persons`:
# keyed, of the sets of persons behind the cells. `budget`: of differential privacy, and by whom.
STEP_FACTS = ("code", "tables", "files", "checks", "policy", "application", "persons", "budget")

_DIGEST = re.compile(r"[0-9a-f]{32,64}")
_TABLE = re.compile(r"[A-Za-z0-9_/-]{1,200}")
_NAME = re.compile(r"[\w.:@ -]{1,200}")
_REFRESH = {"kind", "store", "epoch", "from", "to", "position", "decision", "rules", "tables",
            "previous"}  # fmt: skip
_NUMBERS = ("from", "to", "position", "decision")
_REFRESH_TABLE = {"name", "since", "version", "digest"}


def canonical_json(value: object) -> bytes:
    """Return the one form of a JSON value: keys in order, no spaces.

    >>> canonical_json({"b": 1, "a": [None]})
    b'{"a":[null],"b":1}'
    """
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def digest_json(value: object) -> str:
    """Return the SHA-256 of a JSON value's canonical form, in hexadecimal digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def lineage_id(record: Mapping[str, Any]) -> str:
    """Return the id of the leaf that has a record: the same for the same record."""
    return digest_json(record)[:32]


def parse_record(text: str) -> dict[str, Any]:
    """Read a record of a refresh as the lake sends it; Invalid says which part is none.

    Nothing but names of tables, numbers and digests is taken: no content can get into the log.
    """
    try:
        record = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _refuse("it is no JSON") from error
    if not isinstance(record, dict) or set(record) != _REFRESH or record["kind"] != LAKE_REFRESH:
        raise _refuse(f"it has not just the keys {', '.join(sorted(_REFRESH))}")
    for name in _NUMBERS:
        _require_number(record[name], name)
    for name in ("store", "epoch"):
        if not isinstance(record[name], str) or (
            record[name] and not _NAME.fullmatch(record[name])
        ):
            raise _refuse(f"`{name}` is no name")
    _require_digest(record["rules"], "rules")
    if record["previous"] is not None:
        _require_digest(record["previous"], "previous")
    if not isinstance(record["tables"], list) or len(record["tables"]) > 1000:
        raise _refuse("`tables` is no list of tables")
    for table in record["tables"]:
        if not isinstance(table, dict) or set(table) != _REFRESH_TABLE:
            raise _refuse("a table has not just name, since, version and digest")
        if not isinstance(table["name"], str) or not _TABLE.fullmatch(table["name"]):
            raise _refuse("a table's name is none")
        if table["since"] is not None:
            _require_number(table["since"], "since")
        if table["version"] is not None:
            _require_number(table["version"], "version")
            _require_digest(table["digest"], "digest")
        elif table["digest"] is not None:
            raise _refuse("a table that is gone has no digest")
    return record


def _require_number(value: object, name: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise _refuse(f"`{name}` is no whole number")


def _require_digest(value: object, name: str) -> None:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise _refuse(f"`{name}` is no digest")


def _refuse(reason: str) -> Invalid:
    return Invalid(f"This is no record of a refresh: {reason}.", expression="record")
