/* The native twin of shim.py, for hosts without Python and to save milliseconds: passes the call to the daemon, runs
 * the IPAM plugin, prints the answer. wire.py describes the frames; if this and shim.py differ, one of them is wrong.
 *
 * All memory that input can fill is static and as large as the protocol allows; pages that nobody writes cost nothing.
 * It parses no JSON and decides nothing. Exec closes every descriptor of its own. hack/build-shim builds it.
 * plugins.h has the part that runs plugins.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HEAD = 5, STDIN_LIMIT = 1 << 20, LONGEST = 4 * STDIN_LIMIT }; /* bytes; LONGEST is a frame's payload */
enum { NO_PLUGIN = 127, LATE = 253, UNREAD = 254, FAILED = 255, HUNG_UP = -2 }; /* exit status; HUNG_UP: no frame came */
enum { STDIN_PAUSE = 2000, CONNECT_PAUSE = 50, BUSY_PAUSE = 200 };   /* milliseconds */
enum { LONGEST_CALL = 110, LONGEST_STATUS = 1, BUSY_TRIES = 5, LIFELINE = 13 }; /* seconds; seconds; times; a plugin's descriptor */

#define PROTOCOL "the daemon does not keep to the protocol"
/* A process that is stopped and continued finds its calls interrupted, even without a handler: signal(7). */
#define AGAIN_IF_INTERRUPTED(result, call) do (result) = (call); while ((result) < 0 && errno == EINTR)

extern char **environ;

/* Frame E, frame S: the call. Stdin is read into the buffer that it is sent from. */
static unsigned char call[HEAD + LONGEST + HEAD + STDIN_LIMIT + 1];
static unsigned char *stdin_data;
static size_t call_size, stdin_size;
/* The daemon's last frame; then a plugin's outcome, with room for one that is too long, so that the daemon sees that. */
static unsigned char message[HEAD + LONGEST + 1];
static unsigned char *const payload = message + HEAD;
static char reason[128]; /* why the daemon does not answer */
static int asked_now;    /* STATUS: whether a pod could be attached now, so that nothing is waited for */

static int fail(const char *why) {
    snprintf(reason, sizeof reason, "%s", why);
    return -1;
}

static int fail_errno(void) {
    if (errno == EAGAIN)
        return fail("timed out");
    snprintf(reason, sizeof reason, "[Errno %d] %s", errno, strerror(errno));
    return -1;
}

static void put_head(unsigned char *frame, char kind, size_t size) {
    frame[0] = (unsigned char)kind;
    for (int each = 0; each < 4; each++)
        frame[1 + each] = (unsigned char)(size >> (24 - 8 * each));
}

static int write_all(int fd, const unsigned char *data, size_t size) {
    for (ssize_t part; size > 0; data += part, size -= (size_t)part) {
        AGAIN_IF_INTERRUPTED(part, write(fd, data, size));
        if (part < 0)
            return fail_errno();
    }
    return 0;
}

static ssize_t read_up_to(int fd, unsigned char *data, size_t size) {
    size_t have = 0;
    for (ssize_t part = 1; have < size && part > 0; have += (size_t)part) {
        AGAIN_IF_INTERRUPTED(part, read(fd, data + have, size - have));
        if (part < 0)
            return fail_errno();
    }
    return (ssize_t)have;
}

/* Backwards: of two variables with one name the daemon takes the last, and a process the first. */
static int put_environment(void) {
    size_t size = 0, count = 0;
    while (environ[count])
        count++;
    while (count-- > 0) {
        size_t length = strlen(environ[count]);
        if (strncmp(environ[count], "CNI_", 4) != 0 || !strchr(environ[count], '='))
            continue;
        if (size + length + 1 > LONGEST)
            return fail("the environment is too long");
        memcpy(call + HEAD + size, environ[count], length + 1);
        size += length + 1;
    }
    size -= size > 0; /* NUL separates */
    put_head(call, 'E', size);
    call_size = HEAD + size;
    return 0;
}

/* Up to one byte beyond the limit, so that the daemon sees it; VERSION may come with a pipe that nobody closes. */
static void read_stdin(void) {
    stdin_data = call + call_size + HEAD;
    while (stdin_size <= STDIN_LIMIT) {
        struct pollfd source = {.fd = 0, .events = POLLIN};
        ssize_t part;
        AGAIN_IF_INTERRUPTED(part, poll(&source, 1, STDIN_PAUSE));
        if (part > 0)
            AGAIN_IF_INTERRUPTED(part, read(0, stdin_data + stdin_size, STDIN_LIMIT + 1 - stdin_size));
        if (part <= 0)
            break;
        stdin_size += (size_t)part;
    }
    put_head(call + call_size, 'S', stdin_size);
    call_size += HEAD + stdin_size;
}

