// SPDX-License-Identifier: GPL-2.0-only
/*
 * PAGEMAP_SCAN finds and protects whole huge pages, and holes: written pages are
 * reported once, what is protected is not reported again until it is written.
 */
#include "hgm_probe.h"

#define FILLING 1
#define FEATURES (UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED | \
		  UFFD_FEATURE_WP_HUGETLBFS_SHMEM)
#define AND_PROTECT (SCAN_PROTECTS | SCAN_CHECKS_ASYNC)

static char *map_tracked(int fd)
{
	char *start = map_shared(fd, huge_size(), UNRESERVED);

	uffd_register(uffd_open(FEATURES), start, huge_size(), UFFDIO_REGISTER_MODE_WP);
	return start;
}

static void assert_nothing_written(char *start)
{
	struct scan seen = scan_pages(start, huge_size(), 0, SCAN_WRITTEN, 0);

	assert_regions(&seen, 0);
}

static void assert_all_written(char *start, uint64_t flags)
{
	struct scan seen = scan_pages(start, huge_size(), flags, SCAN_WRITTEN, 0);

	assert_regions(&seen, 1);
	assert_region(&seen, 0, start, huge_pages());
	assert_that(seen.walk_end == start + huge_size(), "PAGEMAP_SCAN: walk_end is %p, expected %p",
		    seen.walk_end, start + huge_size());
}

static void written_page(void)
{
	char *start = map_tracked(filled_memfd(huge_pages(), FILLING));

	*(volatile char *)start = 1;
	assert_all_written(start, 0);
	assert_all_written(start, AND_PROTECT);
	assert_protected(start, huge_pages(), huge_pages());
	assert_nothing_written(start);
	/* Asynchronous: the kernel takes the protection away by itself. */
	*(volatile char *)(start + huge_size() - 1) = 1;
	assert_all_written(start, AND_PROTECT);
	assert_nothing_written(start);
}

static void without_regions(void)
{
	char *start = map_tracked(filled_memfd(huge_pages(), FILLING));

	*(volatile char *)start = 1;
	scan_pages(start, huge_size(), AND_PROTECT | SCAN_WITHOUT_REGIONS, SCAN_WRITTEN, 0);
	assert_protected(start, huge_pages(), huge_pages());
	assert_nothing_written(start);
}

static void protected_through_the_other(void)
{
	int fd = filled_memfd(huge_pages(), FILLING);
	char *start = map_tracked(fd), *other = map_shared(fd, huge_size(), UNRESERVED);

	*(volatile char *)start = 1;
	assert_all_written(start, AND_PROTECT);
	*(volatile char *)other = 1;
	assert_nothing_written(start);
	assert_protected(start, huge_pages(), huge_pages());
	assert_protected(other, huge_pages(), 0);
}

static char *hole_place;
static int hole_fd;

static char *map_hole(void)
{
	char *start = map_at(hole_place, huge_size(), MAP_SHARED | MAP_NORESERVE, hole_fd);

	uffd_register(uffd_open(FEATURES), start, huge_size(), UFFDIO_REGISTER_MODE_WP);
	return start;
}

/* Runs BODY in a child, in which the hole has no page table. */
static void in_a_hole(void (*body)(void))
{
	const size_t table = TABLE_ENTRIES * huge_size(); /* bytes that one page table maps */

	hole_fd = huge_memfd(1);
	hole_place = reserve_area(table, table);
	child_end(child_start(body));
}

/* The category mask must not ask for written pages: a hole of hugetlb is not one. */
static void protect_hole(void)
{
	char *start = map_hole();

	scan_pages(start, huge_size(), AND_PROTECT | SCAN_WITHOUT_REGIONS, 0, 0);
	assert_protected(start, huge_pages(), huge_pages());
	assert_present(start, huge_pages(), 0);
	*(volatile char *)start = 1;
	assert_protected(start, huge_pages(), 0);
}

static void hole_without_table(void)
{
	in_a_hole(protect_hole);
}

static void part_of_a_page(void)
{
	char *start = map_tracked(filled_memfd(huge_pages(), FILLING));
	struct scan seen;

	*(volatile char *)start = 1;
	seen = scan_pages(start, 4 * BASE_PAGE, AND_PROTECT, SCAN_WRITTEN, 0);
	assert_regions(&seen, 0);
	assert_protected(start, huge_pages(), 0);
	seen = scan_pages(start, 4 * BASE_PAGE, 0, SCAN_WRITTEN, 0);
	assert_regions(&seen, 1);
	assert_region(&seen, 0, start, 4);
}

/* What is not protected is taken back from the output, which there may be none of. */
static void part_without_regions(void)
{
	char *start = map_tracked(filled_memfd(huge_pages(), FILLING));

	*(volatile char *)start = 1;
	scan_pages(start, 4 * BASE_PAGE, AND_PROTECT | SCAN_WITHOUT_REGIONS, SCAN_WRITTEN, 0);
	assert_protected(start, huge_pages(), 0);
	assert_all_written(start, AND_PROTECT);
}

static void protect_part_of_hole(void)
{
	char *start = map_hole();

	scan_pages(start, 4 * BASE_PAGE, AND_PROTECT | SCAN_WITHOUT_REGIONS, 0, 0);
	assert_protected(start, huge_pages(), 0);
}

static void part_of_a_hole(void)
{
	in_a_hole(protect_part_of_hole);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "PAGEMAP_SCAN reports and protects a written huge page, and again after a write",
		  written_page },
		{ "PAGEMAP_SCAN without an output vector protects a written huge page",
		  without_regions },
		{ "a write through another mapping is not one through this", protected_through_the_other },
		{ "PAGEMAP_SCAN protects a hole that has no page table", hole_without_table },
		{ "PAGEMAP_SCAN of a part of a huge page reports it and protects nothing",
		  part_of_a_page },
		{ "PAGEMAP_SCAN of a part of a huge page without an output vector protects nothing",
		  part_without_regions },
		{ "PAGEMAP_SCAN of a part of a hole without a page table protects nothing", part_of_a_hole },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
	});
}
