/* Preloaded into a daemon: a signal to itself right before one of its requests, the one at which a countdown ends.
 *
 * Requests are what changes something outside of the process: bpf(2), messages on sockets, files that get their name or
 * lose it. Those to the kernel of netdevs are mortal.py's to count, since the mock kernel has more to do for each of them,
 * which is between request_begins() and request_ends(). $MORTAL is a file with three ints for each kind of process:
 * whether it counts, how many are left, the signal.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static volatile int *all, *countdown;
static __thread int inside;

__attribute__((constructor)) static void map(void)
{
    int file = open(getenv("MORTAL"), O_RDWR | O_CLOEXEC);
    all = mmap(NULL, 6 * sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
}

static void request(void)
{
    if (!inside && countdown && countdown[0] && __sync_sub_and_fetch(&countdown[1], 1) == 0)
        kill(getpid(), countdown[2]);
}

/* Before this, nothing happens: the process that forks goes on. */
void be_of_kind(int kind)
{
    countdown = all + 3 * kind;
}

void request_begins(void)
{
    request();
    inside++;
}

void request_ends(void)
{
    inside--;
}

static int is_netlink(int socket)
{
    int family = 0;
    socklen_t length = sizeof family;
    return !getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &family, &length) && family == AF_NETLINK;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* bpf(2), by libbpf. Lookups change nothing: BPF_MAP_LOOKUP_ELEM, _GET_NEXT_KEY, ids and queries. */
static int changes(long command)
{
    return command == 0 || command == 2 || command == 3 || (command >= 5 && command <= 9 && command != 7) ||
           command == 26 || command == 27 || command == 28 || command == 29;
}

long syscall(long number, ...)
{
    long word[6];
    va_list given;
    va_start(given, number);
    for (int each = 0; each < 6; each++)
        word[each] = va_arg(given, long);
    va_end(given);
    if (number == SYS_bpf && changes((int)word[0]))
        request();
    return REAL(syscall)(number, word[0], word[1], word[2], word[3], word[4], word[5]);
}

ssize_t send(int socket, const void *data, size_t length, int flags)
{
    if (!is_netlink(socket))
        request();
    return REAL(send)(socket, data, length, flags);
}

ssize_t sendmsg(int socket, const struct msghdr *message, int flags)
{
    if (!is_netlink(socket))
        request();
    return REAL(sendmsg)(socket, message, flags);
}

int rename(const char *old, const char *new)
{
    request();
    return REAL(rename)(old, new);
}

int unlink(const char *path)
{
    request();
    return REAL(unlink)(path);
}
