"""`encode`, `decode`, `escape`, `unescape`: additional string functions (trial use)."""

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

_QUOTATION_MARK = re.compile(r'(\\.)|"', re.DOTALL)
_ENCODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "hex": binascii.hexlify,
    "base64": base64.b64encode,
    "urlbase64": base64.urlsafe_b64encode,
}
_DECODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "hex": binascii.unhexlify,
    "base64": lambda content: base64.b64decode(content, validate=True),
    "urlbase64": base64.urlsafe_b64decode,
}


@register_function("encode", 1)
def _encode(scope: Scope, items: list[Any], encoding: list[Any]) -> list[Any]:
    return _convert_bytes(scope, items, encoding, _ENCODERS, "encode")


@register_function("decode", 1)
def _decode(scope: Scope, items: list[Any], encoding: list[Any]) -> list[Any]:
    return _convert_bytes(scope, items, encoding, _DECODERS, "decode")


@register_function("escape", 1)
def _escape(scope: Scope, items: list[Any], target: list[Any]) -> list[Any]:
    value, target_name = to_string(items, "`escape()`"), to_string(target, "`escape()`")
    if value is None or target_name is None:
        return []
    if target_name == "html":
        return [scope.evaluation.check_string(html.escape(value))]
    if target_name == "json":
        return [scope.evaluation.check_string(json.dumps(value, ensure_ascii=False)[1:-1])]
    raise Invalid("`escape()` takes 'html' or 'json'.")


@register_function("unescape", 1)
def _unescape(scope: Scope, items: list[Any], target: list[Any]) -> list[Any]:
    value, target_name = to_string(items, "`unescape()`"), to_string(target, "`unescape()`")
    if value is None or target_name is None:
        return []
    if target_name == "html":
        return [html.unescape(value)]
    if target_name != "json":
        raise Invalid("`unescape()` takes 'html' or 'json'.")
    try:
        # A bare quotation mark would end the JSON string early; an escape stays as it is.
        quoted = _QUOTATION_MARK.sub(lambda match: match[1] or '\\"', value)
        unescaped = json.loads(f'"{quoted}"', strict=False)
    except ValueError:
        return []
    return [unescaped] if isinstance(unescaped, str) else []


def _convert_bytes(
    scope: Scope,
    items: list[Any],
    encoding: list[Any],
    codecs: Mapping[str, Callable[[bytes], bytes]],
    name: str,
) -> list[Any]:
    value, encoding_name = to_string(items, f"`{name}()`"), to_string(encoding, f"`{name}()`")
    if value is None or encoding_name is None:
        return []
    if encoding_name not in codecs:
        raise Invalid(f"`{name}()` takes 'hex', 'base64' or 'urlbase64'.")
    try:
        return [scope.evaluation.check_string(codecs[encoding_name](value.encode()).decode())]
    except ValueError:
        # Not of that encoding, or its bytes are not UTF-8.
        return []
