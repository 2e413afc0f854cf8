// SPDX-License-Identifier: GPL-2.0-only
/* Base pages of a split huge page that were not continued still fault. */
#include "hgm_probe.h"

#define FILLING 1
#define PAGES (PMD_PAGE / BASE_PAGE)

static int fd;

static void fill_file(void)
{
	fd = filled_memfd(1, FILLING);
}

/* Every other page of 2 MiB is a hole: a read of all must fault on the holes, in order. */
static void every_other_page(void)
{
	static struct server server;
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);

	for (size_t page = 0; page < PAGES; page += 2)
		assert_continue(uffd, primary + page * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	server_start(&server, uffd, BASE_PAGE);
	check_pages(primary, 0, PAGES, FILLING);
	server_end(&server);
	assert_that(server.count == PAGES / 2,
		    "%zu minor faults, expected %zu: one for each unmapped base page", server.count,
		    PAGES / 2);
	for (size_t i = 0; i < server.count; i++)
		assert_that(server.faults[i] == primary + (2 * i + 1) * BASE_PAGE,
			    "minor fault %zu is at %p, expected %p (page %zu)", i, server.faults[i],
			    primary + (2 * i + 1) * BASE_PAGE, 2 * i + 1);
}

static void fault_at(int uffd, char *primary, size_t page)
{
	char *start = primary + page * BASE_PAGE;
	struct touch touch;

	touch_start(&touch, start, TOUCH_READ);
	assert_fault(uffd, start, UFFD_PAGEFAULT_FLAG_MINOR);
	assert_continue(uffd, start, BASE_PAGE, 0, BASE_PAGE);
	touch_end(&touch);
}

/* The pages on both sides of a continued range, which in 1 GiB crosses a 2 MiB boundary. */
static void around_a_range(void)
{
	size_t first = huge_pages() / 2 - 4, count = 8;
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);

	assert_continue(uffd, primary + first * BASE_PAGE, count * BASE_PAGE, 0,
			count * BASE_PAGE);
	fault_at(uffd, primary, first - 1);
	fault_at(uffd, primary, first + count);
	check_pages(primary, first - 1, count + 2, FILLING);
	assert_no_fault(uffd);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "reading 2 MiB with every other base page mapped faults once on each of the others",
		  every_other_page },
		{ "the base pages just before and after a continued range still fault",
		  around_a_range },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.needs_hgm = true,
		.setup = fill_file,
	});
}
