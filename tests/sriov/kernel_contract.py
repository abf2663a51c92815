"""Contract of kernel.Kernel: the kernel in memory and the machine's own run the same tests.

`Bench` is what a test needs to stand on: a link to play with (a veth, or a VF), an empty namespace, and a way home.
"""

import abc
import dataclasses
import errno
import ipaddress
import pathlib
import time
from collections.abc import Callable, Iterator, Set

import msgspec
import pytest

from sriov import errors, settings
from sriov.linux import kernel, netns
from sriov.linux.netdev import netdev_settings
from sriov.settings import Setting


@dataclasses.dataclass(frozen=True, slots=True)
class Bench:
    net: kernel.Kernel
    home: netns.Netns
    pod: netns.Netns
    link: kernel.Link
    add_altname: Callable[[str], None]


class LinkContract(abc.ABC):
    """Links, names, addresses, routes, namespaces."""

    @pytest.fixture
    @abc.abstractmethod
    def bench(self, tmp_path: pathlib.Path) -> Iterator[Bench]:
        """A fresh bench."""

    def test_a_link_is_found_by_index_and_by_name(self, bench: Bench) -> None:
        assert bench.net.link(bench.link.index) == bench.net.link(bench.link.name) == bench.link
        assert bench.link in bench.net.links()

    @pytest.mark.parametrize("ref", [999999, "nosuchlink"])
    def test_an_absent_link_is_enodev(self, bench: Bench, ref: kernel.LinkRef) -> None:
        with pytest.raises(errors.KernelError) as caught:
            bench.net.link(ref)
        assert caught.value.errno == errno.ENODEV

    def test_address_mtu_and_state_in_one_request(self, bench: Bench) -> None:
        bench.net.set_link(bench.link.index, kernel.Change(address="02:00:00:00:aa:01", mtu=1400, up=True))
        link = bench.net.link(bench.link.index)
        assert (link.address, link.mtu, link.up) == ("02:00:00:00:aa:01", 1400, True)
        bench.net.set_link(bench.link.name, kernel.Change(up=False))
        assert not bench.net.link(bench.link.index).up

    def test_settings_are_read_whole_and_set_back(self, bench: Bench) -> None:
        """What is left of a change, or of an altname that was added, is what the next look finds."""
        before = bench.net.state(bench.link.index)
        bench.add_altname("anothername")
        bench.net.set_link(bench.link.index, kernel.Change(allmulti=True, noarp=True))
        found = bench.net.state(bench.link.index, before)
        assert {"flags", "altnames"} <= netdev_settings.differing(before, found)
        for name in ("flags", "altnames"):
            bench.net.restore(bench.link.index, name, before, found)
        assert bench.net.state(bench.link.index, before) == before

    def test_a_link_and_its_settings_are_read_with_one_look(self, bench: Bench) -> None:
        bench.add_altname("anothername")
        link, state = bench.net.look(bench.link.index)
        assert link == bench.net.link(bench.link.index)
        assert state == bench.net.state(bench.link.index)
        bench.net.drop_altname(bench.link.index, "anothername")
        with pytest.raises(errors.KernelError) as caught:
            bench.net.look(99999)
        assert caught.value.errno == errno.ENODEV

    def test_an_altname_that_is_gone_comes_back(self, bench: Bench) -> None:
        bench.add_altname("anothername")
        before = bench.net.state(bench.link.index)
        bench.net.drop_altname(bench.link.index, "anothername")
        bench.net.restore(bench.link.index, "altnames", before, bench.net.state(bench.link.index))
        assert bench.net.link(bench.link.index).altnames == ("anothername",)
        bench.net.drop_altname(bench.link.index, "anothername")  # a real VF outlives the test

    def test_a_multicast_address_is_refused(self, bench: Bench) -> None:
        with pytest.raises(errors.KernelError) as caught:
            bench.net.set_link(bench.link.index, kernel.Change(address="01:00:00:00:aa:01"))
        assert caught.value.errno == errno.EADDRNOTAVAIL

    def test_an_absurd_mtu_is_refused(self, bench: Bench) -> None:
        with pytest.raises(errors.KernelError) as caught:
            bench.net.set_link(bench.link.index, kernel.Change(mtu=1_000_000))
        assert caught.value.errno == errno.EINVAL

    def test_one_request_moves_and_renames(self, bench: Bench) -> None:
        bench.net.set_link(bench.link.index, kernel.Change(up=True))
        bench.net.move(bench.link.index, bench.pod, "net1")
        with bench.net.inside(bench.pod) as inner:
            moved = inner.link("net1")
            assert (moved.address, moved.mtu, moved.up) == (bench.link.address, bench.link.mtu, False)
            assert moved.parent == bench.link.parent
            with pytest.raises(errors.KernelError):
                bench.net.link(bench.link.name)
            inner.move(moved.index, bench.home, bench.link.name)
        assert bench.net.link(bench.link.name).address == bench.link.address

    def test_a_move_drops_addresses(self, bench: Bench) -> None:
        bench.net.add_address(bench.link.index, ipaddress.ip_interface("192.0.2.1/24"))
        bench.net.move(bench.link.index, bench.pod, "net1")
        with bench.net.inside(bench.pod) as inner:
            assert inner.addresses(inner.link("net1").index) == ()
            inner.move(inner.link("net1").index, bench.home, bench.link.name)

    def test_a_taken_name_shows_after_the_move(self, bench: Bench) -> None:
        """The link is in the namespace then, under its old name: whoever moves has to bring it back."""
        with pytest.raises(errors.KernelError) as caught:
            bench.net.move(bench.link.index, bench.pod, "lo")
        assert caught.value.errno == errno.EEXIST
        with bench.net.inside(bench.pod) as inner:
            inner.move(inner.link(bench.link.name).index, bench.home, bench.link.name)

    def test_a_move_changes_too(self, bench: Bench) -> None:
        wanted = kernel.Change(address="02:00:00:00:aa:03", mtu=1400, up=True)
        bench.net.move(bench.link.index, bench.pod, "net1", wanted)
        with bench.net.inside(bench.pod) as inner:
            moved = inner.link("net1")
            assert (moved.address, moved.mtu, moved.up) == ("02:00:00:00:aa:03", 1400, True)
            inner.move(moved.index, bench.home, bench.link.name)

    def test_a_refused_change_shows_after_the_move(self, bench: Bench) -> None:
        """The link has its old name still: whoever moves has to look for it."""
        with pytest.raises(errors.KernelError) as caught:
            bench.net.move(bench.link.index, bench.pod, "net1", kernel.Change(mtu=1_000_000, up=True))
        assert caught.value.errno == errno.EINVAL
        with bench.net.inside(bench.pod) as inner:
            moved = inner.link(bench.link.name)
            assert (moved.mtu, moved.up) == (bench.link.mtu, False)
            inner.move(moved.index, bench.home, bench.link.name)

    def test_an_altname_is_a_name_also_the_links_own(self, bench: Bench) -> None:
        bench.add_altname("net1")
        index = bench.link.index
        assert bench.net.link("net1").index == index
        with pytest.raises(errors.KernelError) as caught:
            bench.net.rename(index, "net1")
        assert caught.value.errno == errno.EEXIST
        with pytest.raises(errors.KernelError) as caught:
            bench.net.move(index, bench.pod, "net1")
        assert caught.value.errno == errno.EEXIST
        with bench.net.inside(bench.pod) as inner:
            moved = inner.link("net1")
            assert (moved.name, moved.altnames) == (bench.link.name, ("net1",)), "it is in the pod all the same"
            inner.drop_altname(moved.index, "net1")
            inner.rename(moved.index, "net1")
            assert (inner.link("net1").name, inner.link("net1").altnames) == ("net1", ())
            inner.move(moved.index, bench.home, bench.link.name)

    def test_rename(self, bench: Bench) -> None:
        bench.net.rename(bench.link.index, "other0")
        assert bench.net.link("other0").index == bench.link.index
        with pytest.raises(errors.KernelError) as caught:
            bench.net.rename(bench.link.index, "lo")
        assert caught.value.errno == errno.EEXIST
        bench.net.rename(bench.link.index, bench.link.name)

    def test_a_link_gives_up_its_name(self, bench: Bench) -> None:
        bench.net.release_name(bench.link.name)
        assert bench.net.link(bench.link.index).name.startswith("dev")
        with pytest.raises(errors.KernelError) as caught:
            bench.net.release_name(bench.link.name)
        assert caught.value.errno == errno.ENODEV
        bench.net.rename(bench.link.index, bench.link.name)

    def test_addresses_and_routes(self, bench: Bench) -> None:
        index = bench.link.index
        route = kernel.Route(ipaddress.ip_network("198.51.100.0/24"), ipaddress.ip_address("192.0.2.254"))
        with pytest.raises(errors.KernelError) as down:
            bench.net.add_route(index, route)
        assert down.value.errno in (errno.ENETDOWN, errno.ENETUNREACH)
        bench.net.set_link(index, kernel.Change(up=True))
        with pytest.raises(errors.KernelError) as unreachable:
            bench.net.add_route(index, route)
        assert unreachable.value.errno == errno.ENETUNREACH
        for text in ("192.0.2.1/24", "2001:db8::1/64"):
            bench.net.add_address(index, ipaddress.ip_interface(text))
            assert ipaddress.ip_interface(text) in bench.net.addresses(index)
        bench.net.add_route(index, route)
        assert (route.dst, route.gateway) in {(each.dst, each.gateway) for each in bench.net.routes(index)}

    def test_an_address_twice_is_eexist(self, bench: Bench) -> None:
        address = ipaddress.ip_interface("192.0.2.1/24")
        bench.net.add_address(bench.link.index, address)
        with pytest.raises(errors.KernelError) as caught:
            bench.net.add_address(bench.link.index, address)
        assert caught.value.errno == errno.EEXIST

    @pytest.mark.parametrize(
        ("address", "dst", "gateways"),
        [
            ("192.0.2.1/24", "198.51.100.0/24", ("192.0.2.253", "192.0.2.254")),
            ("2001:db8::1/64", "2001:db8:1::/64", ("2001:db8::fd", "2001:db8::fe")),
        ],
    )
    def test_two_gateways_of_one_destination(
        self, bench: Bench, address: str, dst: str, gateways: tuple[str, str]
    ) -> None:
        index = bench.link.index
        bench.net.set_link(index, kernel.Change(up=True))
        bench.net.add_address(index, ipaddress.ip_interface(address))
        wanted = [kernel.Route(ipaddress.ip_network(dst), ipaddress.ip_address(each)) for each in gateways]
        for each in wanted:
            bench.net.add_route(index, each)
        shown = [(each.dst, each.gateway) for each in bench.net.routes(index) if each.dst == wanted[0].dst]
        assert sorted(shown) == [(each.dst, each.gateway) for each in wanted]
        for each in wanted:
            with pytest.raises(errors.KernelError) as caught:
                bench.net.add_route(index, each)
            assert caught.value.errno == errno.EEXIST

    def test_an_ipv6_address_is_pending_for_a_while(self, bench: Bench) -> None:
        bench.net.set_link(bench.link.index, kernel.Change(up=True))
        address = ipaddress.ip_interface("2001:db8::1/64")
        bench.net.add_address(bench.link.index, address)
        deadline = time.monotonic() + 10
        while address in bench.net.pending(bench.link.index):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert address in bench.net.addresses(bench.link.index)

    def test_a_link_that_is_down_is_not_running(self, bench: Bench) -> None:
        """Up it comes to be, in its own time, where there is a carrier; the guest's VFs have none."""
        bench.net.set_link(bench.link.index, kernel.Change(up=True))
        bench.net.set_link(bench.link.index, kernel.Change(up=False))
        assert not bench.net.link(bench.link.index).running

    def test_a_pair_is_made_across_namespaces_and_deleted_whole(self, bench: Bench) -> None:
        here, there = kernel.End("svl1", "02:73:68:00:00:01"), kernel.End("host0", "02:73:70:00:00:01")
        bench.net.add_pair(here, there, bench.pod)
        with bench.net.inside(bench.pod) as inner:
            for net, end in ((bench.net, here), (inner, there)):
                link = net.link(end.name)
                assert (link.address, link.kind, link.up) == (end.address, "veth", False)
                net.set_link(link.index, kernel.Change(link_local=False))
                net.set_link(link.index, kernel.Change(up=True))
                assert net.addresses(link.index) == ()
            with pytest.raises(errors.KernelError) as caught:
                bench.net.add_pair(kernel.End("svl2", here.address), there, bench.pod)
            assert caught.value.errno == errno.EEXIST
            bench.net.delete_link(bench.net.link(here.name).index)
            assert there.name not in {each.name for each in inner.links()}
        with pytest.raises(errors.KernelError) as caught:
            bench.net.delete_link(999999)
        assert caught.value.errno == errno.ENODEV

    def test_neighbours_onlink_routes_and_rules_by_mark(self, bench: Bench) -> None:
        hop = ipaddress.ip_address("169.254.1.1")
        neighbour, rule = kernel.Neighbour(hop, "02:73:68:00:00:01"), kernel.MarkRule(4, 0x5352, 0x5352, 0x5352)
        with bench.net.inside(bench.pod) as inner:
            bench.net.add_pair(
                kernel.End("svl1", neighbour.address), kernel.End("host0", "02:73:70:00:00:01"), bench.pod
            )
            index = inner.link("host0").index
            inner.set_link(index, kernel.Change(up=True))
            inner.add_address(index, ipaddress.ip_interface("10.1.0.5/24"))
            inner.add_neighbour(index, neighbour)
            assert neighbour in inner.neighbours(index)
            route = kernel.Route(ipaddress.ip_network("192.0.2.10/32"), hop, onlink=True)
            inner.add_route(index, route)
            assert (route.dst, hop) in {(each.dst, each.gateway) for each in inner.routes(index)}
            inner.add_rule(rule)
            assert rule in inner.rules()
            with pytest.raises(errors.KernelError) as caught:
                inner.add_rule(rule)
            assert caught.value.errno == errno.EEXIST
        bench.net.delete_link(bench.net.link("svl1").index)

    def test_a_table_of_nftables_is_found_by_its_comment(self, bench: Bench) -> None:
        with bench.net.inside(bench.pod) as inner:
            assert inner.nft_comment("ours") == ""
            for said in ("one", "another"):
                inner.run_nft(
                    f'add table inet ours\ndelete table inet ours\nadd table inet ours {{ comment "{said}"; }}'
                )
                assert (inner.nft_comment("ours"), inner.nft_comment("theirs")) == (said, "")
            inner.run_nft("delete table inet ours")
            assert inner.nft_comment("ours") == ""

    def test_a_chains_comment_and_a_sets_elements_are_replaced_in_one_transaction(self, bench: Bench) -> None:
        table = "add table inet ours\nadd set inet ours them { type ipv4_addr; }\nadd chain inet ours stamp"
        with bench.net.inside(bench.pod) as inner:
            assert inner.nft_elements("ours", "them", 9) == frozenset()
            assert inner.nft_comment("ours", "stamp") == ""
            inner.run_nft(table.replace("stamp", 'stamp { comment "one"; }'))
            inner.run_nft("add element inet ours them { 10.0.0.1, 10.0.0.2 }")
            inner.run_nft(
                'delete chain inet ours stamp\nadd chain inet ours stamp { comment "two"; }\n'
                "delete element inet ours them { 10.0.0.1 }\nadd element inet ours them { 10.0.0.3 }"
            )
            assert (inner.nft_comment("ours", "stamp"), inner.nft_comment("ours")) == ("two", "")
            assert inner.nft_elements("ours", "them", 9) == {bytes((10, 0, 0, 2)), bytes((10, 0, 0, 3))}
            with pytest.raises(errors.KernelError):
                inner.run_nft("delete element inet ours them { 10.0.0.2 }\ndelete chain inet ours gone")
            assert len(inner.nft_elements("ours", "them", 9)) == 2, "all or nothing"
            assert inner.nft_elements("ours", "them", 1) < inner.nft_elements("ours", "them", 2)

    def test_a_change_of_nftables_is_noticed_and_rules_are_shown(self, bench: Bench) -> None:
        with bench.net.inside(bench.pod) as inner:
            assert inner.nft_rules("ours", 9) == ()
            seen = {inner.nft_generation()}
            inner.run_nft("add table inet ours\nadd chain inet ours one\nadd rule inet ours one tcp dport 80 accept")
            before = inner.nft_rules("ours", 9)
            assert len(before) == 1
            seen.add(inner.nft_generation())
            inner.run_nft("add table inet theirs\nadd chain inet theirs one\nadd rule inet theirs one drop")
            assert inner.nft_rules("ours", 9) == before
            seen.add(inner.nft_generation())
            assert len(seen) == 3
            assert inner.nft_generation() == inner.nft_generation()
            inner.run_nft("flush chain inet ours one\nadd rule inet ours one tcp dport 81 accept")
            assert len(inner.nft_rules("ours", 9)) == 1
            assert inner.nft_rules("ours", 9) != before
            inner.run_nft("add table netdev ours\nadd chain netdev ours one\nadd rule netdev ours one drop")
            assert len(inner.nft_rules("ours", 9)) == 2, "of both families"
            inner.run_nft("add table inet ours { flags dormant; }")
            assert len(inner.nft_rules("ours", 9)) == 1, "and those that are in force"

    def test_rules_of_tables_of_one_name_are_shown_of_every_family_that_a_pod_has(self, bench: Bench) -> None:
        with bench.net.inside(bench.pod) as inner:
            inner.run_nft("add table inet ours\nadd chain inet ours one\nadd rule inet ours one tcp dport 80 accept")
            before = inner.nft_rules("ours", 9)
            inner.run_nft(
                "add table netdev ours\nadd chain netdev ours raw\nadd rule netdev ours raw ether type arp accept"
            )
            assert len(inner.nft_rules("ours", 9)) == 2
            assert {*before} < {*inner.nft_rules("ours", 9)}
            assert inner.nft_rules("ours", 9, netdev=False) == inner.nft_rules("ours", 1) == before
            inner.run_nft("delete table netdev ours")
            assert inner.nft_rules("ours", 9) == before

    def test_a_living_namespace_is_not_gone(self, bench: Bench) -> None:
        mark = bench.net.mark(bench.pod)
        assert mark is not None
        assert bench.net.mark(bench.pod) == mark
        assert not bench.net.is_gone(mark)
        assert bench.net.is_gone(msgspec.structs.replace(mark, own=mark.own ^ 1))

    def test_a_link_without_vfs_supports_none(self, bench: Bench) -> None:
        with pytest.raises(errors.KernelError) as caught:
            bench.net.set_vf(bench.link.index, 0, settings.BASELINE, {Setting.VLAN})
        assert caught.value.errno == errno.EOPNOTSUPP

    def test_a_namespace_without_rdma_devices_has_none(self, bench: Bench) -> None:
        """Also where the kernel has no RDMA at all."""
        with bench.net.inside(bench.pod) as inner:
            assert inner.rdma_devices() == ()


