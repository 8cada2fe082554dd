/* Faults at the k-th file operation below one folder, for bench/failures: loaded by LD_PRELOAD, armed through ctypes.

   An operation is a call that changes files: opening for writing, writing, fsync, truncating, renaming, unlinking, making and
   removing folders, chmod. Nothing is done until failures_arm is called. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { COUNT, KILL, TEAR, STOP, FULL, REFUSE };
enum { SPACE = 1, WRITING = 2 }; /* kinds of operations: what takes space; what writes bytes */

static char root[PATH_MAX];
static int armed, action, error_number, lock_error;
static long at, count;
static long long clock_seconds, slept_seconds; /* the pause of a stopped process counts as one of many minutes */
static char proc_stat[PATH_MAX];
static char names[8192]; /* one letter per operation so far */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void failures_arm(const char *folder, int what, long k, int number) {
    snprintf(root, sizeof root, "%s", folder);
    action = what, at = k, error_number = number, count = 0, armed = 1;
}
void failures_disarm(void) { armed = 0; }
long failures_count(void) { return count; }
const char *failures_names(void) { return names; }
void failures_no_locks(int number) { lock_error = number; }
void failures_clock(long long seconds, const char *stat_file) {
    clock_seconds = seconds;
    snprintf(proc_stat, sizeof proc_stat, "%s", stat_file);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int below(const char *path) {
    size_t length = strlen(root);
    return length && strncmp(path, root, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int path_counts(int folder, const char *path) {
    char link[64], full[PATH_MAX];
    if (!armed || !path) return 0;
    if (path[0] == '/') return below(path);
    if (folder == AT_FDCWD) return getcwd(full, sizeof full) && below(full);
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t size = readlink(link, full, sizeof full - 1);
    if (size < 0) return 0;
    full[size] = 0;
    return below(full);
}

static int file_counts(int file) {
    char link[64], full[PATH_MAX];
    if (!armed) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, full, sizeof full - 1);
    if (size < 0) return 0;
    full[size] = 0;
    return below(full);
}

/* Count an operation; return 0 to go on, 1 to fail with errno set, 2 to write a half and die. */
static int operation(char letter, int kind) {
    pthread_mutex_lock(&mutex);
    long number = ++count;
    if (number < (long)sizeof names) names[number - 1] = letter, names[number] = 0;
    pthread_mutex_unlock(&mutex);
    if (action == KILL && number == at) kill(getpid(), SIGKILL);
    if (action == TEAR && number == at) { if (kind & WRITING) return 2; kill(getpid(), SIGKILL); }
    if (action == STOP && number == at) { kill(getpid(), SIGSTOP); slept_seconds = 1000; }
    if (action == FULL && number >= at && kind & SPACE) { errno = error_number; return 1; }
    if (action == REFUSE && number >= at) { errno = error_number; return 1; }
    return 0;
}

static int opening(const char *path, int folder, int flags) {
    return (flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) && path_counts(folder, path)
        ? operation('o', flags & O_CREAT ? SPACE : 0) : 0;
}

#define MODE(flags, mode) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { va_list list; va_start(list, flags); mode = va_arg(list, mode_t); va_end(list); }
#define SEEN(path) (clock_seconds && strcmp(path, "/proc/stat") == 0 ? proc_stat : path)

int open(const char *path, int flags, ...) {
    MODE(flags, mode)
    return opening(path, AT_FDCWD, flags) ? -1 : REAL(open)(SEEN(path), flags, mode);
}
int open64(const char *path, int flags, ...) {
    MODE(flags, mode)
    return opening(path, AT_FDCWD, flags) ? -1 : REAL(open64)(SEEN(path), flags, mode);
}
int openat(int folder, const char *path, int flags, ...) {
    MODE(flags, mode)
    return opening(path, folder, flags) ? -1 : REAL(openat)(folder, SEEN(path), flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
    MODE(flags, mode)
    return opening(path, folder, flags) ? -1 : REAL(openat64)(folder, SEEN(path), flags, mode);
}

static ssize_t torn(int file, const void *buffer, size_t size) {
    ssize_t written = REAL(write)(file, buffer, size / 2);
    (void)written;
    kill(getpid(), SIGKILL);
    return -1;
}
ssize_t write(int file, const void *buffer, size_t size) {
    int fault = file_counts(file) ? operation('w', SPACE | WRITING) : 0;
    return fault == 1 ? -1 : fault == 2 ? torn(file, buffer, size) : REAL(write)(file, buffer, size);
}
ssize_t writev(int file, const struct iovec *parts, int number) {
    int fault = file_counts(file) ? operation('w', SPACE | WRITING) : 0;
    return fault == 1 ? -1 : fault == 2 ? torn(file, parts[0].iov_base, parts[0].iov_len) : REAL(writev)(file, parts, number);
}
ssize_t pwrite64(int file, const void *buffer, size_t size, off64_t where) {
    int fault = file_counts(file) ? operation('w', SPACE | WRITING) : 0;
    return fault == 1 ? -1 : fault == 2 ? torn(file, buffer, size) : REAL(pwrite64)(file, buffer, size, where);
}
ssize_t sendfile64(int to, int from, off64_t *where, size_t size) {
    int fault = file_counts(to) ? operation('w', SPACE | WRITING) : 0;
    if (fault == 2) { ssize_t sent = REAL(sendfile64)(to, from, where, 1); (void)sent; kill(getpid(), SIGKILL); }
    return fault ? -1 : REAL(sendfile64)(to, from, where, size);
}
ssize_t sendfile(int to, int from, off_t *where, size_t size) { return sendfile64(to, from, where, size); }
ssize_t copy_file_range(int from, off64_t *at_from, int to, off64_t *at_to, size_t size, unsigned flags) {
    int fault = file_counts(to) ? operation('w', SPACE) : 0;
    return fault ? -1 : REAL(copy_file_range)(from, at_from, to, at_to, size, flags);
}

#define CHECKED(counted, letter, kind, call) return (counted) && operation(letter, kind) ? -1 : (call)

int fsync(int file) { CHECKED(file_counts(file), 's', SPACE, REAL(fsync)(file)); }
int fdatasync(int file) { CHECKED(file_counts(file), 's', SPACE, REAL(fdatasync)(file)); }
int ftruncate(int file, off_t size) { CHECKED(file_counts(file), 't', 0, REAL(ftruncate)(file, size)); }
int ftruncate64(int file, off64_t size) { CHECKED(file_counts(file), 't', 0, REAL(ftruncate64)(file, size)); }
int rename(const char *a, const char *b) { CHECKED(path_counts(AT_FDCWD, b), 'r', 0, REAL(rename)(a, b)); }
int renameat(int f, const char *a, int g, const char *b) { CHECKED(path_counts(g, b), 'r', 0, REAL(renameat)(f, a, g, b)); }
int renameat2(int f, const char *a, int g, const char *b, unsigned n) {
    CHECKED(path_counts(g, b), 'r', 0, REAL(renameat2)(f, a, g, b, n));
}
int unlink(const char *path) { CHECKED(path_counts(AT_FDCWD, path), 'u', 0, REAL(unlink)(path)); }
int unlinkat(int folder, const char *path, int flags) {
    CHECKED(path_counts(folder, path), 'u', 0, REAL(unlinkat)(folder, path, flags));
}
int rmdir(const char *path) { CHECKED(path_counts(AT_FDCWD, path), 'u', 0, REAL(rmdir)(path)); }
int mkdir(const char *path, mode_t mode) { CHECKED(path_counts(AT_FDCWD, path), 'm', SPACE, REAL(mkdir)(path, mode)); }
int mkdirat(int folder, const char *path, mode_t mode) {
    CHECKED(path_counts(folder, path), 'm', SPACE, REAL(mkdirat)(folder, path, mode));
}
int chmod(const char *path, mode_t mode) { CHECKED(path_counts(AT_FDCWD, path), 'c', 0, REAL(chmod)(path, mode)); }
int fchmodat(int folder, const char *path, mode_t mode, int flags) {
    CHECKED(path_counts(folder, path), 'c', 0, REAL(fchmodat)(folder, path, mode, flags));
}

/* A file system without locks. */
int flock(int file, int how) {
    if (lock_error) { errno = lock_error; return -1; }
    return REAL(flock)(file, how);
}
#define FCNTL(name) \
    int name(int file, int what, ...) { \
        va_list list; va_start(list, what); void *argument = va_arg(list, void *); va_end(list); \
        if (lock_error && (what == F_SETLK || what == F_SETLKW || what == F_GETLK)) { errno = lock_error; return -1; } \
        return REAL(name)(file, what, argument); \
    }
FCNTL(fcntl)
FCNTL(fcntl64)

/* A clock that is wrong. File times are the file system's and stay right. */
int clock_gettime(clockid_t which, struct timespec *now) {
    int result = REAL(clock_gettime)(which, now);
    if (!result && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) now->tv_sec += clock_seconds + slept_seconds;
    return result;
}
int gettimeofday(struct timeval *now, void *zone) {
    int result = REAL(gettimeofday)(now, zone);
    if (!result) now->tv_sec += clock_seconds + slept_seconds;
    return result;
}
time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}
