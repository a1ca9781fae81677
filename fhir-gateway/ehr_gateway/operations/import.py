"""`$import`: files of resources into the store, sent with the request or fetched from a host.

After the manifest approach of smart-on-fhir/bulk-import, an early draft (38ccdcb).
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import anyio
import anyio.to_thread
from fastapi import Request
from fastapi.responses import Response

from ehr_fhir.errors import Invalid, Unsupported
from ehr_fhir.json_text import parse
from ehr_gateway.bulk_data.import_files import FileWriter, ImportFolder
from ehr_gateway.bulk_data.import_request import (
    FORMATS,
    MOST_INPUTS,
    ImportInput,
    ImportRequest,
    check_input_type,
    check_source,
    parse_inputs,
)
from ehr_gateway.bulk_data.imports import BulkImport, begin_import, cancel_import, release_import
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.http.body import read_fhir_body
from ehr_gateway.http.bulk_imports import (
    import_accepted_response,
    import_owner,
    require_import_scopes,
)
from ehr_gateway.http.threads import run_in_thread
from ehr_gateway.http.uploads import is_multipart, receive_files
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_privacy.consent import load_roles

OPERATION = Operation(
    name="import",
    summary="Import files of newline-delimited JSON, each of one type, by the platform's own"
    " systems.",
    levels=("system",),
    affects_state=True,
    callers="a system of the platform's organisation, by `system/` scopes that create and update"
    " every type of the files",
    parameters=(
        Parameter("inputFormat", "string", "`application/fhir+ndjson`, `application/ndjson` or"
                  " `ndjson`"),
        Parameter("inputSource", "uri", "Where the records come from: the `meta.source` of those"
                  " that name none"),
        Parameter("storageDetail", "BackboneElement", "Parts: `type`, always `https`"),
        Parameter("input", "BackboneElement", "A file to fetch. Parts: `type`, the type of all its"
                  " resources; `url`, its address", 1, "*"),
    ),
    required_scope=None,
)  # fmt: skip


async def receive(call: OperationCall) -> OperationCall:
    """Read the kick-off; files that come with it are written as they arrive."""
    context, request = call.context, call.context.request
    # Whoever may not import sends nothing.
    import_owner(context)
    if context.gateway.imports is None:
        raise Unsupported("This gateway carries no imports out.")
    prefer = ",".join(request.headers.getlist("prefer"))
    if "respond-async" not in prefer.replace(" ", "").lower().replace(";", ",").split(","):
        raise Invalid("An import is answered later: send `Prefer: respond-async`.")
    if not is_multipart(request):
        return replace(call, body=await read_fhir_body(request))
    return replace(call, received=await _receive(context, request))


def answer(call: OperationCall) -> Response:
    """Let the import run; answer with the address of its status."""
    context, begun = call.context, call.received
    store = context.gateway.store
    if begun is None:
        asked = _parse_request(call)
        require_import_scopes(context, asked)
        begun = begin_import(store, import_owner(context), asked, context.access.now_ms)
        try:
            _folder(context, begun).create()
            release_import(store, begun.id, asked)
        except BaseException:
            _discard(context, begun)
            raise
    call.record()
    assert context.gateway.imports is not None  # noqa: S101 - asked by `receive`
    context.gateway.imports.start()
    return import_accepted_response(context, begun)


async def _receive(context: RequestContext, request: Request) -> BulkImport:
    """Receive the files of a request; whatever is wrong with one of them, none is kept."""
    asked = ImportRequest((), load_roles().platform)
    begun = await run_in_thread(
        request,
        begin_import,
        context.gateway.store,
        import_owner(context),
        asked,
        context.access.now_ms,
    )
    inputs: list[ImportInput] = []
    try:
        folder = _folder(context, begun)
        folder.create()

        def open_file(name: str, stack: ExitStack) -> FileWriter:
            if len(inputs) >= MOST_INPUTS:
                raise Invalid(f"An import has at most {MOST_INPUTS} files.")
            inputs.append(ImportInput(check_input_type(name, f"input[{len(inputs)}]")))
            require_import_scopes(context, replace(asked, inputs=tuple(inputs[-1:])))
            path = folder.file(len(inputs) - 1, name)
            return stack.enter_context(FileWriter(folder, path))

        await receive_files(request, open_file)
        if not inputs:
            raise Invalid("Send at least one file: a part whose name is the type it holds.")
        request_whole = replace(asked, inputs=tuple(inputs))
        await anyio.to_thread.run_sync(
            release_import, context.gateway.store, begun.id, request_whole
        )
    except BaseException:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(partial(_discard, context, begun))
        raise
    return begun


def _parse_request(call: OperationCall) -> ImportRequest:
    body = parse(call.body)
    if "resourceType" not in body:
        return _check_request(call.context, *_read_manifest(body))
    sent = call.parse_body(with_parts=("input", "storageDetail"))
    storage = [
        one.optional_text("type") or ""
        for one in sent.parts("storageDetail", 1, ("type", "contentEncoding"))
    ]
    inputs = [
        (one.text("type"), one.text("url"))
        for one in sent.parts("input", MOST_INPUTS, ("type", "url"))
    ]
    return _check_request(
        call.context,
        inputs,
        sent.optional_text("inputFormat") or "",
        sent.optional_text("inputSource") or "",
        storage[0] if storage else "",
    )


def _read_manifest(body: dict[str, object]) -> tuple[list[tuple[str, str]], str, str, str]:
    """Read the proposal's own JSON, which is no resource."""
    known = ("inputFormat", "inputSource", "storageDetail", "input")
    if not body.keys() <= set(known):
        raise Invalid(f"The fields of an import are {', '.join(known)}.")
    sent, storage = body.get("input"), body.get("storageDetail", {})
    if not isinstance(sent, list) or not isinstance(storage, dict):
        raise Invalid("input must be a list, storageDetail an object.", expression="input")
    inputs = []
    for number, one in enumerate(sent):
        values = (one.get("type"), one.get("url")) if isinstance(one, dict) else (None, None)
        if not all(isinstance(value, str) for value in values):
            raise Invalid("An input has a type and a url.", expression=f"input[{number}]")
        inputs.append((str(values[0]), str(values[1])))
    texts = [body.get("inputFormat", ""), body.get("inputSource", ""), storage.get("type", "")]
    if not all(isinstance(text, str) for text in texts):
        raise Invalid("inputFormat, inputSource and storageDetail.type must be texts.")
    return inputs, str(texts[0]), str(texts[1]), str(texts[2])


def _check_request(
    context: RequestContext, inputs: list[tuple[str, str]], media: str, source: str, storage: str
) -> ImportRequest:
    if media and media not in FORMATS:
        raise Invalid("Files are imported as NDJSON.", expression="inputFormat")
    if storage not in ("", "https"):
        raise Invalid("Files are fetched by https.", expression="storageDetail")
    found = parse_inputs(inputs, context.gateway.settings.import_sources)
    return ImportRequest(found, load_roles().platform, check_source(source))


def _folder(context: RequestContext, begun: BulkImport) -> ImportFolder:
    settings = context.gateway.settings
    return ImportFolder(settings.data, begun.id, settings.max_import_bytes)


def _discard(context: RequestContext, begun: BulkImport) -> None:
    cancel_import(context.gateway.store, begun.id)
    _folder(context, begun).remove()
