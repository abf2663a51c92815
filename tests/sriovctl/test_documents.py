"""What programs get: each command's document as the schema says, and the schema as the page says."""

import importlib
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import pytest

from sriovctl import app
from sriovctl.views import documents
from tests import conftest
from tests.examples import table
from tests.sriovctl import nodes, test_page

COMMANDS = {
    "Inventory": ["inventory"],
    "Attachments": ["attachments"],
    "Findings": ["doctor", "--all"],
    "Explanation": ["explain", "default/late"],
    "PodPolicy": ["policy", "web"],
    "Topology": ["topology"],
}


INNER = {"Inventory": "OwnerItem", "PodPolicy": "PodPolicyInterface", "Topology": "AlignmentItem"}
"""What is inside an item, or beside the items."""


@pytest.fixture(scope="module")
def told() -> Iterator[nodes.Node]:
    with conftest.in_memory("ctl-") as folder, test_page.told(pathlib.Path(folder)) as node:
        yield node


@pytest.fixture(scope="module")
def validator() -> Any:
    jsonschema = importlib.import_module("jsonschema")  # late: it takes two seconds

    jsonschema.Draft202012Validator.check_schema(documents.schema())
    return jsonschema.Draft202012Validator(documents.schema())


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_command_prints_what_the_schema_says(told: nodes.Node, validator: Any, kind: str) -> None:
    document = told.run(*COMMANDS[kind], "-o", "json").document
    assert list(document)[:2] == ["apiVersion", "kind"]
    assert (document["kind"], isinstance(document["unseen"], list), len(document["items"]) > 0) == (kind, True, True)
    assert [error.message for error in validator.iter_errors(document)] == []


def test_a_plan_too(validator: Any) -> None:
    item = documents.ProvisionPlanItem("eth1", None, "eth1", "numVfs", "2", "0")
    plan = documents.plain(documents.ProvisionPlanDocument(["a note"], [], False, [item]))
    assert list(validator.iter_errors(plan)) == []


@pytest.mark.parametrize("key", ["device", "owner"])
def test_a_document_without_a_key_of_its_schema_is_seen(told: nodes.Node, validator: Any, key: str) -> None:
    document = told.run("inventory", "-o", "json").document
    del document["items"][0][key]
    assert list(validator.iter_errors(document)) != []


def test_a_key_that_came_later_is_no_mistake(told: nodes.Node, validator: Any) -> None:
    document = told.run("inventory", "-o", "json").document
    assert list(validator.iter_errors({**document, "later": 1})) == []


def test_the_program_prints_its_schema(capsys: pytest.CaptureFixture[str]) -> None:
    [example] = table.run_by(__file__, "test_the_program_prints_its_schema")
    assert app.main(example.command.split()[1:]) == 0
    assert json.loads(capsys.readouterr().out) == documents.schema()


def test_the_page_has_every_key() -> None:
    rows = dict(re.findall(r"^\| (\w+) \| (.*) \|$", test_page.PAGE.split("## For scripts")[1], re.MULTILINE))
    parts = documents.schema()["$defs"]
    for kind in (*COMMANDS, "Traffic"):
        named = set(re.findall(r"`(\w+)`", rows[kind])) - {"unseen"}
        beside = set(parts[f"{kind}Document"]["properties"]) - {"apiVersion", "kind", "items", "unseen"}
        inner = set(parts[INNER[kind]]["properties"]) if kind in INNER else set()
        assert named == set(parts[f"{kind}Item"]["properties"]) | beside | inner, kind
