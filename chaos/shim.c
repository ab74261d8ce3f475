/* Preloaded into the gateway alone: what a bad disk and a bad clock look like to a process.
 *
 * Only files under $CHAOS_FOLDER are concerned. The harness changes the mapped file $CHAOS_CONTROL at any time.
 *   fsync_ms     every fsync takes so much longer
 *   fsync_errno  what every fsync fails with (nothing is synced)
 *   write_errno  ENOSPC: nothing that makes a file longer; EROFS: no write at all
 *   clock_s      added to the real-time clock (never to the monotonic one)
 *   dirty        bytes of the write-ahead log written since its last fsync: what a power cut may lose
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct control {
    int32_t fsync_ms, write_errno, fsync_errno, unused;
    int64_t clock_s, dirty_from, dirty_to;
};

static struct control none = {0, 0, 0, 0, 0, INT64_MAX, 0};
static struct control *control = &none;
static char folder[4096];
static size_t folder_length;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CHAOS_CONTROL"), *under = getenv("CHAOS_FOLDER");
    if (!path || !under) return;
    snprintf(folder, sizeof folder, "%s", under);
    folder_length = strlen(folder);
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *mapped = mmap(0, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (mapped != MAP_FAILED) control = mapped;
}

/* 0: not ours; 1: ours; 2: the write-ahead log */
static int ours(int fd) {
    char link[64], path[4096];
    if (!folder_length || fd <= 2) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < (ssize_t)folder_length || memcmp(path, folder, folder_length)) return 0;
    return n > 4 && !memcmp(path + n - 4, "-wal", 4) ? 2 : 1;
}

/* 0, or -1 with errno: may these bytes be written there? */
static int allowed(int fd, int64_t end, int kind) {
    int wanted = control->write_errno;
    struct stat st;
    if (!wanted || !kind) return 0;
    if (wanted == ENOSPC && (fstat(fd, &st) || end <= st.st_size)) return 0;
    errno = wanted;
    return -1;
}

static void written(int kind, int64_t from, ssize_t n) {
    if (kind != 2 || n <= 0) return;
    if (from < control->dirty_from) control->dirty_from = from;
    if (from + n > control->dirty_to) control->dirty_to = from + n;
}

static ssize_t at(int fd, const void *buf, size_t count, int64_t offset) {
    int kind = ours(fd);
    if (allowed(fd, offset + (int64_t)count, kind)) return -1;
    ssize_t n = syscall(SYS_pwrite64, fd, buf, count, offset);
    written(kind, offset, n);
    return n;
}

ssize_t pwrite(int fd, const void *buf, size_t count, off_t offset) { return at(fd, buf, count, offset); }
ssize_t pwrite64(int fd, const void *buf, size_t count, off64_t offset) { return at(fd, buf, count, offset); }

ssize_t write(int fd, const void *buf, size_t count) {
    int kind = ours(fd);
    int64_t from = kind ? lseek(fd, 0, SEEK_CUR) : 0;
    if (allowed(fd, from + (int64_t)count, kind)) return -1;
    ssize_t n = syscall(SYS_write, fd, buf, count);
    written(kind, from, n);
    return n;
}

static int cut_to(int fd, int64_t length) {
    if (allowed(fd, length, ours(fd))) return -1;
    return syscall(SYS_ftruncate, fd, length);
}
int ftruncate(int fd, off_t length) { return cut_to(fd, length); }
int ftruncate64(int fd, off64_t length) { return cut_to(fd, length); }

static int synced(int fd, long call) {
    int kind = ours(fd), ms = control->fsync_ms;
    if (kind && ms) {
        struct timespec wait = {ms / 1000, (ms % 1000) * 1000000L};
        nanosleep(&wait, 0);
    }
    int failing = control->write_errno == EROFS ? EROFS : control->fsync_errno;
    if (kind && failing) {
        errno = failing;
        return -1;
    }
    int64_t to = control->dirty_to;
    int done = syscall(call, fd);
    if (!done && kind == 2 && control->dirty_to == to) {
        control->dirty_from = INT64_MAX;
        control->dirty_to = 0;
    }
    return done;
}
int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

static int opened(int dir, const char *path, int flags, mode_t mode) {
    if (control->write_errno == EROFS && folder_length && (flags & O_ACCMODE) != O_RDONLY &&
        !strncmp(path, folder, folder_length)) {
        errno = EROFS;
        return -1;
    }
    return syscall(SYS_openat, dir, path, flags, mode);
}
#define MODE                                  \
    mode_t mode = 0;                          \
    if (flags & (O_CREAT | __O_TMPFILE)) {    \
        va_list rest;                         \
        va_start(rest, flags);                \
        mode = va_arg(rest, mode_t);          \
        va_end(rest);                         \
    }
int open(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode); }

int clock_gettime(clockid_t id, struct timespec *ts) {
    int done = syscall(SYS_clock_gettime, id, ts);
    if (!done && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) ts->tv_sec += control->clock_s;
    return done;
}
int gettimeofday(struct timeval *restrict tv, void *restrict zone) {
    struct timespec ts;
    if (clock_gettime(CLOCK_REALTIME, &ts)) return -1;
    tv->tv_sec = ts.tv_sec;
    tv->tv_usec = ts.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *where) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    if (where) *where = ts.tv_sec;
    return ts.tv_sec;
}
