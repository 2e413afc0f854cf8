// SPDX-License-Identifier: GPL-2.0-only
/* Two shared mappings of one memfd show each other's contents. */
#include "hgm_probe.h"

#define FILLING 1
#define REFILLING 2

static int fd;

static void fill_file(void)
{
	fd = filled_memfd(1, FILLING);
}

static void both_directions(void)
{
	char *primary = map_shared(fd, huge_size(), RESERVED);
	char *alias = map_shared(fd, huge_size(), RESERVED);

	check_pages(alias, 0, huge_pages(), FILLING);
	fill_pages(alias, 0, huge_pages(), REFILLING);
	check_pages(primary, 0, huge_pages(), REFILLING);
	fill_pages(primary, 0, huge_pages(), FILLING);
	check_pages(alias, 0, huge_pages(), FILLING);
	/* Contiguous PTEs map what is smaller than a PMD entry. */
	checkpoint(alias, huge_size(), "pte:%zu,present:%zu,wp:0",
		   huge_pages() < TABLE_ENTRIES ? huge_pages() : 0, huge_pages());
}

static void alias_outlives_primary(void)
{
	char *primary = map_shared(fd, huge_size(), RESERVED);
	char *alias = map_shared(fd, huge_size(), RESERVED);

	fill_pages(primary, 0, 1, REFILLING);
	unmap(primary, huge_size());
	check_pages(alias, 0, 1, REFILLING);
	check_pages(alias, 1, huge_pages() - 1, FILLING);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "two shared mappings of a hugetlb memfd show each other's writes",
		  both_directions },
		{ "munmap of one shared mapping leaves the contents of the other",
		  alias_outlives_primary },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.setup = fill_file,
	});
}
