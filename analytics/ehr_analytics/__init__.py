"""Research: projects, studies, disclosure control, the airlock.

In: de-identified gold tables; a project's approval; a study's file.
Out: released tables and plots, with the record of the controls on each.
"""

from ehr_analytics.project import Project
from ehr_analytics.register import Register

__all__ = ["Project", "Register"]
