"""What can go wrong, as a closed set of categories.

    EhrError
    ├── Invalid                 400  the request is malformed
    │   └── Unprocessable       422  well formed, but breaks a rule of FHIR or of this server
    ├── Unauthorized            401  no token, or one that does not verify
    ├── Forbidden               403  the requester's role, or a rule of the step, does not allow it
    │   └── InsufficientScope   403  the token's scopes do not cover it
    ├── NotFound                404  not there, or not for this requester: the same answer
    │   └── Gone                410  deleted
    ├── Unsupported             405  the interaction is not offered
    │   ├── NotAcceptable       406  no such response format
    │   └── UnsupportedMedia    415  no such request format; or (UnsupportedEncoding) no such coding
    ├── Conflict                409  another write came first
    │   └── PreconditionFailed  412  If-Match or a conditional criterion failed
    ├── TooCostly               413  a limit of size or effort
    │   └── TooMany             429  too often in too short a time
    ├── Unavailable             503  try again later
    └── Fault                   500  our own mistake

Texts say what was wrong, where, and what to do. They never hold a value from a record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self


@dataclass(frozen=True)
class Issue:
    """One fault: what, and where as a FHIRPath expression."""

    diagnostics: str
    expression: str | None = None
    code: str | None = None
    severity: str = "error"


class EhrError(Exception):
    """Base of every error a user may see; carries one or more issues."""

    status: ClassVar[int] = 500
    # Numbers once used are never reused, so that an operator can rely on them.
    exit: ClassVar[int] = 1
    code: ClassVar[str] = "exception"

    def __init__(
        self,
        diagnostics: str,
        *,
        expression: str | None = None,
        issue_code: str | None = None,
        issues: Sequence[Issue] = (),
    ) -> None:
        super().__init__(diagnostics)
        self.issues = tuple(issues) or (Issue(diagnostics, expression, issue_code),)

    def with_issues(self, issues: Sequence[Issue]) -> Self:
        """Return the same error with other issues, for example ones that name a Bundle's entry."""
        changed = type(self)(issues[0].diagnostics, issues=issues)
        changed.__dict__.update({**self.__dict__, "issues": changed.issues})
        return changed

    def __reduce__(self) -> tuple[Any, ...]:
        # Worker processes hand errors back; keyword arguments would be lost otherwise.
        return _rebuild, (type(self), str(self), self.issues)


class Invalid(EhrError):
    """The request is malformed."""

    status, exit, code = 400, 10, "invalid"


class Unprocessable(Invalid):
    """Well formed, but breaks a rule of FHIR or of this server."""

    status, exit, code = 422, 11, "processing"


class Unauthorized(EhrError):
    """No token, or one that does not verify."""

    status, exit, code = 401, 12, "login"


class Forbidden(EhrError):
    """The requester's role, or a rule of the step, does not allow it."""

    status, exit, code = 403, 13, "forbidden"


class InsufficientScope(Forbidden):
    """The token's scopes do not cover it (RFC 6750 §3.1); the same answer whatever is stored."""

    def __init__(self, diagnostics: str, *, scope: str = "", issues: Sequence[Issue] = ()) -> None:
        super().__init__(diagnostics, issues=issues)
        # The scope that would cover it, as a token request names it.
        self.scope = scope


class NotFound(EhrError):
    """Not there, or not for this requester: both give the same answer."""

    status, exit, code = 404, 14, "not-found"


class Gone(NotFound):
    """Deleted."""

    status, exit, code = 410, 15, "deleted"


class Unsupported(EhrError):
    """The interaction is not offered."""

    status, exit, code = 405, 16, "not-supported"


class NotAcceptable(Unsupported):
    """No such response format."""

    status, exit, code = 406, 17, "not-supported"


class UnsupportedMedia(Unsupported):
    """No such request format."""

    status, exit, code = 415, 18, "not-supported"


class UnsupportedEncoding(UnsupportedMedia):
    """No such content coding of a request."""


class Conflict(EhrError):
    """Another write came first."""

    status, exit, code = 409, 19, "conflict"


class PreconditionFailed(Conflict):
    """If-Match or a conditional criterion failed."""

    status, exit, code = 412, 20, "conflict"


class TooCostly(EhrError):
    """A limit of size or effort."""

    status, exit, code = 413, 21, "too-costly"


class TooMany(TooCostly):
    """Too often in too short a time."""

    status, exit, code = 429, 25, "throttled"


class Unavailable(EhrError):
    """Try again later."""

    status, exit, code = 503, 22, "transient"


class Fault(EhrError):
    """Our own mistake; the details stay in the log."""

    status, exit, code = 500, 23, "exception"


def http_status(error: EhrError) -> int:
    """Return the HTTP status of an error.

    >>> http_status(Gone("The resource was deleted."))
    410
    """
    return error.status


def exit_code(error: EhrError) -> int:
    """Return the exit code with which a command ends on an error.

    >>> exit_code(NotFound("No such file."))
    14
    """
    return error.exit


def operation_outcome(error: EhrError) -> dict[str, Any]:
    """Render an error as a FHIR OperationOutcome (R4 §2.28).

    >>> operation_outcome(Invalid("Not a date.", expression="Patient.birthDate"))["issue"]
    [{'severity': 'error', 'code': 'invalid', 'diagnostics': 'Not a date.', \
'expression': ['Patient.birthDate']}]
    """
    return {
        "resourceType": "OperationOutcome",
        "issue": [_issue(issue, error.code) for issue in error.issues],
    }


def _issue(issue: Issue, default_code: str) -> dict[str, Any]:
    rendered: dict[str, Any] = {
        "severity": issue.severity,
        "code": issue.code or default_code,
        "diagnostics": _encodable(issue.diagnostics),
    }
    if issue.expression:
        rendered["expression"] = [_encodable(issue.expression)]
    return rendered


def _encodable(text: str) -> str:
    """Return a text without halves of surrogate pairs, as the names in a bad body may hold.

    >>> _encodable("Patient.\\udc00")
    'Patient.?'
    """
    return text.encode("utf-8", "replace").decode()


def _rebuild(kind: type[EhrError], diagnostics: str, issues: tuple[Issue, ...]) -> EhrError:
    return kind(diagnostics, issues=issues)
