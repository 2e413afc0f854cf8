// SPDX-License-Identifier: GPL-2.0-only
/* Missing mode on a split mapping: faults have base-page addresses, UFFDIO_COPY is whole. */
#include <stdlib.h>
#include <sys/ioctl.h>

#include "hgm_probe.h"

#define FILLING 1

static int fd; /* of one huge page, which is not allocated when a test starts */

static void make_file(void)
{
	fd = huge_memfd(1);
}

static char *map_missing(uint64_t modes, int *uffd)
{
	char *start = map_shared(fd, huge_size(), UNRESERVED);

	*uffd = uffd_open(modes & UFFDIO_REGISTER_MODE_WP ? UFFD_FEATURE_WP_HUGETLBFS_SHMEM : 0);
	split(start, huge_size());
	uffd_register(*uffd, start, huge_size(), UFFDIO_REGISTER_MODE_MISSING | modes);
	return start;
}

/* A source for UFFDIO_COPY, as large as a huge page and zero except for 16 pages. */
static char *source(void)
{
	char *start = map_anonymous(huge_size(), MAP_NORESERVE);

	fill_pages(start, 0, 16, FILLING);
	return start;
}

static void copy_answers(void)
{
	char *from, *primary;
	struct touch touch;
	int uffd;

	if (huge_size() == PUD_PAGE)
		probe_skip("UFFDIO_COPY of 1 GiB takes a minute under emulation; --size 2M has it");
	from = source();
	primary = map_missing(0, &uffd);
	touch_start(&touch, primary + 7 * BASE_PAGE + 0x100, TOUCH_READ);
	assert_fault(uffd, missing_address(primary + 7 * BASE_PAGE), 0);
	assert_result(uffd_copy(uffd, primary + 7 * BASE_PAGE, from, BASE_PAGE), EINVAL, -EINVAL);
	assert_that(touch_is_blocked(&touch), "the failed UFFDIO_COPY woke the reader");
	assert_no_fault(uffd);
	assert_error(uffd_copy(uffd, primary, from, huge_size()).error, 0);
	touch_end(&touch);
	check_pages(primary, 0, 16, FILLING);
	check_zero(primary, 16, huge_pages() - 16);
	assert_whole(primary, huge_size());
	assert_no_fault(uffd);
	punch(fd, 0, 1);
}

/* The page is allocated through another mapping, and the writer is woken. */
static void write_fault(void)
{
	char *alias = map_shared(fd, huge_size(), UNRESERVED), *primary;
	struct touch touch;
	int uffd;

	primary = map_missing(0, &uffd);
	touch_start(&touch, primary + huge_size() - 8, TOUCH_WRITE);
	assert_fault(uffd, missing_address(primary + huge_size() - BASE_PAGE),
		     UFFD_PAGEFAULT_FLAG_WRITE);
	fill_pages(alias, 0, 16, FILLING);
	assert_that(touch_is_blocked(&touch), "the writer continued before UFFDIO_WAKE");
	/* A wake must cover the address that was reported. */
	assert_error(uffd_wake(uffd, missing_address(primary + huge_size() - BASE_PAGE), BASE_PAGE),
		     0);
	touch_end(&touch);
	check_pages(primary, 0, 16, FILLING);
	assert_no_fault(uffd);
	punch(fd, 0, 1);
}

static void file_has_it(void)
{
	char *alias = map_shared(fd, huge_size(), UNRESERVED), *primary;
	int uffd;

	fill_pages(alias, 0, 8, FILLING);
	primary = map_missing(0, &uffd);
	check_pages(primary, 0, 8, FILLING);
	assert_no_fault(uffd);
	punch(fd, 0, 1);
}

static void others_are_refused(void)
{
	int uffd;
	char *primary = map_missing(0, &uffd);
	struct uffdio_zeropage zero = {
		.range = { .start = (uintptr_t)primary, .len = huge_size() },
	};

	assert_error(ioctl(uffd, UFFDIO_ZEROPAGE, &zero) ? errno : 0, EINVAL);
	assert_continue(uffd, primary, BASE_PAGE, EFAULT, -EFAULT);
	assert_mapped(primary, 0, 0, 0);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "UFFDIO_COPY of a base page is EINVAL, that of the huge page ends a missing fault",
		  copy_answers },
		{ "UFFDIO_WAKE ends a missing fault of a write once the file has the page",
		  write_fault },
		{ "in missing mode a page that the file has is mapped without a message",
		  file_has_it },
		{ "in missing mode UFFDIO_ZEROPAGE is EINVAL, UFFDIO_CONTINUE of a hole EFAULT",
		  others_are_refused },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.needs_hgm = true,
		.asks = PROMISE(MISSING_ADDRESS),
		.setup = make_file,
	});
}
