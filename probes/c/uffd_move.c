// SPDX-License-Identifier: GPL-2.0-only
/* UFFDIO_MOVE moves pages of anonymous memory, and refuses all other memory. */
#include <signal.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1
#define OTHER 2
#define UNITS 4

static enum memory_kind kind;
static int fd, uffd;
static char *from, *to;

static size_t unit(void)
{
	return memory_unit(kind);
}

static size_t length(void)
{
	return UNITS * unit();
}

static void open_file(void)
{
	close(uffd_open(UFFD_FEATURE_MOVE));
	fd = memory_file(kind, UNITS);
}

/* A filled source, and a destination of which nothing is mapped. */
static void map_both(void)
{
	from = memory_map(kind, fd, UNITS);
	memory_fill(kind, from, UNITS, FILLING);
	to = memory_map(kind, fd, UNITS);
	assert_error(advise(to, length(), MADV_DONTNEED), 0);
	uffd = uffd_open(UFFD_FEATURE_MOVE);
	uffd_register(uffd, to, length(), UFFDIO_REGISTER_MODE_MISSING);
}

static void same_frames(void)
{
	uint64_t before, after;

	map_both();
	before = pagemap_entry(from + unit());
	assert_result(uffd_move(uffd, to, from, length(), 0), 0, (int64_t)length());
	after = pagemap_entry(to + unit());
	assert_that((after & PAGEMAP_FRAME) == (before & PAGEMAP_FRAME),
		    "the moved page has frame %#llx, expected %#llx as at its source",
		    (unsigned long long)(after & PAGEMAP_FRAME),
		    (unsigned long long)(before & PAGEMAP_FRAME));
	for (size_t i = 0; i < UNITS; i++)
		check_pages(to + i * unit(), 0, 1, FILLING);
	assert_present(from, length() / BASE_PAGE, 0);
	check_zero(from, 0, 1);
}

static void wakes_the_reader(void)
{
	struct touch touch;

	map_both();
	touch_start(&touch, to + unit(), TOUCH_READ);
	assert_fault(uffd, to + unit(), 0);
	assert_result(uffd_move(uffd, to + unit(), from + 2 * unit(), unit(), 0), 0,
		      (int64_t)unit());
	touch_end(&touch);
	check_pages(to + unit(), 0, 1, FILLING);
	assert_present(to, unit() / BASE_PAGE, 0);
}

static void not_over_a_page(void)
{
	map_both();
	assert_result(uffd_move(uffd, to + unit(), from + unit(), unit(), 0), 0, (int64_t)unit());
	assert_result(uffd_move(uffd, to + unit(), from + 2 * unit(), unit(), 0), EEXIST, -EEXIST);
	check_pages(from + 2 * unit(), 0, 1, FILLING);
	check_pages(to + unit(), 0, 1, FILLING);
	/* Up to the page in the way. */
	assert_result(uffd_move(uffd, to, from + 2 * unit(), 2 * unit(), 0), EAGAIN,
		      (int64_t)unit());
	check_pages(to, 0, 1, FILLING);
}

static void holes(void)
{
	map_both();
	assert_error(advise(from + unit(), unit(), MADV_DONTNEED), 0);
	assert_result(uffd_move(uffd, to + unit(), from + unit(), unit(), 0), ENOENT, -ENOENT);
	assert_result(uffd_move(uffd, to, from, 3 * unit(), UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES), 0,
		      (int64_t)(3 * unit()));
	check_pages(to, 0, 1, FILLING);
	assert_present(to + unit(), unit() / BASE_PAGE, 0);
	check_pages(to + 2 * unit(), 0, 1, FILLING);
}

/* A page that a child shares is nobody's to move. */
static void wait_for_parent(void)
{
	pause();
}

static void not_a_shared_page(void)
{
	pid_t child;

	map_both();
	child = child_start(wait_for_parent);
	assert_result(uffd_move(uffd, to, from, unit(), 0), EBUSY, -EBUSY);
	kill(child, SIGKILL);
	check_pages(from, 0, 1, FILLING);
}

static void part_of_an_entry(void)
{
	map_both();
	assert_result(uffd_move(uffd, to + BASE_PAGE, from, BASE_PAGE, 0), 0, BASE_PAGE);
	check_copy(to + BASE_PAGE, 0, 1, FILLING);
	assert_present(from, 1, 0);
	assert_present(from + BASE_PAGE, TABLE_ENTRIES - 1, TABLE_ENTRIES - 1);
	check_pages(from + unit(), 0, 1, FILLING);
}

/* The source was read and never written: it shows the zero page. */
static void zeros(void)
{
	struct uffd_result moved;

	map_both();
	assert_error(advise(from, unit(), MADV_DONTNEED), 0);
	check_zero(from, 0, 1);
	moved = uffd_move(uffd, to, from, unit(), 0);
	if (moved.error == EBUSY) { /* before 6.10 */
		assert_present(to, 1, 0);
		check_zero(from, 0, 1);
		return;
	}
	assert_result(moved, 0, (int64_t)unit());
	assert_present(from, 1, 0);
	assert_present(to, 1, 1);
	check_zero(to, 0, 1);
	fill_pages(to, 0, 1, OTHER);
	check_pages(to, 0, 1, OTHER);
	check_zero(from, 0, 1);
}

static void refused(void)
{
	char *plain = map_anonymous(length(), 0);

	map_both();
	assert_error(uffd_move(uffd, to, from, unit(), 0).error, EINVAL);
	/* Nor from ordinary memory to it, nor the other way. */
	fill_pages(plain, 0, 1, OTHER);
	assert_error(uffd_move(uffd, to, plain, BASE_PAGE, 0).error, EINVAL);
	assert_error(advise(plain + BASE_PAGE, BASE_PAGE, MADV_DONTNEED), 0);
	uffd_register(uffd, plain, length(), UFFDIO_REGISTER_MODE_MISSING);
	assert_error(uffd_move(uffd, plain + BASE_PAGE, from, BASE_PAGE, 0).error, EINVAL);
	check_pages(from, 0, 1, FILLING);
	check_pages(plain, 0, 1, OTHER);
}

int main(int argc, char **argv)
{
	static const struct probe_test moved[] = {
		{ "UFFDIO_MOVE moves the frames and leaves holes", same_frames },
		{ "UFFDIO_MOVE resolves a missing fault", wakes_the_reader },
		{ "UFFDIO_MOVE over a page is EEXIST and stops before it", not_over_a_page },
		{ "UFFDIO_MOVE of a hole is ENOENT unless holes are allowed", holes },
		{ "UFFDIO_MOVE of a page that a child shares is EBUSY", not_a_shared_page },
		{ "UFFDIO_MOVE of the zero page moves it or is EBUSY", zeros },
		{ "UFFDIO_MOVE of a base page splits a transparent huge page", part_of_an_entry },
	};
	static const struct probe_test others[] = {
		{ "UFFDIO_MOVE from, to and between such memory is EINVAL", refused },
	};
	static const struct probe_argument arguments[] = { MEMORY_ARGUMENT, { 0 } };
	bool is_moved;

	kind = memory_kind(argc, argv);
	is_moved = kind == ANONYMOUS || kind == TRANSPARENT;
	return probe_main(argc, argv, &(struct probe){
		.tests = is_moved ? moved : others,
		.count = is_moved ? COUNT_OF(moved) - (kind == ANONYMOUS) : COUNT_OF(others),
		.pages = kind == HUGETLB ? UNITS : 0,
		.arguments = arguments,
		.setup = open_file,
	});
}
