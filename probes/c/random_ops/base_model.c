// SPDX-License-Identifier: GPL-2.0-only
/* The model of a file and its split mapping, and the checks of what the kernel shows against it. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base.h"

struct target target = { .file = -1, .uffd = -1 };
struct model model;

bool protects_huge_pages(void)
{
	return !offers(PROMISE_WP_BASE_PAGES);
}

bool is_checked(size_t page)
{
	size_t region = page / TABLE;

	return region < REGIONS / 2 || region >= target.pages / TABLE - REGIONS / 2;
}

void check_copied_value(const char *what, const char *copy, size_t page)
{
	const volatile uint64_t *words = (const void *)copy;
	uint64_t first = words[0], last = words[BASE_PAGE / 8 - 1];

	if (first == model.value[page] && last == model.value[page])
		return;
	probe_fail("%s: page %zu starts with %#llx and ends with %#llx, expected %#llx in both",
		   what, page, (unsigned long long)first, (unsigned long long)last,
		   (unsigned long long)model.value[page]);
}

void check_value(const char *what, const char *mapping, size_t page)
{
	check_copied_value(what, mapping + page * BASE_PAGE, page);
}

static void check_pagemap(size_t page, uint64_t entry)
{
	bool present = entry & PAGEMAP_PRESENT, marked = entry & PAGEMAP_UFFD_WP;

	if (present != model.mapped[page])
		probe_fail("pagemap: page %zu is %s, expected %s", page,
			   present ? "present" : "not present",
			   model.mapped[page] ? "present" : "not present");
	/* Old kernels do not show the protection of a whole huge page that is not mapped. */
	if (marked != model.marked[page] && (!protects_huge_pages() || present))
		probe_fail("pagemap: page %zu is %s, expected %s", page,
			   marked ? "write-protected" : "not write-protected",
			   model.marked[page] ? "write-protected" : "not write-protected");
}

/* Presence and protection of the pages, and contents; returns how many are mapped. */
static size_t check_range(size_t first, size_t count)
{
	static uint64_t entries[MAX_PAGES];
	size_t mapped = 0;

	pagemap_read(target.primary + first * BASE_PAGE, count, entries);
	for (size_t page = first; page < first + count; page++) {
		check_pagemap(page, entries[page - first]);
		mapped += model.mapped[page];
		if (model.mapped[page] && is_checked(page))
			check_value("the primary mapping", target.primary, page);
	}
	return mapped;
}

void check_all(void)
{
	size_t bytes = check_range(0, target.pages) * BASE_PAGE;
	int64_t seen = smaps_bytes(target.primary, "Shared_Hugetlb") +
		       smaps_bytes(target.primary, "Private_Hugetlb");

	assert_that(seen == (int64_t)bytes,
		    "smaps: Shared_Hugetlb and Private_Hugetlb are %lld bytes, expected %zu",
		    (long long)seen, bytes);
	assert_no_fault(target.uffd);
}

/* All of 1 GiB takes too long to be checked after each operation. */
void check_regions(void)
{
	size_t part = REGIONS / 2 * TABLE;

	check_range(0, part);
	check_range(target.pages - part, part);
	assert_no_fault(target.uffd);
}

static void prepare(void)
{
	target.huge_count = huge_size() == PUD_PAGE ? 1 : 2;
	target.pages = target.huge_count * huge_pages();
	target.file = huge_memfd(target.huge_count);
	close(uffd_open(UFFD_FEATURE_MINOR_HUGETLBFS | UFFD_FEATURE_WP_HUGETLBFS_SHMEM));
}

/* Nothing of the last sequence remains: all huge pages are in the file, and zero. */
static void begin(void)
{
	size_t length = target.pages * BASE_PAGE;

	memset(&model, 0, sizeof(model));
	target.alias = map_shared(target.file, length, UNRESERVED);
	target.primary = map_shared(target.file, length, UNRESERVED);
	target.uffd = uffd_open(UFFD_FEATURE_MINOR_HUGETLBFS | UFFD_FEATURE_WP_HUGETLBFS_SHMEM);
	register_primary();
	for (size_t page = 0; page < target.pages; page++)
		if (is_checked(page))
			memset(target.alias + page * BASE_PAGE, 0, BASE_PAGE);
	for (size_t huge = 0; huge < target.huge_count; huge++) {
		target.alias[huge * huge_size()] = 0;
		model.cached[huge] = true;
	}
}

static void step(struct op *op, bool all)
{
	base_kinds[op->kind].run(op);
	if (all)
		check_all();
	else
		check_regions();
}

static void end(void)
{
	unmap(target.primary, target.pages * BASE_PAGE);
	for (size_t page = 0; page < target.pages; page++)
		if (is_checked(page) && model.cached[page / huge_pages()])
			check_value("the alias after munmap of the primary mapping",
				    target.alias, page);
}

/* Huge pages that the file holds. */
static long held(void)
{
	struct stat status;

	assert_that(fstat(target.file, &status) == 0, "fstat: %s", error_name(errno));
	return (long)(status.st_blocks * 512 / (blkcnt_t)huge_size());
}

static const char *space(void)
{
	static char text[32];

	snprintf(text, sizeof(text), "%zu pages", target.pages);
	return text;
}

static bool is_valid(const struct op *op)
{
	return op->page < target.pages && op->count && op->count <= target.pages - op->page;
}

/* Near the ends of 2 MiB regions, each of which has a page table: mistakes are likely there. */
static size_t random_page(void)
{
	size_t regions = target.pages / TABLE;
	size_t region = below(REGIONS), near = below(3) ? below(8) : below(TABLE);

	if (region >= REGIONS / 2)
		region = regions - 1 - (region - REGIONS / 2);
	region %= regions;
	return region * TABLE + (below(2) ? near : TABLE - 1 - near);
}

static size_t random_count(void)
{
	static const size_t counts[] = { 1, 1, 1, 2, 3, 7, 16, 64, TABLE - 1, TABLE, TABLE + 1 };
	size_t which = below(COUNT_OF(counts) + 1);

	return which < COUNT_OF(counts) ? counts[which] : target.pages;
}

static void draw(struct op *op)
{
	op->page = random_page();
	op->count = random_count();
	if (!below(4)) /* whole 2 MiB regions */
		op->page = op->page / TABLE * TABLE;
	if (op->count > target.pages - op->page)
		op->count = target.pages - op->page;
}

const struct model_info base_model = {
	.kinds = base_kinds,
	.kind_count = BASE_KINDS,
	.space = space,
	.prepare = prepare,
	.draw = draw,
	.is_valid = is_valid,
	.begin = begin,
	.step = step,
	.end = end,
	.held = held,
};
