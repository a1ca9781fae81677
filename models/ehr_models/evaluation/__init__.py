"""Evaluation of predictions of a yes-or-no outcome, from arrays alone; knows no task by name.

In: outcomes, probabilities and rankings per predictor, who each row is about, groups, sites, times;
for what needs a model fitted anew, the features and a function that fits one.
Out: frozen dataclasses of figures with 95 % intervals, patients as the clusters.

After OHDSI's PatientLevelPrediction; docs/explanation/model-evaluation.md holds its list beside
ours.
"""
