// SPDX-License-Identifier: GPL-2.0
/*
 * Positive paths and refusals of HugeTLB high-granularity mapping.
 *
 * hgm_test SIZE_KB [NAME...]: KTAP on stdout.  Each test runs in a process of
 * its own; pool, reservations and (with slack) PageTables must return to where
 * they were.
 */
#include "hgm.h"
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <setjmp.h>
#include <sys/resource.h>

static unsigned long npages = 1;	/* huge pages in the file */
static int fd, u = -1;
static char *prim, *alias;
static unsigned long nbase;		/* base pages in a huge page */

static void setup_map(void)
{
	fd = huge_fd(npages);
	alias = huge_map(fd, npages, PROT_READ | PROT_WRITE);
	prim = huge_map(fd, npages, PROT_READ | PROT_WRITE);
}

static void setup(uint64_t features, uint64_t mode)
{
	unsigned long i;

	setup_map();
	for (i = 0; i < npages; i++)
		alias[i * hps] = 0;
	EQ(madvise(prim, npages * hps, MADV_SPLIT), 0);
	if (mode) {
		u = uffd_open(features);
		EQ(uffd_reg(u, prim, npages * hps, mode), 0);
	}
}

#define MINOR	UFFDIO_REGISTER_MODE_MINOR
#define WPM	UFFDIO_REGISTER_MODE_WP
#define FT	(UFFD_FEATURE_MINOR_HUGETLBFS | UFFD_FEATURE_WP_HUGETLBFS_SHMEM | \
		 UFFD_FEATURE_PAGEFAULT_FLAG_WP)

static void mapped_is(long pud, long pmd, long pte)
{
	EQ(smaps(prim, "HugetlbPudMapped"), pud);
	EQ(smaps(prim, "HugetlbPmdMapped"), pmd);
	EQ(smaps(prim, "HugetlbPteMapped"), pte);
}

/* Touch from another thread, to have a fault that has to wait */
struct toucher {
	pthread_t t;
	char *a;
	int write;
	volatile int done;
	unsigned char got;
};

static void *touch_fn(void *p)
{
	struct toucher *t = p;

	if (t->write)
		*(volatile char *)t->a = t->write;
	else
		t->got = *(volatile char *)t->a;
	t->done = 1;
	return NULL;
}

static void touch_start(struct toucher *t, char *a, int write)
{
	*t = (struct toucher){ .a = a, .write = write };
	pthread_create(&t->t, NULL, touch_fn, t);
}

static struct uffd_msg next_msg(int timeout)
{
	struct uffd_msg m = { 0 };
	struct pollfd p = { u, POLLIN, 0 };

	if (poll(&p, 1, timeout) == 1 && read(u, &m, sizeof(m)) != sizeof(m))
		m.event = 0;
	return m;
}

