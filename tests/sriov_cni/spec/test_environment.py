"""CNI_ARGS have one parser: what can be read is read for the log, and what no ADD takes is a typed error."""

import pytest

from sriov_cni.spec import cni_errors, environment

POD = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=1-2"


@pytest.mark.parametrize("ignore", ["1", "t", "T", "true", "TRUE"])
def test_the_pod_and_the_mac_are_read(ignore: str) -> None:
    found = environment.arguments(f"IgnoreUnknown={ignore};{POD};MAC=02:00:00:00:00:01;")
    assert found == environment.Arguments("02:00:00:00:00:01", "default", "web", "1-2")
    environment.refuse_invalid(found)


def test_nothing_is_no_problem() -> None:
    assert environment.arguments("") == environment.Arguments()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (POD, "unknown keys K8S_POD_NAME, K8S_POD_NAMESPACE, K8S_POD_UID"),
        (f"IgnoreUnknown=0;{POD}", "unknown keys"),
        (f"IgnoreUnknown=1;secret;{POD}", "pair 2 is not KEY=VALUE"),
        (f"IgnoreUnknown=1;{POD};password=x==", "pair 5 is not KEY=VALUE"),
        (f"IgnoreUnknown=1;{POD};FOO=\udcff", "must be UTF-8"),
    ],
)
def test_the_log_names_the_pod_of_a_call_that_no_add_takes(text: str, says: str) -> None:
    found = environment.arguments(text)
    assert (found.namespace, found.pod, found.uid) == ("default", "web", "1-2")
    with pytest.raises(cni_errors.CniError, match=says) as caught:
        environment.refuse_invalid(found)
    assert caught.value.code == cni_errors.Code.INVALID_ENVIRONMENT
    assert caught.value.message.startswith("CNI_ARGS")
    assert "secret" not in caught.value.message
    assert "password" not in caught.value.message
