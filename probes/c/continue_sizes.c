// SPDX-License-Identifier: GPL-2.0-only
/* UFFDIO_CONTINUE of many lengths at many alignments uses the largest entries that fit. */
#include "hgm_probe.h"

#define FILLING 1
#define TABLE (PMD_PAGE / BASE_PAGE) /* pages of a 2 MiB entry */

static int fd;

static void fill_file(void)
{
	fd = filled_memfd(1, FILLING);
}

/* How many of the pages FIRST to END are in whole 2 MiB, which PMD entries can map. */
static size_t in_large_entries(size_t first, size_t end)
{
	size_t from = (first + TABLE - 1) / TABLE * TABLE, to = end / TABLE * TABLE;

	return from < to ? to - from : 0;
}

static void continue_at(size_t first, size_t count)
{
	size_t large = in_large_entries(first, first + count), length = count * BASE_PAGE;
	int uffd;
	char *primary;

	if (first + count > huge_pages() || count == huge_pages())
		return;
	primary = map_split(fd, 0, 0, &uffd);
	assert_continue(uffd, primary + first * BASE_PAGE, length, 0, length);
	assert_mapped(primary, 0, large * BASE_PAGE, (count - large) * BASE_PAGE);
	assert_present(primary + first * BASE_PAGE, count, count);
	assert_present(primary, huge_pages(), count);
	check_pages(primary, first, count, FILLING);
	unmap(primary, huge_size());
}

/* Around a boundary of 2 MiB, in 1 GiB; around the middle in 2 MiB. */
static void for_lengths(const size_t *counts, size_t how_many)
{
	static const size_t before[] = { 0, 1, 2, 255 };
	size_t boundary = huge_size() == PUD_PAGE ? 3 * TABLE : TABLE / 2;

	for (size_t i = 0; i < how_many; i++)
		for (size_t j = 0; j < COUNT_OF(before); j++)
			continue_at(boundary - before[j], counts[i]);
}

static void small(void)
{
	static const size_t counts[] = { 1, 2, 3, 5, 16, 17 };

	for_lengths(counts, COUNT_OF(counts));
}

static void medium(void)
{
	static const size_t counts[] = { 255, 256, TABLE - 1 };

	for_lengths(counts, COUNT_OF(counts));
}

static void large(void)
{
	static const size_t counts[] = { TABLE, TABLE + 1, 2 * TABLE - 1, 2 * TABLE, 3 * TABLE + 2 };

	if (huge_size() == PMD_PAGE)
		probe_skip("needs a huge page above 2 MiB; hgm/continue-4k has the case of 2 MiB");
	for_lengths(counts, COUNT_OF(counts));
}

static void ends(void)
{
	static const size_t counts[] = { 1, 2, 3, 255, TABLE - 1, TABLE, TABLE + 1 };

	for (size_t i = 0; i < COUNT_OF(counts); i++) {
		if (counts[i] > huge_pages())
			continue;
		continue_at(0, counts[i]);
		continue_at(huge_pages() - counts[i], counts[i]);
	}
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "UFFDIO_CONTINUE of 4 KiB to 68 KiB at four alignments maps just that range",
		  small },
		{ "UFFDIO_CONTINUE of 1 MiB to 2 MiB - 4 KiB at four alignments maps just that range",
		  medium },
		{ "UFFDIO_CONTINUE of 2 MiB and more at four alignments uses PMD entries where they fit",
		  large },
		{ "UFFDIO_CONTINUE at the start and at the end of a huge page maps just that range",
		  ends },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.needs_hgm = true,
		.setup = fill_file,
	});
}
