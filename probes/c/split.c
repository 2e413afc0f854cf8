// SPDX-License-Identifier: GPL-2.0-only
/* MADV_SPLIT that must succeed. Nothing is allocated. */
#include "hgm_probe.h"

static void memfd(void)
{
	char *start = map_shared(huge_memfd(1), huge_size(), UNRESERVED);

	split(start, huge_size());
	assert_flag(start, "hm", true);
}

static void hugetlbfs(void)
{
	char *start = map_shared(hugetlbfs_file(1), huge_size(), UNRESERVED);

	split(start, huge_size());
	assert_flag(start, "hm", true);
}

static void only_the_range(void)
{
	char *start = map_shared(huge_memfd(3), 3 * huge_size(), UNRESERVED);

	split(start + huge_size(), huge_size());
	assert_flag(start, "hm", false);
	assert_flag(start + huge_size(), "hm", true);
	assert_flag(start + 2 * huge_size(), "hm", false);
}

static void twice(void)
{
	char *start = map_shared(huge_memfd(2), 2 * huge_size(), UNRESERVED);

	split(start, huge_size());
	split(start, huge_size());
	split(start, 2 * huge_size());
}

static void maps_nothing(void)
{
	char *start = map_shared(huge_memfd(1), huge_size(), UNRESERVED);

	split(start, huge_size());
	assert_present(start, huge_pages(), 0);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "MADV_SPLIT of a shared memfd sets flag hm in smaps", memfd },
		{ "MADV_SPLIT of a shared hugetlbfs file sets flag hm in smaps", hugetlbfs },
		{ "MADV_SPLIT of one huge page does not split its neighbours", only_the_range },
		{ "MADV_SPLIT of a split mapping succeeds", twice },
		{ "MADV_SPLIT maps nothing", maps_nothing },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.needs_hgm = true,
	});
}
