"""Secrets of a subscription's channel: the key that signs notifications, the sealed headers.

Notifications are signed as Standard Webhooks 1.0 says (https://www.standardwebhooks.com).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence

from cryptography.fernet import Fernet

__all__ = ["ChannelSecrets"]


class ChannelSecrets:
    """Derives and seals by a key of the folder of keys: the database alone yields no secret."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()
        sealing = hashlib.sha256(b"subscription headers " + self._key).digest()
        self._cipher = Fernet(base64.urlsafe_b64encode(sealing))

    def signing_secret(self, identity: str) -> str:
        """Return the secret of one subscription as its owner gets it: `whsec_` and base64."""
        return f"whsec_{base64.b64encode(self._signing_key(identity)).decode()}"

    def signature_headers(
        self, identity: str, message: str, content: bytes, now_ms: int
    ) -> dict[str, str]:
        """Return the headers that sign a message, which keeps its id when it is sent again."""
        timestamp = str(now_ms // 1000)
        signed = f"{message}.{timestamp}.".encode() + content
        digest = hmac.digest(self._signing_key(identity), signed, "sha256")
        return {
            "webhook-id": message,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        }

    def seal_headers(self, headers: Sequence[tuple[str, str]]) -> str | None:
        """Return the headers of a channel encrypted, since they may hold credentials."""
        if not headers:
            return None
        return self._cipher.encrypt(json.dumps(list(headers)).encode()).decode()

    def unseal_headers(self, sealed: str | None) -> list[tuple[str, str]]:
        """Return the headers of a channel."""
        if sealed is None:
            return []
        return [(name, value) for name, value in json.loads(self._cipher.decrypt(sealed.encode()))]

    def _signing_key(self, identity: str) -> bytes:
        return hmac.digest(self._key, f"subscription signature {identity}".encode(), "sha256")
