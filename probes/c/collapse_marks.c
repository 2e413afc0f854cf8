// SPDX-License-Identifier: GPL-2.0-only
/* MADV_COLLAPSE clears write protection in its range and must keep poison markers. */
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1

static int fd;

static void fill_file(void)
{
	fd = filled_memfd(1, FILLING);
}

static char *map_both_modes(int file, int *uffd)
{
	return map_split(file, UFFD_FEATURE_WP_HUGETLBFS_SHMEM, UFFDIO_REGISTER_MODE_WP, uffd);
}

static void assert_mark(const char *primary, size_t page, bool want)
{
	assert_that(pagemap_protected(primary + page * BASE_PAGE) == want,
		    "pagemap: page %zu is %swrite-protected, expected the opposite", page,
		    want ? "not " : "");
}

/* A write-protected 2 MiB entry is collapsed in part. */
static void part_of_an_entry(void)
{
	int uffd;
	char *primary = map_both_modes(fd, &uffd);

	assert_continue(uffd, primary, PMD_PAGE, 0, PMD_PAGE);
	assert_error(uffd_protect(uffd, primary, huge_size(), true), 0);
	collapse(primary + 4 * BASE_PAGE, 2 * BASE_PAGE);
	assert_mark(primary, 3, true);
	assert_mark(primary, 4, false);
	assert_mark(primary, 5, false);
	assert_mark(primary, 6, true);
	assert_mark(primary, huge_pages() - 1, true);
	fill_pages(primary, 4, 2, FILLING);
	assert_no_fault(uffd);
	check_pages(primary, 0, 8, FILLING);
}

/* The file has no page yet, so there is nothing to map. */
static void nothing_written(void)
{
	int uffd, empty = huge_memfd(1);
	char *primary = map_both_modes(empty, &uffd);

	assert_error(uffd_protect(uffd, primary + BASE_PAGE, 2 * BASE_PAGE, true), 0);
	assert_mark(primary, 1, true);
	collapse(primary, huge_size());
	assert_mark(primary, 1, false);
	assert_present(primary, 8, 0);
}

#ifdef UFFDIO_POISON
static void poison(int uffd, char *start)
{
	struct uffdio_poison argument = { .range = { (uintptr_t)start, huge_size() } };

	if (!(uffd_offered() & UFFD_FEATURE_POISON))
		probe_skip("UFFD_FEATURE_POISON is not offered");
	assert_that(ioctl(uffd, UFFDIO_POISON, &argument) == 0,
		    "UFFDIO_POISON: %s", error_name(errno));
}
#else
static void poison(int uffd, char *start)
{
	probe_skip("UFFDIO_POISON is not in the headers (%d, %p)", uffd, start);
}
#endif

/* Reads through the kernel, which gives an error instead of a signal. */
static bool is_readable(char *page)
{
	char buffer[8];
	struct iovec to = { buffer, sizeof(buffer) }, from = { page, sizeof(buffer) };

	return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == (ssize_t)sizeof(buffer);
}

/* UFFDIO_CONTINUE names the page that it maps, so it may replace a poison marker. */
static void poisoned_page(void)
{
	int uffd;
	char *primary = map_both_modes(fd, &uffd);

	poison(uffd, primary);
	assert_continue(uffd, primary, BASE_PAGE, 0, BASE_PAGE);
	probe_note("MADV_COLLAPSE: %s", error_name(advise(primary, huge_size(), MADV_COLLAPSE)));
	assert_that(is_readable(primary),
		    "process_vm_readv of page 0 failed, which was continued after UFFDIO_POISON");
	assert_that(!is_readable(primary + BASE_PAGE),
		    "process_vm_readv of page 1 succeeded, expected it poisoned");
	assert_that(!is_readable(primary + huge_size() - BASE_PAGE),
		    "process_vm_readv of the last page succeeded, expected it poisoned");
	check_pages(primary, 0, 1, FILLING);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "MADV_COLLAPSE of 8 KiB clears the write protection of those two base pages only",
		  part_of_an_entry, PROMISE(COLLAPSE_INSIDE) | PROMISE(COLLAPSE_CLEARS_WP) },
		{ "MADV_COLLAPSE clears write protection where the file has no huge page",
		  nothing_written, PROMISE(WP_BASE_PAGES) },
		{ "base pages poisoned by UFFDIO_POISON stay poisoned after MADV_COLLAPSE",
		  poisoned_page },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.needs_hgm = true,
		.setup = fill_file,
	});
}
