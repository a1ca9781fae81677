"""Time-based one-time passwords (TOTP, RFC 6238, over HOTP, RFC 4226): SHA-1, six digits, 30 s.

These parameters work in every authenticator app; others leave some apps out.

Why our own: it is twenty lines, tested with the RFC's vectors. pyotp would do, but says
only whether a code is valid; to accept each code once we need the time step that it matched.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import struct
from urllib.parse import quote, urlencode

from ehr_fhir.typed_codes import normalize_typed_code

TIME_STEP_MS = 30_000
# Clocks differ and people are slow: one step to either side is accepted (RFC 6238 §5.2).
_MAX_DRIFT_STEPS = 1


def generate_secret() -> str:
    """Return a new secret of 160 bits in base32, the length RFC 4226 §4 recommends."""
    return base64.b32encode(secrets.token_bytes(20)).decode()


def compute_code(secret: str, step: int) -> str:
    """Return the six digits of a time step (RFC 4226 §5.3, dynamic truncation).

    >>> compute_code(base64.b32encode(b"12345678901234567890").decode(), 59_000 // TIME_STEP_MS)
    '287082'
    """
    digest = hmac.new(base64.b32decode(secret), struct.pack(">Q", step), hashlib.sha1).digest()
    offset = digest[-1] & 15
    number = struct.unpack(">I", digest[offset : offset + 4])[0] & 0x7FFF_FFFF
    return f"{number % 1_000_000:06d}"


def find_time_step(secret: str, code: str, now_ms: int) -> int | None:
    """Return the time step that a code matches, the current one or a neighbour; None if none."""
    digits = normalize_typed_code(code)
    current_step, matching_step = now_ms // TIME_STEP_MS, None
    for step in range(current_step - _MAX_DRIFT_STEPS, current_step + _MAX_DRIFT_STEPS + 1):
        # Every step is compared, so that the time taken does not tell which one matched.
        if hmac.compare_digest(compute_code(secret, step).encode(), digits.encode()):
            matching_step = step
    return matching_step


def provisioning_uri(secret: str, login: str, issuer: str) -> str:
    """Return the `otpauth:` URI that an authenticator app reads from a QR code.

    >>> provisioning_uri("ABCD", "dr wong", "eHR")
    'otpauth://totp/eHR:dr%20wong?secret=ABCD&issuer=eHR'
    """
    query = urlencode({"secret": secret, "issuer": issuer}, quote_via=quote)
    return f"otpauth://totp/{quote(issuer)}:{quote(login)}?{query}"
