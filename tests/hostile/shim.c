/* Faults at the calls that the process makes to the C library: to be preloaded, and armed from Python by ctypes.

   Calls that concern files under one folder are counted; the n-th fails.  kind > 0: with that errno, and a full disk
   (ENOSPC) stays full.  -1: half of a write is written, and that many bytes are returned, as the standard allows.
   -2: the process is killed before the call.  -3: in the middle of a write.  -4: after the call.  */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MOST = 4096 };
static char folder[PATH_MAX];
static size_t length;
static long at, count;
static int kind;
static char watched[MOST];

void hostile_arm(const char *path, long number, int what) {
    strncpy(folder, path, PATH_MAX - 1);
    length = strlen(folder);
    at = number, kind = what, count = 0;
}

long hostile_count(void) { return count; }

static int inside(int base, const char *path) {
    if (!length || !path) return 0;
    if (path[0] == '/') return strncmp(path, folder, length) == 0;
    return base >= 0 && base < MOST && watched[base];
}

static int known(int number) { return length && number >= 0 && number < MOST && watched[number]; }

static void die(void) { raise(SIGKILL); for (;;) pause(); }

/* 0: go on; 1: fail, errno is set; 2: half a write; 3: half a write, then die; 4: the call, then die */
static int fault(int writes) {
    long now = ++count;
    if (!at || now < at || (now > at && !(kind == ENOSPC && writes))) return 0;
    if (kind == -1) return writes == 2 ? 2 : 0;
    if (kind == -2) die();
    if (kind == -3) { if (writes == 2) return 3; die(); }
    if (kind == -4) return 4;
    if (kind == ENOSPC && !writes) return 0;
    errno = kind;
    return 1;
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)
#define CALL(type, bad, concerns, writes, ...) \
    if (!(concerns)) return real(__VA_ARGS__); \
    int what = fault(writes); \
    if (what == 1) return bad; \
    type result = real(__VA_ARGS__); \
    if (what == 4) die(); \
    return result

#define OPEN(NAME, SIGNATURE, BASE, PATH, ...) \
    int NAME SIGNATURE { \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { va_list l; va_start(l, flags); mode = va_arg(l, mode_t); va_end(l); } \
        static int (*real)(); \
        if (!real) real = (int (*)())dlsym(RTLD_NEXT, #NAME); \
        if (!inside(BASE, PATH)) return real(__VA_ARGS__); \
        int what = fault(flags & O_CREAT ? 1 : 0); \
        if (what == 1) return -1; \
        int number = real(__VA_ARGS__); \
        if (what == 4) die(); \
        if (number >= 0 && number < MOST) watched[number] = 1; \
        return number; \
    }
OPEN(open, (const char *path, int flags, ...), -1, path, path, flags, mode)
OPEN(open64, (const char *path, int flags, ...), -1, path, path, flags, mode)
OPEN(openat, (int base, const char *path, int flags, ...), base, path, base, path, flags, mode)
OPEN(openat64, (int base, const char *path, int flags, ...), base, path, base, path, flags, mode)

ssize_t write(int number, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    if (!known(number)) return real(number, data, size);
    int what = fault(2);
    if (what == 1) return -1;
    if ((what == 2 || what == 3) && size > 1) {
        ssize_t half = real(number, data, size / 2);
        if (what == 3) die();
        return half;
    }
    ssize_t result = real(number, data, size);
    if (what >= 3) die();
    return result;
}

int close(int number) {
    REAL(int, "close", int);
    if (!known(number)) return real(number);
    watched[number] = 0;
    int what = fault(0), result = real(number);
    if (what == 4) die();
    if (what == 1) { errno = kind; return -1; }
    return result;
}

ssize_t read(int number, void *data, size_t size) {
    REAL(ssize_t, "read", int, void *, size_t);
    CALL(ssize_t, -1, known(number), 0, number, data, size);
}
int fsync(int number) { REAL(int, "fsync", int); CALL(int, -1, known(number), 1, number); }
int fdatasync(int number) { REAL(int, "fdatasync", int); CALL(int, -1, known(number), 1, number); }
int ftruncate64(int number, off64_t size) {
    REAL(int, "ftruncate64", int, off64_t);
    CALL(int, -1, known(number), 1, number, size);
}
off64_t lseek64(int number, off64_t place, int whence) {
    REAL(off64_t, "lseek64", int, off64_t, int);
    CALL(off64_t, -1, known(number), 0, number, place, whence);
}
int fstat64(int number, struct stat64 *found) {
    REAL(int, "fstat64", int, struct stat64 *);
    CALL(int, -1, known(number), 0, number, found);
}
int flock(int number, int how) { REAL(int, "flock", int, int); CALL(int, -1, known(number), 0, number, how); }
int stat64(const char *path, struct stat64 *found) {
    REAL(int, "stat64", const char *, struct stat64 *);
    CALL(int, -1, inside(-1, path), 0, path, found);
}
int lstat64(const char *path, struct stat64 *found) {
    REAL(int, "lstat64", const char *, struct stat64 *);
    CALL(int, -1, inside(-1, path), 0, path, found);
}
int fstatat64(int base, const char *path, struct stat64 *found, int flags) {
    REAL(int, "fstatat64", int, const char *, struct stat64 *, int);
    CALL(int, -1, inside(base, path), 0, base, path, found, flags);
}
int access(const char *path, int mode) {
    REAL(int, "access", const char *, int);
    CALL(int, -1, inside(-1, path), 0, path, mode);
}
int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    CALL(int, -1, inside(-1, from), 1, from, to);
}
int unlink(const char *path) { REAL(int, "unlink", const char *); CALL(int, -1, inside(-1, path), 0, path); }
int unlinkat(int base, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    CALL(int, -1, inside(base, path), 0, base, path, flags);
}
int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    CALL(int, -1, inside(-1, path), 1, path, mode);
}
int rmdir(const char *path) { REAL(int, "rmdir", const char *); CALL(int, -1, inside(-1, path), 0, path); }
DIR *opendir(const char *path) {
    REAL(DIR *, "opendir", const char *);
    CALL(DIR *, NULL, inside(-1, path), 0, path);
}
