"""Uses the simulator through `aepp`, a third-party client of Experience Platform.

The script creates namespaces, a schema, a dataset and a flow, and sends a message. The simulator must serve this
client, which shares no code with the product. Argument: the binary.
"""

import json
import os
import sys

import simulator

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
NAME = "Walk"
# Connection specification of the data lake, the target of the flow.
DATA_LAKE = {"id": "c604ff05-7f1a-43c0-8e18-33bf874cb11c", "version": "1.0"}
XDM_FLOW = "d8a6f005-7eaf-4153-983e-e8574508b877"


def configure(address, variables):
    import aepp
    from aepp import config

    aepp.configure(
        org_id=variables["PLATFORM_IMS_ORG"],
        client_id=variables["IMS_CLIENT_ID"],
        secret=variables["IMS_CLIENT_SECRET"],
        scopes="openid,AdobeID",
        sandbox="dev",
        retry=0,
    )
    config.endpoints["global"] = address
    config.endpoints["streaming"] = {"inlet": address, "collection": address}
    config.config_object["imsEndpoint"] = address
    config.config_object["oauthTokenEndpointV2"] = f"{address}/ims/token/v3"


def done(what, answer, key="id"):
    """Returns the id in a response; ends the script if there is none."""
    found = answer.get(key) if isinstance(answer, dict) else None
    if not found:
        sys.exit(f"aepp: {what}: {answer}")
    return found


def resource(name, group_id=""):
    text = open(f"{ROOT}/schemas/xdm/{name}.json").read()
    return json.loads(text.replace("{TENANT_ID}", "acme").replace("{FIELD_GROUP_ID}", group_id))


def walk():
    from aepp import catalog, config, flowservice, identity, ingestion, schema

    namespaces = identity.Identity()
    # `Identity` ignores the configured address, and uses Adobe's.
    namespaces.endpoint = config.endpoints["global"] + config.endpoints["identity"]
    before = {one["code"] for one in namespaces.getIdentities()}
    for code in ("CustomerioID", "CustomerioCioID"):
        done("createIdentity", namespaces.createIdentity(name=code, code=code, idType="CROSS_DEVICE"))
    after = {one["code"] for one in namespaces.getIdentities()}
    if after - before != {"CustomerioID", "CustomerioCioID"}:
        sys.exit(f"aepp: the namespaces are {after}")

    registry = schema.Schema()
    if registry.getTenantId() != "acme":
        sys.exit("aepp: the tenant is not found")
    group = done("createFieldGroup", registry.createFieldGroup(resource("field-group")), "$id")
    schema_id = done("createSchema", registry.createSchema(resource("schema", group)), "$id")
    if schema_id not in {one["$id"] for one in registry.getSchemas()}:
        sys.exit("aepp: the schema is not listed")

    datasets = catalog.Catalog()
    created = datasets.createDataSet(name=NAME, schemaId=schema_id)
    if not isinstance(created, list) or not created[0].startswith("@/dataSets/"):
        sys.exit(f"aepp: createDataSet: {created}")
    dataset = created[0].rsplit("/", 1)[1]
    if dataset not in datasets.getDataSet(dataset):
        sys.exit("aepp: the dataset is not found")

    flows = flowservice.FlowService()
    base = flows.createConnectionStreaming(name=NAME, sourceId="walk", paramName=NAME, authenticationRequired=True)
    base = done("createConnectionStreaming", base)
    source = flows.createSourceConnectionStreaming(connectionId=base, name=NAME, format="json")
    source = done("createSourceConnectionStreaming", source)
    target = {
        "name": NAME,
        "connectionSpec": DATA_LAKE,
        "data": {
            "format": "json",
            "schema": {"id": schema_id, "version": "application/vnd.adobe.xed-full+json;version=1.0"},
        },
        "params": {"dataSetId": dataset},
    }
    target = done("createTargetConnection", flows.createTargetConnection(data=target))
    # Without `obj`, `aepp` adds a schedule, which a streaming flow does not have.
    flow = {
        "name": NAME,
        "flowSpec": {"id": XDM_FLOW, "version": "1.0"},
        "sourceConnectionIds": [source],
        "targetConnectionIds": [target],
    }
    flow = done("createFlow", flows.createFlow(XDM_FLOW, obj=flow))
    inlet = flows.getConnection(base)["auth"]["params"]["inletId"]

    golden = json.load(open(f"{ROOT}/crates/mapping/tests/golden/email_sent.json"))["event"]
    reference = {"id": schema_id, "contentType": "application/vnd.adobe.xed-full+json;version=1.0"}
    message = {
        "header": {
            "schemaRef": reference,
            "imsOrgId": "ACME@AdobeOrg",
            "datasetId": dataset,
            "source": {"name": "walk"},
        },
        "body": {"xdmMeta": {"schemaRef": reference}, "xdmEntity": golden},
    }
    answer = ingestion.DataIngestion().streamMessages(inletId=inlet, data=[message], flowId=flow)
    return golden["_id"], answer


def main():
    with simulator.running(os.path.abspath(sys.argv[1])) as (address, variables):
        configure(address, variables)
        event_id, answer = walk()
        stats = simulator.get(f"{address}/admin/stats")
        lost = simulator.get(f"{address}/admin/control/lost")
    if stats.get("accepted") != 1 or lost:
        sys.exit(f"aepp: the message {event_id} did not arrive: {answer}, {stats}, lost {lost}")
    print(f"aepp: namespaces, schema, dataset, connections and flow are created by another client, and its message arrives ({event_id})")


main()
