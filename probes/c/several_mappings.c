// SPDX-License-Identifier: GPL-2.0-only
/* Several mappings of one file, by entries of different sizes. */
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1
#define REFILLING 2

static int fd;

static void fill_file(void)
{
	fd = filled_memfd(1, FILLING);
}

static void two_split_mappings(void)
{
	int first_uffd, second_uffd;
	char *first = map_split(fd, 0, 0, &first_uffd), *second = map_split(fd, 0, 0, &second_uffd);

	assert_continue(first_uffd, first, 4 * BASE_PAGE, 0, 4 * BASE_PAGE);
	assert_continue(second_uffd, second + 2 * BASE_PAGE, 4 * BASE_PAGE, 0, 4 * BASE_PAGE);
	assert_mapped(first, 0, 0, 4 * BASE_PAGE);
	assert_mapped(second, 0, 0, 4 * BASE_PAGE);
	assert_present(first + 4 * BASE_PAGE, 1, 0);
	assert_present(second, 1, 0);
	checkpoint(first, huge_size(), "pud:0,pmd:0,pte:4,present:4");
	checkpoint(second, huge_size(), "pud:0,pmd:0,pte:4,present:4");
	check_pages(first, 0, 4, FILLING);
	check_pages(second, 2, 4, FILLING);
}

static void three_granularities(void)
{
	int fine_uffd, pmd_uffd;
	char *fine = map_split(fd, 0, 0, &fine_uffd), *pmd = map_split(fd, 0, 0, &pmd_uffd);
	char *whole = map_shared(fd, huge_size(), UNRESERVED);

	assert_continue(fine_uffd, fine + 5 * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	assert_continue(pmd_uffd, pmd, PMD_PAGE, 0, PMD_PAGE);
	fill_pages(whole, 5, 1, REFILLING);
	check_pages(fine, 5, 1, REFILLING);
	check_pages(pmd, 5, 1, REFILLING);
	fill_pages(fine, 5, 1, FILLING);
	check_pages(whole, 5, 1, FILLING);
	assert_that((pagemap_entry(fine + 5 * BASE_PAGE) & PAGEMAP_FRAME) ==
		    (pagemap_entry(whole + 5 * BASE_PAGE) & PAGEMAP_FRAME),
		    "pagemap: the 4 KiB entry and the whole mapping show page 5 in different "
		    "frames");
}

static void one_goes_away(void)
{
	int first_uffd, second_uffd;
	char *first = map_split(fd, 0, 0, &first_uffd), *second = map_split(fd, 0, 0, &second_uffd);

	assert_continue(first_uffd, first, 4 * BASE_PAGE, 0, 4 * BASE_PAGE);
	assert_continue(second_uffd, second, 4 * BASE_PAGE, 0, 4 * BASE_PAGE);
	unmap(second, huge_size());
	check_pages(first, 0, 4, FILLING);
	assert_continue(first_uffd, first + 4 * BASE_PAGE, 4 * BASE_PAGE, 0, 4 * BASE_PAGE);
	check_pages(first, 0, 8, FILLING);
}

static void last_entry(void)
{
	struct pool before = pool_now();
	int own = filled_memfd(512, FILLING), uffd;
	char *primary = map_split(own, 0, 0, &uffd);

	assert_continue(uffd, primary, BASE_PAGE, 0, BASE_PAGE);
	close(own);
	assert_pool(&before, -1, 0, "with one base page mapped");
	check_pages(primary, 0, 1, FILLING);
	unmap(primary, huge_size());
	close(uffd);
	assert_pool(&before, 0, 0, "unmapped");
}

/* The same file range in two mappings that one userfaultfd serves. */
static void one_userfaultfd(void)
{
	int uffd;
	char *first = map_split(fd, 0, 0, &uffd), *second = map_shared(fd, huge_size(), UNRESERVED);

	split(second, huge_size());
	uffd_register(uffd, second, huge_size(), UFFDIO_REGISTER_MODE_MINOR);
	assert_continue(uffd, first, 2 * BASE_PAGE, 0, 2 * BASE_PAGE);
	assert_continue(uffd, second, 2 * BASE_PAGE, 0, 2 * BASE_PAGE);
	assert_continue(uffd, second + BASE_PAGE, BASE_PAGE, EEXIST, -EEXIST);
	check_pages(first, 0, 2, FILLING);
	check_pages(second, 0, 2, FILLING);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "two split mappings of one file have entries of their own", two_split_mappings },
		{ "mappings of one file by 4 KiB, by 2 MiB and whole show the same memory",
		  three_granularities },
		{ "munmap of one split mapping leaves the entries of the other", one_goes_away },
		{ "one mapped base page keeps a huge page; munmap returns it to the pool",
		  last_entry },
		{ "two split mappings with one userfaultfd are continued separately",
		  one_userfaultfd },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 2,
		.needs_hgm = true,
		.setup = fill_file,
	});
}
