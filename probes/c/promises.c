// SPDX-License-Identifier: GPL-2.0-only
/* Which promises the kernel under test offers; see probes/promises.toml. */
#include "hgm_probe.h"

/* The library asks before the tests, and skips those of which the answer is no. */
static void offered(void)
{
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "MADV_SPLIT is accepted on a shared hugetlb mapping", offered, PROMISE(SPLIT) },
		{ "MADV_SPLIT of huge pages of contiguous entries is EINVAL", offered,
		  PROMISE(CONTIGUOUS_REFUSED) },
		{ "UFFDIO_CONTINUE takes ranges of base pages", offered, PROMISE(CONTINUE_BASE_PAGES) },
		{ "UFFDIO_CONTINUE over a partly mapped range maps what comes before", offered,
		  PROMISE(CONTINUE_AROUND) },
		{ "UFFDIO_CONTINUE_MODE_WP is accepted", offered, PROMISE(CONTINUE_WP) },
		{ "a minor fault is reported with the address of the base page", offered,
		  PROMISE(MINOR_ADDRESS) },
		{ "a missing fault is reported with the address of the base page", offered,
		  PROMISE(MISSING_ADDRESS) },
		{ "a write-protect fault is reported with the address of the base page", offered,
		  PROMISE(WP_ADDRESS) },
		{ "UFFDIO_WRITEPROTECT takes ranges of base pages", offered, PROMISE(WP_BASE_PAGES) },
		{ "UFFDIO_RWPROTECT takes ranges of base pages, if the kernel has it", offered,
		  PROMISE(RWP_BASE_PAGES) },
		{ "MADV_COLLAPSE replaces page tables by one entry", offered, PROMISE(COLLAPSE) },
		{ "MADV_COLLAPSE of a part of one entry is accepted", offered,
		  PROMISE(COLLAPSE_INSIDE) },
		{ "MADV_COLLAPSE maps a huge page that was never touched", offered,
		  PROMISE(COLLAPSE_UNTOUCHED) },
		{ "MADV_COLLAPSE clears the write protection of one entry", offered,
		  PROMISE(COLLAPSE_CLEARS_WP) },
		{ "MADV_DONTNEED frees page tables", offered, PROMISE(DONTNEED_FREES_TABLES) },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.needs_hgm = true,
	});
}
