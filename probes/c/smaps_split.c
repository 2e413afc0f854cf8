// SPDX-License-Identifier: GPL-2.0-only
/* /proc/PID/smaps counts a split mapping by the size of its entries. */
#include "hgm_probe.h"

#define FILLING 1

static int fd;

static void fill_file(void)
{
	fd = filled_memfd(1, FILLING);
}

static void unsplit(void)
{
	char *start = map_shared(fd, huge_size(), UNRESERVED);

	assert_mapped(start, 0, 0, 0);
	check_pages(start, 0, 1, FILLING);
	assert_whole(start, huge_size());
}

static void base_pages(void)
{
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);

	assert_mapped(primary, 0, 0, 0);
	assert_continue(uffd, primary + BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	assert_mapped(primary, 0, 0, BASE_PAGE);
	assert_continue(uffd, primary + 5 * BASE_PAGE, 2 * BASE_PAGE, 0, 2 * BASE_PAGE);
	assert_mapped(primary, 0, 0, 3 * BASE_PAGE);
}

/* The largest entries that fit are used: 2 MiB in one step is one PMD entry. */
static void largest_entries(void)
{
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);

	assert_continue(uffd, primary, PMD_PAGE, 0, PMD_PAGE);
	assert_mapped(primary, 0, PMD_PAGE, 0);
	if (huge_size() == PMD_PAGE)
		return;
	assert_continue(uffd, primary + PMD_PAGE, PMD_PAGE + BASE_PAGE, 0, PMD_PAGE + BASE_PAGE);
	assert_mapped(primary, 0, 2 * PMD_PAGE, BASE_PAGE);
}

static void page_sizes_stay(void)
{
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);

	assert_continue(uffd, primary, BASE_PAGE, 0, BASE_PAGE);
	assert_smaps(primary, "KernelPageSize", huge_size());
	assert_smaps(primary, "MMUPageSize", huge_size());
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "smaps counts an unsplit huge page as mapped by one entry of its size", unsplit },
		{ "smaps HugetlbPteMapped counts each continued base page", base_pages },
		{ "smaps HugetlbPmdMapped counts 2 MiB that were continued in one call",
		  largest_entries },
		{ "smaps KernelPageSize and MMUPageSize of a split mapping stay the huge page's",
		  page_sizes_stay },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.needs_hgm = true,
		.setup = fill_file,
	});
}
