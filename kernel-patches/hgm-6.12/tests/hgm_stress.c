// SPDX-License-Identifier: GPL-2.0
/*
 * hgm_stress SIZE_KB [SECONDS [PROCESSES]]: everything at the same time, on one
 * hugetlb file that is mapped by several processes, each with a split mapping
 * of its own: faults, continues, write-protects, forks, collapses, unmaps,
 * truncates, moves, and readers of /proc.  A base page must show zeroes or its
 * own contents, and the pool must return to where it was.
 */
#include "hgm.h"
#include <setjmp.h>
#include <time.h>

static unsigned long npages, nbase, len;
static int fd, u;
static char *prim, *alias;
static volatile int stop;
static unsigned long ops[16];
static double t_end;

static __thread sigjmp_buf jb;
static __thread volatile int jb_ok;
static __thread unsigned int seed;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static unsigned long rnd(unsigned long n)
{
	return (((unsigned long)rand_r(&seed) << 31) ^ rand_r(&seed)) % n;
}

static void on_sig(int s)
{
	if (jb_ok)
		siglongjmp(jb, s);
	signal(s, SIG_DFL);
}

#define GUARDED(code) do {				\
	jb_ok = 1;					\
	if (!sigsetjmp(jb, 1)) { code; }		\
	jb_ok = 0;					\
} while (0)

/* A base page, mostly out of a hot set, so that there are collisions */
static unsigned long rpage(void)
{
	unsigned long p = rnd(npages) * nbase;

	switch (rnd(4)) {
	case 0:
		return p + rnd(nbase);
	case 1:
		return p + nbase - 1 - rnd(16);
	default:
		return p + rnd(64);
	}
}

static unsigned long rlen(unsigned long p)
{
	static const unsigned long l[] = { 1, 1, 1, 2, 7, 64, 512, 1024, 1UL << 18 };
	unsigned long n = l[rnd(9)];

	if (n > 512 && rnd(4))
		n = 1;
	return p + n > npages * nbase ? npages * nbase - p : n;
}

static void check_page(const char *base, unsigned long p)
{
	const volatile uint64_t *q = (const volatile uint64_t *)(base + p * PS);
	uint64_t v = q[0], w = q[511];

	if (v && v != p * 0x9e3779b97f4a7c15ULL + 1)
		FAIL("page %lu shows %llx", p, (unsigned long long)v);
	if (w && w != ~(p * 0x9e3779b97f4a7c15ULL + 1))
		FAIL("page %lu shows %llx at its end", p, (unsigned long long)w);
}

static void do_read(void)  { unsigned long p = rpage(); GUARDED(check_page(prim, p)); }
static void do_write(void) { unsigned long p = rpage(); GUARDED(fill(prim, p)); }
static void do_alias(void) { unsigned long p = rpage(); GUARDED(fill(alias, p)); }
static void do_cont(void)
{
	unsigned long p = rpage();

	cont_mode(u, prim + p * PS, rlen(p) * PS, rnd(4) ? 0 : UFFDIO_CONTINUE_MODE_WP, NULL);
}

static void do_wp(void)
{
	unsigned long p = rpage();

	wp(u, prim + p * PS, rlen(p) * PS, rnd(3));
}

static void do_collapse(void)
{
	unsigned long p = rpage(), n = rlen(p);

	if (rnd(2)) {
		p = p / nbase * nbase;
		n = nbase;
	}
	madvise(prim + p * PS, n * PS, MADV_COLLAPSE);
}

static void do_dontneed(void) { madvise(prim + rnd(npages) * hps, hps, MADV_DONTNEED); }
static void do_punch(void)
{
	fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, rnd(npages) * hps, hps);
}

static void do_truncate(void)
{
	if (ftruncate(fd, rnd(npages + 1) * hps))
		return;
	usleep(500);
	if (ftruncate(fd, len))
		FAIL("grow: %m");
}

static void do_mprotect(void)
{
	char *a = prim + rnd(npages) * hps;

	mprotect(a, hps, PROT_READ);
	mprotect(a, hps, PROT_READ | PROT_WRITE);
}

