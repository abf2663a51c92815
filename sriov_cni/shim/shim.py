#!/usr/bin/python3 -IS
"""Shim that the runtime executes for every pod: passes the call to the daemon, runs the IPAM plugin, prints the answer.

One self-contained file that imports only built-in modules, because every pod waits for its start. It parses no JSON and
decides nothing; wire.py describes the frames. shim.c and plugins.h are the same as a native program: change both.
It reads two variables for itself: SRIOV_CNI_SOCKET (the daemon's socket), SRIOV_CNI_WAIT (seconds to wait for a daemon
that is being replaced). STATUS waits for nothing: the runtime asks whether a pod could be attached now.
"""

import _socket
import fcntl
import posix
import select
import sys
import time

SOCKET = b"/run/sriov/cni.sock"
WAIT = b"10"
LONGEST_CALL = 110  # seconds; the kubelet gives up after 120
LONGEST_STATUS = 1  # second; containerd 2 gives STATUS two
TRY_AGAIN, NOT_AVAILABLE = 11, 50  # codes of the CNI spec
STDIN_LIMIT = 1 << 20
LONGEST = 4 * STDIN_LIMIT  # payload of a frame
PROTOCOL = "the daemon does not keep to the protocol"
STDIN_PAUSE = 2000  # milliseconds without a byte or an end: VERSION may come with a pipe that nobody closes
NO_PLUGIN = 127
UNREAD = 254  # exit status if nobody reads our stdout
LATE = 253  # if it was read, but the daemon did not learn that, or had ended the attachment before it did
LIFELINE = 13  # the descriptor that a plugin inherits with its streams; ours are lower
SIGKILL, SIGPIPE, SIGXFSZ = 9, 13, 25  # an interpreter ignores the last two, and a plugin would inherit that
ETXTBSY = 26
BUSY_TRIES, BUSY_PAUSE = 5, 0.2  # seconds

ENVIRONMENT, STDIN, IPAM, ANSWER, DELIVERED = b"E", b"S", b"I", b"A", b"D"


def main() -> int:
    env = posix.environ
    occupy_closed_streams()
    stdin = read_stdin()
    asked_now = env.get(b"CNI_COMMAND") == b"STATUS"
    try:
        wait = env.get(b"SRIOV_CNI_WAIT", WAIT)
        seconds = float(wait if wait.replace(b".", b"", 1).isdigit() else WAIT)
        path = env.get(b"SRIOV_CNI_SOCKET", SOCKET)
        daemon = connect(path, 0, LONGEST_STATUS) if asked_now else connect(path, seconds)
        send_call(daemon, env, stdin)
        kind, payload = receive(daemon)
        while kind == IPAM:
            serve_ipam(daemon, env, stdin, payload)
            kind, payload = receive(daemon)
        if kind != ANSWER or not payload:
            raise OSError(PROTOCOL)
    except (OSError, EOFError) as error:
        return give_up(str(error), NOT_AVAILABLE if asked_now else TRY_AGAIN)
    return deliver(daemon, env, stdin, payload)


def deliver(daemon: _socket.socket, env: dict[bytes, bytes], stdin: bytes, answer: bytes) -> int:
    """Print the answer, and report to the daemon whether it could be printed.

    Then wait for the daemon to hang up: it does so when it has released the namespace, or, if the runtime died before
    it could read, when it has taken everything back, for which it may need the IPAM plugin once more. Any other end is
    a failure, since this process may have been stopped for so long that what it printed is no longer true.
    """
    status = answer[0]
    try:
        write_all(1, answer[1:])
    except OSError:
        status = UNREAD
    try:
        daemon.sendall(frame(DELIVERED, bytes((status != UNREAD,))))
        kind, request = receive(daemon)
        while kind == IPAM:
            serve_ipam(daemon, env, stdin, request)
            status = status or LATE
            kind, request = receive(daemon)
    except EOFError:
        return status
    except OSError:
        pass
    return status or LATE


def serve_ipam(daemon: _socket.socket, env: dict[bytes, bytes], stdin: bytes, request: bytes) -> None:
    command, plugin, variables, own = read_request(request)
    try:
        status, output = run_ipam({**env, **variables}, stdin if own is None else own, command, plugin)
    except OSError as error:
        status, output = 255, str(error).encode()
    daemon.sendall(frame(IPAM, bytes((status,)) + output))


def read_request(request: bytes) -> tuple[bytes, bytes, dict[bytes, bytes], bytes | None]:
    """Return command and plugin; then variables and stdin of a call of its own, or none."""
    named, is_own, own = request.partition(b"\0\0")
    command, *further = named.split(b"\0")
    given = [each.split(b"=", 1) for each in further[1:] if each[:4] == b"CNI_" and b"=" in each]
    if not further or len(given) < len(further) - 1 or (given and not is_own):
        raise OSError(PROTOCOL)
    return command, further[0], dict(given), own if is_own else None


def occupy_closed_streams() -> None:
    """Fill closed streams: the next file opened gets their number, and a socket there would receive the answer."""
    spare = 0
    while spare <= 2:
        spare = posix.open("/dev/null", posix.O_RDONLY)
    posix.close(spare)


