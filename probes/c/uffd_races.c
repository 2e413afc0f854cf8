// SPDX-License-Identifier: GPL-2.0-only
/*
 * userfaultfd against what happens at the same time: a fault of the page that
 * UFFDIO_COPY fills, and a lookup of pages while the descriptor is closed.
 */
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILE_PAGES 8UL
#define ROUNDS 240
#define RACES_NS (8 * 1000000000LL)
#define POPULATED (64 * PMD_PAGE)

static char *registered, *other, *source;
static int uffd;
static atomic_bool copying;

struct race {
	size_t page;
	struct uffd_result copied;
	int signal;
};

static void *copy(void *argument)
{
	struct race *race = argument;

	atomic_store(&copying, true);
	race->copied = uffd_copy(uffd, registered + race->page * huge_size(), source, huge_size());
	return NULL;
}

static void write_there(void *address)
{
	*(volatile char *)address = 1;
}

/* The time in ns that a copy takes when nothing else happens. The first ones take longer. */
static int64_t time_of_copy(int fd)
{
	int64_t start, duration = INT64_MAX;

	for (int i = 0; i < 4; i++) {
		start = now_ns();
		assert_error(uffd_copy(uffd, registered, source, huge_size()).error, 0);
		start = now_ns() - start;
		if (start < duration)
			duration = start;
		punch(fd, 0, 1);
	}
	return duration;
}

/*
 * A copy is 0 or EEXIST, and a write to the file's other mapping works, whoever is first. The
 * write begins DELAY ns after the copy.
 */
static void race_for(int fd, size_t page, int64_t delay)
{
	char *there = other + page * huge_size();
	struct race race = { .page = page };
	pthread_t thread;
	int64_t start;
	int error;

	atomic_store(&copying, false);
	assert_error(pthread_create(&thread, NULL, copy, &race), 0);
	while (!atomic_load(&copying))
		sched_yield();
	start = now_ns();
	while (now_ns() - start < delay)
		;
	race.signal = signal_of(write_there, there);
	pthread_join(thread, NULL);
	error = race.copied.error;
	assert_that(race.signal == 0, "a write to another mapping while UFFDIO_COPY fills its page "
		    "gets signal %d (UFFDIO_COPY: %s)", race.signal, error_name(error));
	assert_that(error == 0 || error == EEXIST,
		    "UFFDIO_COPY while another mapping is written: expected success or EEXIST, got %s",
		    error_name(error));
	assert_that(*(volatile char *)there == 1, "a write that succeeded is lost");
	punch(fd, page, 1);
}

static void copy_against_fault(void)
{
	struct pool before = pool_now();
	int fd = huge_memfd(FILE_PAGES);
	const size_t length = FILE_PAGES * huge_size();
	int64_t duration, start;

	registered = map_shared(fd, length, UNRESERVED);
	other = map_shared(fd, length, UNRESERVED);
	source = map_anonymous(huge_size(), 0);
	memset(source, 2, huge_size());
	uffd = uffd_open(UFFD_FEATURE_MISSING_HUGETLBFS);
	uffd_register(uffd, registered, length, UFFDIO_REGISTER_MODE_MISSING);
	/* Not page 0, for which an index in base pages is the same. */
	duration = time_of_copy(fd);
	start = now_ns();
	/*
	 * Steps of the golden ratio: however many rounds a slow machine has time for, their delays are
	 * spread over the time of a copy.
	 */
	for (int round = 0; round < ROUNDS && now_ns() - start < RACES_NS; round++)
		race_for(fd, 1 + (size_t)round % (FILE_PAGES - 1),
			 duration * (round * 618 % 1000) / 1000);
	assert_pool(&before, 0, 0, "after the races");
}

static atomic_int populate_error;

/* One call over both mappings: it keeps mmap_lock from the first to the second. */
static void *populate(void *start)
{
	atomic_store(&populate_error,
		     advise(start, POPULATED + PMD_PAGE, MADV_POPULATE_WRITE));
	return NULL;
}

/* Closes once PART of 16 parts of the first mapping are populated. */
static void close_during(size_t part)
{
	char *start = map_anonymous(POPULATED + PMD_PAGE, 0);
	int descriptor = uffd_open(0);
	struct timespec limit;
	pthread_t populating;

	assert_error(advise(start, POPULATED + PMD_PAGE, MADV_NOHUGEPAGE), 0);
	uffd_register(descriptor, start + POPULATED, PMD_PAGE, UFFDIO_REGISTER_MODE_MISSING);
	atomic_store(&populate_error, -1);
	assert_error(pthread_create(&populating, NULL, populate, start), 0);
	while (pagemap_present(start + part * (POPULATED / 16), 1) == 0 &&
	       atomic_load(&populate_error) < 0)
		sched_yield();
	close(descriptor);
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += 20;
	assert_that(pthread_timedjoin_np(populating, NULL, &limit) == 0,
		    "MADV_POPULATE_WRITE has not ended 20 s after the userfaultfd was closed");
	assert_that(atomic_load(&populate_error) == 0, "MADV_POPULATE_WRITE: %s",
		    error_name(atomic_load(&populate_error)));
	unmap(start, POPULATED + PMD_PAGE);
}

static void close_against_lookup(void)
{
	for (size_t part = 0; part < 16; part += 5)
		close_during(part);
}

static struct touch waiters[4];

/* Threads that wait for a page go on when the descriptor is closed, and find it empty. */
static void close_with_waiters(void)
{
	char *start = map_shared(huge_memfd(1), huge_size(), RESERVED);
	int descriptor = uffd_open(UFFD_FEATURE_MISSING_HUGETLBFS);

	uffd_register(descriptor, start, huge_size(), UFFDIO_REGISTER_MODE_MISSING);
	for (size_t i = 0; i < COUNT_OF(waiters); i++)
		touch_start(&waiters[i], start + i * BASE_PAGE, TOUCH_READ);
	for (size_t i = 0; i < COUNT_OF(waiters); i++)
		assert_fault(descriptor, start, 0);
	close(descriptor);
	for (size_t i = 0; i < COUNT_OF(waiters); i++)
		assert_that(touch_end(&waiters[i]) == 0, "a page that was never filled is not zero");
}

static char *awaited;


/* A process that waits for a page can be killed. */
static void killed_waiter(void)
{
	int descriptor = uffd_open(UFFD_FEATURE_MISSING_HUGETLBFS);
	struct touch touch;

	awaited = map_shared(huge_memfd(1), huge_size(), RESERVED);
	uffd_register(descriptor, awaited, huge_size(), UFFDIO_REGISTER_MODE_MISSING);
	touch_start(&touch, awaited, TOUCH_READ);
	assert_fault(descriptor, awaited, 0);
	kill(getpid(), SIGKILL);
}

static void killed(void)
{
	pid_t child = fork();
	int status;

	if (child == 0)
		killed_waiter();
	assert_errno(waitpid(child, &status, 0), 0);
	assert_that(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
		    "a process whose thread waits for a page did not end by SIGKILL");
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "UFFDIO_COPY and a fault of the same huge page exclude each other",
		  copy_against_fault },
		{ "closing the userfaultfd and MADV_POPULATE_WRITE both end", close_against_lookup },
		{ "threads that wait for a page go on when the userfaultfd is closed",
		  close_with_waiters },
		{ "a process whose thread waits for a page can be killed", killed },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 8,
		.needs_4k_pages = true,
	});
}
