"""Places on the earth as unit vectors, so that a distance is plain arithmetic on three numbers."""

from __future__ import annotations

from math import cos, isfinite, pi, radians, sin

from ehr_fhir.errors import Invalid

__all__ = ["DEFAULT_DISTANCE", "chord_length", "unit_vector"]

# Of a `near` without one: R4 leaves it to the server. Kilometres.
DEFAULT_DISTANCE = 10.0
# The mean radius of the earth (IUGG), in kilometres.
_RADIUS = 6371.0088
_KILOMETRES = {
    "km": 1.0,
    "m": 0.001,
    "[mi_i]": 1.609344,
    "[mi_us]": 1.609347219,
    "[ft_i]": 3.048e-4,
}


def unit_vector(latitude: float, longitude: float) -> tuple[float, float, float]:
    """Return where a place is on a sphere of radius 1.

    >>> [round(part, 3) for part in unit_vector(0, 90)]
    [0.0, 1.0, 0.0]
    """
    if not (isfinite(latitude) and isfinite(longitude) and abs(latitude) <= 90):
        raise Invalid("A position has a latitude from -90 to 90 and a longitude.")
    up, round_ = radians(latitude), radians(longitude)
    return cos(up) * cos(round_), cos(up) * sin(round_), sin(up)


def chord_length(distance: float, unit: str) -> float:
    """Return a distance along the surface as the straight line between two unit vectors.

    >>> round(chord_length(6371.0088, "km"), 4)  # an angle of one radian
    0.9589
    """
    if unit not in _KILOMETRES:
        raise Invalid(f"distances are in one of {', '.join(_KILOMETRES)}.")
    if not (isfinite(distance) and distance >= 0):
        raise Invalid("a distance is a number from 0 on.")
    # Some millimetres more, for what is lost in rounding.
    return 2 * sin(min(distance * _KILOMETRES[unit] / _RADIUS, pi) / 2) + 1e-9
