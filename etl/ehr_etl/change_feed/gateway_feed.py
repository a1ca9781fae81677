"""Client of the gateway's change feed over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import httpx

from ehr_etl.change_feed.epoch import FeedEpoch
from ehr_fhir.errors import Conflict, Fault, Forbidden, Unauthorized, Unavailable

# Changes per page; chosen.
PAGE_LINES = 5000


@dataclass(frozen=True)
class HttpFeed:
    """The gateway's feed over HTTP."""

    client: httpx.Client
    token: str
    limit: int = PAGE_LINES
    # The epoch that the asked positions belong to; empty where that is not known.
    epoch: str = ""

    def open_epoch(self, after: int, decisions: int, epoch: str) -> FeedEpoch | None:
        """Return the present epoch; Conflict when a place in an epoch is not of its past."""
        asked = replace(self, epoch=epoch, limit=1)
        return FeedEpoch.from_headers(asked._get(after, decisions).headers)

    def at_epoch(self, epoch: str) -> HttpFeed:
        """Return the same feed, whose pages are of that epoch or refused."""
        return replace(self, epoch=epoch)

    def pages(self, after: int, decisions: int) -> Iterator[bytes]:
        """Yield the gateway's pages up to its newest change at the time of asking."""
        for content, _ in self.placed_pages(after, decisions):
            yield content

    def placed_pages(self, after: int, decisions: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
        """Yield pages, each with the position and number of a decision to ask after next."""
        while True:
            response = self._get(after, decisions)
            if not response.content.strip():
                return
            place = (after, decisions)
            after = int(response.headers["X-Feed-Next"])
            decisions = int(response.headers["X-Feed-Decisions"])
            yield response.content, (after, decisions)
            if after < place[0] or decisions < place[1] or (after, decisions) == place:
                raise Fault("The gateway's feed did not move on: its X-Feed-Next is not greater.")
            if response.headers.get("X-Feed-Last-Page") == "true":
                # What came meanwhile is the next run's: under a steady load there is always more.
                return

    def wait_for_change(self, after: int, decisions: int, seconds: float) -> bool:
        """Return whether something comes after a place within some seconds: a long poll."""
        response = replace(self, limit=1)._get(after, decisions, wait=seconds)
        return bool(response.content.strip())

    def _get(self, after: int, decisions: int, wait: float = 0) -> httpx.Response:
        parameters: dict[str, str | int | float] = {
            "after": after,
            "decisions": decisions,
            "limit": self.limit,
        }
        if self.epoch:
            parameters["epoch"] = self.epoch
        if wait:
            parameters["wait"] = wait
        return self._request("/feed", parameters)

    def _request(self, path: str, parameters: Mapping[str, str | int | float]) -> httpx.Response:
        try:
            response = self.client.get(
                path, params=parameters, headers={"Authorization": f"Bearer {self.token}"}
            )
        except httpx.TransportError as error:
            raise Unavailable("The gateway does not answer: is `ehr up` running?") from error
        if response.status_code == 401:
            raise Unauthorized("The gateway refused the lake's token for its feed.")
        if response.status_code == 403:
            raise Forbidden("The lake's token lacks the scope ehr/feed.read.")
        if response.status_code == 409:
            raise Conflict(
                "The gateway's store does not have all that was read from it before: it was put "
                "back from a backup, or is another one."
            )
        if response.status_code != 200:
            raise Unavailable(f"The gateway's feed answered with status {response.status_code}.")
        return response
