// SPDX-License-Identifier: GPL-2.0-only
/* The pool, reservations and page tables through the life of a split huge page. */
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1

/* Each step in the life of a huge page, and what the pool's counters must be after it. */
static void pool_follows(void)
{
	struct pool before = pool_now();
	int fd = huge_memfd(1), uffd;
	char *alias = map_shared(fd, huge_size(), RESERVED), *primary;

	assert_pool(&before, 0, 1, "mapped");
	primary = map_split(fd, 0, 0, &uffd);
	assert_pool(&before, 0, 1, "split");
	fill_pages(alias, 0, 8, FILLING);
	assert_pool(&before, -1, 0, "written");
	for (size_t page = 0; page < 8; page++)
		assert_continue(uffd, primary + page * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	assert_pool(&before, -1, 0, "continued");
	collapse(primary, huge_size());
	assert_pool(&before, -1, 0, "collapsed");
	assert_error(advise(primary, huge_size(), MADV_DONTNEED), 0);
	assert_pool(&before, -1, 0, "dropped");
	assert_continue(uffd, primary + huge_size() - BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	unmap(alias, huge_size());
	close(fd);
	assert_pool(&before, -1, 0, "with one base page mapped");
	unmap(primary, huge_size());
	close(uffd);
	assert_pool(&before, 0, 0, "at the end");
}

/* A fault of a base page without a userfaultfd uses the reservation, and one page. */
static void reservation_is_used(void)
{
	struct pool before = pool_now();
	int fd = huge_memfd(1);
	char *start = map_shared(fd, huge_size(), RESERVED);

	split(start, huge_size());
	assert_pool(&before, 0, 1, "reserved");
	fill_pages(start, 77, 1, FILLING);
	assert_pool(&before, -1, 0, "used");
	check_zero(start, 0, 77);
	check_pages(start, 77, 1, FILLING);
	unmap(start, huge_size());
	close(fd);
	assert_pool(&before, 0, 0, "at the end");
}

static void reservation_is_returned(void)
{
	struct pool before = pool_now();
	int fd = huge_memfd(1), uffd = uffd_open(UFFD_FEATURE_MINOR_HUGETLBFS);
	char *start = map_shared(fd, huge_size(), RESERVED);

	split(start, huge_size());
	uffd_register(uffd, start, huge_size(), UFFDIO_REGISTER_MODE_MINOR);
	assert_continue(uffd, start, BASE_PAGE, EFAULT, -EFAULT);
	assert_error(advise(start, huge_size(), MADV_COLLAPSE), 0);
	assert_pool(&before, 0, 1, "refused");
	unmap(start, huge_size());
	close(fd);
	close(uffd);
	assert_pool(&before, 0, 0, "at the end");
}

/* One page table for each 2 MiB with 4 KiB entries, and none after munmap. */
static void tables_follow(void)
{
	size_t count = huge_size() == PUD_PAGE ? 64 : 1;
	int fd = filled_memfd(512, FILLING), uffd;
	char *primary = map_split(fd, 0, 0, &uffd);
	int64_t before = status_bytes("VmPTE"), global = meminfo_bytes("PageTables"), now;

	for (size_t i = 0; i < count; i++)
		assert_continue(uffd, primary + i * PMD_PAGE, BASE_PAGE, 0, BASE_PAGE);
	now = status_bytes("VmPTE") - before;
	/* One PTE table a range, and at most two tables above them. */
	assert_that(now >= (int64_t)(count * BASE_PAGE) &&
		    now <= (int64_t)((count + 2) * BASE_PAGE),
		    "VmPTE grew by %s for 4 KiB entries in %zu ranges of 2 MiB, expected %zu to "
		    "%zu tables", size_text(now), count, count, count + 2);
	now = meminfo_bytes("PageTables") - global;
	assert_that(now >= (int64_t)(count * BASE_PAGE),
		    "PageTables in meminfo grew by %s, expected at least %zu tables",
		    size_text(now), count);
	/* The next page of each range: the tables exist. */
	now = status_bytes("VmPTE");
	for (size_t i = 0; i < count; i++)
		assert_continue(uffd, primary + i * PMD_PAGE + BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	assert_that(status_bytes("VmPTE") == now,
		    "VmPTE went from %s to %s, expected no new table where there was one",
		    size_text(now), size_text(status_bytes("VmPTE")));
	unmap(primary, huge_size());
	now = status_bytes("VmPTE") - before;
	assert_that(now <= 2 * (int64_t)BASE_PAGE,
		    "VmPTE is %s higher after munmap than before the first UFFDIO_CONTINUE, "
		    "expected at most %s", size_text(now), size_text(2 * BASE_PAGE));
}

/* A leak too small to be seen after one round is seen after a hundred. */
static void nothing_leaks(void)
{
	size_t step = huge_size() / 8;
	int fd = filled_memfd(512, FILLING), uffd;
	char *primary = map_split(fd, UFFD_FEATURE_WP_HUGETLBFS_SHMEM, UFFDIO_REGISTER_MODE_WP,
				  &uffd);
	struct pool before = pool_now();
	int64_t tables = 0, global = 0;

	for (size_t round = 0; round < 101; round++) {
		for (size_t offset = 0; offset < huge_size(); offset += step)
			assert_continue(uffd, primary + offset, BASE_PAGE, 0, BASE_PAGE);
		if (round % 2)
			collapse(primary, huge_size());
		assert_error(advise(primary, huge_size(), MADV_DONTNEED), 0);
		if (round == 0) {
			tables = status_bytes("VmPTE");
			global = meminfo_bytes("PageTables");
		}
	}
	assert_that(status_bytes("VmPTE") == tables,
		    "VmPTE is %s after 101 rounds, expected %s as after the first",
		    size_text(status_bytes("VmPTE")), size_text(tables));
	assert_that(meminfo_bytes("PageTables") - global < 50 * (int64_t)BASE_PAGE,
		    "PageTables in meminfo grew by %s in 100 rounds, expected less than %s",
		    size_text(meminfo_bytes("PageTables") - global), size_text(50 * BASE_PAGE));
	assert_pool(&before, 0, 0, "after all rounds");
	assert_that(status_bytes("HugetlbPages") == 0,
		    "HugetlbPages in /proc/self/status is %s after MADV_DONTNEED, expected 0",
		    size_text(status_bytes("HugetlbPages")));
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "free and reserved huge pages are right at each step of a split huge page's life",
		  pool_follows },
		{ "a fault on one base page of a split mapping uses the reserved huge page",
		  reservation_is_used },
		{ "munmap of a split mapping returns a reservation that was never used",
		  reservation_is_returned },
		{ "VmPTE grows by one page table for each 2 MiB that has a 4 KiB entry",
		  tables_follow },
		{ "101 rounds of UFFDIO_CONTINUE and MADV_DONTNEED leak no page table or huge page",
		  nothing_leaks },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 2,
		.needs_hgm = true,
	});
}
