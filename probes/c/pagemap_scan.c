// SPDX-License-Identifier: GPL-2.0-only
/* The PAGEMAP_SCAN ioctl reports and protects base pages of a split huge page. */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1
#define FEATURES (UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED | \
		  UFFD_FEATURE_WP_HUGETLBFS_SHMEM)

/* struct page_region and struct pm_scan_arg of <linux/fs.h>, which is older than 6.7 here. */
struct scan_region {
	uint64_t start, end, categories;
};

struct scan_request {
	uint64_t size, flags, start, end, walk_end, regions, region_count, max_pages;
	uint64_t inverted, mask, any_of, returned;
};

#define SCAN _IOWR('f', 16, struct scan_request)
#define IS_WRITTEN (1 << 1)
#define IS_PRESENT (1 << 3)
#define DO_PROTECT (1 << 0)
#define CHECK_ASYNC (1 << 1)

static int fd;

static void fill_file(void)
{
	fd = filled_memfd(512, FILLING);
}

struct scan {
	int count;
	char *walk_end;
	struct scan_region regions[16];
};

static struct scan scan(char *start, size_t length, uint64_t flags, uint64_t category,
			uint64_t max_pages)
{
	struct scan scan = { .count = 0 };
	struct scan_request request = {
		.size = sizeof(request), .flags = flags,
		.start = (uintptr_t)start, .end = (uintptr_t)start + length,
		.regions = (uintptr_t)scan.regions, .region_count = COUNT_OF(scan.regions),
		.max_pages = max_pages, .mask = category, .returned = category,
	};
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	scan.count = ioctl(pagemap, SCAN, &request);
	if (scan.count < 0 && errno == ENOTTY)
		probe_skip("PAGEMAP_SCAN: %s", error_name(errno));
	assert_that(scan.count >= 0, "PAGEMAP_SCAN: %s", error_name(errno));
	scan.walk_end = (char *)(uintptr_t)request.walk_end;
	close(pagemap);
	return scan;
}

static void assert_regions(const struct scan *scan, int count)
{
	assert_that(scan->count == count, "PAGEMAP_SCAN reports %d regions, expected %d",
		    scan->count, count);
}

static void assert_region(const struct scan *scan, int index, const char *start, size_t pages)
{
	const struct scan_region *region = &scan->regions[index];

	assert_that(index < scan->count,
		    "PAGEMAP_SCAN reports %d regions, expected more", scan->count);
	assert_that(region->start == (uintptr_t)start &&
		    region->end == (uintptr_t)start + pages * BASE_PAGE,
		    "PAGEMAP_SCAN: region %d is %#llx to %#llx, expected %zu base pages from %p on",
		    index, (unsigned long long)region->start, (unsigned long long)region->end,
		    pages, start);
}

static void present_pages(void)
{
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);
	struct scan seen;

	assert_continue(uffd, primary + 3 * BASE_PAGE, 2 * BASE_PAGE, 0, 2 * BASE_PAGE);
	assert_continue(uffd, primary + huge_size() - BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	seen = scan(primary, huge_size(), 0, IS_PRESENT, 0);
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
	struct scan seen = scan(start, huge_size(), DO_PROTECT | CHECK_ASYNC, IS_WRITTEN, 0);

	assert_regions(&seen, 1);
	assert_region(&seen, 0, start, huge_pages());
	fill_pages(start, 5, 1, FILLING);
	fill_pages(start, 6, 1, FILLING);
	fill_pages(start, huge_pages() - 1, 1, FILLING);
	seen = scan(start, huge_size(), 0, IS_WRITTEN, 0);
	assert_regions(&seen, 2);
	assert_region(&seen, 0, start + 5 * BASE_PAGE, 2);
	assert_region(&seen, 1, start + huge_size() - BASE_PAGE, 1);
}

/* Reports and protects in one call, at most max_pages pages. */
static void no_more_than_asked(void)
{
	char *start = map_tracked();
	struct scan seen;

	scan(start, huge_size(), DO_PROTECT | CHECK_ASYNC, IS_WRITTEN, 0);
	fill_pages(start, 5, 2, FILLING);
	seen = scan(start, huge_size(), DO_PROTECT | CHECK_ASYNC, IS_WRITTEN, 1);
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
	struct scan seen = scan(start + 8 * BASE_PAGE, 4 * BASE_PAGE, DO_PROTECT | CHECK_ASYNC,
				IS_WRITTEN, 0);

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
