// SPDX-License-Identifier: GPL-2.0-only
/* UFFDIO_CONTINUE installs any range of base pages of a split huge page. */
#include "hgm_probe.h"

#define FILLING 1

static int fd;

static void fill_file(void)
{
	fd = filled_memfd(1, FILLING);
}

/* How many entries of SIZE the pages from FIRST to END hold, if the largest that fit are used. */
static size_t entries_of(size_t size, size_t first, size_t end)
{
	size_t pages = size / BASE_PAGE, low = (first + pages - 1) / pages, high = end / pages;

	return size <= huge_size() && high > low ? high - low : 0;
}

/* The host must see the pages from FIRST to END mapped by the largest entries that fit. */
static void show_only(const char *primary, size_t first, size_t end)
{
	size_t puds = entries_of(PUD_PAGE, first, end);
	size_t pmds = entries_of(PMD_PAGE, first, end);
	size_t by_pmd = PMD_PAGE / BASE_PAGE * pmds, pmds_alone = puds ? 0 : pmds;

	checkpoint(primary, huge_size(), "pud:%zu,pmd:%zu,pte:%zu,present:%zu", puds,
		   pmds_alone, end - first - by_pmd, end - first);
}

/* Just the COUNT pages from FIRST on are mapped, with their contents. */
static void assert_only(char *primary, size_t first, size_t count)
{
	assert_present(primary, huge_pages(), count);
	assert_resident(primary, huge_pages(), count);
	assert_present(primary + first * BASE_PAGE, count, count);
	show_only(primary, first, first + count);
	check_pages(primary, first, count, FILLING);
}

static void continue_pages(size_t first, size_t count)
{
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);
	size_t length = count * BASE_PAGE;

	assert_continue(uffd, primary + first * BASE_PAGE, length, 0, length);
	assert_only(primary, first, count);
	assert_no_fault(uffd);
}

static void one_page(void)
{
	continue_pages(3, 1);
}

static void last_page(void)
{
	continue_pages(huge_pages() - 1, 1);
}

static void two_pages(void)
{
	continue_pages(5, 2);
}

/* One PMD entry in 1 GiB; with 2 MiB it is the whole huge page. */
static void pmd_range(void)
{
	size_t pages = PMD_PAGE / BASE_PAGE;

	continue_pages(huge_pages() - pages, pages);
}

/* Starts and ends inside a 2 MiB region, so that entries of both levels are needed in 1 GiB. */
static void odd_range(void)
{
	continue_pages(1, huge_pages() - 2);
}

static void whole_page(void)
{
	continue_pages(0, huge_pages());
}

static void blocked_reader(void)
{
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);
	struct touch touch;

	touch_start(&touch, primary + 9 * BASE_PAGE, TOUCH_READ);
	assert_fault(uffd, primary + 9 * BASE_PAGE, UFFD_PAGEFAULT_FLAG_MINOR);
	assert_continue(uffd, primary + 9 * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	touch_end(&touch);
	assert_only(primary, 9, 1);
}

static void mapped_twice(void)
{
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);

	assert_continue(uffd, primary + 2 * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	assert_continue(uffd, primary + 2 * BASE_PAGE, BASE_PAGE, EEXIST, -EEXIST);
	assert_continue(uffd, primary + 2 * BASE_PAGE, 2 * BASE_PAGE, EEXIST, -EEXIST);
	assert_only(primary, 2, 1);
}

/* As for every userfaultfd ioctl: EAGAIN with the bytes that were done. */
static void runs_into_mapped(void)
{
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);

	assert_continue(uffd, primary + 2 * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	assert_continue(uffd, primary, 4 * BASE_PAGE, EAGAIN, 2 * BASE_PAGE);
	assert_only(primary, 0, 3);
}

static void unaligned(void)
{
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);

	assert_continue(uffd, primary + 512, BASE_PAGE, EINVAL, 0);
	assert_continue(uffd, primary, BASE_PAGE + 512, EINVAL, 0);
	assert_present(primary, huge_pages(), 0);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "UFFDIO_CONTINUE of 4 KiB maps that base page only, with its contents",
		  one_page },
		{ "UFFDIO_CONTINUE of the last 4 KiB of a huge page maps that base page only",
		  last_page },
		{ "UFFDIO_CONTINUE of 8 KiB maps two base pages", two_pages },
		{ "UFFDIO_CONTINUE of the last 2 MiB of a huge page maps those 512 base pages",
		  pmd_range },
		{ "UFFDIO_CONTINUE of all but the first and the last base page maps just those",
		  odd_range },
		{ "UFFDIO_CONTINUE of the whole huge page maps all of it", whole_page },
		{ "UFFDIO_CONTINUE of 4 KiB wakes the reader blocked on that base page",
		  blocked_reader },
		{ "UFFDIO_CONTINUE that starts at a mapped base page is EEXIST", mapped_twice },
		{ "UFFDIO_CONTINUE that runs into a mapped base page is EAGAIN with the bytes done",
		  runs_into_mapped },
		{ "UFFDIO_CONTINUE not aligned to the base page is EINVAL", unaligned },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.needs_hgm = true,
		.setup = fill_file,
	});
}