static void t_refuse(void)
{
	char *a, *p;
	int pfd;

	setup_map();
	errno = 0;
	EQ(madvise(prim + PS, hps - PS, MADV_SPLIT), -1); EQ(errno, EINVAL);
	EQ(madvise(prim, PS, MADV_SPLIT), -1); EQ(errno, EINVAL);
	EQ(vmflag(prim, "hm"), 0);
	EQ(madvise(prim, hps, MADV_COLLAPSE), 0);	/* never split */

	a = mmap(NULL, 4 * PS, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EQ(madvise(a, 4 * PS, MADV_SPLIT), -1); EQ(errno, EINVAL);
	a = mmap(NULL, 4 * PS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	EQ(madvise(a, 4 * PS, MADV_SPLIT), -1); EQ(errno, EINVAL);
	p = mmap(NULL, hps, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
	CHECK(p != MAP_FAILED);
	EQ(madvise(p, hps, MADV_SPLIT), -1); EQ(errno, EINVAL);
	EQ(madvise(p, hps, MADV_COLLAPSE), -1); EQ(errno, EINVAL);
	EQ(madvise((void *)0x10000, PS, MADV_SPLIT), -1); EQ(errno, ENOMEM);

	/* A shared mapping of a file that is open for reading only */
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	pfd = open(path, O_RDONLY);
	a = mmap(NULL, hps, PROT_READ, MAP_SHARED, pfd, 0);
	CHECK(a != MAP_FAILED);
	EQ(madvise(a, hps, MADV_SPLIT), 0);
	CHECK(vmflag(a, "hm"));

	/* Before the split: the interface is the old one */
	alias[0] = 1;
	u = uffd_open(FT);
	EQ(uffd_reg(u, prim, hps, MINOR | WPM), 0);
	EQ(cont(u, prim, PS), -EINVAL);
	EQ(wp(u, prim, PS, true), -EINVAL);
	EQ(madvise(prim, hps, MADV_SPLIT), 0);
	EQ(madvise(prim, hps, MADV_SPLIT), 0);
	CHECK(vmflag(prim, "hm"));
	EQ(smaps(prim, "KernelPageSize"), hps / K);
	EQ(smaps(prim, "MMUPageSize"), hps / K);
	mapped_is(0, 0, 0);
	EQ(cont(u, prim, PS), PS);
	EQ(wp(u, prim, PS, true), 0);
}

static void t_vma_split(void)
{
	unsigned long n = hps == G ? 2 : 4, i;

	npages = n;
	setup_map();
	for (i = 0; i < n; i++)
		fill(alias + i * hps, i);
	EQ(madvise(prim + hps, hps, MADV_SPLIT), 0);
	EQ(vmflag(prim, "hm"), 0);
	EQ(vmflag(prim + hps, "hm"), 1);
	if (n > 2)
		EQ(vmflag(prim + 2 * hps, "hm"), 0);
	for (i = 0; i < n; i++)
		CHECK(filled(prim + i * hps - i * PS + i * PS, i));
}

static void t_continue(void)
{
	unsigned long i, at = hps == G ? 7 * 2 * M : 0;
	long long m;
	int err;

	setup(FT, MINOR);
	for (i = 0; i < 512; i++)
		fill(alias + at, i);
	fill(alias, 0);

	EQ(cont(u, prim + at + 3 * PS, PS), PS);
	mapped_is(0, 0, 4);
	CHECK(filled(prim + at, 3));
	EQ(PM_PRESENT(pagemap(prim + at + 3 * PS)), 1);
	EQ(PM_PRESENT(pagemap(prim + at + 2 * PS)), 0);
	EQ(PM_PRESENT(pagemap(prim + at + 4 * PS)), 0);
	EQ(PM_PFN(pagemap(prim + at + 3 * PS)), PM_PFN(pagemap(alias + at + 3 * PS)));
	EQ(incore(prim + at + 3 * PS), 1);
	EQ(incore(prim + at + 2 * PS), 0);
	EQ(status_kb("HugetlbPages"), npages * hps / K + 4);
	EQ(smaps(prim, "Shared_Hugetlb"), 4);

	/* Already there: EEXIST, and what came before it is done */
	m = cont_mode(u, prim + at + 3 * PS, PS, 0, &err);
	EQ(m, -EEXIST); EQ(err, -EEXIST);
	m = cont_mode(u, prim + at, 8 * PS, 0, &err);
	EQ(m, 3 * PS); EQ(err, -EAGAIN);
	mapped_is(0, 0, 16);
	m = cont_mode(u, prim + at + 4 * PS, 508 * PS, 0, &err);
	EQ(m, 508 * PS); EQ(err, 0);
	mapped_is(0, 0, 2048);
	for (i = 0; i < 512; i++)
		CHECK(filled(prim + at, i));

	/* Misaligned */
	m = cont_mode(u, prim + 1, PS, 0, &err);
	EQ(err, -EINVAL);
	m = cont_mode(u, prim, PS + 1, 0, &err);
	EQ(err, -EINVAL);

	if (hps == G) {
		/* The largest entries that fit */
		EQ(cont(u, prim + 10 * 2 * M - PS, 4 * M + 2 * PS), 4 * M + 2 * PS);
		mapped_is(0, 4096, 2048 + 8);
		m = cont_mode(u, prim + 10 * 2 * M + PS, PS, 0, &err);
		EQ(m, -EEXIST);
		EQ(cont(u, prim, 2 * M), 2 * M);
		mapped_is(0, 6144, 2048 + 8);
		CHECK(filled(prim, 0));
	}
	/* Not mapped beyond the file's page cache */
	EQ(madvise(prim, hps, MADV_DONTNEED), 0);
	mapped_is(0, 0, 0);
	EQ(cont(u, prim, hps), hps);
	mapped_is(hps == G ? G / K : 0, hps == G ? 0 : hps / K, 0);
	EQ(madvise(prim, hps, MADV_DONTNEED), 0);
	EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, hps), 0);
	m = cont_mode(u, prim, PS, 0, &err);
	EQ(m, -EFAULT); EQ(err, -EFAULT);
	mapped_is(0, 0, 0);
}

static void do_fault(uint64_t features)
{
	unsigned long off = hps / 2 + 5 * PS, i;
	struct toucher t, t2;
	struct uffd_msg m;

	setup(FT | features, MINOR);
	for (i = 0; i < 16; i++)
		fill(alias + hps / 2, i);
	touch_start(&t, prim + off + 24, 0);
	m = next_msg(5000);
	EQ(m.event, UFFD_EVENT_PAGEFAULT);
	EQ(m.arg.pagefault.address, (unsigned long)prim + off + (features ? 24 : 0));
	CHECK(m.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_MINOR);
	/* Another one in the same huge page waits for its own base page */
	touch_start(&t2, prim + off + PS + 100, 77);
	m = next_msg(5000);
	EQ(m.event, UFFD_EVENT_PAGEFAULT);
	EQ(m.arg.pagefault.address, (unsigned long)prim + off + PS + (features ? 100 : 0));
	CHECK(m.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE);
	EQ(cont(u, prim + off + 2 * PS, PS), PS);
	usleep(100000);
	EQ(t.done, 0); EQ(t2.done, 0);
	EQ(cont(u, prim + off, PS), PS);
	pthread_join(t.t, NULL);
	usleep(50000);
	EQ(t2.done, 0);
	EQ(cont(u, prim + off + PS, PS), PS);
	pthread_join(t2.t, NULL);
	EQ(alias[off + PS + 100], 77);
	CHECK(filled(prim + hps / 2, 5));
	EQ(next_msg(50).event, 0);
	mapped_is(0, 0, 12);
	/* UFFDIO_WAKE is by base page, too */
	touch_start(&t, prim, 0);
	m = next_msg(5000);
	EQ(m.arg.pagefault.address, (unsigned long)prim);
	struct uffdio_range r = { (unsigned long)prim, PS };
	EQ(cont_mode(u, prim, PS, UFFDIO_CONTINUE_MODE_DONTWAKE, NULL), PS);
	usleep(50000);
	EQ(t.done, 0);
	EQ(ioctl(u, UFFDIO_WAKE, &r), 0);
	pthread_join(t.t, NULL);
}

static void t_fault(void) { do_fault(0); }
static void t_fault_exact(void) { do_fault(UFFD_FEATURE_EXACT_ADDRESS); }

static void t_fault_nouffd(void)
{
	unsigned long i;

	setup(FT, MINOR);
	for (i = 0; i < 600; i++)
		if (i < nbase)
			fill(alias, i);
	EQ(cont(u, prim + 5 * PS, PS), PS);
	EQ(uffd_unreg(u, prim, hps), 0);
	/* The largest entries that fit in */
	CHECK(filled(prim, 4));
	mapped_is(0, 0, 8);
	if (hps == G) {
		CHECK(prim[4 * M] == 0);
		mapped_is(0, 2048, 8);
		CHECK(filled(prim, 513));
		mapped_is(0, 4096, 8);
	}
	prim[9 * PS] = 42;
	EQ(alias[9 * PS], 42);
	mapped_is(0, hps == G ? 4096 : 0, 12);
	/* A huge page of which nothing is mapped comes in one piece */
	EQ(madvise(prim, hps, MADV_DONTNEED), 0);
	CHECK(filled(prim, 5));
	mapped_is(hps == G ? G / K : 0, hps == G ? 0 : hps / K, 0);
}

static void t_wp(void)
{
	unsigned long base = hps == G ? 3 * 2 * M : 0, i;
	struct toucher t;
	struct uffd_msg m;

	setup(FT, MINOR | WPM);
	EQ(cont(u, prim, hps), hps);
	/* One base page inside of the largest entry */
	EQ(wp(u, prim + base + 8 * PS, PS, true), 0);
	mapped_is(0, hps == G ? (G - 2 * M) / K : 0, 2048);
	for (i = 0; i < 20; i++)
		EQ(PM_WP(pagemap(prim + base + i * PS)), i == 8);
	prim[base + 7 * PS] = 1;
	prim[base + 9 * PS] = 1;
	touch_start(&t, prim + base + 8 * PS + 16, 9);
	m = next_msg(5000);
	EQ(m.arg.pagefault.address, (unsigned long)prim + base + 8 * PS);
	CHECK(m.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP);
	usleep(50000);
	EQ(t.done, 0);
	EQ(alias[base + 8 * PS + 16], 0);
	EQ(wp(u, prim + base + 8 * PS, PS, false), 0);
	pthread_join(t.t, NULL);
	EQ(alias[base + 8 * PS + 16], 9);

	/* All of it, at fine level; then resolve one in the middle */
	EQ(wp(u, prim, hps, true), 0);
	EQ(PM_WP(pagemap(prim + hps - PS)), 1);
	EQ(wp(u, prim + hps - 3 * PS, PS, false), 0);
	for (i = 1; i < 6; i++)
		EQ(PM_WP(pagemap(prim + hps - i * PS)), i != 3);
	prim[hps - 3 * PS] = 3;
	EQ(next_msg(20).event, 0);
	EQ(wp(u, prim, hps, false), 0);
	for (i = 0; i < nbase; i += 97)
		prim[i * PS] = 1;
	EQ(next_msg(20).event, 0);
	/* Misaligned */
	EQ(wp(u, prim + 1, PS, true), -EINVAL);
}

/* Over holes, and continue over it: what was not continued stays protected */
static void t_wp_hole(void)
{
	unsigned long i;
	struct toucher t;
	struct uffd_msg m;

	setup(FT, MINOR | WPM);
	for (i = 0; i < 16; i++)
		fill(alias, i);
	EQ(wp(u, prim, 8 * PS, true), 0);
	for (i = 0; i < 12; i++) {
		EQ(PM_WP(pagemap(prim + i * PS)), i < 8);
		EQ(PM_PRESENT(pagemap(prim + i * PS)), 0);
		EQ(incore(prim + i * PS), 0);
	}
	mapped_is(0, 0, 0);
	/* Still a hole: a minor fault, not a wp fault */
	touch_start(&t, prim + 2 * PS, 0);
	m = next_msg(5000);
	CHECK(m.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_MINOR);
	EQ(m.arg.pagefault.address, (unsigned long)prim + 2 * PS);
	EQ(cont_mode(u, prim + 2 * PS, PS, UFFDIO_CONTINUE_MODE_WP, NULL), PS);
	pthread_join(t.t, NULL);
	EQ(PM_WP(pagemap(prim + 2 * PS)), 1);
	EQ(cont(u, prim + 3 * PS, PS), PS);
	EQ(PM_WP(pagemap(prim + 3 * PS)), 0);
	for (i = 4; i < 8; i++)
		EQ(PM_WP(pagemap(prim + i * PS)), 1);
	prim[3 * PS + 8] = 1;
	touch_start(&t, prim + 2 * PS, 5);
	m = next_msg(5000);
	CHECK(m.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP);
	EQ(wp(u, prim + 2 * PS, PS, false), 0);
	pthread_join(t.t, NULL);

	/* A large marker is split by a small continue, and by a small resolve */
	EQ(madvise(prim, hps, MADV_DONTNEED), 0);
	EQ(wp(u, prim, hps, false), 0);
	EQ(wp(u, prim, hps, true), 0);
	EQ(cont_mode(u, prim + 5 * PS, PS, 0, NULL), PS);
	EQ(wp(u, prim + 6 * PS, PS, false), 0);
	for (i = 0; i < 16; i++)
		EQ(PM_WP(pagemap(prim + i * PS)), i != 5 && i != 6);
	EQ(PM_WP(pagemap(prim + hps - PS)), 1);
	EQ(PM_WP(pagemap(prim + hps / 2)), 1);
	EQ(wp(u, prim, hps, false), 0);
	EQ(PM_WP(pagemap(prim + hps - PS)), 0);
	EQ(cont(u, prim + hps / 2, hps / 2), hps / 2);
	EQ(wp(u, prim + hps / 2, hps / 2, true), 0);
	EQ(wp(u, prim + hps - PS, PS, false), 0);
	prim[hps - 1] = 7;
	/* Unregister takes all marks away */
	EQ(uffd_unreg(u, prim, hps), 0);
	EQ(PM_WP(pagemap(prim + hps / 2)), 0);
	for (i = 0; i < nbase; i += 61)
		prim[i * PS + 1] = 1;
}

static void t_wp_async(void)
{
	unsigned long i, n = 0;

	setup(FT | UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED, WPM);
	prim[0] = 1;
	mapped_is(hps == G ? G / K : 0, hps == G ? 0 : hps / K, 0);
	EQ(wp(u, prim, hps, true), 0);
	EQ(PM_WP(pagemap(prim + PS)), 1);
	/* 4 KiB dirty tracking inside of a huge page */
	prim[17 * PS] = 1;
	prim[hps - 5 * PS + 9] = 1;
	for (i = 0; i < nbase; i++)
		n += !PM_WP(pagemap(prim + i * PS));
	EQ(n, 2);
	EQ(PM_WP(pagemap(prim + 17 * PS)), 0);
	EQ(PM_WP(pagemap(prim + hps - 5 * PS)), 0);
	EQ(alias[17 * PS], 1);
	/* Again */
	EQ(wp(u, prim, hps, true), 0);
	EQ(PM_WP(pagemap(prim + 17 * PS)), 1);
	prim[18 * PS] = 1;
	EQ(PM_WP(pagemap(prim + 18 * PS)), 0);
	EQ(PM_WP(pagemap(prim + 17 * PS)), 1);
	/* The same by way of a hole */
	EQ(madvise(prim, hps, MADV_DONTNEED), 0);
	EQ(PM_WP(pagemap(prim + 17 * PS)), 1);
	prim[20 * PS] = 1;
	EQ(PM_WP(pagemap(prim + 20 * PS)), 0);
	EQ(PM_WP(pagemap(prim + 19 * PS)), 1);
}

#define PAGEMAP_SCAN_NR	_IOWR('f', 16, struct pm_arg)
struct region { uint64_t start, end, cat; };
struct pm_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define C_WPALLOWED	(1 << 0)
#define C_WRITTEN	(1 << 1)
#define C_FILE		(1 << 2)
#define C_PRESENT	(1 << 3)
#define S_WP		(1 << 0)
#define S_CHECK		(1 << 1)

static int scan(void *a, unsigned long len, uint64_t flags, uint64_t mask,
		struct region *v, int n, uint64_t max, uint64_t *walk_end)
{
	struct pm_arg p = {
		.size = sizeof(p), .flags = flags, .start = (unsigned long)a,
		.end = (unsigned long)a + len, .vec = (unsigned long)v,
		.vec_len = n, .max_pages = max, .category_mask = mask,
		.return_mask = C_WRITTEN | C_PRESENT,
	};
	int f = open("/proc/self/pagemap", O_RDONLY);
	int r = ioctl(f, PAGEMAP_SCAN_NR, &p);

	if (r < 0)
		r = -errno;
	if (walk_end)
		*walk_end = p.walk_end;
	close(f);
	return r;
}

static void t_pagemap_scan(void)
{
	struct region v[64];
	uint64_t we;
	int n;

	setup(FT | UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED, WPM);
	prim[0] = 1;
	n = scan(prim, hps, S_WP | S_CHECK, C_WRITTEN, v, 64, 0, &we);
	EQ(n, 1);
	EQ(v[0].end - v[0].start, hps);
	prim[3 * PS] = 1;
	prim[4 * PS] = 1;
	prim[hps - PS] = 1;
	n = scan(prim, hps, 0, C_WRITTEN, v, 64, 0, &we);
	EQ(n, 2);
	EQ(v[0].start, (unsigned long)prim + 3 * PS);
	EQ(v[0].end, (unsigned long)prim + 5 * PS);
	EQ(v[1].start, (unsigned long)prim + hps - PS);
	EQ(v[1].end, (unsigned long)prim + hps);
	n = scan(prim, hps, S_WP, C_WRITTEN, v, 64, 1, &we);
	EQ(n, 1);
	EQ(we, (unsigned long)prim + 4 * PS);
	EQ(PM_WP(pagemap(prim + 3 * PS)), 1);
	EQ(PM_WP(pagemap(prim + 4 * PS)), 0);
	n = scan(prim, hps, S_WP, C_WRITTEN, v, 64, 0, &we);
	EQ(n, 2);
	EQ(scan(prim, hps, 0, C_WRITTEN, v, 64, 0, &we), 0);
	/* A part of a large entry: from a fresh one */
	EQ(wp(u, prim, hps, false), 0);
	EQ(madvise(prim, hps, MADV_COLLAPSE), 0);
	mapped_is(hps == G ? G / K : 0, hps == G ? 0 : hps / K, 0);
	n = scan(prim + 8 * PS, 4 * PS, S_WP, C_WRITTEN, v, 64, 0, &we);
	EQ(n, 1);
	EQ(v[0].start, (unsigned long)prim + 8 * PS);
	EQ(v[0].end, (unsigned long)prim + 12 * PS);
	EQ(we, (unsigned long)prim + 12 * PS);
	EQ(PM_WP(pagemap(prim + 7 * PS)), 0);
	EQ(PM_WP(pagemap(prim + 8 * PS)), 1);
	EQ(PM_WP(pagemap(prim + 11 * PS)), 1);
	EQ(PM_WP(pagemap(prim + 12 * PS)), 0);
}

#define RWPM	UFFDIO_REGISTER_MODE_RWP
#define C_ACCESSED	(1 << 9)

static bool has_rwp(void)
{
	if (uffd_has(UFFD_FEATURE_RWP | UFFD_FEATURE_RWP_ASYNC))
		return true;
	printf("# not tested: the kernel has no read-write protection\n");
	return false;
}

static unsigned long protected(char *a)
{
	unsigned long i, n = 0;

	for (i = 0; i < nbase; i++)
		n += PM_WP(pagemap(a + i * PS));
	return n;
}

static void t_rwp_async(void)
{
	const unsigned long large = hps == G ? G / K : 0, other = hps == G ? 0 : hps / K;
	struct region v[8];
	uint64_t we;
	char *to;
	pid_t p;
	int st;

	if (!has_rwp())
		return;
	setup(FT | UFFD_FEATURE_RWP | UFFD_FEATURE_RWP_ASYNC, RWPM);
	EQ(uffd_reg(u, alias, hps, RWPM), 0);
	EQ(rwp(u, alias, PS, true), -EINVAL);
	EQ(uffd_unreg(u, alias, hps), 0);
	fill(alias, 3);
	fill(alias, 17);
	fill(alias, nbase - 5);

	/* Holes have no mark */
	EQ(rwp(u, prim + PS, PS, true), 0);
	EQ(rwp(u, prim, hps, true), 0);
	mapped_is(0, 0, 0);
	EQ(protected(prim), 0);
	/* A part of a large entry */
	prim[0] = 1;
	mapped_is(large, other, 0);
	EQ(rwp(u, prim + 3 * PS, 2 * PS, true), 0);
	EQ(protected(prim), 2);
	EQ(PM_WP(pagemap(prim + 3 * PS)), 1);
	CHECK(filled(prim, 3));
	EQ(PM_WP(pagemap(prim + 3 * PS)), 0);
	EQ(PM_WP(pagemap(prim + 4 * PS)), 1);
	/* All of it, by one entry: an access splits it */
	EQ(madvise(prim, hps, MADV_COLLAPSE), 0);
	EQ(protected(prim), 0);
	EQ(rwp(u, prim, hps, true), 0);
	mapped_is(large, other, 0);
	EQ(protected(prim), nbase);
	CHECK(filled(prim, 17));
	prim[(nbase - 5) * PS + 9] = 1;
	EQ(alias[(nbase - 5) * PS + 9], 1);
	EQ(protected(prim), nbase - 2);
	EQ(scan(prim, hps, 0, C_ACCESSED, v, 8, 0, &we), 2);
	EQ(v[0].start, (unsigned long)prim + 17 * PS);
	EQ(v[0].end, (unsigned long)prim + 18 * PS);
	EQ(v[1].start, (unsigned long)prim + hps - 5 * PS);
	/* Resolved for a part only */
	EQ(rwp(u, prim + 8 * PS, PS, false), 0);
	EQ(PM_WP(pagemap(prim + 8 * PS)), 0);
	EQ(PM_WP(pagemap(prim + 9 * PS)), 1);
	/* It survives mprotect(), and not a fork without events */
	EQ(mprotect(prim, hps, PROT_READ), 0);
	EQ(mprotect(prim, hps, PROT_READ | PROT_WRITE), 0);
	EQ(protected(prim), nbase - 3);
	p = fork();
	if (!p) {
		EQ(protected(prim), 0);
		CHECK(filled(prim, 3) && filled(prim, 17));
		_exit(!!failures);
	}
	waitpid(p, &st, 0);
	EQ(st, 0);
	EQ(protected(prim), nbase - 3);
	CHECK(filled(prim, 3));
	EQ(protected(prim), nbase - 4);
	/* A move without events takes it away */
	to = huge_map(huge_fd(npages), npages, PROT_READ);
	to = mremap(prim, npages * hps, npages * hps, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	CHECK(to != MAP_FAILED);
	EQ(protected(to), 0);
	CHECK(filled(to, 3) && filled(to, 17));
	to[4 * PS] = 5;
	EQ(alias[4 * PS], 5);
}

static void t_rwp_sync(void)
{
	struct toucher t;
	struct uffd_msg m;
	int i;

	if (!has_rwp())
		return;
	setup(FT | UFFD_FEATURE_RWP, RWPM);
	prim[100 * PS] = 7;
	EQ(rwp(u, prim, hps, true), 0);
	for (i = 0; i < 2; i++) {
		touch_start(&t, prim + (100 + i) * PS + 9, i);
		m = next_msg(5000);
		EQ(m.event, UFFD_EVENT_PAGEFAULT);
		EQ(m.arg.pagefault.address, (unsigned long)prim + (100 + i) * PS);
		CHECK(m.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_RWP);
		EQ(t.done, 0);
		EQ(rwp(u, prim + (100 + i) * PS, PS, false), 0);
		pthread_join(t.t, NULL);
		EQ(protected(prim), nbase - 1 - i);
	}
	EQ(alias[101 * PS + 9], 1);
	EQ(prim[100 * PS], 7);
	/* Unregistering takes all of it away */
	EQ(uffd_unreg(u, prim, hps), 0);
	EQ(protected(prim), 0);
	EQ(prim[102 * PS], 0);
}

static void t_collapse(void)
{
	unsigned long i, pt0, pt;

	setup(FT, MINOR | WPM);
	for (i = 0; i < 512; i++)
		fill(alias, i);
	pt0 = status_kb("VmPTE");
	EQ(cont(u, prim, PS), PS);
	EQ(cont(u, prim + 2 * PS, PS), PS);
	EQ(wp(u, prim + 2 * PS, 2 * PS, true), 0);
	EQ(cont(u, prim + hps - PS, PS), PS);
	CHECK(status_kb("VmPTE") > pt0);
	EQ(madvise(prim, hps, MADV_COLLAPSE), 0);
	mapped_is(hps == G ? G / K : 0, hps == G ? 0 : hps / K, 0);
	pt = status_kb("VmPTE");
	CHECK(pt <= pt0 + 8);	/* the table of the top entry */
	EQ(PM_WP(pagemap(prim + 2 * PS)), 0);
	for (i = 0; i < 512; i++)
		CHECK(filled(prim, i));
	CHECK(vmflag(prim, "hm"));
	prim[2 * PS] = 1;
	EQ(next_msg(20).event, 0);
	EQ(status_kb("HugetlbPages"), 2 * npages * hps / K);
	/* Nothing left to do */
	EQ(madvise(prim, hps, MADV_COLLAPSE), 0);
	/* Once more, from a mapping of which nothing is there */
	EQ(madvise(prim, hps, MADV_DONTNEED), 0);
	EQ(madvise(prim, hps, MADV_COLLAPSE), 0);
	mapped_is(hps == G ? G / K : 0, hps == G ? 0 : hps / K, 0);
	EQ(next_msg(20).event, 0);
	/* In part, which is to the largest that fits the range */
	EQ(madvise(prim, hps, MADV_DONTNEED), 0);
	EQ(cont(u, prim + PS, PS), PS);
	if (hps == G) {
		EQ(madvise(prim, 4 * M + PS, MADV_COLLAPSE), 0);
		mapped_is(0, 4096, 4);
	}
	EQ(madvise(prim, hps, MADV_COLLAPSE), 0);
	mapped_is(hps == G ? G / K : 0, hps == G ? 0 : hps / K, 0);
	CHECK(filled(prim, 5));
	/* Interface changes stay */
	EQ(madvise(prim, hps, MADV_DONTNEED), 0);
	EQ(cont(u, prim + PS, PS), PS);
	mapped_is(0, 0, 4);
	/* No page in the page cache */
	EQ(madvise(prim, hps, MADV_DONTNEED), 0);
	EQ(wp(u, prim, PS, true), 0);
	EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, hps), 0);
	EQ(madvise(prim, hps, MADV_COLLAPSE), 0);
	mapped_is(0, 0, 0);
}

