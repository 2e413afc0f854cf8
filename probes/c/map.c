// SPDX-License-Identifier: GPL-2.0-only
/* Shared mappings of hugetlb files: of a memfd, or of hugetlbfs with --backing hugetlbfs. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1

/* Makes the file that --backing names. */
static int (*open_file)(size_t count);

static void block_size(void)
{
	struct stat file;

	assert_errno(fstat(open_file(1), &file), 0);
	assert_that(file.st_blksize == (blksize_t)huge_size(),
		    "st_blksize is %s, expected %s", size_text(file.st_blksize),
		    size_text((int64_t)huge_size()));
}

static void zero_then_contents(void)
{
	int fd = open_file(1);
	char *first = map_shared(fd, huge_size(), RESERVED);

	check_zero(first, 0, huge_pages());
	fill_pages(first, 0, huge_pages(), FILLING);
	check_pages(first, 0, huge_pages(), FILLING);
	unmap(first, huge_size());
	check_pages(map_shared(fd, huge_size(), RESERVED), 0, huge_pages(), FILLING);
}

static void whole_pages_only(void)
{
	int fd = open_file(2);
	char *start = map_shared(fd, 2 * huge_size(), UNRESERVED);

	assert_errno(mmap(NULL, huge_size(), PROT_READ, MAP_SHARED, fd, BASE_PAGE), EINVAL);
	assert_errno(munmap(start, BASE_PAGE), EINVAL);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "st_blksize of a hugetlb file is the size of the huge page", block_size },
		{ "a new huge page reads as zero and keeps what is written to it",
		  zero_then_contents },
		{ "mmap at offset 4 KiB and munmap of 4 KiB of a hugetlb file are EINVAL",
		  whole_pages_only },
	};
	static const struct probe_argument arguments[] = {
		{ "--backing", "memfd|hugetlbfs", "the file's kind; memfd by default" },
		{ 0 },
	};
	const char *backing = probe_option(argc, argv, "--backing");

	if (!backing || strcmp(backing, "memfd") == 0)
		open_file = huge_memfd;
	else if (strcmp(backing, "hugetlbfs") == 0)
		open_file = hugetlbfs_file;
	if (!open_file) {
		fprintf(stderr, "%s: --backing %s is neither memfd nor hugetlbfs\n", argv[0], backing);
		return 2;
	}
	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.arguments = arguments,
	});
}
