// SPDX-License-Identifier: GPL-2.0-only
/*
 * Everything at the same time on one hugetlb file, for --seconds: processes with
 * a split mapping each, threads in them that fault, continue, write-protect,
 * collapse, unmap, truncate, move, pin and fork, and one that gets killed. A base
 * page must show zeroes or its own contents, and the pool must return to where
 * it was.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hgm_probe.h"

#define PROCESSES 3
#define THREADS 3
#define VICTIM_MS 3000 /* after which one process is killed */
#define GRACE_MS 60000 /* for all to end once the time is over */
#define RARER 6 /* what works on a huge page as a whole, where that has 262,144 parts */
#define PAGE_TABLES_SLACK (64L << 10) /* bytes: stacks and the like of others */

#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif
#ifndef UFFDIO_CONTINUE_MODE_WP
#define UFFDIO_CONTINUE_MODE_WP (1 << 1)
#endif

static int seconds, fd, uffd;
static char *primary, *alias;
static volatile sig_atomic_t over;
static struct timespec end_time;

/* An access may hit a hole in the file: then its thread goes on behind it. */
static __thread sigjmp_buf behind;
static __thread volatile sig_atomic_t is_guarded;
static __thread unsigned int seed;

/* Huge pages of the file. One of 1 GiB: each hole that is punched costs another clearing. */
static size_t file_pages(void)
{
	return huge_size() == PUD_PAGE ? 1 : 3;
}

static size_t length(void)
{
	return file_pages() * huge_size();
}

static bool time_is_over(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > end_time.tv_sec ||
	       (now.tv_sec == end_time.tv_sec && now.tv_nsec >= end_time.tv_nsec);
}

static void on_signal(int number)
{
	if (is_guarded)
		siglongjmp(behind, number);
	signal(number, SIG_DFL);
}

static size_t random_below(size_t count)
{
	return ((size_t)rand_r(&seed) << 31 ^ (size_t)rand_r(&seed)) % count;
}

static bool one_in(size_t count)
{
	return random_below(count) == 0;
}

static size_t rarer(void)
{
	return huge_size() == PUD_PAGE ? RARER : 1;
}

static char *random_huge(char *mapping)
{
	return mapping + random_below(file_pages()) * huge_size();
}

/* A base page of the file, mostly out of a hot set, so that there are collisions. */
static size_t random_page(void)
{
	size_t first = random_below(file_pages()) * huge_pages();

	switch (random_below(4)) {
	case 0:
		return first + random_below(huge_pages());
	case 1:
		return first + huge_pages() - 1 - random_below(16);
	default:
		return first + random_below(64);
	}
}

/* Bytes from PAGE on, within the file: often a page, at times a whole table or all. */
static size_t random_length(size_t page)
{
	static const size_t counts[] = { 1, 1, 1, 2, 7, 64, 512, 1024, PUD_PAGE / BASE_PAGE };
	size_t count = counts[random_below(COUNT_OF(counts))];
	size_t left = file_pages() * huge_pages() - page;

	if (count > 512 && !one_in(4 * rarer()))
		count = 1;
	return (count < left ? count : left) * BASE_PAGE;
}

static uint64_t stamp_of(size_t page)
{
	return page * 0x9e3779b97f4a7c15UL + 1;
}

static void look(const char *mapping, size_t page)
{
	const volatile uint64_t *words = (const void *)(mapping + page * BASE_PAGE);
	uint64_t seen;

	is_guarded = true;
	if (sigsetjmp(behind, 1) == 0) {
		seen = words[0];
		assert_that(seen == 0 || seen == stamp_of(page), "page %zu shows %#llx", page,
		       (unsigned long long)seen);
		seen = words[511];
		assert_that(seen == 0 || seen == stamp_of(page), "page %zu ends with %#llx", page,
		       (unsigned long long)seen);
	}
	is_guarded = false;
}

static void write_page(char *mapping, size_t page)
{
	volatile uint64_t *words = (void *)(mapping + page * BASE_PAGE);

	is_guarded = true;
	if (sigsetjmp(behind, 1) == 0)
		words[0] = words[511] = stamp_of(page);
	is_guarded = false;
}

/* ---- what is done; errors of these calls are part of the game ---------- */

static void do_read(void)
{
	look(primary, random_page());
}

static void do_write(void)
{
	write_page(primary, random_page());
}

static void do_write_alias(void)
{
	write_page(alias, random_page());
}

