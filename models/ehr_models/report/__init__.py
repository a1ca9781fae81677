"""What is told of a model: report page, model card, TRIPOD+AI checklist, all from one JSON.

In: `ModelFacts` (what the task says of itself) and the figures of `ehr_models.evaluation`.
Out: `report.json` with counts and figures as they may leave the platform; from it alone the pages
(HTML in three languages, without a script), the card in the shape of CHAI's Applied Model Card v0.2
(JSON, HTML), and a FHIR DocumentReference that carries it.
"""
