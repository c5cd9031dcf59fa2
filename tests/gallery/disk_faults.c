/* Loaded before libc by the crash tests: a disk that loses what was not synchronized, that fails, that is full, and a
 * process that ends in the middle of a write. Only files in FAULTS_FOLDER are concerned.
 *
 * FAULTS_DURABLE  a folder: every fsync copies the file, as it is then, to it. That is what a power cut leaves.
 * FAULTS_ONE_IN   one fsync in so many fails with EIO and copies nothing; 0: none.
 * FAULTS_SEED     which ones fail: the same seed, the same fsyncs.
 * FAULTS_KILL_AT  the process is killed in the middle of this operation (write, truncation, fsync), counted from 1; 0: never.
 * FAULTS_FULL_AT  from this write on the disk is full (ENOSPC); 0: never.
 * FAULTS_FILE     count only operations on the file of this name; empty: on all.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(type, name) ((type)dlsym(RTLD_NEXT, #name))
typedef ssize_t (*writer)(int, const void *, size_t);
typedef ssize_t (*placed_writer)(int, const void *, size_t, off_t);

static long operations, writes;

static long number(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

/* The path of a file in the folder, or of the folder itself; NULL for any other. */
static const char *place_of(int fd, char path[PATH_MAX]) {
    const char *folder = getenv("FAULTS_FOLDER");
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = folder ? readlink(link, path, PATH_MAX - 1) : -1;
    if (length <= 0) return NULL;
    path[length] = 0;
    size_t size = strlen(folder);
    return strncmp(path, folder, size) || (path[size] && path[size] != '/') ? NULL : path;
}

static int is_counted(const char *path) {
    const char *file = getenv("FAULTS_FILE");
    return !file || !*file || !strcmp(strrchr(path, '/') + 1, file);
}

/* Whether the process must end in this operation. */
static int is_last(const char *path) {
    return is_counted(path) && ++operations == number("FAULTS_KILL_AT");
}

static int is_full(const char *path) {
    long from = number("FAULTS_FULL_AT");
    if (is_counted(path)) writes++;
    if (!from || writes < from) return 0;
    errno = ENOSPC;
    return 1;
}

static void end(void) { kill(getpid(), SIGKILL); }

ssize_t write(int fd, const void *data, size_t size) {
    char buffer[PATH_MAX];
    const char *path = place_of(fd, buffer);
    if (path && is_full(path)) return -1;
    if (path && is_last(path)) {
        REAL(writer, write)(fd, data, size / 2);
        end();
    }
    return REAL(writer, write)(fd, data, size);
}

static ssize_t write_at(placed_writer real, int fd, const void *data, size_t size, off_t offset) {
    char buffer[PATH_MAX];
    const char *path = place_of(fd, buffer);
    if (path && is_full(path)) return -1;
    if (path && is_last(path)) {
        real(fd, data, size / 2, offset);
        end();
    }
    return real(fd, data, size, offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    return write_at(REAL(placed_writer, pwrite), fd, data, size, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) {
    return write_at(REAL(placed_writer, pwrite64), fd, data, size, offset);
}

static void before_truncation(int fd) {
    char buffer[PATH_MAX];
    const char *path = place_of(fd, buffer);
    if (path && is_last(path)) end();
}

int ftruncate(int fd, off_t size) {
    before_truncation(fd);
    return REAL(int (*)(int, off_t), ftruncate)(fd, size);
}

int ftruncate64(int fd, off_t size) {
    before_truncation(fd);
    return REAL(int (*)(int, off_t), ftruncate64)(fd, size);
}

static void copy(const char *path, const char *folder) {
    char target[PATH_MAX], part[PATH_MAX], buffer[65536];
    snprintf(target, sizeof target, "%s/%s", folder, strrchr(path, '/') + 1);
    snprintf(part, sizeof part, "%s.copying", target);
    int from = open(path, O_RDONLY), to = open(part, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ssize_t got = -1;
    if (from >= 0 && to >= 0)
        while ((got = read(from, buffer, sizeof buffer)) > 0)
            if (REAL(writer, write)(to, buffer, got) != got) abort();
    if (from >= 0) close(from);
    if (to >= 0) close(to);
    if (got == 0) rename(part, target); /* the copy is whole or not at all, also when we are killed here */
}

/* A folder that is synchronized: names that are gone stay away, and a file that was renamed has its new name. */
static void copy_names(const char *path, const char *folder) {
    char other[PATH_MAX];
    struct dirent *entry;
    DIR *kept = opendir(folder);
    while (kept && (entry = readdir(kept))) {
        snprintf(other, sizeof other, "%s/%s", path, entry->d_name);
        if (entry->d_type == DT_REG && access(other, F_OK)) unlinkat(dirfd(kept), entry->d_name, 0);
    }
    if (kept) closedir(kept);
    snprintf(other, sizeof other, "%s/people.db-matrix", path);
    if (!access(other, F_OK)) copy(other, folder);
}

static int fails(void) {
    static int is_seeded; /* in each process: a forked one has a seed of its own */
    long one_in = number("FAULTS_ONE_IN");
    if (!is_seeded) srandom(number("FAULTS_SEED"));
    is_seeded = 1;
    return one_in && random() % one_in == 0;
}

static int synchronize(int (*real)(int), int fd) {
    char buffer[PATH_MAX];
    const char *path = place_of(fd, buffer), *durable = getenv("FAULTS_DURABLE");
    if (!path) return real(fd);
    int is_folder = !strcmp(path, getenv("FAULTS_FOLDER"));
    if (!is_folder && is_last(path)) end();
    if (fails()) {
        errno = EIO;
        return -1;
    }
    int result = real(fd);
    if (!result && durable && is_folder) copy_names(path, durable);
    if (!result && durable && !is_folder) copy(path, durable);
    return result;
}

int fsync(int fd) { return synchronize(REAL(int (*)(int), fsync), fd); }
int fdatasync(int fd) { return synchronize(REAL(int (*)(int), fdatasync), fd); }