@dataclasses.dataclass(frozen=True, slots=True)
class RdmaBench:
    """Two RDMA devices in the host whose driver cannot move them, as rxe cannot, in exclusive mode."""

    net: kernel.Kernel
    pod: netns.Netns
    device: kernel.RdmaDevice
    other: kernel.RdmaDevice


class RdmaContract(abc.ABC):
    """RDMA devices, as drivers/infiniband/core/nldev.c and device.c treat them; measured with rxe on Linux 6.12."""

    @pytest.fixture
    @abc.abstractmethod
    def bench(self, tmp_path: pathlib.Path) -> Iterator[RdmaBench]:
        """A fresh bench."""

    @abc.abstractmethod
    def share(self, bench: RdmaBench) -> None:
        """Change the mode, and what may not be there for that; the bench is used up."""

    def test_the_mode_is_told_in_every_namespace(self, bench: RdmaBench) -> None:
        assert bench.net.rdma_is_exclusive()
        with bench.net.inside(bench.pod) as inner:
            assert inner.rdma_is_exclusive()
        self.share(bench)
        assert not bench.net.rdma_is_exclusive()

    def test_a_device_is_seen_in_its_namespace_alone(self, bench: RdmaBench) -> None:
        assert {bench.device, bench.other} <= set(bench.net.rdma_devices())
        with bench.net.inside(bench.pod) as inner:
            assert inner.rdma_devices() == ()

    def test_a_move_that_the_driver_cannot_do_changes_nothing(self, bench: RdmaBench) -> None:
        before = bench.net.rdma_devices()
        with pytest.raises(errors.KernelError) as caught:
            bench.net.move_rdma(bench.device.index, bench.pod)
        assert caught.value.errno == errno.EOPNOTSUPP
        assert bench.net.rdma_devices() == before

    def test_an_absent_device_is_einval(self, bench: RdmaBench) -> None:
        with pytest.raises(errors.KernelError) as moved:
            bench.net.move_rdma(9999, bench.pod)
        with pytest.raises(errors.KernelError) as renamed:
            bench.net.rename_rdma(9999, "other0")
        assert (moved.value.errno, renamed.value.errno) == (errno.EINVAL, errno.EINVAL)

    def test_a_device_of_another_namespace_is_absent(self, bench: RdmaBench) -> None:
        with bench.net.inside(bench.pod) as inner, pytest.raises(errors.KernelError) as caught:
            inner.rename_rdma(bench.device.index, "mine0")
        assert caught.value.errno == errno.EINVAL

    def test_a_new_name_leaves_the_index(self, bench: RdmaBench) -> None:
        bench.net.rename_rdma(bench.device.index, "other0")
        assert kernel.RdmaDevice(bench.device.index, "other0") in bench.net.rdma_devices()
        with pytest.raises(errors.KernelError) as caught:
            bench.net.rename_rdma(bench.device.index, bench.other.name)
        assert caught.value.errno == errno.EEXIST


