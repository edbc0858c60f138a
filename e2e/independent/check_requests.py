"""Compares every request of `setup` to Experience Platform with Adobe's own specifications.

The script runs plan, apply, status, a repair and destroy against the simulator, which records the requests. Then
`openapi-core` validates each request. Adobe's files allow any additional member. Here, the body of a request may
contain only members that a file defines, so that a misspelt member is found. EXCEPTIONS lists the files' known gaps.

Arguments: the binary, and the folder with Adobe's files (Apache-2.0, folder static/swagger-specs of
https://github.com/AdobeDocs/experience-platform-apis). Without a folder, the script only prints that it compares
nothing.
"""

import collections
import copy
import json
import os
import subprocess
import sys
import tempfile
import urllib.parse

import simulator

# Specification of each path. The first prefix that matches counts.
SPECIFICATIONS = [
    ("/data/foundation/access-control", "access-control.yaml"),
    ("/data/foundation/catalog", "catalog.yaml"),
    ("/data/foundation/export", "data-access.yaml"),
    ("/data/foundation/flowservice", "flow-service.yaml"),
    ("/data/foundation/schemaregistry", "schema-registry.yaml"),
    ("/data/core", "identity-service.yaml"),
    ("/data/foundation", "sandbox.yaml"),
]

# Known differences between Adobe's files and the requests that Adobe's guides and clients send: specification, method,
# a part of the path, and a part of the validator's message.
EXCEPTIONS = [
    # The file lists three example names as if they were the only names; GET /acl/reference lists all names.
    ("access-control.yaml", "POST", "/acl/effective-policies", "is not one of ['/permissions/manage-dataset', "),
    # Catalog's guide changes a dataset with JSON Patch; the file describes only a merge.
    ("catalog.yaml", "PATCH", "/dataSets/", "'application/json-patch+json' is not one of ['application/json']"),
    ("catalog.yaml", "PATCH", "/dataSets/", "is not of type 'object'"),
    # In the file, this path ends with a slash; the guide and other clients send the path without it.
    ("flow-service.yaml", "DELETE", "/connections/", "Operation delete not found"),
    # The file describes sources with a database or a bucket; the guide describes the parameters of the HTTP API source.
    (
        "flow-service.yaml",
        "POST",
        "/connections",
        "auth/params: Additional properties are not allowed ('authenticationRequired', 'dataType', 'name', 'sourceId' were unexpected)",
    ),
    # Other clients omit this parameter; `setup` sends it only if Platform requires it.
    ("flow-service.yaml", "POST", "/action", "Missing required query parameter: subOp"),
    # The value of a patch can be any JSON; the file allows only a text.
    ("schema-registry.yaml", "PATCH", "/tenant/schemas/", "0/value: ['union'] is not of type 'string'"),
    # Adobe's own field groups have both of these members.
    (
        "schema-registry.yaml",
        "POST",
        "/tenant/fieldgroups",
        "allOf/0: Additional properties are not allowed ('meta:xdmType', 'type' were unexpected)",
    ),
]

HOST = "https://platform.adobe.io"


def openapi3(document):
    """Converts a Swagger 2.0 file to OpenAPI 3.0, as far as requests need it."""
    if "swagger" not in document:
        return document
    # The file contains `$ref ` with a space by mistake.
    text = json.dumps(document).replace('"$ref "', '"$ref"').replace("#/definitions/", "#/components/schemas/")
    document = json.loads(text)

    def resolved(parameter):
        reference = parameter.get("$ref")
        return document["parameters"][reference.rsplit("/", 1)[1]] if reference else parameter

    def parameter3(parameter):
        kept = {key: parameter[key] for key in ("name", "in", "description", "required") if key in parameter}
        schema = {key: parameter[key] for key in ("type", "enum", "default", "format", "items") if key in parameter}
        return {**kept, "schema": schema or {"type": "string"}}

    paths = {}
    for path, item in document["paths"].items():
        shared = [resolved(parameter) for parameter in item.get("parameters", [])]
        for method, operation in item.items():
            if method == "parameters":
                continue
            parameters = shared + [resolved(parameter) for parameter in operation.get("parameters", [])]
            own = {"parameters": [parameter3(one) for one in parameters if one["in"] != "body"]}
            own["responses"] = {"default": {"description": "not validated"}}
            for body in (one for one in parameters if one["in"] == "body"):
                content = {"application/json": {"schema": body.get("schema", {})}}
                own["requestBody"] = {"required": body.get("required", False), "content": content}
            paths.setdefault(path, {})[method] = own
    return {
        "openapi": "3.0.1",
        "info": document["info"],
        "paths": paths,
        "components": {"schemas": document.get("definitions", {})},
    }


def closed(schema, document, seen):
    """Returns a schema that allows only the members that it defines. References are replaced by their targets."""
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    if reference:
        if reference in seen:
            return {}
        target = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        return closed(target, document, seen | {reference})
    schema = copy.copy(schema)
    for key in ("allOf", "anyOf", "oneOf"):
        if key in schema:
            schema[key] = [closed(one, document, seen) for one in schema[key]]
    if "items" in schema:
        schema["items"] = closed(schema["items"], document, seen)
    if schema.get("properties"):
        schema["properties"] = {name: closed(one, document, seen) for name, one in schema["properties"].items()}
        if "allOf" not in schema:
            schema.setdefault("additionalProperties", False)
    # An example in the file may be invalid according to the closed schema.
    schema.pop("example", None)
    return schema


