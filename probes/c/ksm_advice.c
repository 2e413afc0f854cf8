// SPDX-License-Identifier: GPL-2.0-only
/* MADV_MERGEABLE and MADV_UNMERGEABLE leave every other flag of a mapping as it was. */
#include <unistd.h>

#include "hgm_probe.h"

#define LENGTH (16 * BASE_PAGE)

static void minor_mode_stays(void)
{
	int fd = memory_file(SHMEM, LENGTH / BASE_PAGE), uffd, error;
	char *start;

	start = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	assert_that(start != MAP_FAILED, "private mmap: %s", error_name(errno));
	error = advise(start, LENGTH, MADV_MERGEABLE);
	if (error)
		probe_skip("MADV_MERGEABLE: %s", error_name(error));
	assert_flag(start, "mg", true);
	uffd = uffd_open(UFFD_FEATURE_MINOR_SHMEM);
	uffd_register(uffd, start, LENGTH, UFFDIO_REGISTER_MODE_MINOR);
	assert_flag(start, "ui", true);
	assert_error(advise(start, LENGTH, MADV_UNMERGEABLE), 0);
	assert_flag(start, "mg", false);
	assert_flag(start, "ui", true);
	close(uffd);
	assert_flag(start, "ui", false);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "MADV_UNMERGEABLE leaves the minor mode of userfaultfd on", minor_mode_stays },
	};

	return probe_main(argc, argv, &(struct probe){ .tests = tests, .count = COUNT_OF(tests) });
}
