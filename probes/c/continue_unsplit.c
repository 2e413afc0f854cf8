// SPDX-License-Identifier: GPL-2.0-only
/* Without MADV_SPLIT no part of a huge page can be continued, on any kernel. */
#include "hgm_probe.h"

#define FILLING 1

static int fd;

static void fill_file(void)
{
	fd = filled_memfd(1, FILLING);
}

static void refused(void)
{
	int uffd = uffd_open(UFFD_FEATURE_MINOR_HUGETLBFS);
	char *primary = map_shared(fd, huge_size(), UNRESERVED);

	uffd_register(uffd, primary, huge_size(), UFFDIO_REGISTER_MODE_MINOR);
	assert_continue(uffd, primary, BASE_PAGE, EINVAL, -EINVAL);
	assert_continue(uffd, primary + BASE_PAGE, huge_size() - BASE_PAGE, EINVAL, -EINVAL);
	assert_present(primary, huge_pages(), 0);
	assert_continue(uffd, primary, huge_size(), 0, huge_size());
	check_pages(primary, 0, huge_pages(), FILLING);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "UFFDIO_CONTINUE of part of an unsplit huge page is EINVAL, of all of it succeeds",
		  refused },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.setup = fill_file,
	});
}