def strict(document, base):
    document = openapi3(document)
    document["servers"] = [{"url": HOST + base}]
    for item in document["paths"].values():
        for operation in item.values():
            if not isinstance(operation, dict):
                continue
            operation["responses"] = {"default": {"description": "not validated"}}
            body = operation.get("requestBody", {})
            if "$ref" in body:
                body = operation["requestBody"] = document["components"]["requestBodies"][body["$ref"].rsplit("/", 1)[1]]
            content = body.get("content", {})
            if "*/*" in content:
                content["application/json"] = content.pop("*/*")
            for content in content.values():
                content["schema"] = closed(content.get("schema", {}), document, frozenset())
                content.pop("example", None)
                content.pop("examples", None)
    return document


def setup_runs(binary, variables, address):
    """Runs the commands of `setup`, from plan to destroy, against the simulator."""
    with tempfile.TemporaryDirectory() as folder:
        own = {
            **variables,
            "CUSTOMERIO_PUBLIC_URL": "http://127.0.0.1:1",
            "CUSTOMERIO_EVENTS": "all",
            "CUSTOMERIO_FULL_RESOLUTION": "false",
            "CUSTOMERIO_WITH_CONTENT": "false",
            "PATH": os.environ["PATH"],
        }

        def run(expected, *arguments):
            command = [binary, *arguments, "--only", "platform,customerio"]
            done = subprocess.run(command, env=own, cwd=folder, capture_output=True, text=True)
            if done.returncode != expected:
                sys.exit(f"{arguments}: exit code {done.returncode}, expected {expected}\n{done.stdout}{done.stderr}")
            return done.stdout

        run(0, "setup", "plan")
        # Exit code 4: `setup` waits for the signing key.
        run(4, "setup", "apply", "--yes")
        run(4, "setup", "apply", "--yes")
        objects = {one["kind"]: one["id"] for one in json.loads(run(1, "setup", "status", "--json"))["objects"]}
        token = simulator.token(address, variables)
        simulator.change(address, token, variables, "POST", f"/flowservice/flows/{objects['flow']}/action?op=DISABLE")
        off = [{"op": "add", "path": "/enableErrorDiagnostics", "value": False}]
        simulator.change(address, token, variables, "PATCH", f"/catalog/dataSets/{objects['dataset']}", off)
        run(4, "setup", "apply", "--yes", "--sinks-stopped")
        # Enabling Profile changes the schema and the dataset.
        run(4, "setup", "apply", "--yes", "--sinks-stopped", "--enable-profile", "dev")
        run(1, "check")
    with tempfile.TemporaryDirectory() as folder:
        own["DEPLOYMENT"] = "other"
        own["CUSTOMERIO_PUBLIC_URL"] = "http://127.0.0.1:2"
        run(4, "setup", "apply", "--yes")
        run(0, "setup", "destroy", "--yes")


def main():
    binary, folder = os.path.abspath(sys.argv[1]), (sys.argv[2:] or [""])[0]
    if not folder:
        print("openapi-core: LEFT OUT, because no folder with Adobe's OpenAPI files is named: make independent OPENAPI=DIR")
        return
    import yaml
    from openapi_core import Config, OpenAPI
    from openapi_core.testing import MockRequest

    with simulator.running(binary, "--page-size", "2") as (address, variables):
        setup_runs(binary, variables, address)
        requests = simulator.get(f"{address}/admin/control/requests")
    documents, failures, used, validated = {}, [], collections.Counter(), collections.Counter()
    for request in requests:
        path, _, query = request["path"].partition("?")
        base, name = next((base, name) for base, name in SPECIFICATIONS if path.startswith(base + "/"))
        if base not in documents:
            with open(os.path.join(folder, name)) as file:
                # The files themselves are not validated: parts that the requests do not use may be invalid.
                document = strict(yaml.safe_load(file), base)
                documents[base] = OpenAPI.from_dict(document, config=Config(spec_validator_cls=None))
        headers = {**request["headers"], "Authorization": "Bearer token", "x-sandbox-name": request["sandbox"] or ""}
        body = request["body"]
        mock = MockRequest(
            HOST,
            request["method"],
            path,
            args=dict(urllib.parse.parse_qsl(query)),
            headers=headers,
            data=None if body is None else json.dumps(body).encode(),
            content_type=request["headers"].get("content-type", "application/json"),
        )
        for text in differences(documents[base], mock):
            known = [one for one in EXCEPTIONS if one[0] == name and one[1] == request["method"] and one[2] in path and one[3] in text]
            if known:
                used.update(known)
            else:
                failures.append(f"{name}: {request['method']} {path}: {text}")
        validated[name] += 1
    for failure in sorted(set(failures)):
        print(failure, file=sys.stderr)
    for unused in set(EXCEPTIONS) - set(used):
        sys.exit(f"this exception is not needed any more: {unused}")
    if failures:
        sys.exit(f"openapi-core: {len(set(failures))} differences from Adobe's specifications")
    by_file = ", ".join(f"{name} {count}" for name, count in sorted(validated.items()))
    print(f"openapi-core: {sum(validated.values())} requests of setup fit Adobe's specifications ({by_file}), with {len(EXCEPTIONS)} exceptions by name")


def differences(openapi, request):
    from openapi_core.exceptions import OpenAPIError

    try:
        openapi.validate_request(request)
        return []
    except OpenAPIError as error:
        return texts(error)


def sorted_names(message):
    """Sorts the names of unexpected members, whose order is undefined."""
    head, bracket, rest = message.partition("properties are not allowed (")
    if not bracket:
        return message
    names, _, tail = rest.partition(" w")
    return f"{head}{bracket}{', '.join(sorted(names.split(', ')))} w{tail}"


def texts(error):
    """Returns the messages of the innermost errors of a request."""
    inner = getattr(error, "schema_errors", None)
    if inner:
        return [f"{'/'.join(str(part) for part in one.absolute_path)}: {sorted_names(one.message)}" for one in inner]
    if error.__cause__ is not None:
        return texts(error.__cause__)
    return [f"{type(error).__name__}: {error}"]


main()
