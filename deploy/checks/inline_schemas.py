"""kubernetes-validate ships schemas that refer to one file of definitions; kubeconform wants each file to stand alone.

    inline_schemas.py TARGET KIND…     for example deployment-apps-v1
"""

import copy
import json
import pathlib
import sys

import kubernetes_validate

VERSION = "v1.37.0-local-strict"


def inlined(source, kind, definitions):
    schema, used = json.loads((source / f"{kind}.json").read_text()), {}

    def walk(node):
        if isinstance(node, dict):
            if "$ref" in node:
                key = node["$ref"].split("/")[-1]
                node["$ref"] = "#/$defs/" + key
                if key not in used:
                    used[key] = copy.deepcopy(definitions[key])
                    walk(used[key])
            for value in list(node.values()):
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(schema)
    schema["$defs"] = used
    return schema


def main():
    target, kinds = pathlib.Path(sys.argv[1]), sys.argv[2:]
    source = pathlib.Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / VERSION
    definitions = json.loads((source / "_definitions.json").read_text())
    definitions = definitions.get("$defs") or definitions["definitions"]
    for kind in kinds:
        (target / f"{kind}.json").write_text(json.dumps(inlined(source, kind, definitions)))


main()
