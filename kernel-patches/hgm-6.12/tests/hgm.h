/* SPDX-License-Identifier: GPL-2.0 */
/* Common parts of the HGM tests: KTAP, hugetlb files, userfaultfd, procfs. */
#ifndef HGM_H
#define HGM_H
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define MADV_SPLIT	26
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif
#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM	(1 << 12)
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED	(1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC		(1 << 15)
#endif
#ifndef UFFDIO_CONTINUE_MODE_WP
#define UFFDIO_CONTINUE_MODE_WP		(1 << 1)
#endif
#ifndef UFFD_FEATURE_EXACT_ADDRESS
#define UFFD_FEATURE_EXACT_ADDRESS	(1 << 11)
#endif
#ifndef UFFD_FEATURE_RWP
#define UFFD_FEATURE_RWP		(1 << 17)
#define UFFD_FEATURE_RWP_ASYNC		(1 << 18)
#define UFFD_PAGEFAULT_FLAG_RWP		(1 << 3)
#define UFFDIO_REGISTER_MODE_RWP	((uint64_t)1 << 3)
#define UFFDIO_RWPROTECT_MODE_RWP	((uint64_t)1 << 0)
struct uffdio_rwprotect {
	struct uffdio_range range;
	__u64 mode;
};
#define UFFDIO_RWPROTECT	_IOWR(UFFDIO, 0x09, struct uffdio_rwprotect)
#endif

#define PS	4096UL
#define K	1024UL
#define M	(1024UL * 1024)
#define G	(1024UL * 1024 * 1024)

static unsigned long hps;	/* huge page size under test */
static int failures;

#define FAIL(fmt, ...) do {						\
	printf("# %s:%d: " fmt "\n", __func__, __LINE__, ##__VA_ARGS__);\
	failures++;							\
} while (0)
#define CHECK(cond) do { if (!(cond)) FAIL("%s (errno %d)", #cond, errno); } while (0)
#define EQ(a, b) do {							\
	long long _a = (long long)(a), _b = (long long)(b);		\
	if (_a != _b)							\
		FAIL("%s is %lld, not %s = %lld (errno %d)", #a, _a, #b, _b, errno);	\
} while (0)
#define DIE(fmt, ...) do { FAIL(fmt, ##__VA_ARGS__); exit(1); } while (0)

static inline unsigned long read_ul(const char *path)
{
	unsigned long v = -1UL;
	FILE *f = fopen(path, "r");

	if (f) {
		if (fscanf(f, "%lu", &v) != 1)
			v = -1UL;
		fclose(f);
	}
	return v;
}

static inline unsigned long pool(const char *what)
{
	char p[160];

	snprintf(p, sizeof(p), "/sys/kernel/mm/hugepages/hugepages-%lukB/%s",
		 hps / K, what);
	return read_ul(p);
}

static inline unsigned long meminfo(const char *key)
{
	char l[160];
	unsigned long v = 0;
	int r = open("/proc/sys/vm/stat_refresh", O_RDONLY);
	FILE *f;

	/* Fold what the CPUs have counted for themselves */
	if (r >= 0) {
		if (read(r, l, 1) < 0)
			l[0] = 0;
		close(r);
	}
	f = fopen("/proc/meminfo", "r");
	while (f && fgets(l, sizeof(l), f))
		if (!strncmp(l, key, strlen(key)) && l[strlen(key)] == ':')
			v = strtoul(l + strlen(key) + 1, NULL, 10);
	if (f)
		fclose(f);
	return v;
}

static inline unsigned long status_kb(const char *key)
{
	char l[160];
	unsigned long v = 0;
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(l, sizeof(l), f))
		if (!strncmp(l, key, strlen(key)) && l[strlen(key)] == ':')
			v = strtoul(l + strlen(key) + 1, NULL, 10);
	if (f)
		fclose(f);
	return v;
}

/* A field of the VMA that starts at @a in smaps, in kB; -1 if there is none. */
static inline long smaps_file(const char *file, const void *a, const char *key, char *flags)
{
	char l[4096];
	unsigned long s, e;
	bool in = !a;
	long v = -1;
	FILE *f = fopen(file, "r");

	if (flags)
		flags[0] = 0;
	while (f && fgets(l, sizeof(l), f)) {
		if (sscanf(l, "%lx-%lx ", &s, &e) == 2 && a)
			in = s == (unsigned long)a;
		if (in && key && !strncmp(l, key, strlen(key)) && l[strlen(key)] == ':')
			v = strtol(l + strlen(key) + 1, NULL, 10);
		if (in && flags && !strncmp(l, "VmFlags:", 8))
			strcpy(flags, l + 8);
	}
	if (f)
		fclose(f);
	return v;
}

