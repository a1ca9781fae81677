"""Research: projects, cohorts, analyses, output release."""
