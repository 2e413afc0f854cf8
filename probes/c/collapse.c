// SPDX-License-Identifier: GPL-2.0-only
/* MADV_COLLAPSE replaces the entries of a split huge page by one and keeps the contents. */
#include "hgm_probe.h"

#define FILLING 1
#define STRIDE 2 /* every other page was never written, and is zero */

static int fd;

static void fill_file(void)
{
	fd = filled_memfd(STRIDE, FILLING);
}

static void check_contents(const char *huge)
{
	for (size_t page = 0; page < huge_pages(); page += STRIDE) {
		check_pages(huge, page, 1, FILLING);
		check_zero(huge, page + 1, STRIDE - 1);
	}
}

/* smaps and the host's page-table walk must show one entry of the huge page's size. */
static void assert_one_entry(const char *huge)
{
	assert_whole(huge, huge_size());
	checkpoint(huge, huge_size(), "%s", huge_size() == PUD_PAGE ? "pud:1,pmd:0,pte:0,wp:0"
								     : "pmd:1,pte:0,wp:0");
}

static void full_page(void)
{
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);

	/* By 4 KiB in the first 2 MiB only: all of 1 GiB would take too long. */
	for (size_t page = 0; page < PMD_PAGE / BASE_PAGE; page++)
		assert_continue(uffd, primary + page * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	checkpoint(primary, huge_size(), "pud:0,pmd:0,pte:%zu", PMD_PAGE / BASE_PAGE);
	if (huge_size() > PMD_PAGE)
		assert_continue(uffd, primary + PMD_PAGE, huge_size() - PMD_PAGE, 0,
				huge_size() - PMD_PAGE);
	collapse(primary, huge_size());
	assert_one_entry(primary);
	check_contents(primary);
	assert_no_fault(uffd);
}

static void holes_become_mapped(void)
{
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);

	assert_continue(uffd, primary + 3 * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	collapse(primary, huge_size());
	assert_one_entry(primary);
	assert_present(primary, huge_pages(), huge_pages());
	check_contents(primary);
	assert_no_fault(uffd);
}

static void interface_stays(void)
{
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);

	assert_continue(uffd, primary, BASE_PAGE, 0, BASE_PAGE);
	collapse(primary, huge_size());
	assert_flag(primary, "hm", true);
	assert_continue(uffd, primary, BASE_PAGE, EEXIST, -EEXIST);
}

static void never_split(void)
{
	char *start = map_shared(fd, huge_size(), UNRESERVED);

	collapse(start, huge_size());
	assert_flag(start, "hm", false);
	check_contents(start);
}

static void cannot_be_split(void)
{
	char *start = map_private_huge(UNRESERVED);

	assert_error(advise(start, huge_size(), MADV_COLLAPSE), EINVAL);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "MADV_COLLAPSE of a fully mapped huge page leaves one entry and its contents",
		  full_page },
		{ "MADV_COLLAPSE maps the unmapped base pages, zero where never written",
		  holes_become_mapped },
		{ "after MADV_COLLAPSE the mapping is still split: UFFDIO_CONTINUE of 4 KiB is EEXIST",
		  interface_stays },
		{ "MADV_COLLAPSE of a mapping that was never split succeeds and does not split it",
		  never_split },
		{ "MADV_COLLAPSE of a private hugetlb mapping is EINVAL", cannot_be_split },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.needs_hgm = true,
		.setup = fill_file,
	});
}
