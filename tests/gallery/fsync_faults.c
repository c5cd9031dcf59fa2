/* Loaded before libc by the crash test. A disk that loses what was not synchronized, and that sometimes fails to.
 *
 * Every fsync of a file in FAULTS_FOLDER copies the file, as it is then, to FAULTS_DURABLE: what a power cut would leave.
 * One in FAULTS_ONE_IN fails with EIO and copies nothing; 0 means none.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int write_all(int to, const char *data, ssize_t left) {
    while (left > 0) {
        ssize_t done = write(to, data, left);
        if (done <= 0) return -1;
        data += done;
        left -= done;
    }
    return 0;
}

static void copy(const char *path, const char *folder) {
    char target[PATH_MAX], part[PATH_MAX], buffer[65536];
    snprintf(target, sizeof target, "%s/%s", folder, strrchr(path, '/') + 1);
    snprintf(part, sizeof part, "%s.copying", target);
    int from = open(path, O_RDONLY), to = open(part, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ssize_t got = -1;
    if (from >= 0 && to >= 0)
        while ((got = read(from, buffer, sizeof buffer)) > 0)
            if (write_all(to, buffer, got)) abort();
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

static int synchronize(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    const char *folder = getenv("FAULTS_FOLDER"), *durable = getenv("FAULTS_DURABLE"), *one_in = getenv("FAULTS_ONE_IN");
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0 || !folder || !durable) return real(fd);
    path[length] = 0;
    int is_folder = !strcmp(path, folder);
    if (!is_folder && (strncmp(path, folder, strlen(folder)) || path[strlen(folder)] != '/')) return real(fd);
    if (one_in && atoi(one_in) && random() % atoi(one_in) == 0) {
        errno = EIO;
        return -1;
    }
    int result = real(fd);
    if (!result && is_folder) copy_names(path, durable);
    if (!result && !is_folder) copy(path, durable);
    return result;
}

__attribute__((constructor)) static void seed(void) { srandom(getpid()); }

int fsync(int fd) { return synchronize("fsync", fd); }
int fdatasync(int fd) { return synchronize("fdatasync", fd); }
