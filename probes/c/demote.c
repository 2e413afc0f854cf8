// SPDX-License-Identifier: GPL-2.0-only
/*
 * Demotion: free huge pages are split into smaller huge pages, as many as were asked
 * for, but none that is reserved. Each test costs the pool pages for good.
 */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "hgm_probe.h"

/* The size that pages are demoted to, and how many of them there are in one. */
static size_t smaller, parts;

static long smaller_counter(const char *name)
{
	return file_number(pool_file(smaller, name));
}

/* Both pools as they are now, to be compared with how they were. */
struct pools {
	struct pool large;
	long small_total, small_free;
};

static struct pools pools_now(void)
{
	return (struct pools){
		.large = pool_now(),
		.small_total = smaller_counter("nr_hugepages"),
		.small_free = smaller_counter("free_hugepages"),
	};
}

static void assert_demoted(const struct pools *before, long count, const char *when)
{
	struct pools now = pools_now();
	long more = count * (long)parts;

	assert_that(now.large.total == before->large.total - count &&
		    now.large.free == before->large.free - count,
		    "the pool of %s %s: %+ld huge pages, %+ld of them free, expected %+ld",
		    size_name(huge_size()), when, now.large.total - before->large.total,
		    now.large.free - before->large.free, -count);
	assert_that(now.small_total == before->small_total + more &&
		    now.small_free == before->small_free + more,
		    "the pool of %s %s: %+ld huge pages, %+ld of them free, expected %+ld",
		    size_name(smaller), when, now.small_total - before->small_total,
		    now.small_free - before->small_free, more);
}

static int demote(const char *text)
{
	return write_text(pool_file(huge_size(), "demote"), text);
}

/* Returns how many pages of the pool are free and not reserved. */
static long need_free(long count)
{
	struct pool now = pool_now();
	long unreserved = now.free - now.reserved;

	if (unreserved < count)
		probe_skip("needs %ld free huge pages, the pool has %ld", count, unreserved);
	return unreserved;
}

static void size_is_checked(void)
{
	const char *path = pool_file(huge_size(), "demote_size");
	char own[32], kept[32];

	snprintf(own, sizeof(own), "%zukB", huge_size() / 1024);
	snprintf(kept, sizeof(kept), "%zukB", smaller / 1024);
	assert_error(write_text(path, own), EINVAL);
	assert_error(write_text(path, "12kB"), EINVAL);
	assert_error(write_text(path, "all"), EINVAL);
	assert_error(write_text(path, kept), 0);
	assert_that(file_number(path) == (long)(smaller / 1024),
		    "demote_size is %ld kB, expected %zu", file_number(path), smaller / 1024);
}

static void words(void)
{
	struct pools before = pools_now();

	assert_error(demote("all"), EINVAL);
	assert_error(demote("-1"), EINVAL);
	assert_error(demote("0"), 0);
	assert_demoted(&before, 0, "after 0 was written");
}

/* The reservation must be worth a page afterwards. */
static void assert_usable(char *start, size_t count)
{
	for (size_t page = 0; page < count; page++)
		assert_signal(start + page * huge_size(), TOUCH_WRITE, 0);
}

static void reserved_by_node(void)
{
	const char *path = node_file(1, "demote");
	struct pools before = pools_now();
	long pages;
	char *start;

	if (access(path, W_OK) != 0)
		probe_skip("%s: %s", path, error_name(errno));
	pages = need_free(2);
	start = map_private_huges((size_t)pages, RESERVED);
	assert_error(write_text(path, "1"), 0);
	assert_demoted(&before, 0, "with all pages reserved, after 1 was written for node 1");
	unmap(start, (size_t)pages * huge_size());
}

/* A free page is reserved: all but one are demoted, of all that were asked for. */
static void reserved_stays(void)
{
	struct pools before = pools_now();
	long pages = need_free(2);
	char all[24], *start;

	snprintf(all, sizeof(all), "%ld", pages);
	start = map_private_huge(RESERVED);
	assert_error(demote(all), 0);
	assert_demoted(&before, pages - 1, "with a page reserved, after all were asked for");
	assert_error(demote("1"), 0);
	assert_demoted(&before, pages - 1, "with a page reserved, after 1 was written");
	assert_usable(start, 1);
}

/* What has become of a page can be used, empty, and is given back. */
static void last_page(void)
{
	struct pools before = pools_now();
	int fd;
	char *start;

	need_free(1);
	assert_error(demote("1"), 0);
	assert_demoted(&before, 1, "after 1 was written");
	fd = huge_memfd_of(smaller, 4);
	assert_that(fd >= 0, "memfd_create of four pages of %s: %s", size_name(smaller),
		    error_name(-fd));
	start = map_shared(fd, 4 * smaller, RESERVED);
	for (size_t page = 0; page < 4; page++) {
		check_zero(start + page * smaller, 0, smaller / BASE_PAGE);
		fill_copy(start + page * smaller, 0, smaller / BASE_PAGE, (unsigned int)page);
	}
	for (size_t page = 0; page < 4; page++)
		check_copy(start + page * smaller, 0, smaller / BASE_PAGE, (unsigned int)page);
	assert_that(smaller_counter("free_hugepages") == before.small_free + (long)parts - 4,
		    "the pool of %s has %+ld free huge pages with four of them used, expected %+ld",
		    size_name(smaller), smaller_counter("free_hugepages") - before.small_free,
		    (long)parts - 4);
	unmap(start, 4 * smaller);
	close(fd);
	assert_demoted(&before, 1, "after four of the new pages were freed");
}

static void need_demotion(void)
{
	const char *path = pool_file(huge_size(), "demote_size");

	probe_harms("demotes huge pages for good");
	if (access(path, W_OK) != 0)
		probe_skip("%s: %s", path, error_name(errno));
	smaller = (size_t)file_number(path) * 1024;
	assert_that(smaller && smaller < huge_size(), "demote_size is %s", size_name(smaller));
	parts = huge_size() / smaller;
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "demote_size takes smaller sizes of huge pages, and nothing else", size_is_checked },
		{ "demote takes numbers, and nothing else", words },
		{ "demotion on a node leaves what is reserved", reserved_by_node },
		{ "demotion of more pages than are not reserved leaves those that are", reserved_stays },
		{ "a demoted page is as many smaller ones, which are empty and can be used", last_page },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 2,
		.setup = need_demotion,
	});
}