static void do_continue(void)
{
	size_t page = random_page();
	struct uffdio_continue argument = {
		.range = { (uintptr_t)primary + page * BASE_PAGE, random_length(page) },
		.mode = one_in(4) ? UFFDIO_CONTINUE_MODE_WP : 0,
	};

	ioctl(uffd, UFFDIO_CONTINUE, &argument);
}

static void do_protect(void)
{
	size_t page = random_page();

	uffd_protect(uffd, primary + page * BASE_PAGE, random_length(page), !one_in(3));
}

static void do_collapse(void)
{
	size_t page = random_page();

	if (one_in(2))
		advise(random_huge(primary), huge_size(), MADV_COLLAPSE);
	else
		advise(primary + page * BASE_PAGE, random_length(page), MADV_COLLAPSE);
}

static void do_dont_need(void)
{
	advise(random_huge(primary), huge_size(), MADV_DONTNEED);
}

static void do_populate(void)
{
	size_t page = random_page();

	advise(primary + page * BASE_PAGE, 8 * BASE_PAGE,
	       one_in(2) ? MADV_POPULATE_READ : MADV_POPULATE_WRITE);
}

static void do_punch(void)
{
	fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		  (off_t)(random_below(file_pages()) * huge_size()), (off_t)huge_size());
}

static void do_truncate(void)
{
	if (ftruncate(fd, (off_t)(random_below(file_pages() + 1) * huge_size())) == 0)
		assert_that(ftruncate(fd, (off_t)length()) == 0, "%s", error_name(errno));
}

static void do_mprotect(void)
{
	char *huge = random_huge(primary);

	mprotect(huge, huge_size(), one_in(2) ? PROT_READ : PROT_NONE);
	mprotect(huge, huge_size(), PROT_READ | PROT_WRITE);
}

/* Few pages: mlock() has each of them faulted in, and each fault answered. */
static void do_mlock(void)
{
	char *start = primary + random_page() * BASE_PAGE;

	mlock(start, 8 * BASE_PAGE);
	munlock(start, 8 * BASE_PAGE);
}

static _Noreturn void child_of_fork(void)
{
	signal(SIGALRM, SIG_DFL);
	alarm(5); /* its faults may be nobody's any more */
	for (int i = 0; i < 20; i++)
		look(one_in(2) ? primary : alias, random_page());
	_exit(0);
}

static void do_fork(void)
{
	pid_t child = fork();
	int status;

	if (child == 0)
		child_of_fork();
	if (child < 0)
		return;
	waitpid(child, &status, 0);
	assert_that(!WIFEXITED(status) || WEXITSTATUS(status) == 0, "a child failed");
}

/* Moves a mapping of LENGTH bytes to a place that nobody else can take meanwhile. */
static char *moved(char *from)
{
	size_t room = length() + PUD_PAGE;
	char *start = map_anonymous(room, MAP_NORESERVE);
	char *to = (char *)(((uintptr_t)start + PUD_PAGE - 1) & -PUD_PAGE);

	if (mremap(from, length(), length(), MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED) {
		munmap(start, room);
		return from;
	}
	munmap(start, (size_t)(to - start));
	munmap(to + length(), (size_t)(start + room - to) - length());
	return to;
}

/* Another mapping, registered as well, which is filled, moved and unmapped in parts. */
static void do_move(void)
{
	char *start = mmap(NULL, length(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
			   fd, 0);

	if (start == MAP_FAILED)
		return;
	split(start, length());
	uffd_register(uffd, start, length(), UFFDIO_REGISTER_MODE_MINOR);
	for (int i = 0; i < 8; i++) {
		size_t page = random_page();

		uffd_continue(uffd, start + page * BASE_PAGE, random_length(page));
	}
	start = moved(start);
	for (int i = 0; i < 8; i++)
		look(start, random_page());
	munmap(start, huge_size());
	if (length() > huge_size())
		munmap(start + huge_size(), length() - huge_size());
}

static void read_all(const char *path)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	char buffer[4096];

	assert_that(file >= 0, "%s: %s", path, error_name(errno));
	while (read(file, buffer, sizeof(buffer)) > 0)
		;
	close(file);
}

static void do_proc(void)
{
	static const char *const paths[] = {
		"/proc/self/smaps", "/proc/self/smaps_rollup", "/proc/self/numa_maps",
	};
	size_t page = random_page() / 512 * 512;

	if (one_in(2)) {
		read_all(paths[random_below(COUNT_OF(paths))]);
		return;
	}
	pagemap_present(primary + page * BASE_PAGE, 512);
	mincore_present(primary + page * BASE_PAGE, 512);
}

/* Pins pages: copied from by the kernel at once, or held in a pipe for a while. */
static void do_pin(void)
{
	char buffer[BASE_PAGE];
	struct iovec to = { buffer, BASE_PAGE };
	struct iovec from = { primary + random_page() * BASE_PAGE, BASE_PAGE };
	int ends[2];

	if (one_in(2)) {
		process_vm_readv(getpid(), &to, 1, &from, 1, 0);
	} else if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0) {
		vmsplice(ends[1], &from, 1, SPLICE_F_NONBLOCK);
		advise(random_huge(primary), huge_size(), MADV_DONTNEED);
		if (read(ends[0], buffer, BASE_PAGE) < 0)
			buffer[0] = 0;
		close(ends[0]);
		close(ends[1]);
	}
}

