/* Services at the socket: cgroup programs that put a backend in the place of a Service's address where an application
 * names it, so that its packets are the pod's own, from its own address, to the backend.
 *
 * They act for the network namespaces in `pods` alone. Addresses have 16 bytes, IPv4 as ::ffff:a.b.c.d, so that one table
 * serves both versions, and IPv4 on sockets of IPv6 too; ports are in network order. sriov_cni/dataplane/service_maps.py
 * writes the maps. Numbers and layouts of the kernel's: include/uapi/linux/bpf.h.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define NUMBER(name, value) int(*name)[value]

enum { HASH = 1, ARRAY = 2, LRU_HASH = 9, NO_PREALLOC = 1 };
enum { REFUSE = 0, GO_ON = 1, ECONNREFUSED = 111 };

struct bpf_sock_addr {
    u32 user_family, user_ip4, user_ip6[4], user_port, family, type, protocol, msg_src_ip4, msg_src_ip6[4];
    u64 sk;
};

static void *(*const lookup)(void *map, const void *key) = (void *)1;
static long (*const update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static u64 (*const nanoseconds)(void) = (void *)5;
static u32 (*const random)(void) = (void *)7;
static u64 (*const socket_cookie)(void *context) = (void *)46;
static u64 (*const netns_cookie)(void *context) = (void *)122;
static int (*const set_retval)(int value) = (void *)187;

struct address {
    u32 ip[4];
    u16 port;
    u8 protocol, space; /* of a frontend: which namespaces have it. Of a backend 0 */
};

/* The backends of a Service are a range of the array. An entry that is not used any more may be another's a moment later,
 * while a program still looks at it. So entries repeat what they are of, and who has read one compares it. */
struct service {
    struct address frontend;
    u32 first, count, set, affinity, id;
};
struct backend {
    struct address address;
    u32 set;
};
struct member {
    struct address backend;
    u32 service;
};
struct client {
    u64 netns;
    struct address frontend;
    u32 unused;
};
struct kept {
    u64 at;
    struct address backend;
    u32 unused;
};
struct asked {
    u64 socket;
    struct address backend;
    u32 unused;
};
struct told {
    struct address frontend;
    u32 unused;
    u64 netns;
};

#define MAP(name, kind, key_type, value_type, most, flags)                                                             \
    struct {                                                                                                           \
        NUMBER(type, kind);                                                                                            \
        key_type *key;                                                                                                 \
        value_type *value;                                                                                             \
        NUMBER(max_entries, most);                                                                                     \
        NUMBER(map_flags, flags);                                                                                      \
    } name SECTION(".maps")

/* The value is the space of the namespace's Services: 0 for pods. The daemon's proof has another, whose four Services and
 * their backends have the last places: no pod reaches them, and the proof reaches no others. */
MAP(pods, HASH, u64, u32, 4096, NO_PREALLOC);
MAP(services, HASH, struct address, struct service, 65536 + 4, NO_PREALLOC);
MAP(backends, ARRAY, u32, struct backend, 262144 + 4, 0);
MAP(members, HASH, struct member, u32, 16384, NO_PREALLOC);       /* of Services with affinity */
MAP(affinity, LRU_HASH, struct client, struct kept, 8192, 0);     /* the backend that a pod keeps */
MAP(frontends, LRU_HASH, struct asked, struct told, 16384, 0);    /* what a socket asked for */

/* Whether this kernel lets a program choose the error (5.18). Otherwise it is EPERM. */
const volatile u32 chooses_error = 1;

SECTION("license") char _license[] = "GPL";

INLINE int same(struct address *one, struct address *other)
{
    return one->ip[0] == other->ip[0] && one->ip[1] == other->ip[1] && one->ip[2] == other->ip[2] &&
           one->ip[3] == other->ip[3] && one->port == other->port && one->protocol == other->protocol;
}

INLINE int kept_backend(struct client *client, struct service *service, struct address *backend)
{
    struct kept *kept = lookup(&affinity, client);
    if (!kept || nanoseconds() - kept->at >= service->affinity * 1000000000ull)
        return 0;
    struct member member = {kept->backend, service->id};
    if (!lookup(&members, &member))
        return 0;
    *backend = member.backend;
    return 1;
}

