"""Response headers of every page: content security policy, framing, referrer (OWASP).

No frame and no other origin: a page is text, our style sheet and forms to ourselves. A clinician's
page runs one script of ours as well, which may ask this origin alone for live rows.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["HEADERS", "SCRIPT_POLICY", "allow_form_targets"]

_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SCRIPT_POLICY = f"{_POLICY}; script-src 'self'; connect-src 'self'"


def allow_form_targets(policy: str, origins: Iterable[str]) -> str:
    """Return a policy that lets a form be answered with a redirect to other origins, too.

    >>> allow_form_targets("form-action 'self'; base-uri 'none'", ["https://app.example"])
    "form-action 'self' https://app.example; base-uri 'none'"
    """
    return policy.replace("form-action 'self'", " ".join(["form-action 'self'", *origins]))


HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
