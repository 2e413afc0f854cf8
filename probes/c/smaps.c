// SPDX-License-Identifier: GPL-2.0-only
/* What /proc/PID/smaps says about an ordinary shared mapping of a huge page. */
#include "hgm_probe.h"

/* Which of the two counts the page depends on whether another process maps it. */
static int64_t hugetlb_bytes(const char *start)
{
	return smaps_bytes(start, "Shared_Hugetlb") + smaps_bytes(start, "Private_Hugetlb");
}

static void assert_hugetlb(const char *start, size_t want)
{
	int64_t bytes = hugetlb_bytes(start);

	assert_that(bytes == (int64_t)want,
		    "smaps: Shared_Hugetlb and Private_Hugetlb add up to %s, expected %s",
		    size_text(bytes), size_text((int64_t)want));
}

static void page_sizes(void)
{
	char *start = map_shared(huge_memfd(1), huge_size(), UNRESERVED);

	assert_smaps(start, "Size", huge_size());
	assert_smaps(start, "KernelPageSize", huge_size());
	assert_smaps(start, "MMUPageSize", huge_size());
	assert_flag(start, "ht", true);
	assert_flag(start, "sh", true);
	assert_flag(start, "hm", false);
}

static void touched(void)
{
	char *start = map_shared(huge_memfd(1), huge_size(), RESERVED);

	assert_hugetlb(start, 0);
	*start = 1;
	assert_hugetlb(start, huge_size());
	assert_smaps(start, "Rss", 0);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "smaps shows the huge page's size and the flags of a shared, unsplit hugetlb mapping",
		  page_sizes },
		{ "smaps counts an accessed huge page as hugetlb and not in Rss", touched },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
	});
}
