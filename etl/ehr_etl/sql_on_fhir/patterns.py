"""Regular expressions that Java and RE2 read alike, so that both engines find the same rows.

A view's pattern is one of RE2 (as in `ehr_fhir.fhirpath`); for Java it is written with the same
meaning: `$` is the very end, `\\b`, `\\d`, `\\s` and `\\w` are ASCII's, a point is any character.
What cannot be written alike is refused.
"""

from __future__ import annotations

import re

from ehr_fhir.errors import Invalid, Unprocessable
from ehr_fhir.fhirpath.linear_regex import compile_pattern

_SPACES = r"\t\n\f\r "
_WORD = "0-9A-Za-z_"
_EDGE = f"(?:(?<=[{_WORD}])(?![{_WORD}])|(?<![{_WORD}])(?=[{_WORD}]))"
_NO_EDGE = f"(?:(?<=[{_WORD}])(?=[{_WORD}])|(?<![{_WORD}])(?![{_WORD}]))"
_OUTSIDE = {"b": _EDGE, "B": _NO_EDGE, "s": f"[{_SPACES}]", "S": f"[^{_SPACES}]", "z": r"\z"}
_INSIDE = {"s": _SPACES}
_SAME_ESCAPES = frozenset("dDwWtnrfA")
_GROUP_IN_TEMPLATE = re.compile(r"\$(?:\{(\d)\}|(\d))")


def check_pattern(pattern: str) -> str:
    """Return a pattern; refuse, with the reason, what RE2 does not read or Java reads otherwise."""
    try:
        compile_pattern(pattern)
    except Invalid as error:
        raise Unprocessable(str(error)) from error
    to_java_pattern(pattern)
    return pattern


def to_java_pattern(pattern: str) -> str:
    """Return the pattern for Java that matches what RE2's matches.

    >>> to_java_pattern("^a[s[]+$")
    '(?s)^a[s\\\\[]+\\\\z'
    >>> to_java_pattern("[]a]$"), to_java_pattern("[^]a^]$")
    ('(?s)[]a]\\\\z', '(?s)[^]a^]\\\\z')
    """
    written, position = ["(?s)"], 0
    # Where a class's first character stands; None outside of classes.
    first: int | None = None
    while position < len(pattern):
        sign, following = pattern[position], pattern[position + 1 : position + 2]
        if sign == "\\":
            written.append(_escape(following, in_class=first is not None))
            position += 2
            continue
        if first is not None:
            if sign == "[" and following == ":":
                raise _not_alike("a named class such as [:alpha:]")
            written.append(f"\\{sign}" if sign in "[&" else sign)
            # A bracket that comes first in a class is one of its characters.
            if sign == "]" and position > first:
                first = None
        elif sign == "(" and following == "?" and pattern[position + 2 : position + 3] != ":":
            if not pattern.startswith("(?i)", position):
                raise _not_alike("a group that begins with (?, but for (?: and (?i)")
            written.append("(?iu)")
            position += 4
            continue
        else:
            if sign == "[":
                first = position + (2 if following == "^" else 1)
            written.append(r"\z" if sign == "$" else sign)
        position += 1
    return "".join(written)


def check_template(template: str) -> str:
    """Return the template of a replacement; refuse groups by name."""
    if "$" in _GROUP_IN_TEMPLATE.sub("", template):
        raise Unprocessable("A replacement names its groups by number: $1.")
    return template


def to_java_template(template: str) -> str:
    """Return a template as Java reads it.

    >>> to_java_template("$1:\\\\")
    '$1:\\\\\\\\'
    """
    return _convert_template(template, "$")


def to_re2_template(template: str) -> str:
    """Return a template as RE2 reads it.

    >>> to_re2_template("$1:")
    '\\\\1:'
    """
    return _convert_template(template, "\\")


def _convert_template(template: str, sign: str) -> str:
    pieces, end = [], 0
    for match in _GROUP_IN_TEMPLATE.finditer(template):
        pieces += [template[end : match.start()].replace("\\", "\\\\")]
        pieces += [f"{sign}{match[1] or match[2]}"]
        end = match.end()
    return "".join((*pieces, template[end:].replace("\\", "\\\\")))


def _escape(sign: str, *, in_class: bool) -> str:
    special = _INSIDE if in_class else _OUTSIDE
    if sign in special:
        return special[sign]
    if sign in _SAME_ESCAPES or not sign.isalnum():
        return f"\\{sign}"
    raise _not_alike(f"\\{sign}")


def _not_alike(what: str) -> Unprocessable:
    return Unprocessable(f"The pattern uses {what}, which not every engine of views reads alike.")