static void do_fork(void)
{
	pid_t p = fork();

	if (!p) {
		int i;

		signal(SIGALRM, SIG_DFL);
		alarm(5);	/* never wait for a dead handler */
		for (i = 0; i < 20; i++) {
			unsigned long pg = rpage();

			GUARDED(check_page(rnd(2) ? prim : alias, pg));
		}
		_exit(failures ? 1 : 0);
	}
	if (p > 0) {
		int st;

		waitpid(p, &st, 0);
		if (WIFEXITED(st) && WEXITSTATUS(st))
			FAIL("child status %#x", st);
	}
}

/* A second mapping that is moved and unmapped in parts */
static void do_move(void)
{
	struct uffdio_register r = { .mode = UFFDIO_REGISTER_MODE_MINOR };
	unsigned long i, p;
	char *a, *b;

	a = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (a == MAP_FAILED)
		return;
	if (madvise(a, len, MADV_SPLIT))
		FAIL("split: %m");
	r.range.start = (unsigned long)a;
	r.range.len = len;
	if (ioctl(u, UFFDIO_REGISTER, &r))
		FAIL("register: %m");
	for (i = 0; i < 8; i++) {
		p = rpage();
		cont(u, a + p * PS, rlen(p) * PS);
	}
	b = mremap(a, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, prim + 64 * G + (getpid() % 8) * 4 * G);
	if (b == MAP_FAILED) {
		munmap(a, len);
		return;
	}
	for (i = 0; i < 8; i++) {
		p = rpage();
		GUARDED(check_page(b, p));
	}
	munmap(b, hps);
	if (npages > 1)
		munmap(b + hps, len - hps);
}

static void do_proc(void)
{
	static const char *const f[] = { "smaps", "smaps_rollup", "numa_maps", "pagemap" };
	unsigned char v[512];
	char buf[4096], p[64];
	unsigned long k = rnd(5), pg = rpage();
	int d;

	if (k == 4) {
		mincore(prim + pg / nbase * hps, 2 * M, v);
		return;
	}
	snprintf(p, sizeof(p), "/proc/self/%s", f[k]);
	d = open(p, O_RDONLY);
	if (d < 0)
		return;
	if (k == 3)
		lseek(d, ((unsigned long)prim / PS + pg) * 8, SEEK_SET);
	while (read(d, buf, sizeof(buf)) > 0 && k < 3)
		;
	close(d);
}

static void do_gup(void)
{
	char buf[2 * PS];
	unsigned long p = rpage();
	struct iovec l = { buf, PS }, r = { prim + p * PS, PS };

	process_vm_readv(getpid(), &l, 1, &r, 1, 0);
}

static const struct { void (*fn)(void); int weight; const char *name; } op[] = {
	{ do_read, 300, "read" }, { do_write, 200, "write" }, { do_alias, 60, "alias" },
	{ do_cont, 200, "continue" }, { do_wp, 60, "wp" }, { do_collapse, 10, "collapse" },
	{ do_dontneed, 6, "dontneed" }, { do_punch, 2, "punch" },
	{ do_truncate, 2, "truncate" }, { do_mprotect, 4, "mprotect" },
	{ do_fork, 3, "fork" }, { do_move, 2, "move" }, { do_proc, 6, "proc" },
	{ do_gup, 60, "gup" },
};
#define NOPS	(sizeof(op) / sizeof(op[0]))

