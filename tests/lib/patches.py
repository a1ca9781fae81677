"""Operations of a FHIRPath Patch, written shortly."""

from __future__ import annotations

from typing import Any


def operation(kind: str, path: str, **parts: Any) -> dict[str, Any]:
    """Return one operation; a part is given as (suffix of value[x], value) or as an object."""
    named: list[dict[str, Any]] = [
        {"name": "type", "valueCode": kind},
        {"name": "path", "valueString": path},
    ]
    for name, value in parts.items():
        if isinstance(value, tuple):
            named.append({"name": name, f"value{value[0]}": value[1]})
        elif isinstance(value, dict):
            named.append({"name": name, **value})
        else:
            suffix = "Integer" if isinstance(value, int) else "String"
            named.append({"name": name, f"value{suffix}": value})
    return {"name": "operation", "part": named}
