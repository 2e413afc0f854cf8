// SPDX-License-Identifier: GPL-2.0-only
/* Missing, minor and write-protect mode at once: each access gives the message of its kind. */
#include "hgm_probe.h"

#define FILLING 1
#define ALL (UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP)

static int fd;

static void fill_file(void)
{
	fd = huge_memfd(2); /* the second one is missing */
	fill_pages(map_shared(fd, huge_size(), RESERVED), 0, 64, FILLING);
}

static char *map_all_modes(int *uffd)
{
	return map_split_part(fd, 0, 2, UFFD_FEATURE_WP_HUGETLBFS_SHMEM, ALL, uffd);
}

/* Each takes the next message, which must be of its kind, and answers it. */
static void minor_answered(int uffd, struct touch *touch, uint64_t write, uint64_t mode)
{
	char *page = (char *)((uintptr_t)touch->address & -BASE_PAGE);

	assert_fault(uffd, page, UFFD_PAGEFAULT_FLAG_MINOR | write);
	assert_result(uffd_continue_mode(uffd, page, BASE_PAGE, mode), 0, BASE_PAGE);
}

static void protect_answered(int uffd, struct touch *touch)
{
	char *page = (char *)((uintptr_t)touch->address & -BASE_PAGE);

	assert_fault(uffd, wp_address(page), UFFD_PAGEFAULT_FLAG_WP | UFFD_PAGEFAULT_FLAG_WRITE);
	assert_error(uffd_protect(uffd, (char *)((uintptr_t)page & -wp_unit()), wp_unit(), false), 0);
}

static void minor_or_missing(void)
{
	struct touch first, second;
	int uffd;
	char *primary = map_all_modes(&uffd);

	touch_start(&first, primary + 3 * BASE_PAGE, TOUCH_READ);
	minor_answered(uffd, &first, 0, 0);
	touch_end(&first);
	touch_start(&second, primary + huge_size() + 3 * BASE_PAGE, TOUCH_READ);
	assert_fault(uffd, missing_address(primary + huge_size() + 3 * BASE_PAGE), 0);
	check_pages(primary, 3, 1, FILLING);
	/* It stays blocked: the end of the test's process ends it. */
	assert_that(touch_is_blocked(&second),
		    "the reader of the missing huge page continued without an answer");
}

static void write_to_a_hole(void)
{
	struct touch touch;
	int uffd;
	char *primary = map_all_modes(&uffd);

	touch_start(&touch, primary + 5 * BASE_PAGE + 0x80, TOUCH_WRITE);
	minor_answered(uffd, &touch, UFFD_PAGEFAULT_FLAG_WRITE, 0);
	touch_end(&touch);
	assert_no_fault(uffd);
}

static void continued_with_protection(void)
{
	struct touch touch;
	int uffd;
	char *primary = map_all_modes(&uffd), *page = primary + 6 * BASE_PAGE;

	touch_start(&touch, page + 0x80, TOUCH_WRITE);
	minor_answered(uffd, &touch, UFFD_PAGEFAULT_FLAG_WRITE, UFFDIO_CONTINUE_MODE_WP);
	protect_answered(uffd, &touch);
	touch_end(&touch);
	assert_protected(page, 1, 0);
	check_pages(primary, 6, 1, FILLING);
}

/* A read of a protected hole gives a minor fault, and no write-protect fault. */
static void protected_hole(void)
{
	struct touch touch;
	int uffd;
	char *primary = map_all_modes(&uffd);

	assert_error(uffd_protect(uffd, primary, 16 * BASE_PAGE, true), 0);
	assert_present(primary, 16, 0);
	touch_start(&touch, primary + 7 * BASE_PAGE, TOUCH_READ);
	minor_answered(uffd, &touch, 0, UFFDIO_CONTINUE_MODE_WP);
	touch_end(&touch);
	assert_protected(primary + 7 * BASE_PAGE, 1, 1);
	assert_protected(primary, 16, 16);
	assert_no_fault(uffd);
}

/* A range continued with protection, by entries of 2 MiB where they fit. */
static void range_with_protection(void)
{
	int uffd;
	char *primary = map_all_modes(&uffd);
	size_t pages = PMD_PAGE / BASE_PAGE;

	assert_result(uffd_continue_mode(uffd, primary, PMD_PAGE, UFFDIO_CONTINUE_MODE_WP), 0,
		      PMD_PAGE);
	assert_protected(primary, pages, pages);
	if (huge_size() == PUD_PAGE)
		assert_protected(primary + PMD_PAGE, pages, 0);
	check_pages(primary, 0, 64, FILLING);
}

/* Three neighbours: a hole, a write-protected page, a writable page. */
static void three_states(void)
{
	struct touch hole, held, open;
	int uffd;
	char *primary = map_all_modes(&uffd);

	assert_continue(uffd, primary + 21 * BASE_PAGE, 2 * BASE_PAGE, 0, 2 * BASE_PAGE);
	assert_error(uffd_protect(uffd, primary + 21 * BASE_PAGE, BASE_PAGE, true), 0);
	touch_start(&open, primary + 22 * BASE_PAGE + 0x80, TOUCH_WRITE);
	touch_end(&open);
	assert_no_fault(uffd);
	touch_start(&held, primary + 21 * BASE_PAGE + 0x80, TOUCH_WRITE);
	protect_answered(uffd, &held);
	touch_end(&held);
	touch_start(&hole, primary + 20 * BASE_PAGE + 0x80, TOUCH_WRITE);
	minor_answered(uffd, &hole, UFFD_PAGEFAULT_FLAG_WRITE, 0);
	touch_end(&hole);
	check_pages(primary, 20, 3, FILLING);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "in all modes at once a hole is a minor fault where the file has the page, else missing",
		  minor_or_missing },
		{ "in all modes at once a write to a hole is one minor fault", write_to_a_hole },
		{ "after UFFDIO_CONTINUE_MODE_WP the same write raises a write-protect fault",
		  continued_with_protection, PROMISE(CONTINUE_WP) },
		{ "reading a write-protected hole is a minor fault; UFFDIO_CONTINUE_MODE_WP keeps it",
		  protected_hole, PROMISE(CONTINUE_WP) | PROMISE(WP_BASE_PAGES) },
		{ "UFFDIO_CONTINUE_MODE_WP of 2 MiB write-protects just that range",
		  range_with_protection, PROMISE(CONTINUE_WP) },
		{ "a hole, a write-protected and a writable base page side by side fault as they should",
		  three_states, PROMISE(WP_BASE_PAGES) },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 2,
		.needs_hgm = true,
		.asks = PROMISE(WP_BASE_PAGES) | PROMISE(WP_ADDRESS) | PROMISE(MISSING_ADDRESS),
		.setup = fill_file,
	});
}
