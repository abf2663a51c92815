"""What kube-proxy has in a namespace for one TCP Service with one endpoint, in each of its modes, with masqueradeAll.

Tables, chains, hooks, priorities and the mark are those of Kubernetes' pkg/proxy: iptables/proxier.go,
nftables/proxier.go, ipvs/proxier.go. With masqueradeAll every connection that it translates loses its source address.
"""

import enum
import subprocess

from tests.kernel import namespaces

_MASQUERADING = """\
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
"""
_IPTABLES = """
*filter
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
-A INPUT -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-A INPUT -j KUBE-NODEPORTS
-A FORWARD -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -j KUBE-SERVICES
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-SVC-WEB - [0:0]
:KUBE-SEP-WEB - [0:0]
{masquerading}-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-SERVICES -d {service} -p tcp --dport {port} -j KUBE-SVC-WEB
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-SVC-WEB -d {service} -p tcp --dport {port} -j KUBE-MARK-MASQ
-A KUBE-SVC-WEB -j KUBE-SEP-WEB
-A KUBE-SEP-WEB -p tcp -j DNAT --to-destination {endpoint}:{target}
COMMIT
"""
_NFTABLES = """
table ip kube-proxy {{
    map service-ips {{
        type ipv4_addr . inet_proto . inet_service : verdict
        elements = {{ {service} . tcp . {port} : goto service-web }}
    }}
    map no-endpoint-services {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
    set cluster-ips {{ type ipv4_addr; elements = {{ {service} }} }}
    chain filter-prerouting {{ type filter hook prerouting priority -110; }}
    chain filter-input {{ type filter hook input priority -110; ct state new jump service-endpoints-check; }}
    chain filter-forward {{
        type filter hook forward priority -110
        ct state new jump service-endpoints-check
        ct state new jump cluster-ips-check
    }}
    chain filter-output {{ type filter hook output priority -110; ct state new jump service-endpoints-check; }}
    chain filter-output-post-dnat {{ type filter hook output priority -90; ct state new jump cluster-ips-check; }}
    chain nat-prerouting {{ type nat hook prerouting priority -100; jump services; }}
    chain nat-output {{ type nat hook output priority -100; jump services; }}
    chain nat-postrouting {{ type nat hook postrouting priority 100; jump masquerading; }}
    chain service-endpoints-check {{ ip daddr . meta l4proto . th dport vmap @no-endpoint-services; }}
    chain cluster-ips-check {{ ip daddr @cluster-ips reject; ip daddr {ranges} drop; }}
    chain services {{ ip daddr . meta l4proto . th dport vmap @service-ips; }}
    chain mark-for-masquerade {{ mark set mark or 0x4000; }}
    chain masquerading {{
        mark and 0x4000 == 0 return
        mark set mark xor 0x4000
        masquerade fully-random
    }}
    chain service-web {{
        ip daddr {service} tcp dport {port} jump mark-for-masquerade
        numgen random mod 1 vmap {{ 0 : goto endpoint-web }}
    }}
    chain endpoint-web {{ meta l4proto tcp dnat to {endpoint}:{target}; }}
}}
"""
_IPVS = """
*nat
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-SERVICES - [0:0]
{masquerading}-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-SERVICES -d {service} -p tcp --dport {port} -j KUBE-MARK-MASQ
COMMIT
"""


class Mode(enum.StrEnum):
    IPTABLES = "iptables"
    NFTABLES = "nftables"
    IPVS = "ipvs"


def install(mode: Mode, where: namespaces.Namespace, service: tuple[str, int], endpoint: tuple[str, int]) -> None:
    """Have the namespace translate the Service as a node's kube-proxy does."""
    (address, port), (backend, target) = service, endpoint
    facts = {"service": address, "port": port, "endpoint": backend, "target": target, "ranges": "10.96.0.0/16"}
    match mode:
        case Mode.IPTABLES:
            _run(where, "iptables-restore", "--noflush", told=_IPTABLES.format(masquerading=_MASQUERADING, **facts))
        case Mode.NFTABLES:
            _run(where, "nft", "-f", "-", told=_NFTABLES.format(**facts))
        case Mode.IPVS:
            _run(where, "iptables-restore", "--noflush", told=_IPVS.format(masquerading=_MASQUERADING, **facts))
            _run(where, "ip", "link", "add", "kube-ipvs0", "type", "dummy")
            _run(where, "ip", "address", "add", f"{address}/32", "dev", "kube-ipvs0")
            _run(where, "ipvsadm", "--add-service", "-t", f"{address}:{port}", "-s", "rr")
            _run(where, "ipvsadm", "--add-server", "-t", f"{address}:{port}", "-r", f"{backend}:{target}", "-m")
            _run(where, "sysctl", "-q", "net.ipv4.vs.conntrack=1")


def remove(mode: Mode, where: namespaces.Namespace) -> None:
    match mode:
        case Mode.IPTABLES:
            _run(where, "iptables-restore", told="*filter\nCOMMIT\n*nat\nCOMMIT\n")
        case Mode.NFTABLES:
            _run(where, "nft", "delete", "table", "ip", "kube-proxy")
        case Mode.IPVS:
            _run(where, "ipvsadm", "--clear")
            _run(where, "ip", "link", "del", "kube-ipvs0")
            remove(Mode.IPTABLES, where)


def _run(where: namespaces.Namespace, *command: str, told: str = "") -> None:
    subprocess.run(["ip", "netns", "exec", where.name, *command], input=told, text=True, check=True)