@dataclasses.dataclass(frozen=True, slots=True)
class VfBench:
    """A PF's link index and the index of one of its VFs, which nobody has set anything on."""

    net: kernel.Kernel
    pf: int
    vf: int


class VfContract(abc.ABC):
    """What a PF of any driver does with the settings of a VF. `settable` are those that the driver knows."""

    settable: Set[Setting]

    @pytest.fixture
    @abc.abstractmethod
    def bench(self, tmp_path: pathlib.Path) -> Iterator[VfBench]:
        """A fresh bench."""

    def state(self, bench: VfBench, which: Setting, **values: object) -> settings.VfSettings:
        wanted = settings.VfSettings(**values)  # type: ignore[arg-type]
        bench.net.set_vf(bench.pf, bench.vf, wanted, {which})
        return bench.net.vf(bench.pf, bench.vf)

    def refused(self, bench: VfBench, which: Setting, **values: object) -> int:
        with pytest.raises(errors.KernelError) as caught:
            self.state(bench, which, **values)
        return caught.value.errno

    def test_what_is_set_is_read_back(self, bench: VfBench) -> None:
        found = self.state(bench, Setting.VLAN, vlan=100, qos=3)
        assert (found.vlan, found.qos) == (100, 3)
        assert self.state(bench, Setting.TRUST, trust=True).trust
        assert not self.state(bench, Setting.SPOOFCHK, spoofchk=False).spoofchk

    def test_one_request_sets_several(self, bench: VfBench) -> None:
        wanted = settings.VfSettings(vlan=7, trust=True, spoofchk=False)
        bench.net.set_vf(bench.pf, bench.vf, wanted, self.settable)
        assert bench.net.vf(bench.pf, bench.vf) == wanted

    def test_an_administered_mac_can_be_cleared(self, bench: VfBench) -> None:
        mac = "02:00:00:00:bb:04"
        assert self.state(bench, Setting.MAC, mac=mac).mac == mac
        assert self.state(bench, Setting.MAC).mac == settings.NO_MAC

    def test_values_that_no_driver_takes(self, bench: VfBench) -> None:
        assert self.refused(bench, Setting.MAC, mac="01:00:00:00:00:01") == errno.EINVAL
        assert self.refused(bench, Setting.VLAN, vlan=4097) == errno.EINVAL
        assert self.refused(bench, Setting.VLAN, vlan=1, qos=8) == errno.EINVAL

    def test_a_reserved_vlan_is_taken_so_it_is_ours_to_refuse(self, bench: VfBench) -> None:
        assert self.state(bench, Setting.VLAN, vlan=4095).vlan == 4095

    def test_an_absent_vf_is_einval(self, bench: VfBench) -> None:
        with pytest.raises(errors.KernelError) as caught:
            bench.net.set_vf(bench.pf, 99, settings.BASELINE, {Setting.VLAN})
        assert caught.value.errno == errno.EINVAL
        with pytest.raises(errors.KernelError) as caught:
            bench.net.vf(bench.pf, 99)
        assert caught.value.errno == errno.EINVAL


