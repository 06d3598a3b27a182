"""Checks an OpenAPI document, and answers of a server against it.

    python3 openapi.py < answers.json

`answers.json`: {"document": ..., "answers": [{"method", "path", "status", "type", "body"}, ...]}; `path` is the one in the document.
Each answer has to have a status that the document names (or be an error), and a body that is as the schema says, without any field
that the schema does not name.
"""

import json
import sys

import jsonschema
from openapi_spec_validator import validate


def closed(schema, inside_all_of=False):
    """The same schema, without room for more: the document describes all that is sent."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {}
    for name, part in schema.items():
        if name == "allOf":
            parts[name] = [closed(one, True) for one in part]
        elif name == "properties":
            parts[name] = {key: closed(one) for key, one in part.items()}
        else:
            parts[name] = closed(part)
    shapes = "properties" in parts or "allOf" in parts
    if shapes and not inside_all_of and "additionalProperties" not in parts:
        parts["unevaluatedProperties"] = False
    return parts


def body_schema(document, answer):
    operation = document["paths"][answer["path"]][answer["method"]]
    status = str(answer["status"])
    named = operation["responses"]
    if status not in named and answer["status"] < 400:
        raise SystemExit(f"{answer['method']} {answer['path']}: {status} is not in the document")
    content = named.get(status, named["default"]).get("content", {})
    if not answer["type"]:
        return None
    if answer["type"] not in content:
        raise SystemExit(f"{answer['method']} {answer['path']}: {answer['type']} is not in the document")
    return content[answer["type"]]["schema"]


def main():
    given = json.load(sys.stdin)
    document = given["document"]
    validate(document)
    # Parts of an allOf are checked together, so the schemas that they refer to stay open.
    parts = {
        part["$ref"].rsplit("/", 1)[1]
        for schema in document["components"]["schemas"].values()
        for part in schema.get("allOf", [])
        if "$ref" in part
    }
    schemas = {
        name: closed(schema, inside_all_of=name in parts)
        for name, schema in document["components"]["schemas"].items()
    }
    for answer in given["answers"]:
        schema = body_schema(document, answer)
        if schema is None:
            continue
        whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", "components": {"schemas": schemas}, **closed(schema)}
        try:
            jsonschema.Draft202012Validator(whole).validate(answer["body"])
        except jsonschema.ValidationError as error:
            raise SystemExit(f"{answer['method']} {answer['path']}: {error}") from error
    print(f"{len(given['answers'])} answers are as the document says")


main()
