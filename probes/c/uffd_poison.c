// SPDX-License-Identifier: GPL-2.0-only
/* UFFDIO_POISON makes accesses fail as if the memory were broken, and touches no memory. */
#include <signal.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1
#define UNITS 3

static enum memory_kind kind;
static int fd, uffd;
static char *start;

static size_t unit(void)
{
	return memory_unit(kind);
}

static char *at(size_t number)
{
	return start + number * unit();
}

static void open_file(void)
{
	close(uffd_open(UFFD_FEATURE_POISON));
	fd = memory_file(kind, UNITS);
}

/* Registered memory; nothing of it is mapped. */
static void map_registered(void)
{
	start = memory_map(kind, fd, UNITS);
	uffd = uffd_open(UFFD_FEATURE_POISON);
	uffd_register(uffd, start, UNITS * unit(), UFFDIO_REGISTER_MODE_MISSING);
}

static void poison(size_t number)
{
	assert_result(uffd_poison(uffd, at(number), unit()), 0, (int64_t)unit());
}

static void access_fails(void)
{
	map_registered();
	poison(1);
	assert_signal(at(1), TOUCH_READ, SIGBUS);
	assert_signal(at(1) + unit() - sizeof(uint64_t), TOUCH_WRITE, SIGBUS);
	assert_no_fault(uffd);
	assert_present(start, UNITS * unit() / BASE_PAGE, 0);
}

static void read_poison(void)
{
	assert_signal(at(1), TOUCH_READ, SIGBUS);
}

static void child_inherits(void)
{
	map_registered();
	poison(1);
	child_end(child_start(read_poison));
	assert_signal(at(1), TOUCH_READ, SIGBUS);
}

static void *poison_later(void *unused)
{
	(void)unused;
	assert_fault(uffd, at(2), 0);
	poison(2);
	return NULL;
}

static void waiting_reader_fails(void)
{
	pthread_t thread;

	map_registered();
	assert_error(pthread_create(&thread, NULL, poison_later, NULL), 0);
	assert_signal(at(2), TOUCH_READ, SIGBUS);
	pthread_join(thread, NULL);
}

static void dropped_with_the_entry(void)
{
	map_registered();
	poison(1);
	assert_error(advise(at(1), unit(), MADV_DONTNEED), 0);
	assert_error(uffd_unregister(uffd, start, UNITS * unit()), 0);
	fill_pages(at(1), 0, 1, FILLING);
	check_pages(at(1), 0, 1, FILLING);
}

static void refused(void)
{
	map_registered();
	poison(1);
	assert_result(uffd_poison(uffd, at(1), unit()), EEXIST, -EEXIST);
	assert_error(uffd_poison(uffd, at(0) + 1, unit()).error, EINVAL);
	if (kind == HUGETLB)
		assert_error(uffd_poison(uffd, at(0), BASE_PAGE).error, EINVAL);
	assert_error(uffd_poison(uffd, map_anonymous(BASE_PAGE, 0), BASE_PAGE).error, ENOENT);
	/* Up to the first that is there. */
	assert_result(uffd_poison(uffd, at(0), 2 * unit()), EAGAIN, (int64_t)unit());
	assert_signal(at(0), TOUCH_READ, SIGBUS);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "an access to memory after UFFDIO_POISON is SIGBUS", access_fails },
		{ "UFFDIO_POISON ends a missing fault that waits with SIGBUS",
		  waiting_reader_fails },
		{ "MADV_DONTNEED removes the poison of UFFDIO_POISON", dropped_with_the_entry },
		{ "UFFDIO_POISON of what is poisoned is EEXIST, and of part of a page EINVAL",
		  refused },
		/* Page tables of shared memory are not copied. */
		{ "UFFDIO_POISON of private memory holds in a child of fork", child_inherits },
	};
	static const struct probe_argument arguments[] = { MEMORY_ARGUMENT, { 0 } };

	kind = memory_kind(argc, argv);
	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests) - (kind != ANONYMOUS),
		.pages = kind == HUGETLB ? 1 : 0,
		.arguments = arguments,
		.setup = open_file,
	});
}
