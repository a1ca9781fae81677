"""Learn one logistic regression over several organisations, without any of them sharing a row.

In: each organisation's rows, which stay with it. Out: the model, and how it does at each place.
A coordinator asks for sums (moments, then gradients and Hessians of Newton's method), and the
organisations mask their answers so that only the sum over all of them can be read
(`secure_sum`). The result is the model that the pooled rows would give. Imports nothing of the
platform but its errors.
"""

from ehr_models.federated.coordinator import FederatedModel, fit_federated
from ehr_models.federated.secure_sum import SumParty, add_masked
from ehr_models.federated.site import Site

__all__ = ["FederatedModel", "Site", "SumParty", "add_masked", "fit_federated"]