@dataclasses.dataclass(frozen=True, slots=True)
class NetdevBench(VfBench):
    """A VF with its netdev, at home and at the baseline."""

    link: kernel.Link


class IgbContract(VfContract):
    """How igb and igbvf behave, as measured on Linux 6.12."""

    settable = settings.EVERY_SETTING - {Setting.LINK_STATE}

    @pytest.fixture
    @abc.abstractmethod
    def bench(self, tmp_path: pathlib.Path) -> Iterator[NetdevBench]:
        """A fresh bench."""

    def test_refusals(self, bench: VfBench) -> None:
        assert self.refused(bench, Setting.LINK_STATE) == errno.EOPNOTSUPP
        assert self.refused(bench, Setting.RATE, min_tx_rate=10) == errno.EINVAL
        assert self.refused(bench, Setting.VLAN, vlan=5, proto=settings.VlanProto.AD) == errno.EPROTONOSUPPORT

    def test_an_administered_mac_blocks_the_vfs_own(self, bench: NetdevBench) -> None:
        mac = "02:00:00:00:bb:01"
        assert self.state(bench, Setting.MAC, mac=mac).mac == mac
        assert bench.net.link(bench.link.index).address == bench.link.address
        with pytest.raises(errors.KernelError) as caught:
            bench.net.set_link(bench.link.index, kernel.Change(address=mac))
        assert caught.value.errno == errno.EADDRNOTAVAIL

    def test_clear_set_administer_puts_the_mac_on_the_vf(self, bench: NetdevBench) -> None:
        mac = "02:00:00:00:bb:02"
        self.state(bench, Setting.MAC)
        bench.net.set_link(bench.link.index, kernel.Change(address=mac))
        assert self.state(bench, Setting.MAC, mac=mac).mac == mac
        assert bench.net.link(bench.link.index).address == mac
        bench.net.set_link(bench.link.index, kernel.Change(up=True))
        assert bench.net.link(bench.link.index).address == mac

    def test_an_administered_mac_is_taken_over_at_down(self, bench: NetdevBench) -> None:
        bench.net.set_link(bench.link.index, kernel.Change(up=True))
        self.state(bench, Setting.MAC, mac="02:00:00:00:bb:03")
        assert bench.net.link(bench.link.index).address == bench.link.address
        bench.net.set_link(bench.link.index, kernel.Change(up=False))
        assert bench.net.link(bench.link.index).address == "02:00:00:00:bb:03"
