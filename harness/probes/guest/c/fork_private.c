// SPDX-License-Identifier: GPL-2.0-only
/*
 * A child of fork() has its parent's private huge page. In 6.12 fork() takes a
 * page table for a shared one, whose entries the child has already, by a count
 * that only tables of 2 MiB entries have; elsewhere it is what the page of the
 * table held before. So pages are used and freed before each fork().
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "hgm_probe.h"

#define FORKS 20

static const size_t used_before[] = { 0, 1, 4, 16, 64, 300, 2000, 8000 };

static char *page;

static void has_the_page(void)
{
	expect(*(volatile char *)page == 1, "the child has %d where its parent wrote 1", *page);
}

static void use_and_free(size_t count)
{
	char *start;

	if (!count)
		return;
	start = map_anonymous(count * BASE_PAGE, 0);
	for (size_t i = 0; i < count; i++)
		start[i * BASE_PAGE] = 1;
	unmap(start, count * BASE_PAGE);
}

static void every_child(void)
{
	page = map_anonymous(huge_size(),
			     MAP_HUGETLB | __builtin_ctzl(huge_size()) << MAP_HUGE_SHIFT);
	*page = 1;
	for (size_t i = 0; i < COUNT_OF(used_before); i++) {
		for (int n = 0; n < FORKS; n++) {
			use_and_free(used_before[i]);
			child_end(child_start(has_the_page));
		}
	}
}

static const struct probe_test tests[] = {
	{ "every child of fork() has the private page of its parent", every_child },
};

int main(int argc, char **argv)
{
	static const struct probe probe = {
		.tests = tests,
		.count = COUNT_OF(tests),
		.needs_hgm = true,
	};

	return probe_main(argc, argv, &probe);
}
