"""`$research-private`: a number about a cohort with noise, paid from the privacy budget."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.http.operation_parameters import OperationParameters
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations._research_projects import name_audit_entities
from ehr_gateway.operations._research_work import PEOPLE, begin_work, build_decimal
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.research_work import PrivateQuestion

OPERATION = Operation(
    name="research-private",
    summary="Answer a question about a cohort with noise, paid from the project's privacy budget.",
    levels=("system",),
    # It spends the budget.
    affects_state=True,
    callers=PEOPLE,
    parameters=(
        Parameter("project", "id", "The project, as `$research-projects` lists it", 1),
        Parameter("definition", "string", "The cohort as TOML", 1),
        Parameter("statistic", "code", "`count`, `histogram`, `mean` or `quantile`", 1),
        Parameter("epsilon", "decimal", "What the answer costs; less is noisier", 1),
        Parameter("column", "string", "A column of the cohort: for all but `count`"),
        Parameter("low", "decimal", "Of a mean: the lower public bound, less counts as this"),
        Parameter("high", "decimal", "Of a mean: the upper public bound"),
        Parameter("alpha", "decimal", "Of a quantile: 0.5 for the median"),
        Parameter("candidate", "decimal", "Of a quantile: a possible answer, ascending", 0, "*"),
    ),
    required_scope=None,
)
# The list of parameters holds a hundred.
_MOST_CANDIDATES = 90


def answer(call: OperationCall) -> Response:
    """Answer with a `number` for each label, and with the epsilon that is left."""
    work, person = begin_work(call.context)
    sent = call.parse_body()
    project = sent.text("project")
    changed = call.context.gateway.store.list_changed_subjects
    answered = work.answer_private(
        person, project, sent.text("definition"), _parse_question(sent), changed
    )
    call.record(entities=name_audit_entities(project))
    numbers = (
        {
            "name": "number",
            "part": [
                *([parameter("label", label)] if label else []),
                build_decimal("value", number),
            ],
        }
        for label, number in answered.numbers
    )
    return call.respond(*numbers, build_decimal("left", answered.left))


def _parse_question(sent: OperationParameters) -> PrivateQuestion:
    """Return the question; Invalid names a parameter that its statistic lacks."""
    statistic = sent.code("statistic", ("count", "histogram", "mean", "quantile"))
    epsilon = sent.decimal("epsilon")
    if statistic == "count":
        return PrivateQuestion(statistic, epsilon)
    column = sent.text("column")
    if statistic == "mean":
        low, high = sent.decimal("low"), sent.decimal("high")
        return PrivateQuestion(statistic, epsilon, column, low=low, high=high)
    if statistic == "quantile":
        return PrivateQuestion(
            statistic,
            epsilon,
            column,
            alpha=sent.decimal("alpha"),
            candidates=sent.decimals("candidate", _MOST_CANDIDATES),
        )
    return PrivateQuestion(statistic, epsilon, column)