INLINE void keep(struct client *client, struct address *backend)
{
    struct kept kept = {nanoseconds(), *backend, 0};
    update(&affinity, client, &kept, 0);
}

INLINE int any_backend(struct service *service, struct address *backend)
{
    u32 index = service->first + random() % service->count;
    struct backend *found = lookup(&backends, &index);
    if (!found)
        return 0;
    struct backend read = *found;
    *backend = read.address;
    return read.set == service->set;
}

INLINE int refused(void)
{
    if (chooses_error)
        set_retval(-ECONNREFUSED);
    return REFUSE;
}

/* Find the backend, if `frontend` is a Service's and the socket a pod's. A set of backends may have been replaced
 * between two looks: the next one finds the new set. */
INLINE int translate(struct bpf_sock_addr *context, struct address *frontend, struct address *backend)
{
    u64 netns = netns_cookie(context);
    u32 *space = lookup(&pods, &netns);
    if (!space)
        return GO_ON;
    frontend->space = *space;
    for (int look = 0; look < 4; look++) {
        struct service *found = lookup(&services, frontend);
        if (!found)
            return GO_ON;
        struct service service = *found;
        if (!same(&service.frontend, frontend))
            continue;
        if (!service.count)
            return refused();
        struct client client = {netns, *frontend, 0};
        if ((service.affinity && kept_backend(&client, &service, backend)) || any_backend(&service, backend)) {
            if (service.affinity)
                keep(&client, backend);
            struct asked asked = {socket_cookie(context), *backend, 0};
            struct told told = {*frontend, 0, netns};
            update(&frontends, &asked, &told, 0);
            return GO_ON;
        }
    }
    backend->port = 0;
    return refused();
}

INLINE struct address *what_was_asked(struct bpf_sock_addr *context, struct address *backend)
{
    struct asked asked = {socket_cookie(context), *backend, 0};
    struct told *told = lookup(&frontends, &asked);
    return told ? &told->frontend : 0;
}

INLINE struct address named4(struct bpf_sock_addr *context)
{
    struct address read = {{0, 0, 0xffff0000, context->user_ip4}, context->user_port, context->protocol, 0};
    return read;
}

INLINE struct address named6(struct bpf_sock_addr *context)
{
    struct address read = {
        {context->user_ip6[0], context->user_ip6[1], context->user_ip6[2], context->user_ip6[3]},
        context->user_port,
        context->protocol,
        0,
    };
    return read;
}

INLINE void name4(struct bpf_sock_addr *context, struct address *address)
{
    context->user_ip4 = address->ip[3];
    context->user_port = address->port;
}

INLINE void name6(struct bpf_sock_addr *context, struct address *address)
{
    context->user_ip6[0] = address->ip[0];
    context->user_ip6[1] = address->ip[1];
    context->user_ip6[2] = address->ip[2];
    context->user_ip6[3] = address->ip[3];
    context->user_port = address->port;
}

/* An application names an address: connect, sendmsg. */
#define OUT(hook, version)                                                                                             \
    SECTION("cgroup/" #hook) int hook(struct bpf_sock_addr *context)                                                   \
    {                                                                                                                  \
        struct address frontend = named##version(context), backend = {0};                                              \
        int verdict = translate(context, &frontend, &backend);                                                         \
        if (backend.port)                                                                                              \
            name##version(context, &backend);                                                                          \
        return verdict;                                                                                                \
    }

/* An application is told an address: recvmsg, getpeername. */
#define IN(hook, version)                                                                                              \
    SECTION("cgroup/" #hook) int hook(struct bpf_sock_addr *context)                                                   \
    {                                                                                                                  \
        struct address backend = named##version(context), *asked = what_was_asked(context, &backend);                  \
        if (asked)                                                                                                     \
            name##version(context, asked);                                                                             \
        return GO_ON;                                                                                                  \
    }

OUT(connect4, 4)
OUT(connect6, 6)
OUT(sendmsg4, 4)
OUT(sendmsg6, 6)
IN(recvmsg4, 4)
IN(recvmsg6, 6)
IN(getpeername4, 4)
IN(getpeername6, 6)
