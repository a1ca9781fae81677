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

    def open_epoch(self, after: int, epoch: str) -> FeedEpoch | None:
        """Return the present epoch; Conflict when a position of an epoch is not of its past."""
        return FeedEpoch.from_headers(replace(self, epoch=epoch, limit=1)._get(after).headers)

    def at_epoch(self, epoch: str) -> HttpFeed:
        """Return the same feed, whose pages are of that epoch or refused."""
        return replace(self, epoch=epoch)

    def pages(self, after: int) -> Iterator[bytes]:
        """Yield the gateway's pages until it has nothing new."""
        while True:
            response = self._get(after)
            if not response.content.strip():
                return
            yield response.content
            next_position = int(response.headers["X-Feed-Next"])
            if next_position <= after:
                raise Fault("The gateway's feed did not move on: its X-Feed-Next is not greater.")
            after = next_position

    def held_fact_pages(self) -> Iterator[bytes]:
        """Yield the pages of the facts held beside resources, all that there are."""
        return self._pages_by_key("/feed/held-facts")

    def membership_pages(self) -> Iterator[bytes]:
        """Yield the pages of who belongs to an organisation by account, all that there are."""
        return self._pages_by_key("/feed/memberships")

    def _pages_by_key(self, path: str) -> Iterator[bytes]:
        after = ""
        while True:
            parameters: dict[str, str | int] = {"after": after, "limit": self.limit}
            response = self._request(path, parameters)
            if response.content.strip():
                yield response.content
            if "X-Feed-Next" not in response.headers:
                return
            after = response.headers["X-Feed-Next"]

    def _get(self, after: int) -> httpx.Response:
        parameters: dict[str, str | int] = {"after": after, "limit": self.limit}
        if self.epoch:
            parameters["epoch"] = self.epoch
        return self._request("/feed", parameters)

    def _request(self, path: str, parameters: Mapping[str, str | int]) -> httpx.Response:
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