/* Not blocking until there is a connection, since a full queue is waited for here and not in the kernel. */
static int try_to_connect(const struct sockaddr_un *address) {
    const struct timeval longest = {.tv_sec = asked_now ? LONGEST_STATUS : LONGEST_CALL};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 &&
        fcntl(fd, F_SETFL, 0) == 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &longest, sizeof longest) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &longest, sizeof longest) == 0)
        return fd;
    fail_errno();
    close(fd);
    return -1;
}

static int connect_to_daemon(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("SRIOV_CNI_SOCKET"), *wait = getenv("SRIOV_CNI_WAIT");
    char *end = NULL;
    double seconds = wait ? strtod(wait, &end) : 0;
    int fd, length = snprintf(address.sun_path, sizeof address.sun_path, "%s", path ? path : "/run/sriov/cni.sock");
    if ((size_t)length >= sizeof address.sun_path)
        return fail("AF_UNIX path too long");
    if (!wait || !*wait || wait[strspn(wait, "0123456789.")] || *end)
        seconds = 10;
    for (seconds *= !asked_now; (fd = try_to_connect(&address)) < 0 && seconds > 0; seconds -= CONNECT_PAUSE / 1e3)
        poll(NULL, 0, CONNECT_PAUSE);
    return fd;
}

/* The namespace travels as a descriptor, which nobody can exchange on the way as a path can be. */
static int send_call(int daemon) {
    const char *path = getenv("CNI_NETNS");
    int netns = open(path ? path : "", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct {
        struct cmsghdr head;
        int netns;
    } rights = {{.cmsg_len = CMSG_LEN(sizeof netns), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}, netns};
    struct iovec first = {call, call_size};
    struct msghdr header = {.msg_iov = &first, .msg_iovlen = 1, .msg_control = netns < 0 ? NULL : &rights,
                            .msg_controllen = netns < 0 ? 0 : sizeof rights};
    ssize_t sent; /* without a namespace too: the daemon knows which commands can do without */
    AGAIN_IF_INTERRUPTED(sent, sendmsg(daemon, &header, 0));
    if (sent < 0)
        return fail_errno();
    close(netns);
    return write_all(daemon, call + sent, call_size - (size_t)sent);
}

/* The size of the next frame's payload, which is then in `payload`, and its kind in message[0]; or HUNG_UP. */
static long receive(int daemon) {
    ssize_t have = read_up_to(daemon, message, HEAD), first = have;
    size_t size = (size_t)message[1] << 24 | (size_t)message[2] << 16 | (size_t)message[3] << 8 | message[4];
    if (have == HEAD && size > LONGEST)
        return fail(PROTOCOL);
    if (have == HEAD && (have = read_up_to(daemon, payload, size)) == (ssize_t)size)
        return have;
    have = have < 0 ? -1 : fail("the daemon closed the connection");
    return first == 0 ? HUNG_UP : have;
}

#include "plugins.h"

/* Then wait for the daemon to hang up: it may want the IPAM plugin to undo what nobody has read. LATE: see shim.py. */
static int deliver(int daemon, size_t size) {
    int status = write_all(1, payload + 1, size - 1) < 0 ? UNREAD : payload[0];
    put_head(message, 'D', 1);
    payload[0] = status != UNREAD;
    long next = write_all(daemon, message, HEAD + 1) == 0 ? receive(daemon) : -1;
    if (next == HUNG_UP)
        return status;
    while (next >= 0 && serve_ipam(daemon, (size_t)next) == 0)
        next = receive(daemon);
    return status ? status : LATE;
}

/* CNI error 11, of STATUS 50: see shim.py. No text of the operating system has quotes. */
static int give_up(void) {
    int size = dprintf(1, "{\"cniVersion\":\"1.1.0\",\"code\":%d,\"msg\":\"the sriov daemon does not answer: %s\","
                          "\"details\":\"is sriov_cni running on this node? see its log\"}\n", asked_now ? 50 : 11, reason);
    return size < 0 ? UNREAD : 1;
}

int main(void) {
    int daemon, sound, spare = 0;
    long size;
    while (spare >= 0 && spare <= 2) /* a closed stream's number is the next to be given, and no socket is to have it */
        spare = open("/dev/null", O_RDONLY);
    close(spare);
    signal(SIGPIPE, SIG_IGN);
    asked_now = getenv("CNI_COMMAND") && strcmp(getenv("CNI_COMMAND"), "STATUS") == 0;
    sound = put_environment();
    read_stdin();
    if (sound < 0 || (daemon = connect_to_daemon()) < 0 || send_call(daemon) < 0)
        return give_up();
    while ((size = receive(daemon)) >= 0 && message[0] == 'I')
        if (serve_ipam(daemon, (size_t)size) < 0)
            return give_up();
    if (size == 0 || (size > 0 && message[0] != 'A'))
        return fail(PROTOCOL), give_up();
    return size < 0 ? give_up() : deliver(daemon, (size_t)size);
}