static sigjmp_buf *jb;
static void on_segv(int s, siginfo_t *si, void *c)
{
	(void)si; (void)c;
	siglongjmp(*jb, s);
}


/* Returns the signal that the access gets, or 0 */
static int try_access(volatile char *a, int write)
{
	struct sigaction sa = { .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_NODEFER };
	static sigjmp_buf b;
	int s;

	jb = &b;
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	s = sigsetjmp(b, 1);
	if (!s) {
		if (write)
			*a = write;
		else
			(void)*a;
	}
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	return s;
}

static void t_mprotect(void)
{
	setup(FT, MINOR);
	fill(alias, 3);
	EQ(cont(u, prim + 3 * PS, 2 * PS), 2 * PS);
	EQ(cont(u, prim + hps / 2, hps / 2), hps / 2);
	EQ(mprotect(prim, hps, PROT_READ), 0);
	CHECK(filled(prim, 3));
	EQ(try_access(prim + 3 * PS, 1), SIGSEGV);
	EQ(try_access(prim + hps / 2, 1), SIGSEGV);
	EQ(mprotect(prim, hps, PROT_NONE), 0);
	EQ(try_access(prim + 3 * PS, 0), SIGSEGV);
	EQ(try_access(prim + hps / 2, 0), SIGSEGV);
	EQ(mprotect(prim, hps, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
	CHECK(filled(prim, 3));
	prim[4 * PS] = 4;
	prim[hps / 2 + 9] = 4;
	EQ(alias[4 * PS], 4);
	EQ(alias[hps / 2 + 9], 4);
	/* Execute out of a base page */
	prim[4 * PS] = (char)0xc3;
	((void (*)(void))(prim + 4 * PS))();
	prim[hps - 1] = (char)0xc3;
	((void (*)(void))(prim + hps - 1))();
	EQ(mprotect(prim, PS, PROT_READ), -1);
}

static void t_mremap(void)
{
	unsigned long i;
	char *to;

	setup(FT, MINOR | WPM);
	for (i = 0; i < 8; i++)
		fill(alias, i);
	EQ(cont(u, prim, 6 * PS), 6 * PS);
	EQ(wp(u, prim + PS, PS, true), 0);
	EQ(wp(u, prim + 7 * PS, PS, true), 0);
	if (hps == G)
		EQ(cont(u, prim + 4 * M, 2 * M), 2 * M);
	to = huge_map(fd, 1, PROT_READ);
	munmap(to, hps);
	EQ(mremap(prim, hps, hps, MREMAP_MAYMOVE | MREMAP_FIXED, to), (long)to);
	prim = to;
	CHECK(vmflag(prim, "hm"));
	/* userfaultfd without event for it is gone, with its marks */
	EQ(vmflag(prim, "ui"), 0);
	for (i = 0; i < 8; i++)
		EQ(PM_WP(pagemap(prim + i * PS)), 0);
	mapped_is(0, hps == G ? 2048 : 0, 24);
	for (i = 0; i < 6; i++)
		CHECK(filled(prim, i));
	prim[PS + 8] = 1;
	EQ(alias[PS + 8], 1);
	CHECK(filled(prim, 7));		/* fault after the move */
}

static void t_munmap(void)
{
	unsigned long i, n = hps == G ? 2 : 4;

	npages = n;
	setup(FT, MINOR);
	for (i = 0; i < n; i++) {
		fill(alias + i * hps, 9);
		EQ(cont(u, prim + i * hps + 9 * PS, PS), PS);
	}
	errno = 0;
	EQ(munmap(prim + PS, PS), -1);
	EQ(errno, EINVAL);
	EQ(munmap(prim, hps), 0);
	for (i = 1; i < n; i++)
		CHECK(filled(prim + i * hps, 9));
	EQ(try_access(prim + 9 * PS, 0), SIGSEGV);
	CHECK(filled(alias, 9));
	EQ(munmap(prim + hps, (n - 1) * hps), 0);
}

static void t_punch(void)
{
	setup(FT, MINOR | WPM);
	fill(alias, 2);
	EQ(cont(u, prim + 2 * PS, PS), PS);
	EQ(wp(u, prim + 2 * PS, PS, true), 0);
	/* Whole pages only are freed; the rest is zeroed */
	EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PS, PS), 0);
	CHECK(filled(prim, 2));
	EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, hps), 0);
	mapped_is(0, 0, 0);
	EQ(PM_WP(pagemap(prim + 2 * PS)), 1);	/* the mark survives */
	EQ(PM_PRESENT(pagemap(prim + 2 * PS)), 0);
	EQ(alias[2 * PS], 0);
	EQ(cont_mode(u, prim + 2 * PS, PS, 0, NULL), PS);
	EQ(prim[2 * PS], 0);
	/* MADV_REMOVE is the same from the other side */
	EQ(madvise(prim, hps, MADV_REMOVE), 0);
	mapped_is(0, 0, 0);
}

