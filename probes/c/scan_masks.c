// SPDX-License-Identifier: GPL-2.0-only
/*
 * PAGEMAP_SCAN by every mask and limit. One scan of everything says in which categories each
 * page is; what the documentation (admin-guide/mm/pagemap.rst) says of the masks then gives the
 * answer of any other scan of the same memory, page by page.
 */
#include <stdlib.h>
#include <string.h>

#include "hgm_probe.h"

#define FEATURES (UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED | \
		  UFFD_FEATURE_WP_HUGETLBFS_SHMEM)
#define PART 32UL /* base pages of each part of base pages */
#define MASKS 200 /* scans that each test does */
#define NOT_REPORTED UINT64_MAX

/* Parts of base pages, a huge page, a hole for one, and a transparent huge page. */
static size_t length, pages;
static char *area, *tracked;
static struct scan_region *regions; /* as many as there are pages */
static uint64_t *everything, *seen, *wanted; /* categories of each page */
static uint64_t known; /* categories that this kernel has */
static uint64_t state = 1;

static uint64_t next_random(void)
{
	state = state * 6364136223846793005 + 1442695040888963407;
	return state >> 33;
}

/* A hole, a page that was read, a written page, one that was dropped again: in turns. */
static void use_in_turns(char *start)
{
	for (size_t page = 0; page < PART; page++) {
		char *at = start + page * BASE_PAGE;

		if (page % 4 == 1)
			*(volatile char *)at;
		if (page % 4 >= 2)
			*(volatile char *)at = 1;
		if (page % 4 == 3)
			assert_error(advise(at, BASE_PAGE, MADV_DONTNEED), 0);
	}
}

/* Of a protected part each fourth page is written afterwards: the kernel lets that happen. */
static void track(char *start)
{
	uint64_t offered = uffd_offered();
	int uffd;

	if ((offered & FEATURES) != FEATURES)
		return;
	uffd = uffd_open(FEATURES);
	uffd_register(uffd, start, PART * BASE_PAGE, UFFDIO_REGISTER_MODE_WP);
	assert_error(uffd_protect(uffd, start, PART * BASE_PAGE, true), 0);
	for (size_t page = 0; page < PART; page += 4)
		*(volatile char *)(start + page * BASE_PAGE) = 2;
	tracked = start;
}

static void make_area(void)
{
	const size_t part = PART * BASE_PAGE;
	int anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
	char *at;

	if (huge_size() != PMD_PAGE)
		probe_skip("the area is laid out for huge pages of %s", size_name(PMD_PAGE));
	length = 4 * PMD_PAGE;
	pages = length / BASE_PAGE;
	area = reserve_area(length, PMD_PAGE);
	use_in_turns(map_at(area, part, anonymous, -1));
	use_in_turns(map_at(area + part, part, MAP_SHARED, memory_file(SHMEM, PART)));
	at = map_at(area + 2 * part, part, anonymous, -1);
	use_in_turns(at);
	track(at);
	at = area + huge_size();
	map_at(at, 2 * huge_size(), MAP_SHARED | MAP_NORESERVE, huge_memfd(2));
	*(volatile char *)at = 1;
	at = map_at(at + 2 * huge_size(), PMD_PAGE, anonymous, -1);
	madvise(at, PMD_PAGE, MADV_HUGEPAGE);
	fill_pages(at, 0, TABLE_ENTRIES, 1);
	madvise(at, PMD_PAGE, MADV_NOHUGEPAGE); /* khugepaged would change it between two scans */
	regions = calloc(pages, sizeof(*regions));
	everything = calloc(pages, sizeof(*everything));
	seen = calloc(pages, sizeof(*seen));
	wanted = calloc(pages, sizeof(*wanted));
	assert_that(regions && everything && seen && wanted, "no memory for %zu pages", pages);
}

static void forget_seen(void)
{
	memset(seen, 0xff, pages * sizeof(*seen));
}

/* One scan from START up to END, into SEEN; returns the pages reported. */
static size_t scan(char *start, const char *end, uint64_t flags, struct scan_masks masks,
		   struct scan_limits limits, char **walk_end)
{
	int count = scan_try(start, (size_t)(end - start), flags, masks, limits, regions, walk_end);
	size_t reported = 0;

