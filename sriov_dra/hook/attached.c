/* OCI createRuntime hook of a claim: ends with 1 and one sentence unless each VF is attached to the container's network
 * namespace. The CDI spec of the claim names it, so the runtime runs it for each container that has the claim.
 *
 *     sriov-claim-hook FOLDER CLAIM VF...
 *
 * FOLDER has the CNI daemon's ledger, a file for each VF that is attached, with device and inode of the pod's namespace.
 * Only root can write there. The container's namespace is /proc/PID/ns/net, PID from the container's state on stdin
 * (runtime-spec, runtime.md "State" and config.md "createRuntime Hooks": it runs in the runtime's namespaces, before
 * the container's program). Specs that other versions wrote are used, too: these arguments stay as they are.
 *
 * What it cannot read is a refusal. A pod chooses strings in both texts (annotations, names), so that members are looked
 * for in the outermost object only. All memory is static. hack/build-shim --hook builds it.
 */

#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

enum { FORMAT = 1, LIMIT = 1 << 20 }; /* sriov/state/ledger.py, FORMAT; bytes of a text */

static char state[LIMIT + 1], record[LIMIT + 1];

/* runc tells stderr in its error, which becomes the pod's event; crun (1.8.1) leaves stderr to nobody: so the log, too. */
__attribute__((format(printf, 1, 2))) static int refuse(const char *format, ...) {
    char text[2048];
    va_list given;
    va_start(given, format);
    vsnprintf(text, sizeof text, format, given);
    va_end(given);
    fprintf(stderr, "sriov-claim-hook: %s\n", text);
    openlog("sriov-claim-hook", LOG_PID, LOG_DAEMON);
    syslog(LOG_ERR, "%s", text);
    return 1;
}

/* Read a text to its end. Returns -1, with errno, for one that is too long or has a NUL. */
static int read_text(int fd, char *text) {
    size_t have = 0;
    for (ssize_t part = 1; part != 0 && have <= LIMIT;) {
        part = read(fd, text + have, LIMIT + 1 - have);
        if (part < 0 && errno != EINTR)
            return -1;
        have += part > 0 ? (size_t)part : 0;
    }
    errno = EFBIG;
    if (have > LIMIT)
        return -1;
    text[have] = 0;
    errno = EBADMSG;
    return strlen(text) == have ? 0 : -1;
}

static const char *after_blanks(const char *at) {
    return at + strspn(at, " \t\r\n");
}

/* From behind a string's first quote to its last one, or to the text's end. */
static const char *string_end(const char *at) {
    while (*at && *at != '"')
        at += at[0] == '\\' && at[1] ? 2 : 1;
    return at;
}

/* The value of a member of the outermost object; NULL if there is none, more than one, or no whole object. */
static const char *member(const char *at, const char *name) {
    const char *found = NULL;
    int depth = 0;
    at = after_blanks(at);
    if (*at != '{')
        return NULL;
    for (; *at; at++) {
        depth += (*at == '{' || *at == '[') - (*at == '}' || *at == ']');
        if (*at != '"')
            continue;
        const char *begin = at + 1;
        at = string_end(begin);
        if (!*at)
            return NULL;
        const char *behind = after_blanks(at + 1);
        int is_it = depth == 1 && *behind == ':' && strlen(name) == (size_t)(at - begin) && !strncmp(begin, name, strlen(name));
        if (is_it && found)
            return NULL;
        if (is_it)
            found = after_blanks(behind + 1);
    }
    return depth == 0 ? found : NULL;
}

/* A whole number, followed by `next` or, if that is 0, by whatever ends a member. Returns what follows; NULL for no such. */
static const char *number(const char *at, char next, unsigned long long *value) {
    char *end;
    if (!at || !isdigit((unsigned char)*at))
        return NULL;
    errno = 0;
    *value = strtoull(at, &end, 10);
    at = after_blanks(end);
    if (errno || (next ? *at != next : *at != ',' && *at != '}'))
        return NULL;
    return after_blanks(at + 1);
}

/* Device and inode of the namespace in `record`. Returns 0, or -1 for a format that is not known. */
static int recorded(unsigned long long *device, unsigned long long *inode) {
    unsigned long long version;
    const char *at = member(record, "netns");
    if (!number(member(record, "version"), 0, &version) || version < 1 || version > FORMAT || !at || *at != '[')
        return -1;
    at = number(after_blanks(at + 1), ',', device);
    return number(at, ']', inode) ? 0 : -1;
}

static int namespace_of(const char *process, struct stat *found) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/ns/net", process);
    return stat(path, found);
}

static int check(const char *folder, const char *claim, const char *vf, const struct stat *container) {
    char path[PATH_MAX];
    unsigned long long device, inode;
    struct stat host;
    int too_long = snprintf(path, sizeof path, "%s/%s.json", folder, vf) >= (int)sizeof path;
    int fd = too_long ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && !too_long && errno == ENOENT) {
        if (namespace_of("self", &host) == 0 && host.st_dev == container->st_dev && host.st_ino == container->st_ino)
            return refuse("VF %s of claim %s cannot be in this pod, which is on the host's network; remedy: remove hostNetwork "
                          "from the pod, or the claim", vf, claim);
        return refuse("VF %s of claim %s is attached to no pod, so that this container would start without it; remedy: name "
                      "its network in the pod's annotation, or the sriov plugin in the node's network configuration", vf, claim);
    }
    if (fd < 0 || read_text(fd, record) < 0)
        return refuse("the record of VF %s of claim %s cannot be read: %s: %s", vf, claim, path, strerror(errno));
    close(fd);
    if (recorded(&device, &inode) < 0)
        return refuse("the record of VF %s of claim %s has a format that is not known here: %s; remedy: have the CNI daemon and "
                      "the DRA driver of one version", vf, claim, path);
    if (device != container->st_dev || inode != container->st_ino)
        return refuse("VF %s of claim %s is attached to another network namespace than this container's; remedy: the pod has to "
                      "be made again", vf, claim);
    return 0;
}

int main(int count, char **given) {
    unsigned long long pid;
    char process[24];
    struct stat container;
    if (count == 2 && !strcmp(given[1], "--try"))
        return 0; /* it can be executed */
    if (count < 4)
        return refuse("usage: sriov-claim-hook FOLDER CLAIM VF...");
    if (read_text(STDIN_FILENO, state) < 0 || !number(member(state, "pid"), 0, &pid) || pid == 0)
        return refuse("the container's state, on stdin, has no process, so that claim %s cannot be checked", given[2]);
    snprintf(process, sizeof process, "%llu", pid);
    if (namespace_of(process, &container) < 0)
        return refuse("the network namespace of process %s, the container's, cannot be read: %s", process, strerror(errno));
    for (int each = 3; each < count; each++)
        if (check(given[1], given[2], given[each], &container))
            return 1;
    return 0;
}
