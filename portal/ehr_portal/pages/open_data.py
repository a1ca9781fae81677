"""Open data: the sets that anybody may read, without a log-in: pages, files and rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from ehr_portal.i18n import N_
from ehr_portal.record.charts import draw_amount
from ehr_portal.web.open_data_files import (
    CATALOGUE,
    OpenDataset,
    load_dataset,
    load_index,
    serve_public,
    serve_public_file,
)
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import AnyRequest

router = APIRouter()
# The label of a row of everything together, as the files have it.
ALL = "all"
_MOST_ROWS = 1000
# Of all together. Chosen: two days of hours; the files have all.
_MOST_PERIODS = 48
PERIOD_TITLES = {
    "month": N_("All together, month by month"),
    "day": N_("All together, day by day"),
    "hour": N_("All together, hour by hour"),
}
NEWEST_TITLES = {
    "month": N_("The newest month, %(period)s"),
    "day": N_("The newest day, %(period)s"),
    "hour": N_("The newest hour, from %(period)s"),
}


@router.get("/open-data")
def show_datasets(request: AnyRequest) -> Response:
    """List the sets that are published."""
    return request.render("open_data.html", datasets=load_index(_folder(request)))


@router.get("/open-data/{dataset}")
def show_dataset(request: AnyRequest, dataset: str) -> Response:
    """Show one set: what it is, its numbers drawn and as tables, its columns."""
    if dataset == CATALOGUE:
        return serve_public_file(request.http_request, _folder(request), CATALOGUE)
    found = load_dataset(_folder(request), dataset)
    period, newest = found.about["period"], found.about["last"]
    plotted = _choose_plotted(found)
    together = [row for row in found.rows if _is_together(found, row)]
    parts = [r for r in found.rows if r[period] == newest and not _is_together(found, r)]
    return request.render(
        "open_data_set.html",
        dataset=found,
        plotted=plotted,
        period=period,
        by_period=_draw(together[::-1][:_MOST_PERIODS], plotted),
        word_period=_word_period,
        PERIOD_TITLES=PERIOD_TITLES,
        NEWEST_TITLES=NEWEST_TITLES,
        by_part=_draw(parts, plotted),
        part=next((name for name in found.labels if name != period), period),
        name_column="hospital_name_zh" if request.language.startswith("zh") else "hospital_name_en",
    )


@router.get("/open-data/{dataset}/rows")
def search_rows(request: AnyRequest, dataset: str) -> Response:
    """Answer rows as JSON, those with the labels of the query; `next` is the page after them."""
    found = load_dataset(_folder(request), dataset)
    query = dict(request.http_request.query_params)
    limit = _read_number(query.pop("limit", "100"), 1, _MOST_ROWS)
    offset = _read_number(query.pop("offset", "0"), 0, len(found.rows))
    if limit is None or offset is None or not query.keys() <= set(found.labels):
        # What is typed in an address is not repeated.
        return JSONResponse(
            {
                "error": f"Rows are found by {', '.join(found.labels)}; limit is 1 to {_MOST_ROWS},"
                f" offset 0 to {len(found.rows)}."
            },
            400,
        )
    rows = [row for row in found.rows if all(row[name] == query[name] for name in query)]
    answer: dict[str, Any] = {
        "dataset": dataset,
        "total": len(rows),
        "rows": rows[offset : offset + limit],
    }
    if offset + limit < len(rows):
        following = urlencode({**query, "limit": limit, "offset": offset + limit})
        base_url = request.portal.settings.base_url
        answer["next"] = f"{base_url}/open-data/{dataset}/rows?{following}"
    content = json.dumps(answer, ensure_ascii=False).encode()
    return serve_public(request.http_request, content, "application/json")


@router.get("/open-data/{dataset}/{file}")
def download_file(request: AnyRequest, dataset: str, file: str) -> Response:
    """Answer a file of a set: CSV, JSON or the dictionary."""
    return serve_public_file(request.http_request, _folder(request), dataset, file)


def _word_period(period: str) -> str:
    """Return a period as people read it.

    >>> _word_period("2026-06"), _word_period("2026-06-30T09")
    ('2026-06', '2026-06-30 09:00')
    """
    day, _, hour = period.partition("T")
    return f"{day} {hour}:00" if hour else day


def _read_number(text: str, least: int, most: int) -> int | None:
    """Return a whole number within its limits; None of anything else."""
    # Not more digits than the longest limit has: a long one takes long to read.
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        return None
    return int(text) if least <= int(text) <= most else None


def _folder(request: PortalRequest) -> Any:
    return request.portal.settings.open_data


def _is_together(dataset: OpenDataset, row: Mapping[str, Any]) -> bool:
    return all(
        row[name] == ALL
        for name in dataset.labels
        if name != dataset.about["period"] and "_name_" not in name
    )


def _choose_plotted(dataset: OpenDataset) -> str:
    """Return the number that is drawn: the first that is more than how many people there are."""
    names = [column.name for column in dataset.numbers if column.unit != "people"]
    return names[0] if names else dataset.numbers[0].name


def _draw(rows: Sequence[Mapping[str, Any]], plotted: str) -> list[tuple[Mapping[str, Any], Any]]:
    """Return each row with a bar of its number, all bars to one scale."""
    most = max((row[plotted] for row in rows if row[plotted] is not None), default=0)
    return [(row, draw_amount(row[plotted], most)) for row in rows]
