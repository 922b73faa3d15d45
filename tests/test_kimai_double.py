"""The Kimai double against what a real Kimai 2.65.0 answered, and against Kimai's own OpenAPI schemas."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.kimai_double import Double, Fault

_DATA = Path(__file__).parent / "data"


def _load(name: str) -> Any:
    return json.loads(gzip.decompress((_DATA / name).read_bytes()))


@pytest.fixture
def double() -> Iterator[Double]:
    """Yield a double on the day of the recording, not serving."""
    made = Double(now=lambda: datetime(2026, 11, 20, 11, 30, tzinfo=UTC).timestamp())
    made.kimai.people()
    made.kimai.users["alice"].timezone = "UTC"
    yield made
    made.close()


def _shape(value: Any) -> Any:
    """Return which keys are there, not what they hold."""
    if isinstance(value, dict):
        return {key: _shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shape(value[0])] if value else []
    return None


#: Parts of answers that depend on the edition or the account, not on what was asked.
_LOOSE = {"/api/users/me", "/api/users"}


def _replay(double: Double, exchange: dict[str, Any]) -> tuple[int, Any, dict[str, str]] | None:
    path, _, query = exchange["path"].partition("?")
    user = double.kimai.users.get(exchange["who"])
    if path.endswith("/preferences"):
        number = int(path.split("/")[3])
        owner = next(one for one in double.kimai.users.values() if one.id == number)
        owner.timezone = json.loads(exchange["body"])[0]["value"]
        return None
    if user is None:
        return None
    reply = double.route(user, exchange["method"], path, query, exchange["body"].encode())
    return reply.status, reply.data, dict(reply.headers)


def test_answers_as_recorded(double: Double) -> None:
    """Every recorded exchange gets the same status, the same count headers and the same keys."""
    compared = shapes = 0
    for exchange in _load("kimai-exchanges.json.gz"):
        got = _replay(double, exchange)
        if got is None:
            continue
        status, data, headers = got
        what = f"{exchange['who']} {exchange['method']} {exchange['path']} {exchange['body'][:200]}"
        assert status == exchange["status"], what
        compared += 1
        if exchange["path"].partition("?")[0] in _LOOSE:
            continue
        for name in ("X-Page", "X-Per-Page"):
            assert headers.get(name) == exchange["headers"].get(name), what
        try:
            recorded = json.loads(exchange["answer"]) if exchange["answer"] else None
        except ValueError:
            continue  # the recording was cut off
        shapes += 1
        expected = _shape(recorded)
        found = _shape(json.loads(json.dumps(data)))
        if isinstance(expected, dict) and "errors" not in expected:
            assert set(expected) - set(found or {}) <= _ENTITY_DETAILS, what
        elif isinstance(expected, dict):
            assert _complaints(recorded) == _complaints(data), what
        elif expected and found:
            assert set(expected[0] or {}) ^ set(found[0] or {}) <= _ENTITY_DETAILS, what
    assert compared > 190
    assert shapes > 130


#: Fields of customers and projects that only some views and some permissions show.
_ENTITY_DETAILS = {
    "language", "vatId", "email", "address", "contact", "addressLine1", "addressLine2", "addressLine3",
    "postCode", "city",
    "invoiceEmail", "buyerReference", "budget", "timeBudget", "budgetType",
}  # fmt: skip


def _complaints(data: Any) -> Any:
    """Return which fields a 400 complains of, and whether it complains of the whole."""
    errors = data["errors"]
    fields = {name for name, child in errors["children"].items() if child}
    return bool(errors.get("errors")), fields


def _conforms(value: Any, schema: dict[str, Any], schemas: dict[str, Any], where: str) -> None:
    """Check *value* against the part of JSON Schema that the document uses; null stands for absent."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    kinds = {
        "integer": int,
        "string": str,
        "number": (int, float),
        "boolean": bool,
        "array": list,
        "object": dict,
    }
    if value is None:
        return
    assert isinstance(value, kinds[schema.get("type", "object")]), where
    if isinstance(value, dict):
        for name in schema.get("required", ()):
            assert name in value, f"{where}.{name}"
        known = schema.get("properties", {})
        for name, item in value.items():
            assert name in known, f"{where}.{name} is not in the schema"
            _conforms(item, known[name], schemas, f"{where}.{name}")
    if isinstance(value, list) and "items" in schema:
        for item in value:
            _conforms(item, schema["items"], schemas, f"{where}[]")
    for limit in ("minLength", "maxLength"):
        if limit in schema and isinstance(value, str):
            assert (len(value) >= schema[limit]) == (limit == "minLength") or len(value) == schema[limit], (
                where
            )


def test_conforms_to_the_schemas(double: Double) -> None:
    """What the double answers fits the schemas of Kimai's OpenAPI document."""
    schemas = _load("kimai-schemas.json.gz")["components"]["schemas"]
    double.kimai.seed()
    alice = double.kimai.users["alice"]
    body = {"project": 1, "activity": 1, "begin": "2026-11-02T09:00:00Z", "end": "2026-11-02T10:00:00Z"}
    made = double.route(alice, "POST", "/api/timesheets", "", json.dumps(body).encode())
    tag = double.route(alice, "POST", "/api/tags", "", b'{"name": "powdo", "visible": true}')
    _conforms(made.data, {"$ref": "#/TimesheetEntity"}, schemas, "timesheet")
    _conforms(tag.data, {"$ref": "#/TagEntity"}, schemas, "tag")
    for path, name in (
        ("timesheets", "TimesheetCollection"),
        ("customers", "CustomerCollection"),
        ("projects", "ProjectCollection"),
        ("activities", "ActivityCollection"),
    ):
        listed = double.route(alice, "GET", f"/api/{path}", "", b"").data
        assert listed
        for item in listed:
            _conforms(item, {"$ref": f"#/{name}"}, schemas, path)
    for path, name in (("version", "Version"), ("config/timesheet", "TimesheetConfig")):
        _conforms(
            double.route(alice, "GET", f"/api/{path}", "", b"").data, {"$ref": f"#/{name}"}, schemas, path
        )


def test_serves_over_http_and_can_fail() -> None:
    """Over a socket the double answers with the token, and fails where it is told to."""
    with Double() as double:
        double.kimai.seed()
        double.faults.append(Fault("fail", "GET", "/api/version", status=503))
        headers = {"Authorization": "Bearer alice"}
        with pytest.raises(HTTPError, match="503") as caught:
            urlopen(Request(f"{double.url}/api/version", headers=headers), timeout=5)
        caught.value.close()
        with urlopen(Request(f"{double.url}/api/version", headers=headers), timeout=5) as answer:
            assert json.load(answer)["version"] == "2.65.0"
        for given in ({}, {"Authorization": "bearer alice"}, {"Authorization": "Bearer nobody"}):
            with pytest.raises(HTTPError, match="401") as caught:
                urlopen(Request(f"{double.url}/api/version", headers=given), timeout=5)
            caught.value.close()