	assert_that(count >= 0, "PAGEMAP_SCAN with masks %#lx, %#lx, %#lx, %#lx: %s",
		    masks.inverted, masks.all_of, masks.any_of, masks.returned, error_name(-count));
	for (int i = 0; i < count; i++)
		for (uint64_t at = regions[i].start; at < regions[i].end; at += BASE_PAGE) {
			size_t page = (at - (uintptr_t)area) / BASE_PAGE;

			assert_that(at >= (uintptr_t)start && at < (uintptr_t)end,
				    "region %d has %#lx, which is not in the range", i, at);
			assert_that(seen[page] == NOT_REPORTED, "page %zu is reported twice", page);
			seen[page] = regions[i].categories;
			reported++;
		}
	return reported;
}

static void at_once(struct scan_masks masks, struct scan_limits limits)
{
	char *walk_end;

	forget_seen();
	scan(area, area + length, 0, masks, limits, &walk_end);
	assert_that(walk_end == area + length, "walk_end is %p, expected %p", walk_end, area + length);
}

/* The categories of each page, and those that the kernel has: it refuses others. */
static void look(void)
{
	struct scan_masks all = { .returned = 0x3ff };
	struct scan_limits limits = { .regions = pages };
	char *walk_end;

	for (uint64_t bit = 1ULL << 9; bit; bit >>= 1)
		if (scan_try(area, length, 0, all, limits, regions, &walk_end) == -EINVAL)
			all.returned &= ~bit;
	known = all.returned;
	at_once(all, limits);
	memcpy(everything, seen, pages * sizeof(*seen));
}

static struct scan_masks some_masks(void)
{
	/* Few bits: with many, nothing matches. Half of them invert nothing, as most callers do. */
	struct scan_masks masks = {
		.inverted = next_random() % 2 ? next_random() & known : 0,
		.all_of = next_random() & next_random() & next_random() & known,
		.returned = (next_random() & known) | SCAN_PRESENT,
	};

	if (next_random() % 2)
		masks.any_of = next_random() & next_random() & known;
	return masks;
}

static uint64_t expected(size_t page, struct scan_masks masks)
{
	uint64_t turned = everything[page] ^ masks.inverted;

	if ((turned & masks.all_of) != masks.all_of || (masks.any_of && !(turned & masks.any_of)))
		return NOT_REPORTED;
	return everything[page] & masks.returned;
}

/* The first page that was not seen as expected, or PAGES. */
static size_t unexpected(struct scan_masks masks)
{
	size_t page = 0;

	while (page < pages && seen[page] == expected(page, masks))
		page++;
	return page;
}

/*
 * Does a scan and compares what it saw. A page may have been moved or swapped out since
 * look(), so a difference counts if a second look at everything does not explain it.
 */
static void check_scan(void (*do_scan)(struct scan_masks, struct scan_limits),
		       struct scan_masks masks, struct scan_limits limits)
{
	size_t page;

	do_scan(masks, limits);
	if (unexpected(masks) == pages)
		return;
	look();
	do_scan(masks, limits);
	page = unexpected(masks);
	if (page < pages)
		probe_fail("page %zu of categories %#lx: inverted %#lx, all of %#lx, any of %#lx, "
			   "returned %#lx give %#lx, expected %#lx (all bits: not reported)", page,
			   everything[page], masks.inverted, masks.all_of, masks.any_of,
			   masks.returned, seen[page], expected(page, masks));
}

static bool is_tracked(size_t page)
{
	const char *at = area + page * BASE_PAGE;

	return tracked && at >= tracked && at < tracked + PART * BASE_PAGE;
}

/* What a scan says of a page, and its entry in pagemap. */
static bool agree(size_t page, uint64_t has, uint64_t entry)
{
	bool present = has & SCAN_PRESENT, swapped = has & SCAN_SWAPPED;

	return has != NOT_REPORTED && present == !!(entry & PAGEMAP_PRESENT) &&
	       swapped == !!(entry & PAGEMAP_SWAP) &&
	       (!present || !(has & SCAN_FILE) == !(entry & PAGEMAP_FILE)) &&
	       (present || !(has & SCAN_ZERO)) &&
	       (!is_tracked(page) || !(present || swapped) ||
		!(has & SCAN_WRITTEN) == !!(entry & PAGEMAP_UFFD_WP));
}

/* The first page that EVERYTHING and pagemap disagree about, or PAGES. */
static size_t disagreement(uint64_t *entry)
{
	for (size_t page = 0; page < pages; page++) {
		*entry = pagemap_entry(area + page * BASE_PAGE);
		if (!agree(page, everything[page], *entry))
			return page;
	}
	return pages;
}

