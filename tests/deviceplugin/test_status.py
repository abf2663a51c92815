"""The device plugin's /readyz and /status."""

import json

from deviceplugin import status

GOOD = status.Status("config.json", "", (status.ResourceStatus("intel.com/a", 4, 4, True, 1),))
BAD = status.Status("config.json", "it is not JSON", (status.ResourceStatus("intel.com/a", 4, 4, False, 0),))


def test_what_is_wrong_is_told_and_nothing_else() -> None:
    assert GOOD.problems == []
    assert BAD.problems == [
        "config.json is invalid, the previous configuration is in force: it is not JSON",
        "intel.com/a is not registered with the kubelet",
    ]


def test_one_that_waits_says_that_nothing_is_advertised() -> None:
    waiting = status.Status("config.json", "it is not JSON", waiting=True)
    assert waiting.problems == ["config.json is invalid, nothing is advertised: it is not JSON"]


def test_all_of_it_is_there_as_json() -> None:
    told = json.loads(BAD.as_json)
    [one] = told["resources"]
    assert one.items() >= {"name": "intel.com/a", "devices": 4, "healthy": 4, "registered": False, "watched": 0}.items()
    assert told["problems"] == BAD.problems
