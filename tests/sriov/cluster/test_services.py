"""The table of Services: what changes it, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov import errors
from sriov.cluster import services
from sriov.cluster.services import Endpoint, Frontend, Protocol, Service

FRONTENDS = [Frontend(f"10.96.0.{number}", 80, protocol) for number in (1, 2, 3) for protocol in Protocol]
BACKENDS = st.lists(st.sampled_from([Endpoint("10.1.0.1", 8080), Endpoint("10.1.0.2", 8080)]), max_size=2).map(tuple)
TABLES = st.dictionaries(st.sampled_from(FRONTENDS), BACKENDS).map(
    lambda found: {frontend: Service(frontend, backends) for frontend, backends in found.items()}
)


@given(TABLES, TABLES)
def test_a_difference_turns_the_old_table_into_the_new(old: services.Table, new: services.Table) -> None:
    change = services.difference(old, new)
    assert services.applied(old, change) == new
    assert services.difference(new, new) == services.TableChange()
    services.check(change)


@given(TABLES, TABLES)
def test_a_whole_table_replaces_what_was_there(old: services.Table, new: services.Table) -> None:
    assert services.applied(old, services.TableChange(tuple(new.values()), whole=True)) == new


def service(address: str = "10.96.0.1", port: int = 80, *backends: Endpoint, affinity: int = 0) -> services.TableChange:
    return services.TableChange((Service(Frontend(address, port, Protocol.TCP), backends, affinity),))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (service("ten"), "'ten' is no IP address"),
        (service("2001:DB8::1"), "'2001:DB8::1' is written 2001:db8::1"),
        (service("::ffff:a60:a"), "'::ffff:a60:a' is the IPv4 address 10.96.0.10"),
        (service("10.96.0.1", 0), "port 0 is not 1 to 65535"),
        (service("10.96.0.1", 80, Endpoint("10.1.0.1", 65536)), "port 65536 is not"),
        (service("10.96.0.1", 80, Endpoint("fd00::1", 80)), "backend fd00::1 is of another IP version"),
        (service(affinity=86401), "affinity 86401 is not 0 to 86400 seconds"),
        (service(affinity=-1), "affinity -1 is not"),
        (services.TableChange((*service().services, *service().services)), "it comes twice in one change"),
        (services.TableChange(gone=(Frontend("", 80, Protocol.TCP),)), "'' is no IP address"),
    ],
)
def test_what_no_cluster_has_is_refused_by_name(change: services.TableChange, words: str) -> None:
    with pytest.raises(errors.SriovError, match=words):
        services.check(change)
