"""Resources inside a resource: contained ones, entries of a Bundle, parameters."""

from __future__ import annotations

from ehr_fhir import definitions
from ehr_fhir.profiles.findings import Place, Run

__all__ = ["check_inner_resource"]


def check_inner_resource(place: Place, run: Run) -> None:
    """Check a resource inside another by its type and by the profiles that it names."""
    resource = place.value
    kind = resource.get("resourceType") if type(resource) is dict else None
    if kind not in definitions.resource_types():
        return
    is_contained = place.path.rpartition(".")[2].startswith("contained[")
    inner = run.within(
        resource, run.root if is_contained else None, run.library.entries(run.resource)
    )
    # Depth counts profiles that name each other; what is inside ends with the JSON.
    inner.depth = run.depth
    run.library.check_resource(resource, place.path, inner)
    run.extend(inner.findings)