static void t_truncate(void)
{
	npages = 2;
	setup(FT, MINOR);
	EQ(cont(u, prim + hps + 2 * PS, PS), PS);
	EQ(cont(u, prim + 2 * PS, PS), PS);
	EQ(ftruncate(fd, hps), 0);
	mapped_is(0, 0, 4);
	EQ(try_access(prim + hps + 2 * PS, 0), SIGBUS);
	EQ(prim[2 * PS], 0);
	EQ(cont(u, prim + hps, PS), -EFAULT);
	EQ(ftruncate(fd, 0), 0);
	mapped_is(0, 0, 0);
	EQ(try_access(prim + 2 * PS, 0), SIGBUS);
	EQ(ftruncate(fd, 2 * hps), 0);
	alias[3 * PS] = 3;
	EQ(cont(u, prim + 3 * PS, PS), PS);
	EQ(prim[3 * PS], 3);
}

static void t_dontneed(void)
{
	unsigned long i, pt0;

	setup(FT, MINOR | WPM);
	pt0 = status_kb("VmPTE");
	for (i = 0; i < 8; i++)
		fill(alias, i);
	EQ(cont(u, prim, 8 * PS), 8 * PS);
	EQ(madvise(prim, hps, MADV_DONTNEED), 0);
	mapped_is(0, 0, 0);
	CHECK(status_kb("VmPTE") <= pt0 + 8);
	EQ(cont(u, prim, 8 * PS), 8 * PS);
	for (i = 0; i < 8; i++)
		CHECK(filled(prim, i));
	EQ(wp(u, prim + PS, PS, true), 0);
	EQ(madvise(prim, hps, MADV_DONTNEED), 0);
	EQ(PM_WP(pagemap(prim + PS)), 1);
	EQ(PM_WP(pagemap(prim)), 0);
	errno = 0;
	EQ(madvise(prim + PS, hps - PS, MADV_DONTNEED), -1); EQ(errno, EINVAL);
}

