// SPDX-License-Identifier: GPL-2.0-only
/* mremap() of a split mapping moves its entries, and refuses parts of a huge page. */
#include <signal.h>

#include "hgm_probe.h"

#define FILLING 1

static int fd;

static void fill_file(void)
{
	fd = filled_memfd_of(2, 512, FILLING);
}

/* Addresses for a mapping of LENGTH bytes to be moved to. */
static char *place(size_t length)
{
	return map_shared(fd, length, UNRESERVED);
}

static char *move(char *from, size_t length)
{
	char *to = place(length);
	void *moved = mremap(from, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, to);

	assert_that(moved == to, "mremap: %s", error_name(errno));
	return to;
}

static void entries_move(void)
{
	bool is_pud = huge_size() == PUD_PAGE;
	int uffd;
	char *from = map_split(fd, 0, 0, &uffd), *to;

	assert_continue(uffd, from, 6 * BASE_PAGE, 0, 6 * BASE_PAGE);
	if (is_pud)
		assert_continue(uffd, from + 2 * PMD_PAGE, PMD_PAGE, 0, PMD_PAGE);
	to = move(from, huge_size());
	assert_flag(to, "hm", true);
	assert_mapped(to, 0, is_pud ? PMD_PAGE : 0, 6 * BASE_PAGE);
	checkpoint(to, huge_size(), "pud:0,pte:6");
	assert_signal(from, TOUCH_READ, SIGSEGV);
	check_pages(to, 0, 1, FILLING);
	check_zero(to, 1, 5);
	if (is_pud)
		check_pages(to, 2 * PMD_PAGE / BASE_PAGE, 1, FILLING);
}

/* Without UFFD_FEATURE_EVENT_REMAP the registration does not move. */
static void holes_after(void)
{
	int uffd;
	char *to = map_split(fd, 0, 0, &uffd);

	assert_continue(uffd, to, BASE_PAGE, 0, BASE_PAGE);
	to = move(to, huge_size());
	assert_flag(to, "ui", false);
	check_zero(to, 7, 1);
	check_zero(to, huge_pages() - 1, 1);
	assert_no_fault(uffd);
}

/* Without a registration the marks would block no write, but pagemap would show them. */
static void marks_after(void)
{
	int uffd;
	char *to = map_split(fd, UFFD_FEATURE_WP_HUGETLBFS_SHMEM, UFFDIO_REGISTER_MODE_WP, &uffd);

	assert_continue(uffd, to, 4 * BASE_PAGE, 0, 4 * BASE_PAGE);
	assert_error(uffd_protect(uffd, to, wp_unit() * 8 < huge_size() ? wp_unit() * 8 : huge_size(),
				  true), 0);
	to = move(to, huge_size());
	assert_protected(to, 8, 0);
	assert_signal(to + BASE_PAGE + 0x80, TOUCH_WRITE, 0);
	assert_signal(to + 6 * BASE_PAGE + 0x80, TOUCH_WRITE, 0);
	check_pages(to, 0, 1, FILLING);
}

static void to_and_fro(void)
{
	int uffd;
	char *start = map_split(fd, 0, 0, &uffd);

	assert_continue(uffd, start, 6 * BASE_PAGE, 0, 6 * BASE_PAGE);
	for (size_t round = 0; round < 6; round++) {
		start = move(start, huge_size());
		assert_mapped(start, 0, 0, 6 * BASE_PAGE);
		check_pages(start, 0, 1, FILLING);
	}
	collapse(start, huge_size());
	start = move(start, huge_size());
	assert_whole(start, huge_size());
}

static void one_of_two(void)
{
	int uffd;
	char *start = map_split_part(fd, 0, 2, 0, 0, &uffd), *second;

	assert_continue(uffd, start, BASE_PAGE, 0, BASE_PAGE);
	assert_continue(uffd, start + huge_size(), 2 * BASE_PAGE, 0, 2 * BASE_PAGE);
	second = move(start + huge_size(), huge_size());
	assert_mapped(start, 0, 0, BASE_PAGE);
	assert_mapped(second, 0, 0, 2 * BASE_PAGE);
	check_pages(start, 0, 1, FILLING);
	check_copy(second, huge_pages(), 1, FILLING);
	assert_continue(uffd, start + BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
}

static void shrunk(void)
{
	int uffd;
	char *start = map_split_part(fd, 0, 2, 0, 0, &uffd);

	assert_continue(uffd, start, BASE_PAGE, 0, BASE_PAGE);
	assert_continue(uffd, start + huge_size(), BASE_PAGE, 0, BASE_PAGE);
	assert_that(mremap(start, 2 * huge_size(), huge_size(), 0) == start,
		    "mremap of two huge pages to one: %s", error_name(errno));
	assert_mapped(start, 0, 0, BASE_PAGE);
	check_pages(start, 0, 1, FILLING);
	assert_signal(start + huge_size(), TOUCH_READ, SIGSEGV);
}

static void refused(void)
{
	const int move = MREMAP_MAYMOVE | MREMAP_FIXED;
	size_t size = huge_size();
	int uffd;
	char *start = map_split(fd, 0, 0, &uffd), *to = place(size);

	assert_continue(uffd, start, BASE_PAGE, 0, BASE_PAGE);
	assert_that(mremap(start, size, 2 * size, MREMAP_MAYMOVE) == MAP_FAILED,
		    "mremap of one huge page to two: expected an error, got success");
	assert_errno(mremap(start, size, size, move, to + BASE_PAGE), EINVAL);
	assert_that(mremap(start + BASE_PAGE, size, size, move, to) == MAP_FAILED,
		    "mremap from the second base page on: expected an error, got success");
	assert_mapped(start, 0, 0, BASE_PAGE);
	check_pages(start, 0, 1, FILLING);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "mremap of a split mapping moves entries of all sizes with their contents",
		  entries_move },
		{ "mremap ends the registration: holes are then faulted in without a message",
		  holes_after },
		{ "mremap drops userfaultfd write protection together with the registration",
		  marks_after },
		{ "six mremaps of a split mapping, and one after MADV_COLLAPSE, keep its entries",
		  to_and_fro },
		{ "mremap of one of two split huge pages leaves the entries of the other",
		  one_of_two },
		{ "mremap that shrinks a split mapping to one huge page keeps its entries",
		  shrunk },
		{ "mremap to grow or to move part of a split huge page fails and changes nothing",
		  refused },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 2,
		.needs_hgm = true,
		.asks = PROMISE(WP_BASE_PAGES),
		.setup = fill_file,
	});
}