def read_stdin() -> bytes:
    """Read all of stdin, up to one byte beyond the limit, so that the daemon sees that it is too long."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    data = b""
    while len(data) <= STDIN_LIMIT and poll.poll(STDIN_PAUSE):
        part = posix.read(0, 65536)
        if not part:
            break
        data += part
    return data[: STDIN_LIMIT + 1]


def connect(path: bytes, wait: float, longest: float = LONGEST_CALL) -> _socket.socket:
    deadline = time.monotonic() + wait
    while True:
        daemon = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            daemon.settimeout(longest)
            daemon.connect(path)
            return daemon
        except OSError:
            daemon.close()
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.05)


def send_call(daemon: _socket.socket, env: dict[bytes, bytes], stdin: bytes) -> None:
    """Send the call, with the namespace as a descriptor, which nobody can exchange on the way as a path can be."""
    ours = b"\0".join(key + b"=" + value for key, value in env.items() if key.startswith(b"CNI_"))
    first = frame(ENVIRONMENT, ours)
    try:
        netns = posix.open(env.get(b"CNI_NETNS", b""), posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    except OSError:
        sent = daemon.send(first)  # the daemon knows the commands that need no namespace
    else:
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, netns.to_bytes(4, sys.byteorder))
        sent = daemon.sendmsg([first], [rights])
        posix.close(netns)
    daemon.sendall(first[sent:] + frame(STDIN, stdin))


def frame(kind: bytes, payload: bytes) -> bytes:
    return kind + len(payload).to_bytes(4, "big") + payload


def receive(daemon: _socket.socket) -> tuple[bytes, bytes]:
    """Return kind and payload of the next frame. Raises EOFError if the daemon has hung up instead."""
    head = daemon.recv(5)
    if not head:
        raise EOFError("the daemon closed the connection")
    head += receive_exactly(daemon, 5 - len(head))
    size = int.from_bytes(head[1:], "big")
    if size > LONGEST:
        raise OSError(PROTOCOL)
    return head[:1], receive_exactly(daemon, size)


def receive_exactly(daemon: _socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = daemon.recv(size - len(data))
        if not part:
            raise OSError("the daemon closed the connection")
        data += part
    return data


def run_ipam(env: dict[bytes, bytes], stdin: bytes, command: bytes, plugin: bytes) -> tuple[int, bytes]:
    """Run the plugin with our environment, stdin and stderr; return exit status and stdout (CNI spec, section 4)."""
    path = find_plugin(env.get(b"CNI_PATH", b""), plugin)
    if path is None:
        return NO_PLUGIN, b""
    source = posix.memfd_create("stdin", posix.MFD_CLOEXEC)
    write_all(source, stdin)
    posix.lseek(source, 0, 0)
    output, sink = posix.pipe2(posix.O_CLOEXEC)
    lifeline, ours = posix.pipe2(posix.O_CLOEXEC)
    inherited = ((source, 0), (sink, 1), (lifeline, LIFELINE))
    files = [(posix.POSIX_SPAWN_DUP2, fd, number) for fd, number in inherited]
    child = spawn(path, {**env, b"CNI_COMMAND": command}, files)
    tie_to_our_life(child, lifeline)
    posix.close(source)
    posix.close(sink)
    data = read_output(output)
    posix.close(output)
    status = posix.waitstatus_to_exitcode(posix.waitpid(child, 0)[1])
    fcntl.fcntl(lifeline, fcntl.F_SETFL, 0)  # what the plugin left running may go on
    posix.close(lifeline)
    posix.close(ours)
    return status if status >= 0 else 255, data


def read_output(output: int) -> bytes:
    """Read all of it, up to a length by which the daemon sees that it is too long."""
    data = b""
    while len(data) < LONGEST and (part := posix.read(output, min(65536, LONGEST - len(data)))):
        data += part
    return data


def spawn(path: bytes, env: dict[bytes, bytes], files: list[tuple[int, int, int]]) -> int:
    """Start the plugin in a process group of its own.

    A plugin that is just being replaced (ETXTBSY) is tried again, as libcni does.
    """
    usual = (SIGPIPE, SIGXFSZ)
    for _ in range(BUSY_TRIES):
        try:
            return posix.posix_spawn(path, [path], env, file_actions=files, setpgroup=0, setsigdef=usual)
        except OSError as error:
            if error.errno != ETXTBSY:
                raise
        time.sleep(BUSY_PAUSE)
    return posix.posix_spawn(path, [path], env, file_actions=files, setpgroup=0, setsigdef=usual)


def tie_to_our_life(child: int, lifeline: int) -> None:
    """Have the kernel kill the plugin's process group when the runtime kills us, which we cannot report to the plugin.

    The plugin holds the reading end of a pipe whose writing end is only ours. When that closes, the kernel sends the
    pipe's owner its signal (fcntl(2), F_SETOWN and F_SETSIG; fs/pipe.c, pipe_release).
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -child)
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.FASYNC)


def find_plugin(search: bytes, plugin: bytes) -> bytes | None:
    """Return the first regular file of that name on CNI_PATH; relative folders do not count."""
    for folder in search.split(b":"):
        path = folder + b"/" + plugin
        try:
            if folder.startswith(b"/") and posix.stat(path).st_mode & 0o170000 == 0o100000:
                return path
        except OSError:
            continue
    return None


def write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[posix.write(fd, data) :]


def give_up(reason: str, code: int) -> int:
    """Print a CNI error: after 11 the runtime tries again; 50 is STATUS' own, no pod can be attached now.

    The reason is text of the operating system, without quotes.
    """
    message = "the sriov daemon does not answer: " + reason.replace("\\", "").replace('"', "")
    remedy = "is sriov_cni running on this node? see its log"
    error = f'{{"cniVersion":"1.1.0","code":{code},"msg":"{message}","details":"{remedy}"}}\n'
    try:
        write_all(1, error.encode())
    except OSError:
        return UNREAD
    return 1


if __name__ == "__main__":
    # Not sys.exit: taking the interpreter apart takes a seventh of this program's time, and there is nothing to flush.
    posix._exit(main())
