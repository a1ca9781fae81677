"""`ehr deid`: what de-identification does with each element of a record, and why."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ehr_cli.options import Data

app = typer.Typer(
    no_args_is_help=True,
    help="De-identification: what becomes of a record.\n\nExample: ehr deid explain record.json",
)


# A group of one command would lose its name.
@app.callback()
def group() -> None:
    """De-identification."""


@app.command()
def explain(
    file: Annotated[Path, typer.Argument(help="A resource, a Bundle or NDJSON.", metavar="FILE")],
    data: Data = None,
    result: Annotated[
        bool, typer.Option("--result", help="Print the de-identified records instead.")
    ] = False,
) -> None:
    """Show of each element what de-identification does with it, and by which rule.

    The values of the file are not shown. Pseudonyms and shifts are those of the data folder, or of
    a key of the moment where there is none.

    Example: ehr deid explain record.json
    """
    import orjson

    from ehr_cli.settings import load_settings
    from ehr_etl.console_table import print_table
    from ehr_privacy.deid import Deidentifier, explain_resource, load_rules

    key_file = load_settings().override(data=data).data / "keys" / "deid.key"
    key = key_file.read_bytes() if key_file.is_file() else secrets.token_bytes(32)
    deidentifier = Deidentifier(load_rules(), key)
    resources = list(_read_resources(file))
    people = _people_of(resources)
    for number, resource in enumerate(resources):
        explained = explain_resource(deidentifier, resource, people)
        if result:
            if explained.resource is not None:
                typer.echo(orjson.dumps(explained.resource).decode())
            continue
        if number:
            typer.echo("")
        rows = [(fate.path, fate.fate, fate.rule) for fate in explained.fates]
        print_table(("Element", "Fate", "Rule"), rows, whole=("Element", "Fate", "Rule"))


def _read_resources(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the resources of a file: one, those of a Bundle, or one a line."""
    import orjson

    from ehr_fhir.errors import Invalid, NotFound

    if not file.is_file():
        raise NotFound(f"There is no file {file}.")
    content = file.read_bytes()
    try:
        found = [orjson.loads(content)]
    except orjson.JSONDecodeError:
        try:
            found = [orjson.loads(line) for line in content.splitlines() if line.strip()]
        except orjson.JSONDecodeError as error:
            raise Invalid(f"{file} is neither JSON nor NDJSON: {error}.") from None
    for resource in found:
        if not isinstance(resource, dict) or "resourceType" not in resource:
            raise Invalid(f"{file} holds something that is no FHIR resource.")
        if resource["resourceType"] == "Bundle":
            for entry in resource.get("entry", ()):
                if isinstance(entry, dict) and isinstance(entry.get("resource"), dict):
                    yield entry["resource"]
        else:
            yield resource


def _people_of(resources: list[dict[str, Any]]) -> Any:
    """Return what the Patients of a file say of the people."""
    from ehr_privacy.deid import People, Person, find_survivor

    patients = {
        str(resource["id"]): resource
        for resource in resources
        if resource["resourceType"] == "Patient" and "id" in resource
    }
    return People(
        {
            name: Person(find_survivor(patient) or name, patient.get("birthDate"))
            for name, patient in patients.items()
        }
    )
