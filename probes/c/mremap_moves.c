// SPDX-License-Identifier: GPL-2.0-only
/*
 * mremap of every kind of memory: each page arrives where its place says, a hole
 * stays a hole, what is left of the mapping keeps its pages, and locked memory is
 * counted once.
 *
 * A cell is the least that mremap moves: a huge page of hugetlb, else a base page.
 * Every third cell is a hole, but in transparent huge pages, where every seventh
 * is written and the rest is zero.
 */
#include <signal.h>
#include <stdlib.h>

#include "hgm_probe.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#define FIXED (MREMAP_MAYMOVE | MREMAP_FIXED)
#define HUGE_CELLS 6UL
#define BASE_CELLS (2 * TABLE_ENTRIES + 16)
#define THP_CELLS (3 * TABLE_ENTRIES)

/* Cells of the mapping, from FIRST on, to cell TO after the start of a page table's range. */
struct move {
	size_t first, count, to;
};

static enum memory_kind kind;
static int fd = -1;
static char *from;
static const struct move *move;

static size_t cell(void)
{
	return kind == HUGETLB ? huge_size() : BASE_PAGE;
}

static size_t cells(void)
{
	return kind == HUGETLB ? HUGE_CELLS : kind == TRANSPARENT ? THP_CELLS : BASE_CELLS;
}

static size_t length(void)
{
	return cells() * cell();
}

static bool is_shared(void)
{
	return kind == HUGETLB || kind == SHMEM;
}

static bool is_filled(size_t number)
{
	return kind == TRANSPARENT ? number % 7 == 0 : number % 3 != 2;
}

static bool is_present(size_t number)
{
	return kind == TRANSPARENT || is_filled(number);
}

/* Address space for COUNT cells from the start of the range of a page table. */
static char *room(size_t count)
{
	return reserve_area(count * cell(), kind == HUGETLB ? huge_size() : PMD_PAGE);
}

static char *map_cells(void)
{
	char *start;

	if (kind == TRANSPARENT)
		return memory_map(kind, -1, length() / PMD_PAGE);
	start = map_at(room(cells()), length(),
		       is_shared() ? MAP_SHARED | MAP_NORESERVE : MAP_PRIVATE | MAP_ANONYMOUS, fd);
	if (kind != HUGETLB) /* EINVAL where there are no transparent huge pages */
		advise(start, length(), MADV_NOHUGEPAGE);
	return start;
}

static void make_cells(void)
{
	fd = memory_file(kind, cells());
	from = map_cells();
	for (size_t number = 0; number < cells(); number++)
		if (is_filled(number))
			fill_pages(from + number * cell(), 0, 1, (unsigned int)number + 1);
}

/* COUNT cells at START, which were made as those from FIRST on; no hole is touched. */
static void check_cells(const char *start, size_t first, size_t count)
{
	size_t pages = cell() / BASE_PAGE;
	uint64_t *entries = malloc(count * pages * sizeof(*entries));

	assert_that(entries, "malloc: %s", error_name(errno));
	pagemap_read(start, count * pages, entries);
	for (size_t i = 0; i < count; i++) {
		const char *at = start + i * cell();
		bool seen = entries[i * pages] & PAGEMAP_PRESENT;
		size_t number = first + i;

		assert_that(seen == is_present(number), "cell %zu is %s after it was moved", number,
			    seen ? "mapped, and was a hole," : "a hole, and was mapped,");
		if (is_filled(number))
			check_pages(at, 0, 1, (unsigned int)number + 1);
	}
	free(entries);
}

/* Of the same cells, those that were never written. In hugetlb a read would take a page. */
static void read_holes(const char *start, size_t first, size_t count)
{
	for (size_t i = 0; i < count && kind != HUGETLB; i++)
		if (!is_filled(first + i))
			check_zero(start + i * cell(), 0, 1);
}

static void assert_moved(char *start, size_t count, char *to)
{
	void *moved = mremap(start, count * cell(), count * cell(), FIXED, to);

	assert_that(moved == to, "mremap of %s: %s", range_text(count * cell()),
		    error_name(errno));
}

/* Part of the mapping to a place where tables begin elsewhere, and back to where it was. */
static void move_part(void)
{
	char *start, *to;

	probe_about("%zu cells from %zu on to %zu", move->count, move->first, move->to);
	make_cells();
	start = from + move->first * cell();
	to = room(move->to + move->count) + move->to * cell();
	assert_moved(start, move->count, to);
	check_cells(from, 0, move->first);
	check_cells(to, move->first, move->count);
	read_holes(to, move->first, move->count);
	check_cells(start + move->count * cell(), move->first + move->count,
		    cells() - move->first - move->count);
	assert_signal(start, TOUCH_READ, SIGSEGV);
	assert_signal(start + (move->count - 1) * cell(), TOUCH_READ, SIGSEGV);
}

