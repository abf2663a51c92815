/* The part of shim.c that runs an IPAM plugin: what the daemon asks for by a frame I, in two forms (wire.py). It is included
 * there, and uses its buffers. */

enum { MOST_VARIABLES = 4096 }; /* of an environment */

/* Return the first regular file of that name on CNI_PATH; relative folders do not count. */
static int find_plugin(const char *plugin, char path[PATH_MAX]) {
    const char *folder = getenv("CNI_PATH");
    while (folder && *folder) {
        int length = (int)strcspn(folder, ":"); /* an environment has less than 2^31 bytes */
        struct stat found;
        if (*folder == '/' && snprintf(path, PATH_MAX, "%.*s/%s", length, folder, plugin) < PATH_MAX &&
            stat(path, &found) == 0 && S_ISREG(found.st_mode))
            return 1;
        folder += length + (folder[length] == ':');
    }
    return 0;
}

static int is_among(const char *variable, const char *given) {
    size_t length = strcspn(variable, "=") + 1;
    while (*given && strncmp(variable, given, length) != 0)
        given += strlen(given) + 1;
    return *given != 0;
}

/* The environment of one run: ours, with the variables at `given` in the place of ours, up to an empty string. NULL, with
 * errno, if there are too many. */
static char **environment_with(char *given) {
    static char *made[MOST_VARIABLES + 1];
    size_t size = 0;
    for (char **each = environ; *each && size < MOST_VARIABLES; each++)
        if (!is_among(*each, given))
            made[size++] = *each;
    for (char *each = given; *each && size < MOST_VARIABLES; each += strlen(each) + 1)
        made[size++] = each;
    made[size] = NULL;
    errno = E2BIG;
    return size < MOST_VARIABLES ? made : NULL;
}

/* The plugin in a process group of its own, or -1 and errno. Until it runs, its memory is ours: vfork(2). */
static pid_t spawn(char *path, char **environment, int source, int sink, int lifeline) {
    char *const arguments[] = {path, NULL};
    volatile int error = 0;
    pid_t child = vfork();
    if (child == 0) {
        if (setpgid(0, 0) == 0 && dup2(source, 0) >= 0 && dup2(sink, 1) >= 0 && dup2(lifeline, LIFELINE) >= 0 &&
            fcntl(LIFELINE, F_SETFD, 0) == 0 && signal(SIGPIPE, SIG_DFL) != SIG_ERR)
            execve(path, arguments, environment);
        error = errno;
        _exit(FAILED);
    }
    if (child < 0 || !error)
        return child;
    waitpid(child, NULL, 0);
    errno = error;
    return -1;
}

/* A runtime that gives up kills us, which we cannot report to the plugin: the kernel kills its process group. The plugin
 * holds the reading end of a pipe whose writing end is ours alone, and when that closes, the kernel sends the pipe's
 * owner its signal (fcntl(2), F_SETOWN and F_SETSIG; fs/pipe.c, pipe_release). */
static void tie_to_our_life(pid_t child, int lifeline) {
    fcntl(lifeline, F_SETOWN, -child);
    fcntl(lifeline, F_SETSIG, SIGKILL);
    fcntl(lifeline, F_SETFL, FASYNC);
}

/* A run of a plugin: the variables that are given, up to an empty string, and its stdin. */
struct run {
    char *given;
    const unsigned char *source;
    size_t size;
};

/* The plugin's status and stdout to `payload`, a byte more than the daemon takes at most; their size. */
static size_t run_ipam(char *path, const struct run *run) {
    enum { SOURCE, OUTPUT, SINK, LIFE, OURS, ALL };
    int status = FAILED << 8, tries = 0, fd[ALL] = {memfd_create("stdin", MFD_CLOEXEC), -1, -1, -1, -1};
    pid_t child = -1, ended;
    ssize_t size;
    char **environment = environment_with(run->given);
    if (environment && fd[SOURCE] >= 0 && write_all(fd[SOURCE], run->source, run->size) == 0 &&
        lseek(fd[SOURCE], 0, SEEK_SET) == 0 && pipe2(fd + OUTPUT, O_CLOEXEC) == 0 && pipe2(fd + LIFE, O_CLOEXEC) == 0)
        while ((child = spawn(path, environment, fd[SOURCE], fd[SINK], fd[LIFE])) < 0 && errno == ETXTBSY &&
               tries++ < BUSY_TRIES)
            poll(NULL, 0, BUSY_PAUSE); /* it is being replaced this moment: tried again, as libcni does */
    if (child < 0) {
        fail_errno();
        size = sprintf((char *)payload + 1, "%s: %s", reason, path);
    } else {
        tie_to_our_life(child, fd[LIFE]);
        close(fd[SINK]);
        size = read_up_to(fd[OUTPUT], payload + 1, LONGEST);
        close(fd[OUTPUT]);
        fd[SINK] = fd[OUTPUT] = -1;
        AGAIN_IF_INTERRUPTED(ended, waitpid(child, &status, 0));
        fcntl(fd[LIFE], F_SETFL, 0); /* what it left running is no business of ours */
    }
    payload[0] = WIFEXITED(status) ? (unsigned char)WEXITSTATUS(status) : FAILED;
    for (int each = 0; each < ALL; each++)
        close(fd[each]);
    return 1 + (size > 0 ? (size_t)size : 0);
}

/* What is behind the plugin's name, which ends at `given`: nothing, or a call of its own. */
static int read_own(char *plugin, char *given, char *end, struct run *run) {
    if (given == end)
        return 0;
    for (run->given = ++given; given < end && *given; given += strlen(given) + 1)
        if (strncmp(given, "CNI_", 4) != 0 || !strchr(given, '='))
            return -1;
    run->source = (unsigned char *)given + 1;
    run->size = (size_t)(end - given) - 1;
    return *plugin && given < end ? 0 : -1;
}

static int serve_ipam(int daemon, size_t size) {
    static char path[PATH_MAX];
    struct run run = {"", stdin_data, stdin_size};
    char *plugin = memchr(payload, 0, size);
    payload[size] = 0;
    if (message[0] != 'I' || !plugin++ ||
        read_own(plugin, plugin + strlen(plugin), (char *)payload + size, &run) < 0)
        return fail(PROTOCOL);
    if (unsetenv("CNI_COMMAND") < 0 || setenv("CNI_COMMAND", (char *)payload, 1) < 0)
        return fail_errno();
    payload[0] = NO_PLUGIN; /* its name is behind that */
    size = find_plugin(plugin, path) ? run_ipam(path, &run) : 1;
    put_head(message, 'I', size);
    return write_all(daemon, message, HEAD + size);
}
