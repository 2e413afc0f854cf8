// SPDX-License-Identifier: GPL-2.0-only
/*
 * A child of fork() has its parent's private huge page. In 6.12.117 and 7.3 fork()
 * skips a page table that it takes for a shared one, by pt_share_count, which only
 * PMD tables have: in a PUD table the field holds what the page's index was in its
 * former use. So ramfs pages, which have such an index and which the allocator
 * hands out as page tables next, are used and freed before each fork().
 */
#include <sched.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FORKS 20
#define USED 64

static char *page;

/* Parent and child may only read it: all entries of a set of contiguous ones. */
static void look(void)
{
	if (!is_one_entry(huge_size()))
		checkpoint(page, huge_size(), "present:%zu,wp:0", huge_pages());
}

static void has_the_page(void)
{
	assert_that(*(volatile char *)page == 1,
		    "the child reads %d in its private huge page, expected the 1 that its parent "
		    "wrote", *page);
}

static void has_it_mapped_so(void)
{
	has_the_page();
	look();
}

static void use_and_free(int fd)
{
	static const char full[BASE_PAGE] = { 1 };

	for (off_t i = 1; i <= USED; i++)
		assert_bytes(pwrite(fd, full, BASE_PAGE, i * BASE_PAGE), BASE_PAGE);
	assert_errno(ftruncate(fd, 0), 0);
}

static void every_child(void)
{
	int fd = detached_file("ramfs");
	cpu_set_t first;

	/* The allocator keeps freed pages per CPU. */
	CPU_ZERO(&first);
	CPU_SET(0, &first);
	assert_errno(sched_setaffinity(0, sizeof(first), &first), 0);
	page = map_private_huge(RESERVED);
	*page = 1;
	for (int n = 0; n < FORKS; n++) {
		use_and_free(fd);
		child_end(child_start(n < FORKS - 1 ? has_the_page : has_it_mapped_so));
	}
	look();
	close(fd);
}

static const struct probe_test tests[] = {
	{ "every child of fork sees its parent's private huge page", every_child },
};

int main(int argc, char **argv)
{
	static const struct probe probe = {
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 2,
	};

	return probe_main(argc, argv, &probe);
}
