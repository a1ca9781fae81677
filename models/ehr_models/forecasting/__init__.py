"""Forecasts of A&E attendances and of beds in use at midnight, 1 to 28 days ahead, by hospital.

In: visits of the trusted zone, aggregated here (`counts`), or a file of daily counts; public
holidays of the jurisdiction (`public_holidays/COUNTRY.csv`); optionally a file of daily weather.
Out: a signed version in the model store with forecasts, evaluation, plot and table; one MLflow run.
Three forecasters, each judged by rolling origins: the seasonal-naive reference, exponential
smoothing, gradient boosting. What does not pass the gates is not served; the reference then is.
"""
