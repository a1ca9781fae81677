"""The form of a link and of its files (HL7 SMART Health Cards and Links 1.0.0, Links).

What opens a link is in its address alone: 32 random bytes, of which the store keeps a hash. The
key of its files is never stored. Of a snapshot it is random and forgotten once the file is
encrypted. Of a live summary it follows from the address and a secret of the key folder, since the
server has to encrypt anew at each opening: who has the database alone, or the address alone, has
no key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import unicodedata

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc import jwe
from joserfc.jwk import OctKey

__all__ = [
    "CONTENT_TYPE",
    "MAX_LABEL",
    "build_link",
    "clean_line",
    "derive_key",
    "encode_key",
    "encrypt_file",
    "hash_token",
    "new_key",
    "new_token",
    "open_ticket",
    "seal_ticket",
]

# Characters of a label at most, by the guide.
MAX_LABEL = 80
CONTENT_TYPE = "application/fhir+json"
_BYTES = 32
_HEADER = {"alg": "dir", "enc": "A256GCM", "cty": CONTENT_TYPE}
# A larger file is not deflated: libraries refuse to inflate more (CVE-2024-28176; jose 4.15.5).
_MOST_DEFLATED = 250_000


def new_token() -> str:
    """Return what stands in the address of a new link: 256 bits in 43 characters."""
    return encode_key(os.urandom(_BYTES))


def new_key() -> bytes:
    """Return a random key."""
    return os.urandom(_BYTES)


def derive_key(secret: str, token: str) -> bytes:
    """Return the key of a live link (HKDF, RFC 5869)."""
    return HKDF(SHA256(), _BYTES, salt=token.encode(), info=b"health link").derive(secret.encode())


def hash_token(token: str) -> str:
    """Return by what the store knows a link."""
    return hashlib.sha256(token.encode()).hexdigest()


def encode_key(key: bytes) -> str:
    """Return bytes in base64url without padding.

    >>> encode_key(bytes(32))
    'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'
    """
    return base64.urlsafe_b64encode(key).rstrip(b"=").decode()


def clean_line(text: str) -> str:
    """Return a typed text on one line, without what would disturb a page.

    >>> clean_line("  Dr\\nA\\u202e ")
    'Dr A'
    """
    visible = "".join(" " if unicodedata.category(one)[0] in "CZ" else one for one in text)
    return " ".join(visible.split())


def build_link(url: str, key: bytes, *, expires_ms: int, label: str, is_live: bool) -> str:
    """Return the link as text: `shlink:/` and the payload. It needs a passcode.

    >>> build_link("https://a.hk/shl/x", bytes(32), expires_ms=5000, label="", is_live=True)[:16]
    'shlink:/eyJ1cmwi'
    """
    payload = {
        "url": url,
        "flag": "LP" if is_live else "P",
        "key": encode_key(key),
        "exp": expires_ms // 1000,
        **({"label": label} if label else {}),
        "v": 1,
    }
    text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    return f"shlink:/{encode_key(text.encode())}"


def encrypt_file(content: bytes, key: bytes) -> str:
    """Return FHIR JSON as a compact JWE: direct A256GCM, deflated first where it is not large."""
    header = {**_HEADER, "zip": "DEF"} if len(content) <= _MOST_DEFLATED else _HEADER
    algorithms = [_HEADER["alg"], _HEADER["enc"], "DEF"]
    return jwe.encrypt_compact(header, content, OctKey.import_key(key), algorithms=algorithms)


def seal_ticket(secret: str, token: str, opening: str, until_ms: int) -> str:
    """Return what stands in the address of a file of one opening, good until an instant."""
    return f"{opening}.{until_ms}.{_sign_ticket(secret, token, opening, until_ms)}"


def open_ticket(secret: str, token: str, ticket: str, now_ms: int) -> str | None:
    """Return the opening for which the address of a file is good; None for any other address."""
    opening, _, rest = ticket.partition(".")
    instant, _, signature = rest.partition(".")
    if not (instant.isascii() and instant.isdigit() and len(instant) < 16):
        return None
    until_ms = int(instant)
    expected = _sign_ticket(secret, token, opening, until_ms)
    # As bytes: a signature that somebody typed may hold any character.
    is_ours = hmac.compare_digest(expected.encode(), signature.encode())
    return opening if is_ours and now_ms < until_ms else None


def _sign_ticket(secret: str, token: str, opening: str, until_ms: int) -> str:
    text = f"health link file {token} {opening} {until_ms}"
    return encode_key(hmac.digest(secret.encode(), text.encode(), "sha256"))