static void moved(void)
{
	static const struct move base[] = {
		{ 0, BASE_CELLS, 0 },
		{ 0, BASE_CELLS, 1 },
		{ 3, TABLE_ENTRIES + 2, 3 },
		{ TABLE_ENTRIES - 1, TABLE_ENTRIES + 2, 5 },
	};
	static const struct move huge[] = {
		{ 0, HUGE_CELLS, 0 },
		{ 0, HUGE_CELLS, 1 },
		{ 1, 3, 2 },
	};
	const struct move *moves = kind == HUGETLB ? huge : base;
	size_t count = kind == HUGETLB ? COUNT_OF(huge) : COUNT_OF(base);

	for (size_t i = 0; i < count; i++) {
		move = &moves[i];
		child_end(child_start(move_part));
	}
}

static void there_and_back(void)
{
	char *to, *home;

	make_cells();
	home = from;
	to = room(cells());
	for (int i = 0; i < 3; i++) {
		assert_moved(home, cells(), to);
		assert_moved(to, cells(), home);
	}
	check_cells(home, 0, cells());
}

static void whole_entries(void)
{
	char *to;

	make_cells();
	assert_smaps(from, "AnonHugePages", length());
	to = room(cells());
	assert_moved(from, cells(), to);
	assert_smaps(to, "AnonHugePages", length());
	check_cells(to, 0, cells());
}

/* The pages are at the new place, and the old one is as if nothing had been touched. */
static void left_mapped(void)
{
	char *to;

	make_cells();
	to = room(cells());
	if (kind == HUGETLB) {
		assert_errno(mremap(from, length(), length(), FIXED | MREMAP_DONTUNMAP, to), EINVAL);
		check_cells(from, 0, cells());
		return;
	}
	assert_errno(mremap(from, length(), length(), FIXED | MREMAP_DONTUNMAP, to), 0);
	assert_present(from, cells(), 0);
	check_cells(to, 0, cells());
	if (is_shared())
		check_pages(from, 0, 1, 1);
	else
		check_zero(from, 0, 1);
}

/* What stays behind is still registered, what has moved is not. */
static void left_registered(void)
{
	char *to, *source = map_anonymous(BASE_PAGE, 0);
	struct touch touch;
	int uffd;

	make_cells();
	to = room(cells());
	uffd = uffd_open(0);
	uffd_register(uffd, from, length(), UFFDIO_REGISTER_MODE_MISSING);
	assert_errno(mremap(from, length(), length(), FIXED | MREMAP_DONTUNMAP, to), 0);
	assert_flag(from, "um", true);
	assert_flag(to, "um", false);
	touch_start(&touch, from + 3 * BASE_PAGE, TOUCH_READ);
	assert_fault(uffd, from + 3 * BASE_PAGE, 0);
	fill_pages(source, 0, 1, 99);
	assert_result(uffd_copy(uffd, from + 3 * BASE_PAGE, source, BASE_PAGE), 0, BASE_PAGE);
	touch_end(&touch);
	check_pages(from + 3 * BASE_PAGE, 0, 1, 99);
	check_cells(to, 0, cells());
	assert_no_fault(uffd);
}

static void assert_locked(int64_t before, size_t more, const char *when)
{
	int64_t seen = status_bytes("VmLck") - before;

	assert_that(seen == (int64_t)more, "VmLck is %s more %s, expected %s", size_text(seen), when,
		    size_text((int64_t)more));
}

static void locked(void)
{
	size_t few = kind == TRANSPARENT ? PMD_PAGE : 16 * BASE_PAGE;
	int64_t before = status_bytes("VmLck");
	char *start, *to, *left;

	make_cells();
	assert_errno(munmap(from + few, length() - few), 0);
	assert_errno(mlock(from, few), 0);
	assert_locked(before, few, "after mlock");
	start = mremap(from, few, 2 * few, MREMAP_MAYMOVE, NULL);
	assert_that(start != MAP_FAILED, "mremap to twice the size: %s", error_name(errno));
	assert_locked(before, 2 * few, "after growth");
	assert_present(start, 2 * few / BASE_PAGE, 2 * few / BASE_PAGE);
	assert_errno(mremap(start, 2 * few, few, 0, NULL), 0);
	assert_locked(before, few, "after it shrank");
	to = room(few / cell());
	assert_errno(mremap(start, few, few, FIXED, to), 0);
	assert_locked(before, few, "after a move");
	left = to;
	to = room(few / cell());
	assert_errno(mremap(left, few, few, FIXED | MREMAP_DONTUNMAP, to), 0);
	assert_locked(before, few, "after MREMAP_DONTUNMAP");
	assert_flag(left, "lo", false);
	assert_flag(to, "lo", true);
	unmap(left, few);
	assert_locked(before, few, "after munmap of what was left behind");
	unmap(to, few);
	assert_locked(before, 0, "after munmap");
}

