"""The OpenAPI document gives SDKs readable names, and a tenant's id stands where the rule says."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from router.app import create_app
from router.configuration.settings import load_settings
from tests.for_each import for_each

DOCUMENT: dict[str, Any] = create_app(load_settings({}, env_file=None)).openapi()
VERBS = (
    *("list", "get", "create", "change", "set", "remove", "retire", "revoke", "pause", "resume"),
    *("export", "erase", "retry", "check", "probe", "end", "prune", "receive", "follow"),
    *("try", "send"),
)
# What is of no single tenant, or is found by a name of its own.
WITHOUT_TENANT_ID = {
    "/api/tenants": "all tenants, or one that has no id yet",
    "/api/api-keys": "a key is for several tenants: tenant_ids in the body",
    "/api/api-keys/{api_key_id}/revoke": "a key is for several tenants",
    "/api/me": "a caller may be known in several tenants",
    "/api/session": "a sign-in holds a key, which is for several tenants",
    "/api/instances/{name}/test-webhook": "an instance's name names its tenant",
    "/api/instances/{name}/try-flow": "an instance's name names its tenant",
    "/api/instances/{name}/qrcode": "an instance's name names its tenant",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    said: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.said["operationId"])

    def tenant_ids(self) -> list[dict[str, Any]]:
        """Return the parameters that are a tenant's id."""
        return [each for each in self.said.get("parameters", ()) if each["name"] == "tenant_id"]

    def body(self) -> dict[str, Any]:
        content = self.said.get("requestBody", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        for each in (schema, *schema.get("anyOf", ())):
            if "$ref" in each:
                name = each["$ref"].rpartition("/")[2]
                return dict(DOCUMENT["components"]["schemas"][name])
        return {}


OPERATIONS = [
    Operation(method, path, said)
    for path, methods in DOCUMENT["paths"].items()
    for method, said in methods.items()
]
API = [each for each in OPERATIONS if each.path.startswith("/api/")]


def every(operations: list[Operation]) -> Any:
    return for_each("operation", operations, ids=lambda operation: operation.id)


def names_in(value: object) -> Iterator[str]:
    """Yield every key, and every name that a value refers to."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            if key in ("operationId", "$ref", "title", "name") and isinstance(inner, str):
                yield inner
            yield from names_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from names_in(inner)


def test_the_document_is_looked_at():
    assert len(API) > 30
    assert len(DOCUMENT["components"]["schemas"]) > 30


def test_no_name_holds_the_path_of_a_module():
    assert [name for name in names_in(DOCUMENT) if "__" in name] == []


@every(OPERATIONS)
def test_an_operation_is_named_by_a_verb_and_a_noun(operation: Operation):
    assert re.fullmatch(rf"(?:{'|'.join(VERBS)})(?:_[a-z]+)+", operation.id)


def test_an_operations_name_is_given_once():
    assert [
        name for name, times in Counter(each.id for each in OPERATIONS).items() if times > 1
    ] == []


@for_each("name", sorted(DOCUMENT["components"]["schemas"]))
def test_a_schemas_name_is_that_of_a_class(name: str):
    assert re.fullmatch(r"(?:[A-Z][a-z]+)+", name)


@every(OPERATIONS)
def test_a_tenants_id_has_one_place(operation: Operation):
    """Below /api/tenants/{tenant_id} in the path, elsewhere in the query; never in the body."""
    places = [each["in"] for each in operation.tenant_ids()]
    in_path = operation.path.startswith("/api/tenants/{tenant_id}")
    if operation.path in WITHOUT_TENANT_ID or not operation.path.startswith("/api/"):
        assert places == []
    else:
        assert places == (["path"] if in_path else ["query"])
    assert "tenant_id" not in operation.body().get("properties", {})


@every([each for each in API if each.path not in WITHOUT_TENANT_ID])
def test_a_tenants_id_may_be_left_out_of_the_audit_log_alone(operation: Operation):
    (parameter,) = operation.tenant_ids()
    assert parameter.get("required", False) is (operation.id != "list_audit_lines")


def test_what_has_no_tenants_id_is_there():
    assert set(WITHOUT_TENANT_ID) <= set(DOCUMENT["paths"])
