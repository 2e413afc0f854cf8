// SPDX-License-Identifier: GPL-2.0-only
/*
 * Holes of a hugetlb file that begin or end inside of a huge page: those bytes
 * are zero afterwards, whole huge pages go back to the pool, the rest stays.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1
#define COUNT 3

static int fd;
static char *start;

static void fill(void)
{
	fd = filled_memfd_of(COUNT, 1, FILLING);
	start = map_shared(fd, COUNT * huge_size(), UNRESERVED);
}

static void punch_bytes(off_t from, off_t length)
{
	assert_errno(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, length), 0);
}

/* Base pages FROM to TO of the file are zero, all others as they were written. */
static void assert_hole(size_t from, size_t to)
{
	for (size_t page = 0; page < COUNT; page++) {
		size_t first = page * huge_pages(), end = first + huge_pages();
		size_t low = from < first ? first : from > end ? end : from;
		size_t high = to < low ? low : to > end ? end : to;

		if (low == first && high == end)
			continue; /* a hole, which must not be filled by looking at it */
		check_pages(start, first, low - first, FILLING);
		check_zero(start, low, high - low);
		check_pages(start, high, end - high, FILLING);
	}
}

static void assert_blocks(size_t count)
{
	struct stat seen;

	assert_errno(fstat(fd, &seen), 0);
	assert_that((size_t)seen.st_blocks * 512 == count * huge_size(),
		    "the file has %lld blocks of 512 bytes, expected those of %s",
		    (long long)seen.st_blocks, range_text(count * huge_size()));
	assert_that((size_t)seen.st_size == COUNT * huge_size(), "the file's size has changed");
}

/* A hole from base page FROM to TO, in which FREED whole huge pages are. */
static void hole(size_t from, size_t to, size_t freed)
{
	struct pool before;

	fill();
	before = pool_now();
	punch_bytes((off_t)(from * BASE_PAGE), (off_t)((to - from) * BASE_PAGE));
	assert_pool(&before, (long)freed, 0, "after the hole was punched");
	assert_hole(from, to);
	assert_blocks(COUNT - freed);
}

static void inside(void)
{
	hole(2, 3, 0);
}

static void at_the_ends(void)
{
	hole(0, 2, 0);
	hole(huge_pages() - 1, huge_pages(), 0);
}

static void across(void)
{
	hole(huge_pages() - 1, huge_pages() + 1, 0);
}

static void one_and_a_half(void)
{
	hole(huge_pages(), 2 * huge_pages() + huge_pages() / 2, 1);
}

static void half_one_half(void)
{
	hole(huge_pages() / 2, 2 * huge_pages() + huge_pages() / 2, 1);
}

/* Bytes, not base pages: the bytes before and after stay. */
static void odd_bytes(void)
{
	fill();
	start[100] = start[101] = start[102] = 1;
	punch_bytes(101, 1);
	assert_that(start[100] == 1 && start[101] == 0 && start[102] == 1,
		    "bytes 100 to 102 are %d %d %d after a hole of byte 101, expected 1 0 1",
		    start[100], start[101], start[102]);
}

static void in_a_hole(void)
{
	struct pool before = pool_now();

	fd = huge_memfd(COUNT);
	punch_bytes((off_t)BASE_PAGE, (off_t)huge_size());
	assert_pool(&before, 0, 0, "after a hole was punched into a hole");
	assert_blocks(0);
}

static void *remove_base_page(void *unused)
{
	(void)unused;
	assert_error(advise(start + 2 * BASE_PAGE, BASE_PAGE, MADV_REMOVE), 0);
	return NULL;
}

/* Documentation/admin-guide/mm/userfaultfd.rst: the event has the ends of the removed area. */
static void removed_area(void)
{
	int uffd = uffd_open(UFFD_FEATURE_EVENT_REMOVE);
	struct pollfd events = { .fd = uffd, .events = POLLIN };
	struct uffd_msg message;
	pthread_t thread;

	fill();
	check_pages(start, 0, 1, FILLING);
	uffd_register(uffd, start, huge_size(), UFFDIO_REGISTER_MODE_MISSING);
	assert_error(pthread_create(&thread, NULL, remove_base_page, NULL), 0);
	if (poll(&events, 1, EVENT_MS) == 1) {
		message = uffd_next_event(uffd, UFFD_EVENT_REMOVE);
		pthread_join(thread, NULL);
		assert_present(start, huge_pages(), huge_pages());
		probe_fail("UFFD_EVENT_REMOVE of %s at base page %llu, of which nothing was "
			   "unmapped", range_text(message.arg.remove.end - message.arg.remove.start),
			   (unsigned long long)(message.arg.remove.start - (uintptr_t)start) /
			   BASE_PAGE);
	}
	pthread_join(thread, NULL);
	assert_hole(2, 3);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "a hole inside of a huge page clears its bytes and frees nothing", inside },
		{ "holes at the first and the last base page of a huge page clear them", at_the_ends },
		{ "a hole across the border of two huge pages clears its part of both", across },
		{ "a hole of one and a half huge pages frees the whole one and clears the half",
		  one_and_a_half },
		{ "a hole with parts at both ends frees the huge page between", half_one_half },
		{ "a hole of one byte clears one byte", odd_bytes },
		{ "a hole in a hole allocates nothing", in_a_hole },
		{ "UFFD_EVENT_REMOVE has what MADV_REMOVE of a part of a huge page unmaps", removed_area },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 6,
	});
}
