// SPDX-License-Identifier: GPL-2.0-only
/* MADV_SPLIT that must fail with EINVAL. Nothing is allocated. */
#include <unistd.h>

#include "hgm_probe.h"

static void private_hugetlb(void)
{
	char *start = map_private_huge(UNRESERVED);

	assert_error(advise(start, huge_size(), MADV_SPLIT), EINVAL);
}

static void private_file(void)
{
	void *start = mmap(NULL, huge_size(), PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_NORESERVE, huge_memfd(1), 0);

	assert_that(start != MAP_FAILED, "mmap: %s", error_name(errno));
	assert_error(advise(start, huge_size(), MADV_SPLIT), EINVAL);
}

static void anonymous(void)
{
	char *start = map_anonymous(huge_size(), MAP_NORESERVE);

	assert_error(advise(start, huge_size(), MADV_SPLIT), EINVAL);
}

static void ordinary_file(void)
{
	int fd = memfd_create("hgm-probe", MFD_CLOEXEC);

	assert_errno(ftruncate(fd, PMD_PAGE), 0);
	assert_error(advise(map_shared(fd, PMD_PAGE, UNRESERVED), PMD_PAGE, MADV_SPLIT), EINVAL);
}

static void unaligned(void)
{
	char *start = map_shared(huge_memfd(1), huge_size(), UNRESERVED);

	assert_error(advise(start + 1, BASE_PAGE, MADV_SPLIT), EINVAL);
	assert_error(advise(start + BASE_PAGE, huge_size() - BASE_PAGE, MADV_SPLIT), EINVAL);
	assert_error(advise(start, BASE_PAGE, MADV_SPLIT), EINVAL);
	assert_flag(start, "hm", false);
}

/* arm64 has pages of 64 KiB and 32 MiB, which 16 contiguous entries map. */
static void each_size(void)
{
	size_t sizes[MAX_SIZES], count = offered_sizes(sizes);

	for (size_t i = 0; i < count; i++) {
		bool one_entry = sizes[i] == PUD_PAGE || sizes[i] == PMD_PAGE;
		int error = advice_error(sizes[i], MADV_SPLIT);

		assert_that(!error || (!one_entry && error == EINVAL),
			    "MADV_SPLIT of a page of %zu kB: %s", sizes[i] >> 10, error_name(error));
	}
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "MADV_SPLIT of private anonymous hugetlb memory is EINVAL", private_hugetlb },
		{ "MADV_SPLIT of a private mapping of a hugetlb file is EINVAL", private_file },
		{ "MADV_SPLIT of ordinary anonymous memory is EINVAL", anonymous },
		{ "MADV_SPLIT of a shared mapping of an ordinary file is EINVAL", ordinary_file },
		{ "MADV_SPLIT of part of a huge page is EINVAL", unaligned },
		{ "MADV_SPLIT takes all sizes but those of contiguous entries, or is EINVAL there",
		  each_size },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.needs_hgm = true,
	});
}
