// SPDX-License-Identifier: GPL-2.0-only
/* munmap() and MADV_DONTNEED unmap one split huge page and nothing of its neighbour. */
#include <signal.h>

#include "hgm_probe.h"

#define FILLING 1

static int fd;

static void fill_file(void)
{
	fd = filled_memfd_of(2, 512, FILLING);
}

static char *map_two(int *uffd)
{
	char *start = map_split_part(fd, 0, 2, UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
				     UFFDIO_REGISTER_MODE_WP, uffd);

	assert_continue(*uffd, start, 2 * BASE_PAGE, 0, 2 * BASE_PAGE);
	assert_continue(*uffd, start + huge_size(), 3 * BASE_PAGE, 0, 3 * BASE_PAGE);
	return start;
}

static void first_of_two(void)
{
	int uffd;
	char *start = map_two(&uffd);

	unmap(start, huge_size());
	assert_signal(start, TOUCH_READ, SIGSEGV);
	assert_mapped(start + huge_size(), 0, 0, 3 * BASE_PAGE);
	check_pages(start, huge_pages(), 1, FILLING);
}

static void second_of_two(void)
{
	int uffd;
	char *start = map_two(&uffd);

	unmap(start + huge_size(), huge_size());
	assert_signal(start + huge_size(), TOUCH_READ, SIGSEGV);
	assert_mapped(start, 0, 0, 2 * BASE_PAGE);
	check_pages(start, 0, 1, FILLING);
	assert_continue(uffd, start + 2 * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
}

static void parts_are_refused(void)
{
	int uffd;
	char *start = map_two(&uffd);

	assert_errno(munmap(start + BASE_PAGE, BASE_PAGE), EINVAL);
	assert_errno(munmap(start, BASE_PAGE), EINVAL);
	assert_errno(munmap(start + huge_size() - BASE_PAGE, BASE_PAGE), EINVAL);
	assert_smaps(start, "HugetlbPteMapped", 5 * BASE_PAGE);
	check_pages(start, 0, 1, FILLING);
}

static void dropped(void)
{
	int uffd;
	char *start = map_two(&uffd);

	assert_error(advise(start, huge_size(), MADV_DONTNEED), 0);
	assert_mapped(start, 0, 0, 3 * BASE_PAGE);
	assert_present(start, huge_pages(), 0);
	assert_continue(uffd, start, BASE_PAGE, 0, BASE_PAGE);
	check_pages(start, 0, 1, FILLING);
	check_pages(start, huge_pages(), 1, FILLING);
}

/* As without MADV_SPLIT: the page is protected when it is mapped again. */
static void dropped_with_marks(void)
{
	int uffd;
	char *start = map_two(&uffd);

	bool fine = wp_unit() == BASE_PAGE;

	assert_error(uffd_protect(uffd, fine ? start + BASE_PAGE : start, wp_unit(), true), 0);
	assert_error(advise(start, huge_size(), MADV_DONTNEED), 0);
	assert_protected(start + BASE_PAGE, 1, 1);
	assert_protected(start, 1, !fine);
	assert_protected(start + huge_size(), 1, 0);
	assert_present(start, huge_pages(), 0);
}

static void parts_are_not_dropped(void)
{
	int uffd;
	char *start = map_two(&uffd);

	assert_error(advise(start + BASE_PAGE, BASE_PAGE, MADV_DONTNEED), EINVAL);
	/* The length is rounded down to whole huge pages, here to 0. */
	assert_error(advise(start, BASE_PAGE, MADV_DONTNEED), 0);
	assert_smaps(start, "HugetlbPteMapped", 5 * BASE_PAGE);
}

static void mapped_again(void)
{
	int uffd;
	char *start = map_two(&uffd);
	void *again;

	check_pages(start, 0, 1, FILLING);
	unmap(start, 2 * huge_size());
	again = mmap(start, huge_size(), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_NORESERVE, fd, (off_t)huge_size());
	assert_that(again == start, "mmap: %s", error_name(errno));
	assert_mapped(start, 0, 0, 0);
	assert_flag(start, "hm", false);
	check_copy(start, huge_pages(), 1, FILLING);
}

/*
 * The CPU that has just used an entry may have it in its TLB. An access to an
 * unmapped page is SIGBUS, unless a stale TLB entry is used. Many rounds, as a
 * switch to another task on this CPU may flush the TLB as well.
 */
static void dropped_from_the_tlb(void)
{
	const size_t count = 8;
	int uffd;
	char *start = map_split_part(fd, 0, 1, UFFD_FEATURE_SIGBUS, 0, &uffd);

	for (size_t first = 0; first < 8 * count; first += count) {
		assert_continue(uffd, start + first * BASE_PAGE, count * BASE_PAGE, 0,
				count * BASE_PAGE);
		for (size_t i = first; i < first + count; i++)
			(void)*(volatile char *)(start + i * BASE_PAGE);
		assert_error(advise(start, huge_size(), MADV_DONTNEED), 0);
		for (size_t i = first; i < first + count; i++)
			assert_signal(start + i * BASE_PAGE, TOUCH_READ, SIGBUS);
	}
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "munmap of the first of two split huge pages leaves the entries of the second",
		  first_of_two },
		{ "munmap of the second of two split huge pages leaves the entries of the first",
		  second_of_two },
		{ "munmap of part of a split huge page is EINVAL and unmaps nothing",
		  parts_are_refused },
		{ "MADV_DONTNEED unmaps one split huge page, which the file keeps, and not the next",
		  dropped },
		{ "after MADV_DONTNEED no base page is readable through a stale TLB entry",
		  dropped_from_the_tlb },
		{ "userfaultfd write protection outlives MADV_DONTNEED, on its base page only",
		  dropped_with_marks },
		{ "MADV_DONTNEED of part of a split huge page unmaps nothing",
		  parts_are_not_dropped },
		{ "mmap where a split mapping was shows none of its entries", mapped_again },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 2,
		.needs_hgm = true,
		.asks = PROMISE(WP_BASE_PAGES),
		.setup = fill_file,
	});
}
