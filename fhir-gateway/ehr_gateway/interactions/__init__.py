"""FHIR's interactions, one module each: `fn(store, access, ...)` gives a value or an EhrError."""
