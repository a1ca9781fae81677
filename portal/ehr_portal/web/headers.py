"""Response headers of every page: content security policy, framing, referrer (OWASP).

No frame and no other origin: a page is text, our style sheet and forms to ourselves. A clinician's
page runs one script of ours as well, which may ask this origin alone for live rows.
"""

from __future__ import annotations

__all__ = ["HEADERS", "SCRIPT_POLICY"]

_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SCRIPT_POLICY = f"{_POLICY}; script-src 'self'; connect-src 'self'"
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
