"""The Bundle of a page of a search, and the limits of cost that the settings give a search."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from ehr_fhir.errors import Invalid, operation_outcome
from ehr_fhir.subset import Subset
from ehr_gateway.http.bundle_bytes import build_bundle, build_entry, build_page_url
from ehr_gateway.search.page import SearchPage
from ehr_gateway.search.statements import SearchLimits
from ehr_gateway.settings import GatewaySettings
from ehr_gateway.store.store import Version

__all__ = ["build_searchset", "search_limits"]


def search_limits(settings: GatewaySettings) -> SearchLimits:
    """Return the base address and the limits of cost that the settings give a search."""
    return SearchLimits(
        settings.fhir_base,
        settings.max_search_rows,
        settings.max_include_rounds,
        settings.max_included,
    )


def build_searchset(
    base: str,
    path: str,
    page: SearchPage,
    cursor: Sequence[tuple[str, str]] = (),
    form: Sequence[tuple[str, str]] = (),
) -> bytes:
    """Return the Bundle of a page; `cursor` is the parameter that asked for this page, if any.

    `form` stands for the parameters in the link to the next page, if they may not stand there.
    """
    address = f"{base}/{path}" if path else base
    links = [("self", build_page_url(address, [*page.self_pairs, *cursor]))]
    if page.next_cursor is not None:
        links.append(
            (
                "next",
                build_page_url(
                    address, [*(form or page.self_pairs), ("_cursor", page.next_cursor)]
                ),
            )
        )
    entries = [
        build_entry(
            f"{base}/{version.type}/{version.id}",
            _cut_subset(page.subset, version, mode),
            mode=mode,
        )
        for mode, versions in (("match", page.matches), ("include", page.included))
        for version in versions
    ]
    if page.issues:
        outcome = operation_outcome(Invalid("", issues=page.issues))
        entries.append(build_entry(None, orjson.dumps(outcome), mode="outcome"))
    return build_bundle("searchset", entries, total=page.total, links=links)


def _cut_subset(subset: Subset | None, version: Version, mode: str) -> bytes:
    """Return the elements of a resource that `_elements` or `_summary` asks for."""
    # `_elements` names elements of the type searched; included resources have others.
    if subset is None or (mode == "include" and subset.elements):
        return version.body
    return subset.cut(version.body)
