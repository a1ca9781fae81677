"""Return to an acute bed within 28 days of leaving one: features, training, scoring, model card."""
