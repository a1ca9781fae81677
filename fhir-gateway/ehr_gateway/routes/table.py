"""All routes of the FHIR REST API, in the order in which they are tried."""

from __future__ import annotations

from ehr_gateway.conformance.metadata import answer_metadata, answer_openapi
from ehr_gateway.http.binary_content import read_resource_body
from ehr_gateway.http.body import read_fhir_body, read_form_pairs, read_patch
from ehr_gateway.http.bulk_exports import EXPORT_PATH as BULK_EXPORT_PATH
from ehr_gateway.http.bulk_imports import IMPORT_PATH
from ehr_gateway.http.view_exports import EXPORT_PATH
from ehr_gateway.operations import registry
from ehr_gateway.routes import (
    audit_events,
    bulk_exports,
    bulk_imports,
    bundles,
    conditional,
    history,
    operation_definitions,
    resources,
    search,
    subscriptions,
    view_exports,
)
from ehr_gateway.routes.endpoints import in_thread, lookup, search_within_budget, short_write
from ehr_gateway.routes.route import Route

__all__ = ["FHIR_ROUTES"]

_GET = ("GET", "HEAD")
_POST = ("POST",)
_PUT = ("PUT",)
_PATCH = ("PATCH",)
_DELETE = ("DELETE",)
_TYPE = "/fhir/{resource_type}"
_INSTANCE = "/fhir/{resource_type}/{logical_id}"
_COMPARTMENT = "/fhir/{owner}/{logical_id}/{resource_type}"

