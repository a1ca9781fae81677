"""Return to acute care within 28 days of an acute stay, with LACE as the comparator."""

from __future__ import annotations

from importlib.resources import files

from ehr_models.estimators import build_logistic_regression
from ehr_models.task import Comparator, Gates, Outcome, Task
from ehr_models.tasks.readmission.features import (
    FEATURES,
    RETURN_WITHIN,
    TARGET,
    VIEWS,
    build_features,
    select_latest_stays,
)
from ehr_models.tasks.readmission.lace import compute_lace

TASK = Task(
    name="readmission-28d",
    title="Return within 28 days of an acute stay",
    views=VIEWS,
    features=FEATURES,
    target=TARGET,
    outcome=Outcome(
        code="acute-return-28d",
        text="Return to acute care within 28 days of discharge",
        horizon=RETURN_WITHIN.to_pytimedelta(),
        plural="returns",
        phrase="returned within 28 days",
    ),
    model_name="logistic",
    model_title="logistic regression",
    comparators=(Comparator("lace", "LACE", compute_lace),),
    # Collins et al. 2016 ask for 100 outcomes to validate a prediction model.
    gates=Gates(minimum_outcomes=100),
    build_frame=build_features,
    select_current=select_latest_stays,
    build_estimator=build_logistic_regression,
    card_template=files(__package__).joinpath("card.md").read_text("utf-8"),
)