static inline long smaps(const void *a, const char *key)
{
	return smaps_file("/proc/self/smaps", a, key, NULL);
}

static inline bool vmflag(const void *a, const char *flag)
{
	char fl[4096], pat[8];

	smaps_file("/proc/self/smaps", a, NULL, fl);
	snprintf(pat, sizeof(pat), " %s ", flag);
	return strstr(fl, pat);
}

static inline uint64_t pagemap(const void *a)
{
	static int fd = -1;
	static pid_t pid;
	uint64_t v = 0;

	if (fd < 0 || pid != getpid()) {
		fd = open("/proc/self/pagemap", O_RDONLY);
		pid = getpid();
	}
	if (pread(fd, &v, 8, (unsigned long)a / PS * 8) != 8)
		FAIL("pagemap read");
	return v;
}
#define PM_PRESENT(v)	((v) >> 63)
#define PM_WP(v)	(((v) >> 57) & 1)
#define PM_PFN(v)	((v) & ((1ULL << 55) - 1))

static inline bool incore(const void *a)
{
	unsigned char v = 0;

	if (mincore((void *)a, PS, &v))
		FAIL("mincore");
	return v & 1;
}

static inline int huge_fd(unsigned long pages)
{
	int fd = memfd_create("hgm", MFD_HUGETLB | (hps == G ? 30u << 26 : 21u << 26));

	if (fd < 0 || ftruncate(fd, pages * hps))
		DIE("memfd of %lu pages: %m", pages);
	return fd;
}

/* Map at an address aligned to 1 GiB, so that PMDs could be shared */
static inline char *huge_map(int fd, unsigned long pages, int prot)
{
	unsigned long len = (pages * hps + G - 1) & ~(G - 1);
	char *r = mmap(NULL, len + G, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *a = (char *)(((unsigned long)r + G - 1) & ~(G - 1));

	if (r == MAP_FAILED)
		DIE("reserve: %m");
	munmap(r, len + G);
	a = mmap(a, pages * hps, prot, MAP_SHARED | MAP_FIXED, fd, 0);
	if (a == MAP_FAILED)
		DIE("map of %lu pages: %m", pages);
	return a;
}

static inline int uffd_open(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		DIE("userfaultfd: %m");
	return fd;
}

static inline bool uffd_has(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		DIE("userfaultfd: %m");
	close(fd);
	return (api.features & features) == features;
}

static inline int uffd_reg(int u, void *a, unsigned long len, uint64_t mode)
{
	struct uffdio_register r = {
		.range = { (unsigned long)a, len }, .mode = mode,
	};

	return ioctl(u, UFFDIO_REGISTER, &r) ? -errno : 0;
}

static inline int uffd_unreg(int u, void *a, unsigned long len)
{
	struct uffdio_range r = { (unsigned long)a, len };

	return ioctl(u, UFFDIO_UNREGISTER, &r) ? -errno : 0;
}

/* Returns what was mapped, or an error; *err gets the error of the ioctl */
static inline long long cont_mode(int u, void *a, unsigned long len, uint64_t mode, int *err)
{
	struct uffdio_continue c = {
		.range = { (unsigned long)a, len }, .mode = mode,
	};
	int r = ioctl(u, UFFDIO_CONTINUE, &c) ? -errno : 0;

	if (err)
		*err = r;
	return c.mapped;
}

static inline long long cont(int u, void *a, unsigned long len)
{
	return cont_mode(u, a, len, 0, NULL);
}

static inline int wp(int u, void *a, unsigned long len, bool on)
{
	struct uffdio_writeprotect w = {
		.range = { (unsigned long)a, len },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return ioctl(u, UFFDIO_WRITEPROTECT, &w) ? -errno : 0;
}

static inline int rwp(int u, void *a, unsigned long len, bool on)
{
	struct uffdio_rwprotect w = {
		.range = { (unsigned long)a, len },
		.mode = on ? UFFDIO_RWPROTECT_MODE_RWP : 0,
	};

	return ioctl(u, UFFDIO_RWPROTECT, &w) ? -errno : 0;
}

/* The base page @i of a huge page gets contents of its own */
static inline void fill(char *alias, unsigned long i)
{
	uint64_t *p = (uint64_t *)(alias + i * PS);

	p[0] = i * 0x9e3779b97f4a7c15ULL + 1;
	p[511] = ~p[0];
}

static inline bool filled(const char *a, unsigned long i)
{
	const volatile uint64_t *p = (const volatile uint64_t *)(a + i * PS);

	return p[0] == i * 0x9e3779b97f4a7c15ULL + 1 && p[511] == ~p[0];
}
#endif