_CONFORMANCE = (
    Route(_GET, "/fhir/metadata", answer_metadata),
    Route(_GET, "/fhir/openapi.json", answer_openapi),
)
# The audit log has the address of a resource type and a search of its own.
_AUDIT_LOG = (
    Route(_GET, "/fhir/AuditEvent", in_thread(audit_events.search_events)),
    Route(_POST, "/fhir/AuditEvent/_search",
          in_thread(audit_events.search_events_by_form, read_body=read_form_pairs)),
    Route(_GET, "/fhir/AuditEvent/{logical_id}", in_thread(audit_events.read_event)),
)  # fmt: skip
_DEFINITIONS = (
    Route(_GET, "/fhir/OperationDefinition", operation_definitions.search_definitions),
    Route(_POST, "/fhir/OperationDefinition/_search",
          operation_definitions.search_definitions_by_form),
    Route(_GET, "/fhir/OperationDefinition/{logical_id}", operation_definitions.read_definition),
)  # fmt: skip
# Subscriptions are kept apart from records, each for its owner alone.
_SUBSCRIPTIONS = (
    Route(_GET, "/fhir/Subscription", in_thread(subscriptions.search_subscriptions)),
    Route(_POST, "/fhir/Subscription",
          in_thread(subscriptions.create_subscription, read_body=read_fhir_body)),
    Route(_POST, "/fhir/Subscription/_search",
          in_thread(subscriptions.search_subscriptions_by_form, read_body=read_form_pairs)),
    Route(_GET, "/fhir/Subscription/{logical_id}", in_thread(subscriptions.read_subscription)),
    Route(_PUT, "/fhir/Subscription/{logical_id}",
          in_thread(subscriptions.update_subscription, read_body=read_fhir_body)),
    Route(_DELETE, "/fhir/Subscription/{logical_id}",
          in_thread(subscriptions.delete_subscription)),
)  # fmt: skip
_OPERATIONS = tuple(
    Route(operation.methods, operation.path, operation.endpoint)
    for operation in registry.operation_routes()
)
_EXPORT = f"/fhir/{EXPORT_PATH}/{{export_id}}"
_VIEW_EXPORTS = (
    Route(_GET, _EXPORT, in_thread(view_exports.read_export_status)),
    Route(_DELETE, _EXPORT, in_thread(view_exports.cancel_export)),
    Route(_GET, f"{_EXPORT}/result", in_thread(view_exports.read_export_result)),
    Route(_GET, f"{_EXPORT}/files/{{number}}", in_thread(view_exports.read_export_file)),
)
_BULK_EXPORT = f"/fhir/{BULK_EXPORT_PATH}/{{export_id}}"
_BULK_EXPORTS = (
    Route(_GET, _BULK_EXPORT, in_thread(bulk_exports.read_bulk_status)),
    Route(_DELETE, _BULK_EXPORT, in_thread(bulk_exports.cancel_bulk_export)),
    Route(_GET, f"{_BULK_EXPORT}/manifests/{{page}}", in_thread(bulk_exports.read_bulk_manifest)),
    Route(("GET",), f"{_BULK_EXPORT}/files/{{name}}", in_thread(bulk_exports.read_bulk_file)),
)
_BULK_IMPORT = f"/fhir/{IMPORT_PATH}/{{import_id}}"
_BULK_IMPORTS = (
    Route(_GET, _BULK_IMPORT, in_thread(bulk_imports.read_import_status)),
    Route(_DELETE, _BULK_IMPORT, in_thread(bulk_imports.cancel_bulk_import)),
    Route(("GET",), f"{_BULK_IMPORT}/errors/{{name}}", in_thread(bulk_imports.read_import_errors)),
)
_SYSTEM_LEVEL = (
    Route(_GET, "/fhir", in_thread(search.search_system)),
    Route(_GET, "/fhir/", in_thread(search.search_system)),
    Route(_POST, "/fhir", in_thread(bundles.process_bundle, read_body=read_fhir_body)),
    Route(_POST, "/fhir/", in_thread(bundles.process_bundle, read_body=read_fhir_body)),
    Route(
        _POST, "/fhir/_search", in_thread(search.search_system_by_form, read_body=read_form_pairs)
    ),
    Route(_GET, "/fhir/_history", in_thread(history.list_system_history)),
)
_TYPE_LEVEL = (
    Route(_GET, f"{_TYPE}/_history", in_thread(history.list_type_history)),
    Route(
        _POST, f"{_TYPE}/_search", in_thread(search.search_type_by_form, read_body=read_form_pairs)
    ),
    Route(_GET, _TYPE, search_within_budget(search.search_type)),
    Route(_POST, _TYPE, short_write(resources.create_resource, read_body=read_resource_body)),
    Route(
        _PUT,
        _TYPE,
        in_thread(conditional.update_by_criteria, read_body=read_resource_body),
        needs_query=True,
    ),
    Route(
        _PATCH,
        _TYPE,
        in_thread(conditional.patch_by_criteria, read_body=read_patch),
        needs_query=True,
    ),
    Route(_DELETE, _TYPE, in_thread(conditional.delete_by_criteria), needs_query=True),
)
_INSTANCE_LEVEL = (
    Route(_GET, f"{_INSTANCE}/_history", in_thread(history.list_resource_history)),
    Route(_GET, f"{_INSTANCE}/_history/{{version_id}}", lookup(resources.vread_resource)),
    Route(_GET, _INSTANCE, lookup(resources.read_resource)),
    Route(_PUT, _INSTANCE, short_write(resources.update_resource, read_body=read_resource_body)),
    Route(_PATCH, _INSTANCE, in_thread(resources.patch_resource, read_body=read_patch)),
    Route(_DELETE, _INSTANCE, short_write(resources.delete_resource)),
)
_COMPARTMENT_LEVEL = (
    Route(_GET, _COMPARTMENT, in_thread(search.search_compartment)),
    Route(_POST, f"{_COMPARTMENT}/_search",
          in_thread(search.search_compartment_by_form, read_body=read_form_pairs)),
)  # fmt: skip

# What has a fixed segment stands before what has a variable in its place.
FHIR_ROUTES = (
    *_CONFORMANCE,
    *_OPERATIONS,
    *_VIEW_EXPORTS,
    *_BULK_EXPORTS,
    *_BULK_IMPORTS,
    *_AUDIT_LOG,
    *_DEFINITIONS,
    *_SUBSCRIPTIONS,
    *_SYSTEM_LEVEL,
    *_TYPE_LEVEL,
    *_INSTANCE_LEVEL,
    *_COMPARTMENT_LEVEL,
)
