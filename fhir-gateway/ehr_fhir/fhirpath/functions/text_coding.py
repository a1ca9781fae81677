"""`encode`, `decode`, `escape`, `unescape` (trial use)."""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from ehr_fhir.errors import Invalid
from ehr_fhir.fhirpath.registry import register_function
from ehr_fhir.fhirpath.scope import Scope
from ehr_fhir.fhirpath.system_values import to_string

__all__: list[str] = []

_MARK = re.compile(r'(\\.)|"', re.DOTALL)
_ENCODE: Mapping[str, Callable[[bytes], bytes]] = {
    "hex": binascii.hexlify,
    "base64": base64.b64encode,
    "urlbase64": base64.urlsafe_b64encode,
}
_DECODE: Mapping[str, Callable[[bytes], bytes]] = {
    "hex": binascii.unhexlify,
    "base64": lambda content: base64.b64decode(content, validate=True),
    "urlbase64": base64.urlsafe_b64decode,
}


@register_function("encode", 1)
def _encode(scope: Scope, items: list[Any], form: list[Any]) -> list[Any]:
    return _coded(scope, items, form, _ENCODE, "encode")


@register_function("decode", 1)
def _decode(scope: Scope, items: list[Any], form: list[Any]) -> list[Any]:
    return _coded(scope, items, form, _DECODE, "decode")


@register_function("escape", 1)
def _escape(scope: Scope, items: list[Any], form: list[Any]) -> list[Any]:
    value, target = to_string(items, "`escape()`"), to_string(form, "`escape()`")
    if value is None or target is None:
        return []
    if target == "html":
        return [scope.evaluation.check_string(html.escape(value))]
    if target == "json":
        return [scope.evaluation.check_string(json.dumps(value, ensure_ascii=False)[1:-1])]
    raise Invalid("`escape()` takes 'html' or 'json'.")


@register_function("unescape", 1)
def _unescape(scope: Scope, items: list[Any], form: list[Any]) -> list[Any]:
    value, target = to_string(items, "`unescape()`"), to_string(form, "`unescape()`")
    if value is None or target is None:
        return []
    if target == "html":
        return [html.unescape(value)]
    if target != "json":
        raise Invalid("`unescape()` takes 'html' or 'json'.")
    try:
        # A bare quotation mark would end the text early; one behind a backslash stays as it is.
        quoted = _MARK.sub(lambda found: found[1] or '\\"', value)
        found = json.loads(f'"{quoted}"', strict=False)
    except ValueError:
        return []
    return [found] if isinstance(found, str) else []


def _coded(
    scope: Scope,
    items: list[Any],
    form: list[Any],
    table: Mapping[str, Callable[[bytes], bytes]],
    name: str,
) -> list[Any]:
    value, target = to_string(items, f"`{name}()`"), to_string(form, f"`{name}()`")
    if value is None or target is None:
        return []
    if target not in table:
        raise Invalid(f"`{name}()` takes 'hex', 'base64' or 'urlbase64'.")
    try:
        return [scope.evaluation.check_string(table[target](value.encode()).decode())]
    except ValueError:  # not of that form, or not text
        return []
