// SPDX-License-Identifier: GPL-2.0-only
/* The PAGEMAP_SCAN ioctl, which is as old as 6.7. */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "library.h"

/* struct pm_scan_arg of <linux/fs.h>. */
struct scan_request {
	uint64_t size, flags, start, end, walk_end, regions, region_count, max_pages;
	uint64_t inverted, mask, any_of, returned;
};

#define SCAN _IOWR('f', 16, struct scan_request)

int scan_try(char *start, size_t length, uint64_t flags, struct scan_masks masks,
	     struct scan_limits limits, struct scan_region *regions, char **walk_end)
{
	struct scan_request request = {
		.size = sizeof(request), .flags = flags,
		.start = (uintptr_t)start, .end = (uintptr_t)start + length,
		.regions = (uintptr_t)regions, .region_count = limits.regions,
		.max_pages = limits.pages, .inverted = masks.inverted, .mask = masks.all_of,
		.any_of = masks.any_of, .returned = masks.returned,
	};
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), count, error;

	assert_that(pagemap >= 0, "/proc/self/pagemap: %s", error_name(errno));
	count = ioctl(pagemap, SCAN, &request);
	error = errno;
	close(pagemap);
	if (count < 0 && error == ENOTTY)
		probe_skip("PAGEMAP_SCAN: %s", error_name(error));
	*walk_end = (char *)(uintptr_t)request.walk_end;
	return count < 0 ? -error : count;
}

struct scan scan_pages(char *start, size_t length, uint64_t flags, uint64_t category,
		       uint64_t max_pages)
{
	struct scan_masks masks = { .all_of = category, .returned = category };
	struct scan scan;
	struct scan_limits limits = { .pages = max_pages, .regions = COUNT_OF(scan.regions) };
	struct scan_region *regions = scan.regions;

	if (flags & SCAN_WITHOUT_REGIONS) {
		limits.regions = 0;
		regions = NULL;
	}
	scan.count = scan_try(start, length, flags & ~SCAN_WITHOUT_REGIONS, masks, limits, regions,
			      &scan.walk_end);
	assert_that(scan.count >= 0, "PAGEMAP_SCAN: %s", error_name(-scan.count));
	return scan;
}

void assert_regions(const struct scan *scan, int count)
{
	if (scan->count != count)
		probe_fail("PAGEMAP_SCAN reports %d regions, expected %d", scan->count, count);
}

void assert_region(const struct scan *scan, int index, const char *start, size_t pages)
{
	const struct scan_region *region = &scan->regions[index];

	if (index >= scan->count)
		probe_fail("PAGEMAP_SCAN reports %d regions, expected more", scan->count);
	if (region->start != (uintptr_t)start ||
	    region->end != (uintptr_t)start + pages * BASE_PAGE)
		probe_fail("PAGEMAP_SCAN: region %d is %#llx to %#llx, expected %zu base pages from %p on",
			   index, (unsigned long long)region->start,
			   (unsigned long long)region->end, pages, start);
}
