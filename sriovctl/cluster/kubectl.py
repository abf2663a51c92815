"""Client of the cluster: the user's own kubectl, started with argument lists. The only module here that starts it."""

import contextlib
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from sriov import errors
from sriovctl import sight
from sriovctl.cluster import pods

FLAGS = (
    *("--context", "--kubeconfig", "--cluster", "--user", "--as", "--as-group", "--as-uid", "--token", "--server"),
    *("--certificate-authority", "--client-certificate", "--client-key", "--tls-server-name", "--request-timeout"),
)
"""kubectl's own that say which cluster is meant, and who asks (`kubectl options`); each has a value."""
SWITCHES = ("--insecure-skip-tls-verify", "--disable-compression", "--match-server-version")
"""Those without a value."""


_ENDED = "command terminated with exit code"  # kubectl's own line below what the command said


class Execution(msgspec.Struct, frozen=True):
    """Exit status of kubectl or of what it ran, and what was printed. `status` is None if it took too long."""

    status: int | None
    out: str
    err: str

    @property
    def trouble(self) -> str:
        """Return the last line of what was said of a failure, "" for nothing."""
        told = [line for line in self.err.splitlines() if line.strip() and not line.startswith(_ENDED)]
        return told[-1].removeprefix("Error: ").removeprefix("error: ") if told else ""


class Place(msgspec.Struct, frozen=True):
    """A container of a pod."""

    namespace: str
    pod: str
    container: str


class Kubectl(msgspec.Struct, frozen=True):
    """`flags` are the user's, passed on as they are. `seconds` is how long a node may take to answer."""

    flags: tuple[str, ...] = ()
    seconds: float = 60.0
    program: str = "kubectl"

    def get(self, *what: str) -> Any:
        """Return an object or a list. Raises SriovError with kubectl's own words."""
        done = self._run(("get", *what, "--output=json"), "")
        if done.status != 0:
            raise errors.SriovError(
                f"kubectl get {what[0]} failed: {done.trouble}", "do the same flags work with kubectl?"
            )
        return json.loads(done.out)

    def execute(self, pod: pods.NodePod, command: Sequence[str], sent: str = "") -> Execution:
        """Run a command in the pod's container and return what it printed. `sent` is its standard input."""
        return self._run((*_exec(pod, *(["--stdin"] if sent else [])), *command), sent)

    def run(self, place: Place, command: Sequence[str]) -> Execution:
        """Run any command in a pod of any kind and return what it printed."""
        where = (f"--namespace={place.namespace}", f"pod/{place.pod}", f"--container={place.container}")
        return self._run(("exec", *where, "--", *command), "")

    def create(self, objects: Mapping[str, Any]) -> None:
        """Create the objects. Raises SriovError with kubectl's own words."""
        # Nobody has typed them: kubectl need not fetch the schemas of the cluster to find mistakes.
        done = self._run(("create", "--filename=-", "--output=name", "--validate=false"), json.dumps(objects))
        if done.status != 0:
            raise errors.SriovError(f"kubectl create failed: {done.trouble}", "may you create pods there?")

    def delete(self, namespace: str, names: Sequence[str]) -> str:
        """Delete the objects that are there, without waiting for their end. Returns why it failed, "" if it did not."""
        done = self._run(("delete", f"--namespace={namespace}", "--ignore-not-found", "--wait=false", *names), "")
        return "" if done.status == 0 else done.trouble or "kubectl delete failed"

    def attach(self, pod: pods.NodePod, command: Sequence[str], *, terminal: bool) -> int:
        """Run a command in the pod's container with this process's own streams; returns its exit status."""
        flags = ("--stdin", "--tty") if terminal else ()
        with _found(self.program):
            return subprocess.run(self._line((*_exec(pod, *flags), *command)), check=False).returncode

    def _run(self, arguments: Sequence[str], sent: str) -> Execution:
        line = self._line(arguments)
        try:
            with _found(self.program):
                done = subprocess.run(
                    line,
                    input=sent,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    check=False,
                    timeout=self.seconds,
                )
        except subprocess.TimeoutExpired:
            return Execution(None, "", f"no answer within {self.seconds:g} s")
        return Execution(done.returncode, done.stdout, done.stderr)

    def _line(self, arguments: Sequence[str]) -> list[str]:
        """The flags come behind kubectl's command, and so before the `--` of what it is to run."""
        verb, *rest = arguments
        return [self.program, verb, *self.flags, *rest]


@contextlib.contextmanager
def _found(program: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise errors.SriovError(f"there is no {program} on PATH", "install kubectl") from error


def _exec(pod: pods.NodePod, *flags: str) -> tuple[str, ...]:
    place = (f"--namespace={pod.namespace}", f"pod/{pod.name}", f"--container={sight.CONTAINER}")
    return ("exec", *flags, *place, "--", "sriovctl")
