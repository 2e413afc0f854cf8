// SPDX-License-Identifier: GPL-2.0-only
/* UFFDIO_CONTINUE that must fail: the errno, and nothing mapped. */
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1

static int fd; /* of two huge pages, the second of which is not allocated */

static void fill_file(void)
{
	char *alias;

	fd = huge_memfd(2);
	alias = map_shared(fd, huge_size(), RESERVED);
	fill_pages(alias, 0, 8, FILLING);
	unmap(alias, huge_size());
}

static void invalid_ranges(void)
{
	int uffd;
	char *primary = map_split_part(fd, 0, 2, 0, 0, &uffd);

	assert_continue(uffd, primary, 0, EINVAL, 0);
	assert_continue(uffd, primary + 1, BASE_PAGE, EINVAL, 0);
	assert_continue(uffd, primary, BASE_PAGE + 1, EINVAL, 0);
	assert_continue(uffd, primary, -BASE_PAGE, EINVAL, 0);
	assert_continue(uffd, primary, 1UL << 62, EINVAL, 0);
	assert_continue(uffd, (void *)-BASE_PAGE, 2 * BASE_PAGE, EINVAL, 0);
	assert_mapped(primary, 0, 0, 0);
}

static void unknown_mode(void)
{
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);

	assert_result(uffd_continue_mode(uffd, primary, BASE_PAGE, 1UL << 40), EINVAL, 0);
	assert_mapped(primary, 0, 0, 0);
}

static void outside_of_the_mapping(void)
{
	int uffd;
	char *primary = map_split_part(fd, 0, 2, 0, 0, &uffd);

	unmap(primary + huge_size(), huge_size());
	assert_continue(uffd, primary + huge_size(), BASE_PAGE, ENOENT, -ENOENT);
	assert_continue(uffd, primary + huge_size() - BASE_PAGE, 2 * BASE_PAGE, ENOENT, -ENOENT);
	assert_mapped(primary, 0, 0, 0);
}

static void not_registered(void)
{
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);

	assert_error(uffd_unregister(uffd, primary, huge_size()), 0);
	assert_continue(uffd, primary, BASE_PAGE, ENOENT, -ENOENT);
	assert_mapped(primary, 0, 0, 0);
}

/* The page cache has nothing to map: EFAULT, as for a whole huge page. */
static void hole_in_the_file(void)
{
	struct pool before = pool_now();
	int uffd;
	char *primary = map_split_part(fd, 0, 2, 0, 0, &uffd);

	assert_continue(uffd, primary + huge_size(), BASE_PAGE, EFAULT, -EFAULT);
	assert_continue(uffd, primary + huge_size(), huge_size(), EFAULT, -EFAULT);
	assert_continue(uffd, primary + huge_size() - BASE_PAGE, 2 * BASE_PAGE, EAGAIN, BASE_PAGE);
	assert_mapped(primary, 0, 0, BASE_PAGE);
	assert_pool(&before, 0, 0, "after the refusals");
}

static void closed(void)
{
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);

	close(uffd);
	assert_continue(uffd, primary, BASE_PAGE, EBADF, 0);
	assert_continue(fd, primary, BASE_PAGE, ENOTTY, 0);
	assert_mapped(primary, 0, 0, 0);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "UFFDIO_CONTINUE of an empty, unaligned, oversized or wrapping range is EINVAL",
		  invalid_ranges },
		{ "UFFDIO_CONTINUE with an unknown mode bit is EINVAL", unknown_mode },
		{ "UFFDIO_CONTINUE beyond the end of the mapping is ENOENT",
		  outside_of_the_mapping },
		{ "UFFDIO_CONTINUE of an unregistered mapping is ENOENT", not_registered },
		{ "UFFDIO_CONTINUE of a hole in the file is EFAULT, or EAGAIN after pages it mapped",
		  hole_in_the_file },
		{ "UFFDIO_CONTINUE on a closed descriptor is EBADF, on a memfd ENOTTY", closed },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.needs_hgm = true,
		.setup = fill_file,
	});
}