static void *worker(void *arg)
{
	unsigned int total = 0, i;

	seed = (unsigned long)arg * 7919 + getpid();
	for (i = 0; i < NOPS; i++)
		total += op[i].weight;
	while (!stop && now() < t_end) {
		unsigned int w = rnd(total);

		for (i = 0; w >= (unsigned int)op[i].weight; i++)
			w -= op[i].weight;
		op[i].fn();
		__atomic_add_fetch(&ops[i], 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Answers what is asked for, until the very end */
static void *handler(void *arg)
{
	struct uffd_msg m;

	(void)arg;
	seed = 42;
	for (;;) {
		struct pollfd p = { u, POLLIN, 0 };
		struct uffdio_range r;
		char *a;

		if (poll(&p, 1, 100) != 1) {
			if (stop == 2)
				return NULL;
			continue;
		}
		if (read(u, &m, sizeof(m)) != sizeof(m) || m.event != UFFD_EVENT_PAGEFAULT)
			continue;
		a = (char *)(unsigned long)(m.arg.pagefault.address & -PS);
		if (m.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP)
			wp(u, a, PS, false);
		else
			cont(u, a, PS);
		r = (struct uffdio_range){ (unsigned long)a, PS };
		ioctl(u, UFFDIO_WAKE, &r);
	}
}

static int process(int threads)
{
	pthread_t t[16], h;
	int i;

	signal(SIGBUS, on_sig);
	signal(SIGSEGV, on_sig);
	alias = huge_map(fd, npages, PROT_READ | PROT_WRITE);
	prim = huge_map(fd, npages, PROT_READ | PROT_WRITE);
	if (madvise(prim, len, MADV_SPLIT))
		DIE("split: %m");
	u = uffd_open(UFFD_FEATURE_MINOR_HUGETLBFS | UFFD_FEATURE_WP_HUGETLBFS_SHMEM |
		      UFFD_FEATURE_PAGEFAULT_FLAG_WP |
		      (getpid() % 2 ? 0 : UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED));
	if (uffd_reg(u, prim, len, UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_WP))
		DIE("register: %m");
	pthread_create(&h, NULL, handler, NULL);
	for (i = 0; i < threads; i++)
		pthread_create(&t[i], NULL, worker, (void *)(long)(i + 1));
	for (i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	stop = 2;
	pthread_join(h, NULL);
	printf("# %d:", getpid());
	for (i = 0; i < (int)NOPS; i++)
		printf(" %s %lu", op[i].name, ops[i]);
	printf("\n");
	fflush(stdout);
	/* Some go without taking anything down, and some in the middle */
	if (getpid() % 3)
		munmap(prim, len);
	return failures;
}

int main(int argc, char **argv)
{
	unsigned long f0, r0, s0, pt0;
	int secs, procs, i, st, bad = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	hps = argc > 1 ? strtoul(argv[1], NULL, 10) * K : 2 * M;
	secs = argc > 2 ? atoi(argv[2]) : 60;
	procs = argc > 3 ? atoi(argv[3]) : 3;
	nbase = hps / PS;
	npages = hps == G ? 1 : 3;
	len = npages * hps;
	printf("KTAP version 1\n1..1\n");
	f0 = pool("free_hugepages");
	r0 = pool("resv_hugepages");
	s0 = pool("surplus_hugepages");
	pt0 = meminfo("PageTables");
	fd = huge_fd(npages);
	t_end = now() + secs;
	fflush(stdout);
	for (i = 0; i < procs; i++)
		if (!fork())
			exit(!!process(3));
	/* And one that is killed now and then */
	while (now() < t_end) {
		pid_t p = fork();

		if (!p)
			exit(!!process(2));
		usleep(3000000);
		if (now() < t_end)
			kill(p, SIGKILL);
		waitpid(p, &st, 0);
		if (WIFEXITED(st) && WEXITSTATUS(st))
			bad++;
	}
	for (i = 0; i < procs; i++) {
		wait(&st);
		if (st) {
			printf("# status %#x\n", st);
			bad++;
		}
	}
	close(fd);
	usleep(300000);
	EQ(pool("free_hugepages"), f0);
	EQ(pool("resv_hugepages"), r0);
	EQ(pool("surplus_hugepages"), s0);
	if (meminfo("PageTables") > pt0 + 64)
		FAIL("PageTables %lu kB, before %lu kB", meminfo("PageTables"), pt0);
	bad += failures;
	printf("%s 1 stress_%luk_%ds\n", bad ? "not ok" : "ok", hps / K, secs);
	return !!bad;
}
