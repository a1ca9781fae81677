"""`ehr study`: the commands of `ehr_analytics`, and those that need the platform's database."""

from ehr_analytics.study_cli import app
from ehr_cli.commands.privacy_budget import private_app

__all__ = ["app"]

app.add_typer(private_app, name="private")