static const struct {
	void (*run)(void);
	const char *name;
	size_t weight;
	bool is_whole; /* works on whole huge pages */
} deeds[] = {
	{ do_read, "read", 300, false },	{ do_write, "write", 200, false },
	{ do_write_alias, "alias", 60, false },	{ do_continue, "continue", 200, false },
	{ do_protect, "protect", 60, false },	{ do_collapse, "collapse", 10, true },
	{ do_dont_need, "dontneed", 6, true },	{ do_populate, "populate", 10, false },
	{ do_punch, "punch", 2, true },		{ do_truncate, "truncate", 2, true },
	{ do_mprotect, "mprotect", 4, true },	{ do_mlock, "mlock", 10, false },
	{ do_fork, "fork", 3, true },		{ do_move, "move", 2, true },
	{ do_proc, "proc", 6, true },		{ do_pin, "pin", 60, false },
};

static size_t weight_of(size_t deed)
{
	return deeds[deed].weight * (deeds[deed].is_whole ? 1 : rarer());
}

static unsigned long done[COUNT_OF(deeds)];

static void *work(void *number)
{
	size_t total = 0, i;

	seed = (unsigned int)((uintptr_t)number * 7919 + (unsigned int)getpid());
	for (i = 0; i < COUNT_OF(deeds); i++)
		total += weight_of(i);
	while (!time_is_over()) {
		size_t chosen = random_below(total);

		for (i = 0; chosen >= weight_of(i); i++)
			chosen -= weight_of(i);
		deeds[i].run();
		__atomic_add_fetch(&done[i], 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Gives each fault what it asks for, until nobody can ask any more. */
static void answer(const struct uffd_msg *message)
{
	char *page = (char *)(uintptr_t)(message->arg.pagefault.address & -BASE_PAGE);

	if (message->event == UFFD_EVENT_FORK)
		close((int)message->arg.fork.ufd);
	if (message->event != UFFD_EVENT_PAGEFAULT)
		return;
	if (message->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP)
		uffd_protect(uffd, page, BASE_PAGE, false);
	else
		uffd_continue(uffd, page, BASE_PAGE);
	/* Also where that failed: the page may be mapped, or gone from the file. */
	uffd_wake(uffd, page, BASE_PAGE);
}

static void *serve(void *unused)
{
	struct pollfd waiting = { .fd = uffd, .events = POLLIN };
	struct uffd_msg message;

	while (!over)
		if (poll(&waiting, 1, 100) == 1 &&
		    read(uffd, &message, sizeof(message)) == sizeof(message))
			answer(&message);
	return unused;
}

/* Half of the processes write-protect asynchronously, the others copy page tables in fork(). */
static uint64_t features(void)
{
	uint64_t common = UFFD_FEATURE_MINOR_HUGETLBFS | UFFD_FEATURE_WP_HUGETLBFS_SHMEM |
			  UFFD_FEATURE_PAGEFAULT_FLAG_WP;
	uint64_t more = getpid() % 2 ? UFFD_FEATURE_EVENT_FORK :
				       UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED;

	return common | (more & uffd_offered());
}

static void note_deeds(void)
{
	char line[512];
	int used = 0;

	for (size_t i = 0; i < COUNT_OF(deeds); i++)
		used += snprintf(line + used, sizeof(line) - (size_t)used, " %s %lu",
				 deeds[i].name, done[i]);
	probe_note("process %d:%s", getpid(), line);
}

static _Noreturn void process(void)
{
	pthread_t threads[THREADS], server;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGBUS, on_signal);
	signal(SIGSEGV, on_signal);
	alias = map_shared(fd, length(), UNRESERVED);
	primary = map_shared(fd, length(), UNRESERVED);
	split(primary, length());
	uffd = uffd_open(features());
	uffd_register(uffd, primary, length(),
		      UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_WP);
	pthread_create(&server, NULL, serve, NULL);
	for (uintptr_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, work, (void *)(i + 1));
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	over = true;
	pthread_join(server, NULL);
	note_deeds();
	/* Some take their mapping down, others leave that to exit. */
	if (getpid() % 3)
		unmap(primary, length());
	_exit(0);
}

static pid_t start_process(void)
{
	pid_t child = fork();

	assert_that(child >= 0, "fork: %s", error_name(errno));
	if (child == 0)
		process();
	return child;
}

/* One process after the other is killed in the middle of whatever it does. */
static void kill_some(void)
{
	while (!time_is_over()) {
		pid_t victim = start_process();
		struct pollfd ends = { .fd = pidfd_open(victim, 0), .events = POLLIN };
		int status;

		if (poll(&ends, 1, VICTIM_MS) == 0)
			kill(victim, SIGKILL);
		close(ends.fd);
		waitpid(victim, &status, 0);
		assert_that(!WIFEXITED(status) || WEXITSTATUS(status) == 0, "a process failed");
	}
}

static void run_all(void)
{
	int status;

	clock_gettime(CLOCK_MONOTONIC, &end_time);
	end_time.tv_sec += seconds;
	for (int i = 0; i < PROCESSES; i++)
		start_process();
	kill_some();
	for (int i = 0; i < PROCESSES; i++) {
		assert_that(wait(&status) > 0, "wait: %s", error_name(errno));
		assert_that(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x of a process",
		       (unsigned int)status);
	}
}

/* Bytes of page tables in all of the guest, with what each CPU has counted for itself. */
static long page_tables(void)
{
	char line[128];
	long kib = -1;
	FILE *file;

	read_all("/proc/sys/vm/stat_refresh");
	file = fopen("/proc/meminfo", "re");
	assert_that(file, "/proc/meminfo: %s", error_name(errno));
	while (kib < 0 && fgets(line, sizeof(line), file))
		if (sscanf(line, "PageTables: %ld kB", &kib) != 1)
			kib = -1;
	fclose(file);
	assert_that(kib >= 0, "/proc/meminfo has no PageTables");
	return kib << 10;
}

struct counters {
	long free, reserved, surplus, page_tables;
};

static struct counters counters(void)
{
	return (struct counters){
		.free = pool_counter("free_hugepages"),
		.reserved = pool_counter("resv_hugepages"),
		.surplus = pool_counter("surplus_hugepages"),
		.page_tables = page_tables(),
	};
}

/* Clearing the first huge pages is the dearest of all: it is not to be part of the time. */
static void allocate_pages(void)
{
	char *start = map_shared(fd, length(), RESERVED);

	for (size_t i = 0; i < file_pages(); i++)
		check_zero(start + i * huge_size(), 0, 1);
	unmap(start, length());
}

static void everything_at_once(void)
{
	struct counters before = counters(), after;

	fd = huge_memfd(file_pages());
	allocate_pages();
	run_all();
	close(fd);
	after = counters();
	assert_that(after.free == before.free, "%+ld", after.free - before.free);
	assert_that(after.reserved == before.reserved, "%+ld", after.reserved - before.reserved);
	assert_that(after.surplus == before.surplus, "%+ld", after.surplus - before.surplus);
	assert_that(after.page_tables <= before.page_tables + PAGE_TABLES_SLACK, "%+ld bytes",
	       after.page_tables - before.page_tables);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "concurrent faults, ioctls, collapses, unmaps and forks keep contents and pool intact",
		  everything_at_once },
	};
	const char *text = probe_option(argc, argv, "--seconds");

	seconds = text ? atoi(text) : 0;
	if (seconds <= 0) {
		fprintf(stderr, "usage: %s --seconds COUNT --size 1G|2M\n", argv[0]);
		return 2;
	}
	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.needs_hgm = true,
		.test_ms = seconds * 1000 + GRACE_MS,
	});
}
