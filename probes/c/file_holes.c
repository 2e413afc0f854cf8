// SPDX-License-Identifier: GPL-2.0-only
/* ftruncate() and hole punching unmap what they free from a split mapping. */
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1

static int uffd;

static char *map_some(int file, size_t count)
{
	char *start = map_split_part(file, 0, count, UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
				     UFFDIO_REGISTER_MODE_WP, &uffd);

	assert_continue(uffd, start, 3 * BASE_PAGE, 0, 3 * BASE_PAGE);
	return start;
}

static void punch_pages(int file, off_t first, off_t count)
{
	off_t page = BASE_PAGE;

	assert_errno(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, first * page,
			       count * page), 0);
}

/* Parts of a huge page are zeroed and stay mapped. */
static void part_of_a_page(void)
{
	int own = filled_memfd(512, FILLING);
	char *start = map_some(own, 1);

	punch_pages(own, 1, 2);
	assert_mapped(start, 0, 0, 3 * BASE_PAGE);
	check_pages(start, 0, 1, FILLING);
	punch_pages(own, 0, 1);
	check_zero(start, 0, 1);
}

static void punched(void)
{
	struct pool before = pool_now();
	int own = filled_memfd(512, FILLING);
	char *start = map_some(own, 1);

	assert_error(uffd_protect(uffd, wp_unit() == BASE_PAGE ? start + BASE_PAGE : start, wp_unit(),
				  true), 0);
	punch(own, 0, 1);
	assert_pool(&before, 0, 0, "after the punch");
	assert_mapped(start, 0, 0, 0);
	assert_continue(uffd, start, BASE_PAGE, EFAULT, -EFAULT);
	/* The next write allocates a new page. */
	*map_shared(own, huge_size(), UNRESERVED) = 0;
	assert_continue(uffd, start, BASE_PAGE, 0, BASE_PAGE);
	check_zero(start, 0, 1);
}

static void cut_off(void)
{
	struct pool before = pool_now();
	int own = filled_memfd_of(2, 512, FILLING);
	char *start = map_some(own, 2);

	assert_continue(uffd, start + huge_size(), BASE_PAGE, 0, BASE_PAGE);
	assert_errno(ftruncate(own, (off_t)huge_size()), 0);
	assert_pool(&before, -1, 0, "after the cut");
	assert_mapped(start, 0, 0, 3 * BASE_PAGE);
	assert_signal(start + huge_size(), TOUCH_READ, SIGBUS);
	assert_continue(uffd, start + huge_size(), BASE_PAGE, EFAULT, -EFAULT);
	check_pages(start, 0, 1, FILLING);
}

static void emptied_and_filled(void)
{
	int own = filled_memfd(512, FILLING);
	char *start = map_some(own, 1), *alias = map_shared(own, huge_size(), UNRESERVED);

	check_pages(alias, 0, 1, FILLING);
	assert_errno(ftruncate(own, 0), 0);
	assert_mapped(start, 0, 0, 0);
	assert_signal(start, TOUCH_READ, SIGBUS);
	assert_signal(alias, TOUCH_READ, SIGBUS);
	assert_errno(ftruncate(own, (off_t)huge_size()), 0);
	fill_pages(alias, 5, 1, FILLING);
	assert_continue(uffd, start + 4 * BASE_PAGE, 2 * BASE_PAGE, 0, 2 * BASE_PAGE);
	check_zero(start, 4, 1);
	check_pages(start, 5, 1, FILLING);
}

static void removed(void)
{
	struct pool before = pool_now();
	int own = filled_memfd(512, FILLING);
	char *start = map_some(own, 1);

	collapse(start, huge_size());
	assert_error(advise(start, huge_size(), MADV_REMOVE), 0);
	assert_mapped(start, 0, 0, 0);
	assert_pool(&before, 0, 0, "after MADV_REMOVE");
	assert_continue(uffd, start, BASE_PAGE, EFAULT, -EFAULT);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "punching a hole of base pages zeroes them and keeps their entries",
		  part_of_a_page },
		{ "punching a hole of a huge page unmaps it and returns it to the pool", punched },
		{ "a huge page cut off by ftruncate is SIGBUS; the one before it stays mapped",
		  cut_off },
		{ "a file that ftruncate emptied and that is filled again shows the new contents",
		  emptied_and_filled },
		{ "MADV_REMOVE of a collapsed huge page unmaps it and returns it to the pool",
		  removed },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 2,
		.needs_hgm = true,
		.asks = PROMISE(WP_BASE_PAGES),
	});
}
