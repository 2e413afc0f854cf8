// SPDX-License-Identifier: GPL-2.0-only
/*
 * What /proc says of transparent huge pages: pagemap, PAGEMAP_SCAN and mincore show
 * each base page of one as they show base pages, however the huge page is mapped.
 */
#include <fcntl.h>
#include <unistd.h>

#include "hgm_probe.h"

#define PAGES TABLE_ENTRIES
#define FILLING 1

/* /sys/kernel/mm/transparent_hugepage/use_zero_page is 1 unless somebody turns it off. */
#define USE_ZERO_PAGE "/sys/kernel/mm/transparent_hugepage/use_zero_page"

static char *anonymous(void)
{
	char *start = memory_map(TRANSPARENT, -1, 1);

	fill_pages(start, 0, PAGES, FILLING);
	assert_smaps(start, "AnonHugePages", PMD_PAGE);
	return start;
}

/* Two mappings of a file in a tmpfs with huge=always, the first of them mapped by huge pages. */
static char *shared(char **second)
{
	int fd;
	char *start = backing_make(BACKING_THP, &fd);

	fill_pages(start, 0, PAGES, FILLING);
	*second = backing_map(BACKING_THP, fd);
	close(fd);
	return start;
}

/* Fails the test unless each of COUNT entries has BIT, or each lacks it. */
static void assert_bit(const char *start, size_t count, uint64_t bit, bool want, const char *what)
{
	uint64_t entries[PAGES];

	pagemap_read(start, count, entries);
	for (size_t i = 0; i < count; i++)
		assert_that(((entries[i] & bit) != 0) == want, "pagemap shows base page %zu as %s%s",
			    i, want ? "not " : "", what);
}

static void assert_one_run_of_frames(const char *start)
{
	uint64_t entries[PAGES];

	pagemap_read(start, PAGES, entries);
	if (!(entries[0] & PAGEMAP_FRAME))
		probe_skip("pagemap shows no frames without CAP_SYS_ADMIN");
	for (size_t i = 0; i < PAGES; i++)
		assert_that((entries[i] & PAGEMAP_FRAME) == (entries[0] & PAGEMAP_FRAME) + i,
			    "base page %zu has frame %#llx, the first has %#llx", i,
			    (unsigned long long)(entries[i] & PAGEMAP_FRAME),
			    (unsigned long long)(entries[0] & PAGEMAP_FRAME));
}

static void of_memory(void)
{
	char *start = anonymous();

	assert_bit(start, PAGES, PAGEMAP_PRESENT, true, "present");
	assert_bit(start, PAGES, PAGEMAP_FILE, false, "of a file");
	assert_bit(start, PAGES, PAGEMAP_EXCLUSIVE, true, "exclusive");
	assert_resident(start, PAGES, PAGES);
	assert_one_run_of_frames(start);
}

static void of_a_file(void)
{
	char *second, *start = shared(&second);

	assert_bit(start, PAGES, PAGEMAP_PRESENT, true, "present");
	assert_bit(start, PAGES, PAGEMAP_FILE, true, "of a file");
	assert_one_run_of_frames(start);
	assert_bit(second, PAGES, PAGEMAP_PRESENT, false, "present");
	assert_resident(second, PAGES, PAGES);
	/* The second mapping has base pages, or one entry, whatever its fault made. */
	check_pages(second, 0, PAGES, FILLING);
	assert_bit(second, PAGES, PAGEMAP_FILE, true, "of a file");
	assert_bit(start, PAGES, PAGEMAP_EXCLUSIVE, false, "exclusive");
	assert_bit(second, PAGES, PAGEMAP_EXCLUSIVE, false, "exclusive");
}

static char *parents;
static int half_unmapped[2], seen[2];

/* A child that keeps the upper half of the parent's huge page, until the parent has looked. */
static void keeps_half(void)
{
	char byte = 0;

	unmap(parents, PMD_PAGE / 2);
	check_pages(parents, PAGES / 2, PAGES / 2, FILLING);
	assert_bytes(write(half_unmapped[1], &byte, 1), 1);
	assert_bytes(read(seen[0], &byte, 1), 1);
}

static void of_a_part(void)
{
	pid_t child;
	char byte;

	parents = anonymous();
	assert_errno(pipe2(half_unmapped, O_CLOEXEC), 0);
	assert_errno(pipe2(seen, O_CLOEXEC), 0);
	child = child_start(keeps_half);
	assert_bytes(read(half_unmapped[0], &byte, 1), 1);
	assert_bit(parents + PMD_PAGE / 2, PAGES / 2, PAGEMAP_EXCLUSIVE, false, "exclusive");
	assert_bytes(write(seen[1], &byte, 1), 1);
	child_end(child);
	assert_bit(parents, PAGES, PAGEMAP_EXCLUSIVE, true, "exclusive");
	check_pages(parents, 0, PAGES, FILLING);
}

/* One read of untouched memory maps the huge zero page, where the kernel uses it. */
static void of_zeros(void)
{
	char *start = map_at(reserve_area(PMD_PAGE, PMD_PAGE), PMD_PAGE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1);
	struct scan scan;

	assert_error(advise(start, PMD_PAGE, MADV_HUGEPAGE), 0);
	check_zero(start, 0, 1);
	if (pagemap_present(start, PAGES) != PAGES)
		probe_skip("a read maps no huge zero page (" USE_ZERO_PAGE ")");
	assert_resident(start, PAGES, PAGES);
	scan = scan_pages(start, PMD_PAGE, 0, SCAN_ZERO, 0);
	assert_regions(&scan, 1);
	assert_region(&scan, 0, start, PAGES);
	*(volatile char *)(start + 5 * BASE_PAGE) = 1;
	check_zero(start, 0, 5);
	scan = scan_pages(start + 5 * BASE_PAGE, BASE_PAGE, 0, SCAN_ZERO, 0);
	assert_regions(&scan, 0);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "pagemap shows each base page of a transparent huge page, and its frame", of_memory },
		{ "pagemap shows transparent huge pages of shmem as pages of a file", of_a_file },
		{ "pagemap shows no base page as exclusive that a child has kept", of_a_part },
		{ "PAGEMAP_SCAN finds all of the huge zero page, until it is written", of_zeros },
	};

	return probe_main(argc, argv, &(struct probe){ .tests = tests, .count = COUNT_OF(tests) });
}
