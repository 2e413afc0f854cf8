// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mappings of 1 GiB of one file, which may share a page table: whatever is done to
 * one of them, the other one is as it was.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1
#define FAR (PUD_PAGE / 2)
#define PAGES 2 /* of the huge pages in use: the first, and one in the middle */

static struct pool before;
static int fd;
static char *first, *second;

static char *map_all(char *start)
{
	return map_at(start, PUD_PAGE, MAP_SHARED | MAP_NORESERVE, fd);
}

static void check_both_pages(const char *start)
{
	check_pages(start, 0, 8, FILLING);
	check_copy(start + FAR, 0, 8, FILLING + 1);
}

/* Both mappings have entries for both huge pages. */
static void map_twice(void)
{
	before = pool_now();
	fd = huge_memfd(PUD_PAGE / huge_size());
	first = reserve_area(2 * PUD_PAGE, PUD_PAGE);
	second = first + PUD_PAGE;
	map_all(first);
	map_all(second);
	fill_pages(first, 0, 8, FILLING);
	fill_copy(first + FAR, 0, 8, FILLING + 1);
	check_both_pages(second);
	assert_present(second, 1, 1);
	assert_pool(&before, -PAGES, 0, "with two huge pages in two mappings");
}

/* SECOND is as map_twice() left it, to read and to write. */
static void assert_untouched(void)
{
	assert_present(second, huge_pages(), huge_pages());
	assert_present(second + FAR, huge_pages(), huge_pages());
	assert_present(second + huge_size(), huge_pages(), 0);
	check_both_pages(second);
	*(volatile char *)(second + 64) = 1;
	assert_pool(&before, -PAGES, 0, "after the other mapping was changed");
}

static void protect_part(void)
{
	map_twice();
	assert_errno(mprotect(first + FAR, huge_size(), PROT_READ), 0);
	assert_signal(first + FAR, TOUCH_WRITE, SIGSEGV);
	*(volatile char *)(first + 64) = 1;
	*(volatile char *)(second + FAR + 64) = 1;
	assert_untouched();
	check_both_pages(first);
	assert_errno(mprotect(first, PUD_PAGE, PROT_NONE), 0);
	assert_signal(first, TOUCH_READ, SIGSEGV);
	assert_untouched();
	assert_errno(mprotect(first, PUD_PAGE, PROT_READ | PROT_WRITE), 0);
	check_both_pages(first);
}

static void unmap_part(void)
{
	map_twice();
	unmap(first, huge_size());
	assert_signal(first, TOUCH_READ, SIGSEGV);
	assert_untouched();
	check_copy(first + FAR, 0, 8, FILLING + 1);
	unmap(first + huge_size(), PUD_PAGE - huge_size());
	assert_untouched();
}

static void drop_part(void)
{
	map_twice();
	assert_error(advise(first, huge_size(), MADV_DONTNEED), 0);
	assert_present(first, huge_pages(), 0);
	assert_untouched();
	assert_error(advise(first, PUD_PAGE, MADV_DONTNEED), 0);
	assert_present(first + FAR, huge_pages(), 0);
	assert_untouched();
	check_both_pages(first);
}

static void move_all(void)
{
	char *to = reserve_area(PUD_PAGE, PUD_PAGE);

	map_twice();
	assert_errno(mremap(first, PUD_PAGE, PUD_PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), 0);
	assert_signal(first, TOUCH_READ, SIGSEGV);
	assert_untouched();
	check_both_pages(to);
	assert_signal(to + 128, TOUCH_WRITE, 0);
	assert_untouched();
}

/* The page is the file's: a hole in it is one in every mapping. */
static void punch_one(void)
{
	map_twice();
	punch(fd, 0, 1);
	assert_present(first, huge_pages(), 0);
	assert_present(second, huge_pages(), 0);
	assert_present(second + FAR, huge_pages(), huge_pages());
	assert_pool(&before, 1 - PAGES, 0, "after a hole was punched");
	check_zero(first, 0, 8);
	check_zero(second, 0, 8);
	check_copy(second + FAR, 0, 8, FILLING + 1);
	assert_errno(ftruncate(fd, (off_t)FAR), 0);
	assert_signal(second + FAR, TOUCH_READ, SIGBUS);
	assert_pool(&before, -1, 0, "after the file was cut");
}

static void act_and_end(void)
{
	check_both_pages(first);
	assert_errno(mprotect(first, PUD_PAGE, PROT_READ), 0);
	unmap(second + FAR, huge_size());
	assert_error(advise(second, huge_size(), MADV_DONTNEED), 0);
}

static void in_child(void)
{
	map_twice();
	child_end(child_start(act_and_end));
	assert_untouched();
	check_both_pages(first);
	*(volatile char *)(first + FAR + 64) = 1;
}

/* A page in two mappings is shared, whether they share a table or not. */
static void shown_as_shared(void)
{
	map_twice();
	check_both_pages(first);
	assert_smaps(first, "Shared_Hugetlb", PAGES * huge_size());
	assert_smaps(second, "Shared_Hugetlb", PAGES * huge_size());
	assert_smaps(second, "Private_Hugetlb", 0);
	unmap(first, PUD_PAGE);
	assert_smaps(second, "Private_Hugetlb", PAGES * huge_size());
	assert_smaps(second, "Shared_Hugetlb", 0);
}

static void not_exclusive(void)
{
	map_twice();
	assert_that(!(pagemap_entry(second) & PAGEMAP_EXCLUSIVE),
		    "pagemap: a page in two mappings is exclusive");
	unmap(first, PUD_PAGE);
	assert_that(pagemap_entry(second) & PAGEMAP_EXCLUSIVE,
		    "pagemap: a page in one mapping is not exclusive");
}

static void need_small_pages(void)
{
	if (huge_size() >= PUD_PAGE)
		probe_skip("a page of %s has no table that mappings could share",
			   size_name(huge_size()));
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "mprotect of one mapping of a file leaves another one as it was", protect_part },
		{ "munmap of a part of one mapping of a file leaves another one as it was", unmap_part },
		{ "MADV_DONTNEED in one mapping of a file leaves another one as it was", drop_part },
		{ "mremap of one mapping of a file leaves another one as it was", move_all },
		{ "a hole and the end of a file are in both of its mappings", punch_one },
		{ "what a child does to its mappings leaves its parent's as they were", in_child },
		{ "smaps shows pages in two mappings as shared", shown_as_shared },
		{ "pagemap shows pages in two mappings as not exclusive", not_exclusive },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 4,
		.setup = need_small_pages,
	});
}
