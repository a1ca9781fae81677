"""Models: features, training, evaluation, registry, scoring."""
