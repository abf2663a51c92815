"""Environments and stdins that nobody means well with: a corpus of what has broken others, and whatever may come."""

import json

from hypothesis import strategies

from sriov_cni.spec import vf_request

STRINGS = (
    *("", "..", "../../../etc/passwd", "/etc/passwd", "a/b", "a\\b", "eth%d", "%s%n%x", "%2e%2e", "a\n", "a\0b", " "),
    *("\ufeffa", "\u202ea", "é", "\ud800", "😀", "$(id)", "`id`", "; rm -rf /", "-a", ".", "lo", "all", "a" * 16),
    *("a" * 300, "a" * 5000, "0000:01:10.0", "0000:01:10.0\n", "0000:01:00.0", "0000:01:10.2", "ffffffff:ff:1f.7"),
    *("02:00:00:00:00:01", "01:00:00:00:00:01", "on", "ON", "1.1.0", "0.3.0", "9.9.9", "MAC=x", "a=b=c", "802.1ad"),
)
VALUES: tuple[object, ...] = (
    *STRINGS,
    None,
    True,
    False,
    0,
    -1,
    4094,
    4095,
    2**31,
    2**64,
    10**400,
    1.5,
    1e300,
    [],
    {},
    [[]],
    {"": {}},
    [None],
)
RAW = (
    *(b"", b"[]", b"null", b'"x"', b"{", b"\xef\xbb\xbf{}", b"\xff\xfe{}", b"{}{}", b"[" * 100_000, b'{"a":' * 50_000),
    *(
        b'{"vlan":NaN}',
        b'{"vlan":Infinity}',
        b'{"vlan":' + b"9" * 5000 + b"}",
        b'{"name":"\xff"}',
        b'{"name":"\\ud800"}',
    ),
    *(b'{"name":"n1","name":"../x"}', b'{"name":"a\\u0000b"}', b" " * (1 << 20) + b"{}", b"\0" * 100, b"{'a':1}"),
)
COMMANDS = ("ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION")
VARIABLES = ("CONTAINERID", "NETNS", "IFNAME", "ARGS", "PATH")
KEYS = sorted(
    {
        *vf_request.KEYS,
        "runtimeConfig",
        "prevResult",
        "name",
        "cniVersion",
        "args",
        "logFile",
        "cni.dev/valid-attachments",
    }
)
INNER = ("mac", "deviceID", "type", "interfaces", "ips", "address", "containerID", "ifname", "cni")

_text = strategies.sampled_from(STRINGS) | strategies.text(max_size=20)
_leaf = strategies.sampled_from(VALUES) | strategies.text(max_size=20) | strategies.integers() | strategies.floats()
_value = (
    _leaf
    | strategies.dictionaries(strategies.sampled_from(INNER), _leaf, max_size=3)
    | strategies.lists(strategies.dictionaries(strategies.sampled_from(INNER), _leaf, max_size=3), max_size=2)
)


def document(device: str, **keys: object) -> bytes:
    """A network configuration with these keys in the place of sound ones."""
    usual = {"cniVersion": "1.1.0", "name": "n1", "type": "sriov", "deviceID": device}
    return json.dumps(usual | keys).encode()


def documents(device: str) -> strategies.SearchStrategy[bytes]:
    """Stdins: a sound configuration with a few odd keys, the corpus, or any bytes."""
    odd = strategies.dictionaries(strategies.sampled_from(KEYS), _value, max_size=3)
    return (
        odd.map(lambda keys: document(device, **keys)) | strategies.sampled_from(RAW) | strategies.binary(max_size=60)
    )


def environments(netns: str) -> strategies.SearchStrategy[dict[str, str]]:
    """The variables without their prefix: sound ones with a few odd values, or none."""
    usual = {"CONTAINERID": "c1", "NETNS": netns, "IFNAME": "net1", "ARGS": "", "PATH": "/opt/cni/bin"}
    odd = strategies.dictionaries(strategies.sampled_from(VARIABLES), _text, min_size=1, max_size=2)
    values: strategies.SearchStrategy[dict[str, str]] = strategies.one_of(
        strategies.just({}), strategies.just({}), strategies.just({}), odd
    )
    junk = strategies.sampled_from(("add", "", "FOO", " ADD", "ADD\n", "\ud800"))
    command = strategies.one_of(*[strategies.sampled_from(COMMANDS)] * 5, strategies.just("ADD"), junk)
    return strategies.builds(lambda verb, changed: {"COMMAND": verb} | usual | changed, command, values)
