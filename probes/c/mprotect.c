// SPDX-License-Identifier: GPL-2.0-only
/* mprotect() of a split mapping changes every entry, and can be undone. */
#include <signal.h>

#include "hgm_probe.h"

#define FILLING 1

static int fd;

static void fill_file(void)
{
	fd = filled_memfd_of(1, 1, FILLING);
}

/* Pages 0 and 1 by 4 KiB entries, the second half by the largest that fit, page 2 a hole. */
static char *map_mixed(uint64_t features, uint64_t modes, int *uffd)
{
	char *start = map_split(fd, features, modes, uffd);

	assert_continue(*uffd, start, 2 * BASE_PAGE, 0, 2 * BASE_PAGE);
	assert_continue(*uffd, start + huge_size() / 2, huge_size() / 2, 0, huge_size() / 2);
	return start;
}

static void protect(char *start, int protection)
{
	assert_errno(mprotect(start, huge_size(), protection), 0);
}

static const size_t *mapped_pages(void)
{
	static size_t pages[4];

	pages[0] = 0;
	pages[1] = 1;
	pages[2] = huge_pages() / 2;
	pages[3] = huge_pages() - 1;
	return pages;
}

/* Accesses to the mapped pages give these signals. */
static void assert_signals(char *start, int reading, int writing)
{
	for (size_t i = 0; i < 4; i++) {
		char *word = start + mapped_pages()[i] * BASE_PAGE + 0x100;

		assert_signal(word, TOUCH_READ, reading);
		assert_signal(word, TOUCH_WRITE, writing);
	}
}

static void read_only(void)
{
	int uffd;
	char *start = map_mixed(0, 0, &uffd);

	assert_signals(start, 0, 0);
	protect(start, PROT_READ);
	assert_signals(start, 0, SIGSEGV);
	check_pages(start, 0, 2, FILLING);
	check_pages(start, huge_pages() / 2, huge_pages() / 2, FILLING);
	protect(start, PROT_READ | PROT_WRITE);
	assert_signals(start, 0, 0);
	assert_no_fault(uffd);
}

static void no_access(void)
{
	int uffd;
	char *start = map_mixed(0, 0, &uffd);

	protect(start, PROT_NONE);
	assert_signals(start, SIGSEGV, SIGSEGV);
	protect(start, PROT_READ | PROT_WRITE);
	assert_signals(start, 0, 0);
	check_pages(start, 0, 2, FILLING);
	assert_present(start, huge_pages(), huge_pages() / 2 + 2);
}

static void continued_read_only(void)
{
	int uffd;
	char *start = map_split(fd, 0, 0, &uffd);

	protect(start, PROT_READ);
	assert_continue(uffd, start + BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	check_pages(start, 1, 1, FILLING);
	assert_signal(start + BASE_PAGE + 0x100, TOUCH_WRITE, SIGSEGV);
	protect(start, PROT_READ | PROT_WRITE);
	assert_signal(start + BASE_PAGE + 0x100, TOUCH_WRITE, 0);
}

static void marks_hold(void)
{
	int uffd;
	char *start = map_mixed(UFFD_FEATURE_WP_HUGETLBFS_SHMEM, UFFDIO_REGISTER_MODE_WP, &uffd);
	struct touch touch;

	bool fine = wp_unit() == BASE_PAGE;
	char *first = fine ? start + BASE_PAGE : start;

	assert_error(uffd_protect(uffd, first, fine ? 4 * BASE_PAGE : huge_size(), true), 0);
	protect(start, PROT_READ);
	protect(start, PROT_READ | PROT_WRITE);
	assert_protected(start, 8, fine ? 4 : 8);
	touch_start(&touch, start + BASE_PAGE + 0x100, TOUCH_WRITE);
	assert_fault(uffd, wp_address(start + BASE_PAGE),
		     UFFD_PAGEFAULT_FLAG_WP | UFFD_PAGEFAULT_FLAG_WRITE);
	assert_error(uffd_protect(uffd, first, wp_unit(), false), 0);
	touch_end(&touch);
}

static void executable(void)
{
	int uffd;
	char *start = map_mixed(0, 0, &uffd);
	char *places[] = { start + BASE_PAGE + 0x100, start + huge_size() - 0x800 };

	for (size_t i = 0; i < COUNT_OF(places); i++)
		put_function(places[i]);
	protect(start, PROT_READ | PROT_WRITE | PROT_EXEC);
	for (size_t i = 0; i < COUNT_OF(places); i++)
		assert_that(((int (*)(void))(uintptr_t)places[i])() == 42, "the function returns another number than 42");
	check_pages(start, 1, 1, FILLING);
}

static void parts(void)
{
	int uffd;
	char *start = map_mixed(0, 0, &uffd);

	assert_errno(mprotect(start, BASE_PAGE, PROT_READ), EINVAL);
	assert_errno(mprotect(start + BASE_PAGE, BASE_PAGE, PROT_READ), EINVAL);
	assert_signals(start, 0, 0);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "mprotect to PROT_READ makes writes to every entry SIGSEGV until it is lifted",
		  read_only },
		{ "mprotect to PROT_NONE makes accesses to every entry SIGSEGV until it is lifted",
		  no_access },
		{ "UFFDIO_CONTINUE in a read-only mapping installs a read-only entry",
		  continued_read_only },
		{ "userfaultfd write protection of base pages outlives mprotect", marks_hold },
		{ "mprotect to PROT_EXEC makes base pages executable", executable },
		{ "mprotect of part of a split huge page is EINVAL and changes nothing", parts },
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
