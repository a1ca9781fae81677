"""Numbers of a search as intervals: 100 is anything that rounds to it (R4 §3.1.1.4.6)."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from ehr_fhir.errors import Invalid

__all__ = ["number_interval"]


def number_interval(text: str) -> tuple[Decimal, Decimal, Decimal]:
    """Return a number and the limits within which it rounds to what is written.

    >>> number_interval("100")
    (Decimal('100'), Decimal('99.5'), Decimal('100.5'))
    """
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise Invalid(
            "A number must be decimal digits, with an optional point and exponent."
        ) from None
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or abs(number.adjusted()) > 300:
        raise Invalid("A number must be finite and of a size that a measurement can have.")
    half = Decimal((0, (5,), exponent - 1))
    return number, number - half, number + half