static int wait_child(pid_t p)
{
	int st = -1;

	waitpid(p, &st, 0);
	return st;
}

/* Nothing is copied: the child faults */
static void t_fork(void)
{
	unsigned long i;
	pid_t p;

	setup(FT, MINOR);
	for (i = 0; i < 8; i++)
		fill(alias, i);
	EQ(cont(u, prim, 4 * PS), 4 * PS);
	p = fork();
	if (!p) {
		CHECK(vmflag(prim, "hm"));
		mapped_is(0, 0, 0);
		for (i = 0; i < 8; i++)
			CHECK(filled(prim, i));
		mapped_is(hps == G ? G / K : 0, hps == G ? 0 : hps / K, 0);
		prim[6 * PS + 8] = 6;
		_exit(!!failures);
	}
	EQ(wait_child(p), 0);
	EQ(alias[6 * PS + 8], 6);
	mapped_is(0, 0, 16);
}

/* Page tables are copied when userfaultfd-wp goes along with the child */
static void *event_thread(void *arg);

static void t_fork_copy(void)
{
	pthread_t et;

	unsigned long i;
	int pp[2];
	pid_t p;

	setup(FT | UFFD_FEATURE_EVENT_FORK, MINOR | WPM);
	for (i = 0; i < 8; i++)
		fill(alias, i);
	EQ(cont(u, prim, 4 * PS), 4 * PS);
	EQ(wp(u, prim + PS, PS, true), 0);
	EQ(wp(u, prim + 6 * PS, PS, true), 0);
	if (hps == G)
		EQ(cont(u, prim + 4 * M, 2 * M), 2 * M);
	if (pipe(pp))
		DIE("pipe");
	pthread_create(&et, NULL, event_thread, NULL);
	/* Blocks until event_thread() has read the event */
	p = fork();
	if (p < 0)
		DIE("fork: %m");
	if (!p) {
		char c;

		mapped_is(0, hps == G ? 2048 : 0, 16);
		EQ(PM_WP(pagemap(prim + PS)), 1);
		EQ(PM_WP(pagemap(prim + 2 * PS)), 0);
		EQ(PM_WP(pagemap(prim + 6 * PS)), 1);
		EQ(PM_PRESENT(pagemap(prim + 6 * PS)), 0);
		for (i = 0; i < 4; i++)
			CHECK(filled(prim, i));
		prim[2 * PS + 8] = 2;
		if (read(pp[0], &c, 1) != 1)
			FAIL("pipe");
		/* The fault of the child goes to the child's userfaultfd */
		CHECK(filled(prim, 5));
		_exit(!!failures);
	}
	if (write(pp[1], "x", 1) != 1)
		FAIL("pipe");
	EQ(wait_child(p), 0);
	EQ(alias[2 * PS + 8], 2);
	mapped_is(0, hps == G ? 2048 : 0, 16);
	EQ(PM_WP(pagemap(prim + PS)), 1);
}

