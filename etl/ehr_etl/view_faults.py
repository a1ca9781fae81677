"""What a view may run into on a row, as codes that every engine carries in its own errors.

An engine's message may quote values of rows, so none of its text passes: only the code and the name
of the column, which the author of the view wrote.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ehr_fhir.errors import Unprocessable

NOT_A_SINGLE_VALUE = "more-than-one"
REPEAT_TOO_DEEP = "repeat-too-deep"
DECIMAL_NOT_EXACT = "decimal-not-exact"

_TEXTS: Mapping[str, str] = {
    NOT_A_SINGLE_VALUE: (
        "gives more than one value: mark it `collection: true` or add `.first()` to its path."
    ),
    REPEAT_TOO_DEEP: (
        "repeats deeper than views go down: 12 levels of one path, 5 of two, 4 of three; 6, 3 and 3"
        " where a repeat is within another."
    ),
    DECIMAL_NOT_EXACT: (
        "has a number of more than 26 digits before the point or 12 after it: give the column the"
        " type `string` to have the digits as written."
    ),
}
_CODE = re.compile(r"ehr:([a-z-]+)(?::(\w*))?")


def fault_message(code: str, column: str) -> str:
    """Return the text of an engine's error that carries a code.

    >>> fault_message("more-than-one", "given")
    'ehr:more-than-one:given'
    """
    return f"ehr:{code}:{column}"


def find_fault(text: str) -> str | None:
    """Return the code in an engine's error.

    >>> find_fault("USER_RAISED_EXCEPTION ehr:more-than-one:given")
    'more-than-one'
    """
    match = _CODE.search(text)
    return match[1] if match and match[1] in _TEXTS else None


def to_author_error(text: str) -> Unprocessable | None:
    """Return the error to show the author of a view for an engine's error; None if it has no code.

    >>> str(to_author_error("ehr:decimal-not-exact:value")).startswith("The column 'value' of the")
    True
    """
    match = _CODE.search(text)
    if match is None or match[1] not in _TEXTS:
        return None
    subject = f"The column {match[2]!r} of the view" if match[2] else "The view"
    return Unprocessable(f"{subject} {_TEXTS[match[1]]}")