static void resized(void)
{
	size_t half = length() / 2;
	char *start;

	make_cells();
	if (kind == HUGETLB) {
		assert_errno(mremap(from, half, length(), MREMAP_MAYMOVE, NULL), EINVAL);
		check_cells(from, 0, cells());
	}
	assert_errno(mremap(from, length(), half, 0, NULL), 0);
	check_cells(from, 0, cells() / 2);
	assert_signal(from + half, TOUCH_READ, SIGSEGV);
	if (kind == HUGETLB)
		return;
	start = mremap(from, half, length(), MREMAP_MAYMOVE, NULL);
	assert_that(start != MAP_FAILED, "mremap to twice the size: %s", error_name(errno));
	check_cells(start, 0, cells() / 2);
	assert_present(start + half, half / BASE_PAGE, 0);
	if (is_shared())
		check_pages(start + half, 0, 1, (unsigned int)(cells() / 2) + 1);
	else
		check_zero(start + half, 0, 1);
}

static void twice_mapped(void)
{
	char *second;

	make_cells();
	if (!is_shared()) {
		assert_errno(mremap(from, 0, length(), MREMAP_MAYMOVE, NULL), EINVAL);
		check_cells(from, 0, cells());
		return;
	}
	second = mremap(from, 0, length(), MREMAP_MAYMOVE, NULL);
	assert_that(second != MAP_FAILED, "mremap of size 0: %s", error_name(errno));
	check_cells(from, 0, cells());
	check_pages(second, 0, 1, 1);
	fill_pages(second, 0, 1, 50);
	check_pages(from, 0, 1, 50);
}

static void refused(void)
{
	char *to;

	make_cells();
	to = room(cells());
	assert_errno(mremap(from + 1, cell(), cell(), FIXED, to), EINVAL);
	assert_errno(mremap(from, cell(), cell(), FIXED, to + 1), EINVAL);
	assert_errno(mremap(from, cell(), cell(), MREMAP_FIXED, to), EINVAL);
	assert_errno(mremap(from, cell(), 0, MREMAP_MAYMOVE, NULL), EINVAL);
	assert_errno(mremap(from, 2 * cell(), 2 * cell(), FIXED, from + cell()), EINVAL);
	if (kind == HUGETLB) {
		assert_errno(mremap(from + BASE_PAGE, cell(), cell(), FIXED, to), EINVAL);
		assert_errno(mremap(from, cell(), cell(), FIXED, to + BASE_PAGE), EINVAL);
	}
	check_cells(from, 0, cells());
}

#define MOVED { "mremap brings each page to its place, and leaves holes and the rest", moved }
#define AND_BACK { "memory that mremap moves there and back is as it was", there_and_back }
#define LEFT { "MREMAP_DONTUNMAP moves the pages and leaves an empty mapping", left_mapped }
#define RESIZED { "mremap to another size keeps what is in both", resized }
#define REFUSED { "mremap that is refused changes nothing", refused }
#define TWICE(what) { "mremap of size 0 " what, twice_mapped }
#define LOCKED { "locked memory is counted once, however mremap moves it", locked }
#define REGISTERED { "what MREMAP_DONTUNMAP leaves behind is still registered", left_registered }

int main(int argc, char **argv)
{
	static const struct probe_test huge[] = { MOVED, AND_BACK, LEFT, RESIZED, REFUSED };
	static const struct probe_test shmem[] = {
		MOVED, AND_BACK, LEFT, RESIZED, REFUSED, LOCKED, TWICE("maps the same pages twice"),
	};
	static const struct probe_test anonymous[] = {
		MOVED, AND_BACK, LEFT, RESIZED, REFUSED, LOCKED, TWICE("is EINVAL"), REGISTERED,
	};
	static const struct probe_test transparent[] = {
		MOVED, AND_BACK, LEFT, RESIZED, REFUSED, LOCKED, TWICE("is EINVAL"), REGISTERED,
		{ "a transparent huge page that mremap moves to such a place stays one", whole_entries },
	};
	static const struct {
		const struct probe_test *tests;
		size_t count;
	} of[] = {
		[HUGETLB] = { huge, COUNT_OF(huge) },
		[SHMEM] = { shmem, COUNT_OF(shmem) },
		[ANONYMOUS] = { anonymous, COUNT_OF(anonymous) },
		[TRANSPARENT] = { transparent, COUNT_OF(transparent) },
	};
	static const struct probe_argument arguments[] = { MEMORY_ARGUMENT, { 0 } };

	kind = memory_kind(argc, argv);
	return probe_main(argc, argv, &(struct probe){
		.tests = of[kind].tests,
		.count = of[kind].count,
		.pages = kind == HUGETLB ? HUGE_CELLS : 0,
		.arguments = arguments,
	});
}