static void *event_thread(void *arg)
{
	struct uffd_msg m;
	int cu = -1;

	(void)arg;
	for (;;) {
		m = next_msg(10000);
		if (m.event == UFFD_EVENT_FORK) {
			cu = m.arg.fork.ufd;
			break;
		}
		if (!m.event)
			return NULL;
	}
	for (;;) {
		struct pollfd p = { cu, POLLIN, 0 };

		if (poll(&p, 1, 10000) != 1)
			break;
		if (read(cu, &m, sizeof(m)) != sizeof(m))
			break;
		if (m.event == UFFD_EVENT_PAGEFAULT)
			cont(cu, (void *)(unsigned long)(m.arg.pagefault.address & -PS), PS);
	}
	return NULL;
}

static void t_exit(void)
{
	int i;

	for (i = 0; i < 8; i++) {
		pid_t p = fork();

		if (!p) {
			struct toucher t;

			setup(FT, MINOR | WPM);
			fill(alias, 1);
			cont(u, prim + PS, PS);
			if (i & 1)
				wp(u, prim, 3 * PS, true);
			if (i & 2)
				touch_start(&t, prim + 5 * PS, 1);
			if (i & 4) {
				usleep(20000);
				kill(getpid(), SIGKILL);
			}
			_exit(0);
		}
		wait_child(p);
	}
}

static void t_mlock(void)
{
	struct rlimit rl = { RLIM_INFINITY, RLIM_INFINITY };

	setrlimit(RLIMIT_MEMLOCK, &rl);
	setup(FT, MINOR);
	fill(alias, 3);
	EQ(cont(u, prim + 3 * PS, PS), PS);
	EQ(uffd_unreg(u, prim, hps), 0);
	EQ(mlock(prim, hps), 0);
	CHECK(filled(prim, 3));
	EQ(madvise(prim, hps, MADV_POPULATE_WRITE), 0);
	EQ(smaps(prim, "Shared_Hugetlb"), hps / K);
	EQ(munlock(prim, hps), 0);
	EQ(mlock2(prim, hps, 1), 0);
	EQ(munlockall(), 0);
}

static void t_proc(void)
{
	char l[512], pat[32];
	bool seen = false;
	FILE *f;

	setup(FT, MINOR);
	EQ(cont(u, prim + PS, 2 * PS), 2 * PS);
	if (hps == G)
		EQ(cont(u, prim + 2 * M, 2 * M), 2 * M);
	EQ(smaps_file("/proc/self/smaps_rollup", NULL, "HugetlbPteMapped", NULL), 8);
	EQ(smaps_file("/proc/self/smaps_rollup", NULL, "HugetlbPudMapped", NULL),
	   hps == G ? G / K : 0);
	EQ(smaps_file("/proc/self/smaps_rollup", NULL, "HugetlbPmdMapped", NULL),
	   2048);
	snprintf(pat, sizeof(pat), "%08lx ", (unsigned long)prim);
	f = fopen("/proc/self/numa_maps", "r");
	while (f && fgets(l, sizeof(l), f)) {
		if (strncmp(l, pat, strlen(pat)))
			continue;
		seen = true;
		CHECK(strstr(l, "dirty=1 "));
		CHECK(strstr(l, "mapmax=2 "));
		CHECK(strstr(l, "N0=1 ") || strstr(l, "N1=1 "));
	}
	CHECK(!f || seen);
	EQ(PM_PFN(pagemap(prim + PS)), PM_PFN(pagemap(alias + PS)));
	/* Alone: not shared any more, and exclusive */
	munmap(alias, hps);
	EQ(smaps(prim, "Shared_Hugetlb"), 0);
	EQ(smaps(prim, "Private_Hugetlb"), (hps == G ? 2048 : 0) + 8);
	EQ((pagemap(prim + PS) >> 56) & 1, 1);
}

