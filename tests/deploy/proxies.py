"""Debian's nginx in the place of kube-rbac-proxy: as much of it as a scrape meets, by the flags of the manifest.

TLS, a bearer token, one path. It asks no API server whose token it is. Its flags are checked against those of
kube-rbac-proxy's README (v0.21); one that is not translated is refused.
"""

import contextlib
import dataclasses
import pathlib
import subprocess
from collections.abc import Iterator, Mapping, Sequence

from tests.deploy.rendering import Object
from tests.kernel import namespaces
from tests.lab import stores

STORE = stores.Store(
    "nginx", "nginx", lambda apt, shown: apt.download_alone(["nginx"], "nginx", shown), lambda name: name == "nginx"
)
SERVER = "usr/sbin/nginx"


@dataclasses.dataclass(frozen=True, slots=True)
class Proxy:
    """`listen` and `upstream` are HOST:PORT; only `path` is shown; `certified` if its certificate is a Secret's."""

    listen: str
    upstream: str
    path: str
    certified: bool


def proxy(container: Object, ip: str, ports: Mapping[int, int]) -> Proxy:
    """What the container's flags ask for on a node with this address. `ports` are where the node's loopback is here."""
    flags = dict(each.removeprefix("--").split("=", 1) for each in container["args"])
    listen = flags.pop("secure-listen-address").replace("[$(POD_IP)]", ip)
    port = int(flags.pop("upstream").removeprefix("http://127.0.0.1:").removesuffix("/"))
    path = flags.pop("allow-paths")
    certificate = (flags.pop("tls-cert-file", ""), flags.pop("tls-private-key-file", ""))
    if flags or certificate not in (("", ""), ("/etc/tls/tls.crt", "/etc/tls/tls.key")):
        raise ValueError(f"{container['name']} has flags that are not translated: {container['args']}")
    return Proxy(listen, f"127.0.0.1:{ports[port]}", path, bool(certificate[0]))


def certificate(folder: pathlib.Path, name: str) -> pathlib.Path:
    """Make tls.key and tls.crt for this name, signed by itself. Returns tls.crt."""
    made = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={name}")
    files = ("-addext", f"subjectAltName=DNS:{name}", "-keyout", folder / "tls.key", "-out", folder / "tls.crt")
    subprocess.run(["openssl", *made, *files], check=True, capture_output=True)
    return folder / "tls.crt"


@contextlib.contextmanager
def running(folder: pathlib.Path, proxies: Sequence[Proxy], token: str) -> Iterator[None]:
    """Answer until the context ends; `folder` has the certificate."""
    config, ready = folder / "nginx.conf", folder / "nginx.pid"
    servers = "\n".join(_server(each, folder, token) for each in proxies)
    places = "\n".join(f"{name}_temp_path {folder}/{name};" for name in _TEMPORARY)
    http = f"access_log {folder}/access.log;\n{places}\n{servers}"
    config.write_text(f"daemon off;\npid {ready};\nerror_log {folder}/error.log;\nevents {{}}\nhttp {{\n{http}\n}}\n")
    with subprocess.Popen([STORE.needs() / SERVER, "-c", config, "-e", folder / "error.log"]) as server:
        try:
            assert namespaces.until(ready.exists), (folder / "error.log").read_text()
            yield
        finally:
            server.terminate()


_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def _server(proxy: Proxy, folder: pathlib.Path, token: str) -> str:
    return f"""server {{
        listen {proxy.listen} ssl;
        ssl_certificate {folder}/tls.crt;
        ssl_certificate_key {folder}/tls.key;
        location / {{ return 404; }}
        location = {proxy.path} {{
            if ($http_authorization != "Bearer {token}") {{ return 401; }}
            proxy_pass http://{proxy.upstream};
            proxy_max_temp_file_size 0;
        }}
    }}"""
