// SPDX-License-Identifier: GPL-2.0-only
/* UFFDIO_WRITEPROTECT of a split huge page, of parts of it, and before a continue. */
#include "hgm_probe.h"

#define FILLING 1
#define REFILLING 2

static int fd;

static void fill_file(void)
{
	fd = filled_memfd(1, FILLING);
}

static char *map_both_modes(int *uffd)
{
	return map_split(fd, UFFD_FEATURE_WP_HUGETLBFS_SHMEM, UFFDIO_REGISTER_MODE_WP, uffd);
}

/* A write to PAGE must block until its protection is removed. */
static void assert_blocked(int uffd, char *primary, size_t page)
{
	char *start = primary + page * BASE_PAGE;
	struct touch touch;

	touch_start(&touch, start + 0x40, TOUCH_WRITE);
	assert_fault(uffd, wp_address(start),
		     UFFD_PAGEFAULT_FLAG_WP | UFFD_PAGEFAULT_FLAG_WRITE);
	assert_error(uffd_protect(uffd, wp_unit() == BASE_PAGE ? start : primary, wp_unit(), false),
		     0);
	touch_end(&touch);
}

static void one_page(void)
{
	int uffd;
	char *primary = map_both_modes(&uffd);

	assert_continue(uffd, primary, 8 * BASE_PAGE, 0, 8 * BASE_PAGE);
	assert_error(uffd_protect(uffd, primary + 3 * BASE_PAGE, BASE_PAGE, true), 0);
	checkpoint(primary, huge_size(), "pte:8,present:8,wp:1");
	check_pages(primary, 0, 8, FILLING);
	fill_pages(primary, 0, 3, REFILLING);
	fill_pages(primary, 4, 4, REFILLING);
	assert_no_fault(uffd);
	check_pages(primary, 3, 1, FILLING);
	assert_blocked(uffd, primary, 3);
	fill_pages(primary, 0, 8, FILLING);
}

static void part_of_an_entry(void)
{
	int uffd;
	char *primary = map_both_modes(&uffd);

	assert_continue(uffd, primary, PMD_PAGE, 0, PMD_PAGE);
	assert_error(uffd_protect(uffd, primary + 7 * BASE_PAGE, BASE_PAGE, true), 0);
	checkpoint(primary, huge_size(), "pte:%zu,wp:1", PMD_PAGE / BASE_PAGE);
	fill_pages(primary, 6, 1, FILLING);
	fill_pages(primary, 8, 1, FILLING);
	assert_no_fault(uffd);
	assert_blocked(uffd, primary, 7);
	check_pages(primary, 0, PMD_PAGE / BASE_PAGE, FILLING);
}

/* All of a huge page at once, however it is mapped: what every kernel takes. */
static void whole_page(void)
{
	int uffd;
	char *primary = map_both_modes(&uffd);

	assert_continue(uffd, primary, 8 * BASE_PAGE, 0, 8 * BASE_PAGE);
	assert_error(uffd_protect(uffd, primary, huge_size(), true), 0);
	checkpoint(primary, huge_size(), "pte:8,present:8");
	assert_protected(primary, 8, 8);
	check_pages(primary, 0, 8, FILLING);
	assert_blocked(uffd, primary, 3);
	assert_error(uffd_protect(uffd, primary, huge_size(), false), 0);
	assert_protected(primary, huge_pages(), 0);
	fill_pages(primary, 0, 8, REFILLING);
	assert_no_fault(uffd);
	fill_pages(primary, 0, 8, FILLING);
}

static void protected_before(void)
{
	int uffd;
	char *primary = map_both_modes(&uffd);
	size_t last = huge_pages() - 1;

	assert_error(uffd_protect(uffd, primary, huge_size(), true), 0);
	assert_continue(uffd, primary + 4 * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	check_pages(primary, 4, 1, FILLING);
	checkpoint(primary, huge_size(), "present:1,wp:%zu", last);
	assert_protected(primary + 3 * BASE_PAGE, 1, 1);
	assert_protected(primary + 5 * BASE_PAGE, 1, 1);
	assert_protected(primary + last * BASE_PAGE, 1, 1);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "a write to a write-protected base page blocks, writes to its neighbours do not",
		  one_page, PROMISE(WP_BASE_PAGES) },
		{ "UFFDIO_WRITEPROTECT of 4 KiB inside a 2 MiB entry protects just that base page",
		  part_of_an_entry, PROMISE(WP_BASE_PAGES) },
		{ "UFFDIO_WRITEPROTECT of a split huge page protects every entry, and lifts it again",
		  whole_page },
		{ "UFFDIO_CONTINUE in a write-protected huge page leaves its other pages protected",
		  protected_before },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.needs_hgm = true,
		.asks = PROMISE(WP_BASE_PAGES) | PROMISE(WP_ADDRESS),
		.setup = fill_file,
	});
}
