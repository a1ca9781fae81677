"""Web pages for patient, clinician and steward."""