/* One file, split from two mappings with different granularity */
static void t_two(void)
{
	char *b;
	unsigned long i;

	setup(FT, MINOR);
	for (i = 0; i < 8; i++)
		fill(alias, i);
	b = huge_map(fd, 1, PROT_READ | PROT_WRITE);
	EQ(madvise(b, hps, MADV_SPLIT), 0);
	EQ(uffd_reg(u, b, hps, MINOR), 0);
	EQ(cont(u, prim, 4 * PS), 4 * PS);
	EQ(cont(u, b + 2 * PS, 4 * PS), 4 * PS);
	EQ(cont(u, b + 2 * PS, PS), -EEXIST);
	for (i = 0; i < 4; i++)
		CHECK(filled(prim, i) && filled(b + 0, i + 2));
	munmap(b, hps);
	EQ(cont(u, prim + 4 * PS, 4 * PS), 4 * PS);
}

/* PMD tables that two mappings share are unshared, and remain so */
static void t_unshare(void)
{
	unsigned long len = 2 * G, i;
	char *b;

	if (hps == G)
		return;
	fd = memfd_create("hgm", MFD_HUGETLB | 21u << 26);
	if (fd < 0 || ftruncate(fd, len))
		DIE("memfd: %m");
	b = mmap(NULL, 3 * len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	b = (char *)(((unsigned long)b + G - 1) & -G);
	prim = mmap(b, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, 0);
	alias = mmap(b + len, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, 0);
	CHECK(prim != MAP_FAILED && alias != MAP_FAILED);
	for (i = 0; i < 4; i++)
		fill(alias + i * 2 * M, i);
	CHECK(filled(prim, 0));
	/* Shared indeed: the other entries come along */
	EQ(incore(prim + 2 * M), 1);
	EQ(madvise(prim, G, MADV_SPLIT), 0);
	EQ(vmflag(prim, "hm"), 1);
	EQ(vmflag(prim + G, "hm"), 0);
	mapped_is(0, 0, 0);
	EQ(smaps(alias, "HugetlbPmdMapped"), 8192);
	u = uffd_open(FT);
	EQ(uffd_reg(u, prim, G, MINOR), 0);
	EQ(cont(u, prim + PS, PS), PS);
	mapped_is(0, 0, 4);
	EQ(smaps(alias, "HugetlbPmdMapped"), 8192);
	CHECK(filled(alias, 0));
	/* Both split, without userfaultfd: still not shared */
	EQ(uffd_unreg(u, prim, G), 0);
	EQ(madvise(alias, len, MADV_SPLIT), 0);
	EQ(madvise(prim + G, G, MADV_SPLIT), 0);
	EQ(madvise(prim, len, MADV_DONTNEED), 0);
	EQ(madvise(alias, len, MADV_DONTNEED), 0);
	CHECK(filled(prim, 0));
	CHECK(filled(alias, 0));
	EQ(smaps(alias, "HugetlbPmdMapped"), 2048);
	mapped_is(0, 2048, 0);
	munmap(prim, len);
	CHECK(filled(alias, 0));
	munmap(alias, len);
}

/* Missing mode: what is copied is huge pages, as ever */
static void t_missing(void)
{
	struct toucher t;
	struct uffd_msg m;
	char *src = mmap(NULL, hps, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct uffdio_copy c = { .src = (unsigned long)src, .len = hps };

	setup_map();
	EQ(madvise(prim, hps, MADV_SPLIT), 0);
	u = uffd_open(FT);
	EQ(uffd_reg(u, prim, hps, UFFDIO_REGISTER_MODE_MISSING | WPM), 0);
	fill(src, 7);
	EQ(wp(u, prim + 3 * PS, 2 * PS, true), 0);
	touch_start(&t, prim + 7 * PS + 8, 0);
	m = next_msg(5000);
	EQ(m.arg.pagefault.address, (unsigned long)prim + 7 * PS);
	c.dst = (unsigned long)prim;
	c.len = PS;
	EQ(ioctl(u, UFFDIO_COPY, &c), -1);
	c.len = hps;
	EQ(ioctl(u, UFFDIO_COPY, &c), 0);
	/* The message has another address than the huge page: it is in range */
	pthread_join(t.t, NULL);
	CHECK(filled(prim, 7));
	mapped_is(hps == G ? G / K : 0, hps == G ? 0 : hps / K, 0);
	munmap(src, hps);
}

static void t_gup(void)
{
	struct iovec l, r;
	char buf[3 * PS];
	int p[2], f, n;
	unsigned long i;

	setup(FT, MINOR);
	for (i = 0; i < 32; i++)
		fill(alias, i);
	EQ(cont(u, prim, 16 * PS), 16 * PS);

	/* process_vm_readv/writev across base pages */
	l = (struct iovec){ buf, sizeof(buf) };
	r = (struct iovec){ prim + 2 * PS, sizeof(buf) };
	EQ(process_vm_readv(getpid(), &l, 1, &r, 1, 0), sizeof(buf));
	EQ(memcmp(buf, alias + 2 * PS, sizeof(buf)), 0);
	memset(buf, 0x5a, sizeof(buf));
	EQ(process_vm_writev(getpid(), &l, 1, &r, 1, 0), sizeof(buf));
	EQ(memcmp(buf, alias + 2 * PS, sizeof(buf)), 0);

	/* /proc/self/mem */
	f = open("/proc/self/mem", O_RDWR);
	EQ(pread(f, buf, sizeof(buf), (unsigned long)prim + 8 * PS), sizeof(buf));
	EQ(memcmp(buf, alias + 8 * PS, sizeof(buf)), 0);
	EQ(pwrite(f, "hello", 5, (unsigned long)prim + 9 * PS - 2), 5);
	EQ(memcmp(alias + 9 * PS - 2, "hello", 5), 0);
	close(f);

	/* vmsplice keeps the page, also when it is unmapped */
	if (pipe(p))
		DIE("pipe");
	l = (struct iovec){ prim + 10 * PS, 2 * PS };
	EQ(vmsplice(p[1], &l, 1, 0), 2 * PS);
	EQ(madvise(prim, hps, MADV_DONTNEED), 0);
	EQ(read(p[0], buf, 2 * PS), 2 * PS);
	EQ(memcmp(buf, alias + 10 * PS, 2 * PS), 0);
	close(p[0]);
	close(p[1]);

	/* O_DIRECT, on whatever block device or file there is */
	EQ(cont(u, prim, 16 * PS), 16 * PS);
	f = open("/dev/vda", O_RDWR | O_DIRECT);
	if (f >= 0) {
		EQ(pwrite(f, prim + PS, 3 * PS, 0), 3 * PS);
		EQ(pread(f, prim + 12 * PS, 3 * PS, 0), 3 * PS);
		EQ(memcmp(alias + PS, alias + 12 * PS, 3 * PS), 0);
		close(f);
	} else {
		printf("# no /dev/vda (%m), O_DIRECT is not tested\n");
	}

	/* A fixed buffer of io_uring: long-term pin, by base pages */
	struct io_uring_params ip = { 0 };
	n = syscall(SYS_io_uring_setup, 8, &ip);
	if (n >= 0) {
		l = (struct iovec){ prim + 4 * PS, 4 * PS };
		EQ(syscall(SYS_io_uring_register, n, 0, &l, 1), 0);
		EQ(madvise(prim, hps, MADV_DONTNEED), 0);
		EQ(syscall(SYS_io_uring_register, n, 1, NULL, 0), 0);
		l = (struct iovec){ prim + 4 * PS, 4 * PS };
		EQ(cont(u, prim + 4 * PS, 4 * PS), 4 * PS);
		EQ(syscall(SYS_io_uring_register, n, 0, &l, 1), 0);
		close(n);
	} else {
		printf("# no io_uring: %m\n");
	}
	/* A hole is filled by way of the userfaultfd, also for the kernel */
	pid_t c = fork();
	if (!c) {
		l = (struct iovec){ buf, 8 };
		r = (struct iovec){ prim + 20 * PS, 8 };
		_exit(process_vm_readv(getppid(), &l, 1, &r, 1, 0) != 8);
	}
	struct uffd_msg m = next_msg(5000);
	EQ(m.arg.pagefault.address, (unsigned long)prim + 20 * PS);
	EQ(cont(u, prim + 20 * PS, PS), PS);
	EQ(wait_child(c), 0);
}

/* Migration of a huge page that is mapped by fine entries is refused */
static void t_migrate(void)
{
	void *pg[1];
	int node = 0, status = 999;
	unsigned long i, mask = 1;

	setup(FT, MINOR);
	for (i = 0; i < 8; i++)
		fill(alias, i);
	EQ(cont(u, prim, 4 * PS), 4 * PS);
	pg[0] = prim;
	if (read_ul("/sys/devices/system/node/node1/numastat") != -1UL ||
	    !access("/sys/devices/system/node/node1", F_OK)) {
		node = 1;
		mask = 2;
		/* What was not moved is counted; its status is left alone */
		EQ(syscall(SYS_move_pages, 0, 1, pg, &node, &status, 4), 1);
		errno = 0;
		EQ(syscall(SYS_mbind, prim, hps, 2, &mask, 8, 4 | 1), -1);
		EQ(errno, EIO);
	} else {
		printf("# one node: move_pages and mbind are not tested\n");
	}
	/* Soft offline */
	errno = 0;
	EQ(madvise(prim, PS, 101), -1);
	EQ(errno, EBUSY);
	for (i = 0; i < 4; i++)
		CHECK(filled(prim, i));
	mapped_is(0, 0, 16);
	EQ(cont(u, prim + 4 * PS, 4 * PS), 4 * PS);
	for (i = 0; i < 8; i++)
		CHECK(filled(prim, i) && filled(alias, i));
}

/* Destroys a huge page: to be run last, or in a guest of its own */
static void t_hwpoison(void)
{
	setup(FT, MINOR);
	fill(alias, 3);
	EQ(cont(u, prim + 3 * PS, 2 * PS), 2 * PS);
	/* The error is injected where it is consumed: a signal, or none */
	struct sigaction sa = { .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_NODEFER };
	sigjmp_buf b;

	jb = &b;
	sigaction(SIGBUS, &sa, NULL);
	if (!sigsetjmp(b, 1))
		EQ(madvise(prim + 3 * PS, PS, 100), 0);
	signal(SIGBUS, SIG_DFL);
	mapped_is(0, 0, 0);
	EQ(try_access(prim + 3 * PS, 0), SIGBUS);
	EQ(try_access(prim + 4 * PS, 0), SIGBUS);
	EQ(try_access(prim + hps - 1, 0), SIGBUS);
	EQ(try_access(alias, 0), SIGBUS);
	CHECK(cont(u, prim + 3 * PS, PS) < 0);
	EQ(madvise(prim, hps, MADV_COLLAPSE), -1);
	munmap(prim, hps);
}

#define T(n) { #n, t_##n }
static const struct { const char *name; void (*fn)(void); } tests[] = {
	T(refuse), T(vma_split), T(continue), T(fault), T(fault_exact),
	T(fault_nouffd), T(wp), T(wp_hole), T(wp_async), T(pagemap_scan),
	T(rwp_async), T(rwp_sync),
	T(collapse), T(mprotect), T(mremap), T(munmap), T(punch), T(truncate),
	T(dontneed), T(fork), T(fork_copy), T(exit), T(mlock), T(proc),
	T(two), T(unshare), T(missing), T(gup), T(migrate), T(hwpoison),
};

int main(int argc, char **argv)
{
	unsigned int i, n = sizeof(tests) / sizeof(tests[0]), bad = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	hps = argc > 1 ? strtoul(argv[1], NULL, 10) * K : 2 * M;
	nbase = hps / PS;
	printf("KTAP version 1\n1..%u\n", n);
	for (i = 0; i < n; i++) {
		bool want = argc < 3 ? tests[i].fn != t_hwpoison : false;
		unsigned long f0, r0, s0, pt0, t0, pt1;
		int k, st;
		pid_t p;

		for (k = 2; k < argc; k++)
			want |= !strcmp(argv[k], tests[i].name);
		if (!want) {
			printf("ok %u %s # SKIP\n", i + 1, tests[i].name);
			continue;
		}
		f0 = pool("free_hugepages");
		r0 = pool("resv_hugepages");
		s0 = pool("surplus_hugepages");
		t0 = pool("nr_hugepages");
		pt0 = meminfo("PageTables");
		fflush(stdout);
		p = fork();
		if (!p) {
			alarm(120);
			tests[i].fn();
			fflush(stdout);
			_exit(failures ? 1 : 0);
		}
		waitpid(p, &st, 0);
		usleep(20000);
		failures = !!st;
		if (st)
			printf("# status %#x\n", st);
		if (tests[i].fn != t_hwpoison) {
			EQ(pool("free_hugepages"), f0);
			EQ(pool("nr_hugepages"), t0);
		}
		EQ(pool("resv_hugepages"), r0);
		EQ(pool("surplus_hugepages"), s0);
		/* Since 6.14, page tables are freed after an RCU grace period */
		for (k = 0; k < 50 && (pt1 = meminfo("PageTables")) > pt0 + 40; k++)
			usleep(100000);
		if (pt1 > pt0 + 40)
			FAIL("PageTables %lu kB, before %lu kB", pt1, pt0);
		printf("%s %u %s\n", failures ? "not ok" : "ok", i + 1, tests[i].name);
		bad += !!failures;
		failures = 0;
	}
	printf("# %u failed\n", bad);
	return !!bad;
}
