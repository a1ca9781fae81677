"""Training of those who work with data: without one on record, nobody works on a project."""

from __future__ import annotations

from datetime import date, timedelta

from ehr_analytics.register import Register
from ehr_analytics.researchers import Training, record_training

__all__ = ["train"]


def train(register: Register, *people: str, expires: date | None = None) -> None:
    """Record a training of people that holds for two years, or until a day."""
    today = register.clock().date()
    day = today - timedelta(days=30)
    training = Training("Research data", day, expires or today + timedelta(days=365 * 2))
    for person in people:
        record_training(register, person, "University of Kowloon", training, "steward.ng")
