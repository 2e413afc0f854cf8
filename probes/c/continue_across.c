// SPDX-License-Identifier: GPL-2.0-only
/* UFFDIO_CONTINUE across huge pages, and where the mapping starts inside the file. */
#include "hgm_probe.h"

#define FILLING 1
#define STRIDE 4 /* pages between are zero */

static int fd;

static void fill_file(void)
{
	fd = filled_memfd_of(2, STRIDE, FILLING);
}

static void over_the_boundary(void)
{
	size_t boundary = huge_pages();
	int uffd;
	char *primary = map_split_part(fd, 0, 2, 0, 0, &uffd);

	assert_continue(uffd, primary + (boundary - 8) * BASE_PAGE, 16 * BASE_PAGE, 0,
			16 * BASE_PAGE);
	assert_present(primary + (boundary - 8) * BASE_PAGE, 16, 16);
	assert_mapped(primary, 0, 0, 16 * BASE_PAGE);
	check_copy(primary + (boundary - 4) * BASE_PAGE, boundary - 4, 1, FILLING);
	check_copy(primary + boundary * BASE_PAGE, boundary, 1, FILLING);
	checkpoint(primary, 2 * huge_size(), "pud:0,pte:16,present:16");
	check_zero(primary, boundary - 1, 1);
	check_zero(primary, boundary + 1, 1);
}

static void both_in_one_call(void)
{
	int uffd;
	char *primary = map_split_part(fd, 0, 2, 0, 0, &uffd);

	assert_continue(uffd, primary, 2 * huge_size(), 0, 2 * huge_size());
	assert_whole(primary, 2 * huge_size());
	check_copy(primary, 0, 1, FILLING);
	check_copy(primary + huge_size(), huge_pages(), 1, FILLING);
}

/* One whole and the first half of the next. */
static void one_and_a_half(void)
{
	size_t half = huge_size() / 2;
	bool is_pud = huge_size() == PUD_PAGE;
	int uffd;
	char *primary = map_split_part(fd, 0, 2, 0, 0, &uffd);

	assert_continue(uffd, primary, huge_size() + half, 0, huge_size() + half);
	assert_mapped(primary, is_pud ? PUD_PAGE : 0, is_pud ? half : PMD_PAGE, is_pud ? 0 : half);
	assert_present(primary + huge_size() + half, huge_pages() / 2, 0);
}

/* The second huge page is partly mapped: the result must count the first and what precedes it. */
static void overlap_in_the_second(void)
{
	size_t mapped = huge_size() + 2 * BASE_PAGE;
	/* Where a continue does not descend, the second huge page is in the way as a whole. */
	size_t done = offers(PROMISE_CONTINUE_AROUND) ? mapped : huge_size();
	int uffd;
	char *primary = map_split_part(fd, 0, 2, 0, 0, &uffd);

	assert_continue(uffd, primary + mapped, BASE_PAGE, 0, BASE_PAGE);
	assert_continue(uffd, primary, 2 * huge_size(), EAGAIN, done);
	/* What was done, and the page that was in the way. */
	assert_present(primary, 2 * huge_pages(), done / BASE_PAGE + 1);
}

static void second_page_of_the_file(void)
{
	int uffd;
	char *primary = map_split_part(fd, 1, 1, 0, 0, &uffd);

	assert_continue(uffd, primary + 4 * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	check_copy(primary + 4 * BASE_PAGE, huge_pages() + 4, 1, FILLING);
	assert_continue(uffd, primary + huge_size() / 2, huge_size() / 2, 0, huge_size() / 2);
	check_copy(primary + huge_size() - 4 * BASE_PAGE, 2 * huge_pages() - 4, 1, FILLING);
	check_copy(primary + huge_size() / 2, huge_pages() + huge_pages() / 2, 1, FILLING);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "UFFDIO_CONTINUE of 64 KiB across two huge pages maps 16 base pages",
		  over_the_boundary },
		{ "UFFDIO_CONTINUE of two huge pages maps each by one entry", both_in_one_call },
		{ "UFFDIO_CONTINUE of one and a half huge pages maps both", one_and_a_half },
		{ "UFFDIO_CONTINUE of two huge pages is EAGAIN where the second is partly mapped",
		  overlap_in_the_second },
		{ "UFFDIO_CONTINUE in a mapping of the file's second huge page maps that page",
		  second_page_of_the_file },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 2,
		.needs_hgm = true,
		.asks = PROMISE(CONTINUE_AROUND),
		.setup = fill_file,
	});
}
