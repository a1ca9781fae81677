"""Write the tables of docs/reference/operations from the declarations of the operations.

Each operation has a page of its own name. What stands between the two marks is made here; the rest
of a page is written by hand. A page that is missing is begun.
"""

from __future__ import annotations

import re
from pathlib import Path

from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.operations.registry import OPERATIONS
from tests.conftest import ROOT

PAGES = ROOT / "docs/reference/operations"
BEGIN, END = "<!-- made from the declaration -->", "<!-- until here -->"
TO_DO = "Say here"
# As the reference writes the variables of an address.
_VARIABLES = {"resource_type": "type", "patient": "id", "logical_id": "id"}
_SKELETON = """# ${name}

{table}

{to_do} what it does, what it answers, and which refusals mean what.

## Example
```http
{method} {address}
```
```json
{{"resourceType": "Parameters"}}
```
"""


def page_of(operation: Operation) -> Path:
    """Return where the page of an operation lies."""
    return PAGES / f"{operation.name}.md"


def addresses(operation: Operation) -> list[str]:
    """Return the addresses as the reference writes them."""
    found = []
    for _, _, path in operation.paths():
        found.append(re.sub(r"{(\w+)}", lambda name: f"{{{_VARIABLES[name[1]]}}}", path))
    return found


def table(operation: Operation) -> str:
    """Return the tables of an operation between their marks."""
    methods = ", ".join(operation.methods)
    scope = (
        f"`{operation.required_scope}`, of a person's token" if operation.required_scope else "—"
    )
    rows = [
        BEGIN,
        operation.summary,
        "",
        "| | |",
        "| --- | --- |",
        f"| address | {'; '.join(f'`{methods} {one}`' for one in addresses(operation))} |",
        f"| who may call it | {operation.callers} |",
        f"| scope | {scope} |",
        f"| changes something | {'yes' if operation.affects_state else 'no'} |",
        f"| subtype in the audit log | `{operation.audit_code}` |",
    ]
    if operation.parameters:
        rows += ["", "| parameter | type | times | what it is |", "| --- | --- | --- | --- |"]
        rows += [_row(parameter) for parameter in operation.parameters]
    return "\n".join([*rows, END])


def refreshed(operation: Operation, page: str) -> str:
    """Return a page with its tables made anew."""
    made = f"{re.escape(BEGIN)}.*?{re.escape(END)}"
    return re.sub(made, lambda _: table(operation), page, count=1, flags=re.S)


def write_pages() -> None:
    """Begin the pages that are missing, make the tables of the others anew."""
    PAGES.mkdir(exist_ok=True)
    for operation in (registered.declaration for registered in OPERATIONS):
        page = page_of(operation)
        if page.exists():
            page.write_text(refreshed(operation, page.read_text("utf-8")), "utf-8")
            continue
        begun = _SKELETON.format(
            name=operation.name, table=table(operation), to_do=TO_DO,
            method=operation.methods[0], address=_example(operation),
        )  # fmt: skip
        page.write_text(begun, "utf-8")


def _example(operation: Operation) -> str:
    """Return an address of the operation with something in the place of each variable."""
    return addresses(operation)[0].replace("{type}", "Observation").replace("{id}", "1")


def _row(parameter: Parameter) -> str:
    times = f"{parameter.least}..{parameter.most}"
    where = f", at the {' and the '.join(parameter.levels)} level" if parameter.levels else ""
    if parameter.resource_types:
        where += f", of {' and '.join(parameter.resource_types)}"
    return f"| `{parameter.name}` | {parameter.type} | {times} | {parameter.documentation}{where} |"


if __name__ == "__main__":
    write_pages()
