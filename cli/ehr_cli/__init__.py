"""The ehr command: settings, composition of the parts, demo."""
