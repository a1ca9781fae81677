"""Predictions to the gateway, in transactions of a hundred patients."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ehr_fhir.errors import Unavailable, Unprocessable
from ehr_models.risk_assessments import Resource, ScoringRun, build_transaction
from ehr_models.score import Prediction

# Patients per transaction; chosen. Each is two resources.
BATCH_PATIENTS = 100


class Response(Protocol):
    """The part of an HTTP response that is read."""

    @property
    def status_code(self) -> int:
        """Return the status."""

    @property
    def text(self) -> str:
        """Return the body."""


class HttpClient(Protocol):
    """An HTTP client whose base address is the gateway; httpx.Client is one."""

    def post(self, url: str, *, content: bytes, headers: Mapping[str, str]) -> Response:
        """Send a body."""

    def get(self, url: str, *, headers: Mapping[str, str]) -> Response:
        """Ask for a page."""


@dataclass(frozen=True)
class WriteBackReport:
    """How many patients' assessments the gateway accepted and refused, and the last reason."""

    accepted: int
    refused: int
    reason: str | None = None


def send_transaction(client: HttpClient, token: str, bundle: Resource) -> int:
    """Send a transaction; return the number of its entries.

    Raises Unprocessable with the gateway's reason when it refuses, Unavailable when it is broken.
    """
    response = client.post(
        "/fhir",
        content=json.dumps(bundle).encode(),
        headers={
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/fhir+json",
            "Prefer": "return=minimal",
        },
    )
    if response.status_code >= 500:
        raise Unavailable(f"The gateway answered {response.status_code} to the risk assessments.")
    if response.status_code >= 400:
        raise Unprocessable(
            f"The gateway refused the risk assessments: {_describe_refusal(response)}"
        )
    return len(bundle["entry"])


def send_predictions(
    client: HttpClient,
    token: str,
    run: ScoringRun,
    predictions: Sequence[Prediction],
    require_champion: Callable[[], None] = lambda: None,
) -> WriteBackReport:
    """Send predictions in batches; where a batch is refused, patient by patient.

    `require_champion` is asked before each transaction, and raises where no more may be written.
    A patient who has left the platform since must not hold up the others' assessments.
    """
    accepted, reason = 0, None
    for batch in _batches(predictions):
        require_champion()
        try:
            send_transaction(client, token, build_transaction(run, batch))
            accepted += len(batch)
        except Unprocessable:
            for prediction in batch:
                require_champion()
                try:
                    send_transaction(client, token, build_transaction(run, [prediction]))
                    accepted += 1
                except Unprocessable as refusal:
                    reason = str(refusal)
    return WriteBackReport(accepted, len(predictions) - accepted, reason)


def _batches(predictions: Sequence[Prediction]) -> Iterator[Sequence[Prediction]]:
    for start in range(0, len(predictions), BATCH_PATIENTS):
        yield predictions[start : start + BATCH_PATIENTS]


def _describe_refusal(response: Response) -> str:
    try:
        issue = json.loads(response.text)["issue"][0]
        return f"{response.status_code}, {issue['diagnostics']}"
    except (ValueError, KeyError, IndexError, TypeError):
        return f"{response.status_code}"
