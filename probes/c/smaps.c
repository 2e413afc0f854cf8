// SPDX-License-Identifier: GPL-2.0-only
/* What /proc/PID/smaps says about an ordinary shared mapping of a huge page. */
#include "hgm_probe.h"

static void assert_field(const char *start, const char *field, int64_t want)
{
	int64_t bytes = smaps_bytes(start, field);

	assert_that(bytes == want, "%s is %lld kB, expected %lld kB", field,
	       (long long)bytes / 1024, (long long)want / 1024);
}

/* Whether one more process maps the page decides which of the two fields counts it. */
static int64_t hugetlb_bytes(const char *start)
{
	return smaps_bytes(start, "Shared_Hugetlb") + smaps_bytes(start, "Private_Hugetlb");
}

static void page_sizes(void)
{
	char *start = map_shared(huge_memfd(1), huge_size(), UNRESERVED);

	assert_field(start, "Size", (int64_t)huge_size());
	assert_field(start, "KernelPageSize", (int64_t)huge_size());
	assert_field(start, "MMUPageSize", (int64_t)huge_size());
	assert_that(smaps_has_flag(start, "ht"), "VmFlags lacks ht");
	assert_that(smaps_has_flag(start, "sh"), "VmFlags lacks sh");
	assert_that(!smaps_has_flag(start, "hm"), "VmFlags has hm before any MADV_SPLIT");
}

static void touched(void)
{
	char *start = map_shared(huge_memfd(1), huge_size(), RESERVED);

	assert_that(hugetlb_bytes(start) == 0, "%lld bytes before the first touch",
	       (long long)hugetlb_bytes(start));
	*start = 1;
	assert_that(hugetlb_bytes(start) == (int64_t)huge_size(), "%lld bytes after it",
	       (long long)hugetlb_bytes(start));
	assert_field(start, "Rss", 0);
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
