// SPDX-License-Identifier: GPL-2.0-only
/* smaps, smaps_rollup, status, pagemap, mincore and numa_maps agree about a split mapping. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1

static int fd;

static void fill_file(void)
{
	fd = filled_memfd(512, FILLING);
}

/* All but mincore() must count this many base pages of the mapping. */
static void assert_mapped_pages(char *start, size_t pages)
{
	size_t bytes = pages * BASE_PAGE;
	int64_t by_size = smaps_bytes(start, "HugetlbPudMapped") +
			  smaps_bytes(start, "HugetlbPmdMapped") +
			  smaps_bytes(start, "HugetlbPteMapped");
	int64_t total = smaps_bytes(start, "Shared_Hugetlb") + smaps_bytes(start, "Private_Hugetlb");

	assert_that(by_size == (int64_t)bytes,
		    "smaps: HugetlbPudMapped, HugetlbPmdMapped and HugetlbPteMapped add up to %s, "
		    "expected %s", size_text(by_size), size_text((int64_t)bytes));
	assert_that(total == (int64_t)bytes,
		    "smaps: Shared_Hugetlb and Private_Hugetlb add up to %s, expected %s",
		    size_text(total), size_text((int64_t)bytes));
	assert_present(start, huge_pages(), pages);
	assert_that(status_bytes("HugetlbPages") == (int64_t)bytes,
		    "HugetlbPages in /proc/self/status is %s, expected %s",
		    size_text(status_bytes("HugetlbPages")), size_text((int64_t)bytes));
}

/* The same, and mincore() as well. */
static void assert_views(char *start, size_t pages)
{
	assert_mapped_pages(start, pages);
	assert_resident(start, huge_pages(), pages);
}

static void as_it_fills(void)
{
	int uffd;
	char *primary = map_split(fd, UFFD_FEATURE_WP_HUGETLBFS_SHMEM, UFFDIO_REGISTER_MODE_WP,
				  &uffd);
	size_t half = huge_pages() / 2;

	/* Where no page table is yet, mincore() says whether the file has the page. */
	assert_mapped_pages(primary, 0);
	assert_continue(uffd, primary + BASE_PAGE, 2 * BASE_PAGE, 0, 2 * BASE_PAGE);
	assert_views(primary, 2);
	checkpoint(primary, huge_size(), "pud:0,pmd:0,pte:2,present:2");
	assert_continue(uffd, primary + huge_size() / 2, huge_size() / 2, 0, huge_size() / 2);
	assert_views(primary, half + 2);
	if (wp_unit() == BASE_PAGE) {
		assert_error(uffd_protect(uffd, primary + 8 * BASE_PAGE, 8 * BASE_PAGE, true), 0);
		assert_views(primary, half + 2);
		assert_error(uffd_protect(uffd, primary + huge_size() - BASE_PAGE, BASE_PAGE, true), 0);
	} else {
		assert_error(uffd_protect(uffd, primary, huge_size(), true), 0);
	}
	assert_views(primary, half + 2);
	collapse(primary, huge_size());
	assert_views(primary, huge_pages());
	checkpoint(primary, huge_size(), "pte:0,present:%zu,wp:0", huge_pages());
	assert_error(advise(primary, huge_size(), MADV_DONTNEED), 0);
	assert_views(primary, 0);
}

/* The frames of a huge page are consecutive. */
static void frames(void)
{
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd), *whole = map_shared(fd, huge_size(), UNRESERVED);
	const size_t pages[] = { 0, 1, huge_pages() / 2 + 3, huge_pages() - 1 };
	uint64_t first;

	check_pages(whole, 0, 1, FILLING);
	first = pagemap_entry(whole) & PAGEMAP_FRAME;
	if (!first && geteuid() != 0)
		probe_skip("pagemap shows frame numbers to root alone");
	for (size_t i = 0; i < COUNT_OF(pages); i++) {
		char *page = primary + pages[i] * BASE_PAGE;

		assert_continue(uffd, page, BASE_PAGE, 0, BASE_PAGE);
		assert_that((pagemap_entry(page) & PAGEMAP_FRAME) == first + pages[i],
			    "pagemap: page %zu is in frame %#llx, expected %#llx", pages[i],
			    (unsigned long long)(pagemap_entry(page) & PAGEMAP_FRAME),
			    (unsigned long long)(first + pages[i]));
	}
}

/* One mapping with three entries is still one user of the huge page. */
static void shared_or_not(void)
{
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd), *second;

	assert_continue(uffd, primary, 3 * BASE_PAGE, 0, 3 * BASE_PAGE);
	assert_that(pagemap_entry(primary) & PAGEMAP_EXCLUSIVE,
		    "pagemap: page 0 is not exclusive, expected it so with one mapping");
	assert_smaps(primary, "Private_Hugetlb", 3 * BASE_PAGE);
	second = map_shared(fd, huge_size(), UNRESERVED);
	check_pages(second, 0, 1, FILLING);
	assert_that(!(pagemap_entry(primary) & PAGEMAP_EXCLUSIVE),
		    "pagemap: page 0 is exclusive, expected it shared with two mappings");
	assert_smaps(primary, "Shared_Hugetlb", 3 * BASE_PAGE);
}

/* One huge page, whether one entry maps it or three. */
static void numa_maps(void)
{
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd), line[512];

	assert_continue(uffd, primary, 3 * BASE_PAGE, 0, 3 * BASE_PAGE);
	numa_maps_line(primary, line, sizeof(line));
	assert_that(strstr(line, " huge "), "numa_maps: expected 'huge' in: %s", line);
	assert_that(strstr(line, "=1 kernelpagesize_kB"),
		    "numa_maps: expected one page of a node in: %s", line);
	collapse(primary, huge_size());
	numa_maps_line(primary, line, sizeof(line));
	assert_that(strstr(line, "=1 kernelpagesize_kB"),
		    "numa_maps: expected one page of a node in: %s", line);
}

static void assert_rollup(const char *field, size_t want)
{
	int64_t bytes = file_bytes("/proc/self/smaps_rollup", field);

	assert_that(bytes == (int64_t)want, "smaps_rollup: %s is %s, expected %s", field,
		    size_text(bytes), size_text((int64_t)want));
}

static void rollup(void)
{
	int uffd, other_uffd;
	char *primary = map_split(fd, 0, 0, &uffd), *other = map_split(fd, 0, 0, &other_uffd);

	assert_continue(uffd, primary, 2 * BASE_PAGE, 0, 2 * BASE_PAGE);
	assert_continue(other_uffd, other, 3 * BASE_PAGE, 0, 3 * BASE_PAGE);
	assert_rollup("HugetlbPteMapped", 5 * BASE_PAGE);
	assert_rollup("Shared_Hugetlb", 5 * BASE_PAGE);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "smaps, pagemap, mincore and status agree as a huge page fills, collapses and goes",
		  as_it_fills },
		{ "pagemap shows the huge page's consecutive frames for its base pages", frames },
		{ "pagemap and smaps tell an exclusively mapped huge page from a shared one",
		  shared_or_not },
		{ "numa_maps counts a split huge page as one page", numa_maps },
		{ "smaps_rollup adds up the 4 KiB entries of two split mappings", rollup },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.needs_hgm = true,
		.asks = PROMISE(WP_BASE_PAGES),
		.setup = fill_file,
	});
}
