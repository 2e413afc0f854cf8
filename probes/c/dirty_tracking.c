// SPDX-License-Identifier: GPL-2.0-only
/* Dirty tracking of 4 KiB inside a huge page, with asynchronous write protection. */
#include "hgm_probe.h"

#define FILLING 1
#define REFILLING 2
#define FEATURES (UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED | \
		  UFFD_FEATURE_WP_HUGETLBFS_SHMEM)

static int fd;

static void fill_file(void)
{
	fd = filled_memfd(1, FILLING);
}

/* A mapping that is write-protected, that is clean, everywhere; mapped if FAULTED. */
static char *map_clean(bool faulted)
{
	char *start = map_shared(fd, huge_size(), UNRESERVED);
	int uffd = uffd_open(FEATURES);

	split(start, huge_size());
	uffd_register(uffd, start, huge_size(), UFFDIO_REGISTER_MODE_WP);
	if (faulted)
		check_pages(start, 0, 1, FILLING);
	assert_error(uffd_protect(uffd, start, huge_size(), true), 0);
	assert_protected(start, huge_pages(), huge_pages());
	return start;
}

/* Writes the pages, after which just these must be dirty. */
static void dirty(char *start, const size_t *pages, size_t count)
{
	for (size_t i = 0; i < count; i++)
		fill_pages(start, pages[i], 1, REFILLING);
	for (size_t i = 0; i < count; i++)
		assert_that(!pagemap_protected(start + pages[i] * BASE_PAGE),
			    "pagemap: page %zu is still write-protected after a write, expected "
			    "it dirty", pages[i]);
	assert_protected(start, huge_pages(), huge_pages() - count);
	for (size_t i = 0; i < count; i++) {
		check_pages(start, pages[i], 1, REFILLING);
		fill_pages(start, pages[i], 1, FILLING);
	}
}

static void written_pages_alone(void)
{
	const size_t pages[] = { 0, 17, 18, huge_pages() / 2, huge_pages() - 1 };

	dirty(map_clean(true), pages, COUNT_OF(pages));
}

static void through_holes(void)
{
	const size_t pages[] = { 3, 255, 256, huge_pages() - 2 };

	dirty(map_clean(false), pages, COUNT_OF(pages));
}

static void reading_is_not_writing(void)
{
	char *start = map_clean(false);

	check_pages(start, 0, 64, FILLING);
	assert_protected(start, huge_pages(), huge_pages());
}

static void two_rounds(void)
{
	const size_t first[] = { 5, 9 }, second[] = { 9, 10 };
	char *start = map_shared(fd, huge_size(), UNRESERVED);
	int uffd = uffd_open(FEATURES);

	split(start, huge_size());
	uffd_register(uffd, start, huge_size(), UFFDIO_REGISTER_MODE_WP);
	assert_error(uffd_protect(uffd, start, huge_size(), true), 0);
	dirty(start, first, COUNT_OF(first));
	assert_error(uffd_protect(uffd, start, huge_size(), true), 0);
	dirty(start, second, COUNT_OF(second));
}

/* A migration that tracks one mapping does not see these writes: this documents it. */
static void other_mapping_is_not_tracked(void)
{
	char *start = map_clean(true), *alias = map_shared(fd, huge_size(), UNRESERVED);

	fill_pages(alias, 4, 1, REFILLING);
	assert_protected(start, huge_pages(), huge_pages());
	check_pages(start, 4, 1, REFILLING);
	fill_pages(alias, 4, 1, FILLING);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "UFFD_FEATURE_WP_ASYNC: writes make just the written base pages dirty",
		  written_pages_alone },
		{ "UFFD_FEATURE_WP_ASYNC: writes to unmapped base pages make just those dirty",
		  through_holes },
		{ "UFFD_FEATURE_WP_ASYNC: reads make no base page dirty", reading_is_not_writing },
		{ "UFFD_FEATURE_WP_ASYNC: write-protecting again makes all base pages clean",
		  two_rounds },
		{ "UFFD_FEATURE_WP_ASYNC: writes through another mapping are not tracked",
		  other_mapping_is_not_tracked },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.needs_hgm = true,
		.setup = fill_file,
	});
}
