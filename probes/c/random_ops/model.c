// SPDX-License-Identifier: GPL-2.0-only
/* The model of file and mapping, and the checks of what the kernel shows against it. */
#include "random_ops.h"

struct target target = { .fine = true, .file = -1, .uffd = -1 };
struct model model;

size_t granule(void)
{
	return target.fine ? 1 : huge_pages();
}

bool protects_huge_pages(void)
{
	return !target.fine || !offers(PROMISE_WP_BASE_PAGES);
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
