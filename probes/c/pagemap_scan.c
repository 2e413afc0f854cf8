// SPDX-License-Identifier: GPL-2.0-only
/* The PAGEMAP_SCAN ioctl reports and protects base pages of a split huge page. */
#include "hgm_probe.h"

#define FILLING 1
#define FEATURES (UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED | \
		  UFFD_FEATURE_WP_HUGETLBFS_SHMEM)

static int fd;

static void fill_file(void)
{
	fd = filled_memfd(512, FILLING);
}

static void present_pages(void)
{
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);
	struct scan seen;

	assert_continue(uffd, primary + 3 * BASE_PAGE, 2 * BASE_PAGE, 0, 2 * BASE_PAGE);
	assert_continue(uffd, primary + huge_size() - BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	seen = scan_pages(primary, huge_size(), 0, SCAN_PRESENT, 0);
	assert_regions(&seen, 2);
	assert_region(&seen, 0, primary + 3 * BASE_PAGE, 2);
	assert_region(&seen, 1, primary + huge_size() - BASE_PAGE, 1);
}

static char *map_tracked(void)
{
	char *start = map_shared(fd, huge_size(), UNRESERVED);
	int uffd = uffd_open(FEATURES);

	split(start, huge_size());
	uffd_register(uffd, start, huge_size(), UFFDIO_REGISTER_MODE_WP);
	check_pages(start, 0, 1, FILLING);
	return start;
}

static void written_pages(void)
{
	char *start = map_tracked();
	struct scan seen = scan_pages(start, huge_size(), SCAN_PROTECTS | SCAN_CHECKS_ASYNC, SCAN_WRITTEN, 0);

	assert_regions(&seen, 1);
	assert_region(&seen, 0, start, huge_pages());
	fill_pages(start, 5, 1, FILLING);
	fill_pages(start, 6, 1, FILLING);
	fill_pages(start, huge_pages() - 1, 1, FILLING);
	seen = scan_pages(start, huge_size(), 0, SCAN_WRITTEN, 0);
	assert_regions(&seen, 2);
	assert_region(&seen, 0, start + 5 * BASE_PAGE, 2);
	assert_region(&seen, 1, start + huge_size() - BASE_PAGE, 1);
}

/* Reports and protects in one call, at most max_pages pages. */
static void no_more_than_asked(void)
{
	char *start = map_tracked();
	struct scan seen;

	scan_pages(start, huge_size(), SCAN_PROTECTS | SCAN_CHECKS_ASYNC, SCAN_WRITTEN, 0);
	fill_pages(start, 5, 2, FILLING);
	seen = scan_pages(start, huge_size(), SCAN_PROTECTS | SCAN_CHECKS_ASYNC, SCAN_WRITTEN, 1);
	assert_regions(&seen, 1);
	assert_region(&seen, 0, start + 5 * BASE_PAGE, 1);
	assert_that(seen.walk_end == start + 6 * BASE_PAGE,
		    "PAGEMAP_SCAN: walk_end is %p, expected %p", seen.walk_end,
		    start + 6 * BASE_PAGE);
	assert_protected(start + 5 * BASE_PAGE, 1, 1);
	assert_protected(start + 6 * BASE_PAGE, 1, 0);
}

static void part_of_an_entry(void)
{
	char *start = map_tracked();
	struct scan seen = scan_pages(start + 8 * BASE_PAGE, 4 * BASE_PAGE, SCAN_PROTECTS | SCAN_CHECKS_ASYNC,
				SCAN_WRITTEN, 0);

	assert_regions(&seen, 1);
	assert_region(&seen, 0, start + 8 * BASE_PAGE, 4);
	assert_protected(start, huge_pages(), 4);
	assert_protected(start + 8 * BASE_PAGE, 4, 4);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "PAGEMAP_SCAN reports runs of present base pages as regions", present_pages },
		{ "PAGEMAP_SCAN reports runs of written base pages as regions", written_pages },
		{ "PAGEMAP_SCAN with max_pages 1 reports and write-protects one base page",
		  no_more_than_asked },
		{ "PAGEMAP_SCAN write-protects four base pages inside a large entry and no others",
		  part_of_an_entry },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.needs_hgm = true,
		.setup = fill_file,
	});
}
