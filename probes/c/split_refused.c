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

static size_t of_sizes(bool one_entry, int expected)
{
	size_t sizes[MAX_SIZES], count = offered_sizes(sizes), found = 0;

	for (size_t i = 0; i < count; i++)
		if (is_one_entry(sizes[i]) == one_entry) {
			int error = advice_error(sizes[i], MADV_SPLIT);

			assert_that(error == expected,
				    "MADV_SPLIT of a huge page of %s: expected %s, got %s",
				    size_name(sizes[i]), error_name(expected), error_name(error));
			found++;
		}
	return found;
}

static void one_entry(void)
{
	of_sizes(true, 0);
}

static void contiguous_entries(void)
{
	if (!of_sizes(false, EINVAL))
		probe_skip("this kernel has no huge pages of contiguous entries");
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "MADV_SPLIT of private anonymous hugetlb memory is EINVAL", private_hugetlb },
		{ "MADV_SPLIT of a private mapping of a hugetlb file is EINVAL", private_file },
		{ "MADV_SPLIT of ordinary anonymous memory is EINVAL", anonymous },
		{ "MADV_SPLIT of a shared mapping of an ordinary file is EINVAL", ordinary_file },
		{ "MADV_SPLIT of part of a huge page is EINVAL", unaligned },
		{ "MADV_SPLIT takes huge pages of all sizes that one entry maps", one_entry },
		{ "MADV_SPLIT of huge pages of contiguous entries is EINVAL", contiguous_entries,
		  PROMISE(CONTIGUOUS_REFUSED) },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.needs_hgm = true,
	});
}
