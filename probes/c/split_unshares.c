// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two mappings of one file that are aligned to 1 GiB share a PMD table.
 * MADV_SPLIT ends that for the split one.
 */
#include "hgm_probe.h"

#define FILLING 1
#define PAGES 4 /* huge pages that the file has; the mapping is larger */

static char *primary, *alias;

/* A mapping of FD's first GiB at an address that is a multiple of 1 GiB. */
static char *map_aligned(int fd)
{
	return map_at(reserve_area(PUD_PAGE, PUD_PAGE), PUD_PAGE, MAP_SHARED | MAP_NORESERVE, fd);
}

/* Both mappings, which share a PMD table if this kernel does that. */
static void map_both(void)
{
	int fd = huge_memfd(PUD_PAGE / huge_size());

	alias = map_aligned(fd);
	primary = map_aligned(fd);
	fill_pages(alias, 0, PAGES * huge_pages(), FILLING);
	check_pages(primary, 0, 1, FILLING);
	if (pagemap_present(primary, PAGES * huge_pages()) != PAGES * huge_pages())
		probe_skip("the kernel did not share the PMD table of two mappings of one file");
}

static void other_mapping_stays(void)
{
	map_both();
	split(primary, PUD_PAGE);
	assert_mapped(primary, 0, 0, 0);
	assert_mapped(alias, 0, PAGES * PMD_PAGE, 0);
	check_pages(alias, 0, PAGES * huge_pages(), FILLING);
}

static void fine_entries_are_private(void)
{
	int uffd = uffd_open(UFFD_FEATURE_MINOR_HUGETLBFS);

	map_both();
	split(primary, PUD_PAGE);
	uffd_register(uffd, primary, PUD_PAGE, UFFDIO_REGISTER_MODE_MINOR);
	assert_continue(uffd, primary + 3 * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	assert_mapped(primary, 0, 0, BASE_PAGE);
	assert_mapped(alias, 0, PAGES * PMD_PAGE, 0);
	check_pages(primary, 3, 1, FILLING);
	assert_continue(uffd, primary, BASE_PAGE, 0, BASE_PAGE);
	check_pages(alias, 0, PAGES * huge_pages(), FILLING);
}

/* Not registered, as UFFDIO_REGISTER ends the sharing as well. */
static void never_shared_again(void)
{
	map_both();
	split(primary, PUD_PAGE);
	split(alias, PUD_PAGE);
	assert_error(advise(primary, PUD_PAGE, MADV_DONTNEED), 0);
	assert_error(advise(alias, PUD_PAGE, MADV_DONTNEED), 0);
	check_pages(primary, 0, 1, FILLING);
	check_pages(alias, huge_pages(), 1, FILLING);
	assert_mapped(primary, 0, PMD_PAGE, 0);
	assert_mapped(alias, 0, PMD_PAGE, 0);
	unmap(primary, PUD_PAGE);
	check_pages(alias, 0, 2 * huge_pages(), FILLING);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "MADV_SPLIT of a mapping with a shared PMD table leaves the other mapping's entries",
		  other_mapping_stays },
		{ "4 KiB entries do not appear in a mapping that shared the PMD table before",
		  fine_entries_are_private },
		{ "split mappings do not share a PMD table again", never_shared_again },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 4,
		.needs_hgm = true,
	});
}
