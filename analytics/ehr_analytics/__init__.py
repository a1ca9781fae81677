"""Research: projects, cohorts, analyses, output release."""

from ehr_analytics.project import Project
from ehr_analytics.register import Register

__all__ = ["Project", "Register"]
