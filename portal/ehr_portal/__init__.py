"""Web pages for patient, clinician and steward."""

from ehr_portal.app import create_portal
from ehr_portal.settings import PortalSettings

__all__ = ["PortalSettings", "create_portal"]
