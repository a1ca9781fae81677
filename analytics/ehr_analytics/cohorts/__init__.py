"""Cohorts: people chosen by a small typed language, one row per person, counted by the platform."""

from __future__ import annotations

from ehr_analytics.cohorts.definition import Cohort
from ehr_analytics.cohorts.result import AttritionStep, CohortResult
from ehr_analytics.cohorts.toml_text import load_cohort, parse_cohort

__all__ = ["AttritionStep", "Cohort", "CohortResult", "load_cohort", "parse_cohort"]
