// SPDX-License-Identifier: GPL-2.0-only
/* Faults, MADV_POPULATE and mlock() of a split mapping without a userfaultfd. */
#include <sys/resource.h>

#include "hgm_probe.h"

#define FILLING 1

static int fd;

static void fill_file(void)
{
	fd = filled_memfd(1, FILLING);
}

/* Split, with base pages 4 and 5 continued, and no longer registered. */
static char *map_unregistered(void)
{
	int uffd;
	char *start = map_split(fd, 0, 0, &uffd);

	assert_continue(uffd, start + 4 * BASE_PAGE, 2 * BASE_PAGE, 0, 2 * BASE_PAGE);
	assert_error(uffd_unregister(uffd, start, huge_size()), 0);
	return start;
}

static void touched(void)
{
	char *start = map_unregistered();

	check_pages(start, 3, 4, FILLING);
	check_pages(start, huge_pages() - 1, 1, FILLING);
	check_pages(start, 0, huge_pages(), FILLING);
	assert_present(start, huge_pages(), huge_pages());
}

static void never_touched(void)
{
	char *start = map_shared(fd, huge_size(), UNRESERVED);

	split(start, huge_size());
	check_pages(start, 9, 1, FILLING);
	assert_whole(start, huge_size());
}

static void populated(void)
{
	char *start = map_unregistered();

	assert_error(advise(start, huge_size(), MADV_POPULATE_WRITE), 0);
	assert_present(start, huge_pages(), huge_pages());
	check_pages(start, 0, huge_pages(), FILLING);
	assert_error(advise(start, huge_size(), MADV_DONTNEED), 0);
	assert_error(advise(start, huge_size(), MADV_POPULATE_READ), 0);
	assert_present(start, huge_pages(), huge_pages());
	if (offers(PROMISE_DONTNEED_FREES_TABLES))
		assert_whole(start, huge_size());
}

static void locked(void)
{
	const struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	char *start = map_unregistered();

	setrlimit(RLIMIT_MEMLOCK, &all);
	assert_errno(mlock(start, huge_size()), 0);
	assert_present(start, huge_pages(), huge_pages());
	check_pages(start, 0, 16, FILLING);
	assert_errno(munlock(start, huge_size()), 0);
	check_pages(start, 0, 16, FILLING);
}

static void split_when_full(void)
{
	char *start = map_shared(fd, huge_size(), UNRESERVED);

	check_pages(start, 0, 1, FILLING);
	split(start, huge_size());
	assert_whole(start, huge_size());
	check_pages(start, 0, huge_pages(), FILLING);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "without a userfaultfd, accesses map the holes beside 4 KiB entries", touched },
		{ "without a userfaultfd, the first access maps a split huge page by one entry",
		  never_touched },
		{ "MADV_POPULATE_READ and MADV_POPULATE_WRITE map all of a split huge page",
		  populated },
		{ "mlock maps all of a split huge page", locked },
		{ "MADV_SPLIT of a mapped huge page leaves it mapped by one entry",
		  split_when_full },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.needs_hgm = true,
		.asks = PROMISE(DONTNEED_FREES_TABLES),
		.setup = fill_file,
	});
}