static void categories(void)
{
	uint64_t entry, there = 0, want = SCAN_PRESENT | SCAN_FILE | SCAN_ZERO | SCAN_HUGE;
	size_t page;

	make_area();
	look();
	if (tracked)
		want |= SCAN_WRITTEN | SCAN_CAN_PROTECT;
	for (page = 0; page < pages; page++)
		there |= everything[page];
	assert_that((there & want) == want, "no page of the area has categories %#lx",
		    want & ~there);
	page = disagreement(&entry);
	if (page < pages) {
		look(); /* the page may have been moved between the two */
		page = disagreement(&entry);
	}
	assert_that(page == pages, "page %zu has categories %#lx, and pagemap %#lx", page,
		    page < pages ? everything[page] : 0, entry);
}

static void any_masks(void)
{
	make_area();
	look();
	for (int i = 0; i < MASKS; i++)
		check_scan(at_once, some_masks(), (struct scan_limits){ .regions = pages });
}

/* Scans that go on where the one before ended find the same, however little each may report. */
static void in_pieces(struct scan_masks masks, struct scan_limits limits)
{
	char *at = area, *next;

	forget_seen();
	for (size_t i = 0; at < area + length; at = next, i++) {
		size_t reported = scan(at, area + length, 0, masks, limits, &next);

		assert_that(!limits.pages || reported <= limits.pages,
			    "%zu pages are reported, %zu may be", reported, (size_t)limits.pages);
		assert_that(next > at, "walk_end is %p after a scan from %p", next, at);
		assert_that(i <= pages, "the scans do not come to an end");
	}
}

static void few_pages(void)
{
	static const uint64_t limits[] = { 1, 7, 100, 511, 512, 513 };

	make_area();
	look();
	for (size_t i = 0; i < COUNT_OF(limits); i++)
		for (int round = 0; round < (limits[i] == 1 ? 1 : 4); round++)
			check_scan(in_pieces, some_masks(), (struct scan_limits){ limits[i], pages });
}

static void few_regions(void)
{
	make_area();
	look();
	for (uint64_t count = 1; count <= 4; count++)
		for (int round = 0; round < 4; round++)
			check_scan(in_pieces, some_masks(), (struct scan_limits){ .regions = count });
}

/*
 * One scan that protects what matches: it reports that as it was, and all else stays as it is.
 * Returns the first page of which that is not so, with SEEN instead of WANTED, or PAGES.
 */
static size_t protect_matching(struct scan_masks masks, const char **what)
{
	size_t first = (size_t)(tracked - area) / BASE_PAGE, page;
	char *walk_end;

	for (page = first + next_random() % 3; page < first + PART; page += 3)
		*(volatile char *)(area + page * BASE_PAGE) = 3;
	look();
	forget_seen();
	scan(tracked, tracked + PART * BASE_PAGE, SCAN_PROTECTS | SCAN_CHECKS_ASYNC, masks,
	     (struct scan_limits){ .regions = pages }, &walk_end);
	*what = "reported";
	memcpy(wanted, everything, pages * sizeof(*wanted));
	for (page = first; page < first + PART; page++) {
		uint64_t want = expected(page, masks);

		if (seen[page] != want) {
			wanted[page] = want;
			return page;
		}
		if (want != NOT_REPORTED)
			wanted[page] &= ~(uint64_t)SCAN_WRITTEN;
	}
	*what = "there afterwards";
	look(); /* it leaves the same in SEEN */
	for (page = 0; page < pages && seen[page] == wanted[page]; page++)
		;
	return page;
}

/* What matches is protected, and so not written any more; all else is as it was. */
static void protects_matching(void)
{
	make_area();
	if (!tracked)
		probe_skip("UFFDIO_API: features %#llx are not offered",
			   (unsigned long long)FEATURES);
	for (int i = 0; i < MASKS / 10; i++) {
		struct scan_masks masks = some_masks();
		const char *what;
		size_t page = protect_matching(masks, &what);

		if (page < pages) /* it may have been moved meanwhile */
			page = protect_matching(masks, &what);
		assert_that(page == pages,
			    "a scan that protects: page %zu, %s: %#lx, expected %#lx (all bits: not "
			    "reported)", page, what, page < pages ? seen[page] : 0,
			    page < pages ? wanted[page] : 0);
	}
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "PAGEMAP_SCAN of everything agrees with pagemap", categories },
		{ "PAGEMAP_SCAN by any masks reports the pages whose categories match", any_masks },
		{ "PAGEMAP_SCAN with max_pages goes on where it ended and misses nothing", few_pages },
		{ "PAGEMAP_SCAN with a short vector goes on where it ended and misses nothing",
		  few_regions },
		{ "PAGEMAP_SCAN protects what matches, and changes nothing else", protects_matching },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 2,
	});
}
