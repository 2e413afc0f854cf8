// SPDX-License-Identifier: GPL-2.0-only
/* fork() of a split mapping in each registration mode: what child and parent have mapped. */
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1
#define REFILLING 2

static int fd, uffd;
static char *primary;

static void fill_file(void)
{
	fd = filled_memfd(1, FILLING);
}

/* Without UFFD_EVENT_FORK the child is not registered: the kernel maps what it accesses. */
static void child_sees_all(void)
{
	assert_flag(primary, "hm", true);
	check_pages(primary, 0, 16, FILLING);
	check_pages(primary, huge_pages() - 1, 1, FILLING);
	assert_protected(primary, 16, 0);
	fill_pages(primary, 6, 1, REFILLING);
}

/* Protects page PAGE, or as little more of the huge page as the kernel takes. */
static size_t protect_page(size_t page)
{
	char *start = primary + page * BASE_PAGE;

	if (wp_unit() > BASE_PAGE)
		start = primary;
	assert_error(uffd_protect(uffd, start, wp_unit(), true), 0);
	return wp_unit() / BASE_PAGE;
}

static void in_modes(uint64_t features, uint64_t modes, bool protect)
{
	size_t marks = 0;

	primary = map_split(fd, features, modes, &uffd);
	assert_continue(uffd, primary, 4 * BASE_PAGE, 0, 4 * BASE_PAGE);
	if (protect)
		marks = protect_page(1);
	child_end(child_start(child_sees_all));
	assert_mapped(primary, 0, 0, 4 * BASE_PAGE);
	assert_no_fault(uffd);
	assert_protected(primary, 16, marks < 16 ? marks : 16);
	check_pages(primary, 0, 4, FILLING);
	assert_continue(uffd, primary + 6 * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	check_pages(primary, 6, 1, REFILLING);
	fill_pages(primary, 6, 1, FILLING);
}

static void minor(void)
{
	in_modes(0, 0, false);
}

static void minor_and_protected(void)
{
	in_modes(UFFD_FEATURE_WP_HUGETLBFS_SHMEM, UFFDIO_REGISTER_MODE_WP, true);
}

static void minor_and_missing(void)
{
	in_modes(0, UFFDIO_REGISTER_MODE_MISSING, false);
}

static void not_registered(void)
{
	primary = map_split(fd, 0, 0, &uffd);
	assert_continue(uffd, primary, 4 * BASE_PAGE, 0, 4 * BASE_PAGE);
	assert_error(uffd_unregister(uffd, primary, huge_size()), 0);
	child_end(child_start(child_sees_all));
	assert_mapped(primary, 0, 0, 4 * BASE_PAGE);
	fill_pages(primary, 6, 1, FILLING);
}

/* fork() has copied the entries, and the write protection of pages and of holes. */
static void child_has_copies(void)
{
	assert_mapped(primary, 0, 0, 4 * BASE_PAGE);
	for (size_t page = 0; page < 8; page++)
		assert_protected(primary + page * BASE_PAGE, 1,
				 page == 1 || page == 6 || wp_unit() > BASE_PAGE);
	check_pages(primary, 0, 4, FILLING);
	/* Where all is protected, the write would wait for the answer of another. */
	if (wp_unit() == BASE_PAGE)
		fill_pages(primary, 2, 1, REFILLING);
	assert_present(primary, 8, 4);
}

static void *call_fork(void *unused)
{
	(void)unused;
	child_end(child_start(child_has_copies)); /* PR_SET_PDEATHSIG is per thread */
	return NULL;
}

static void with_event(void)
{
	pthread_t thread;
	int child_uffd;

	primary = map_split(fd, UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
			    UFFDIO_REGISTER_MODE_WP, &uffd);
	assert_continue(uffd, primary, 4 * BASE_PAGE, 0, 4 * BASE_PAGE);
	protect_page(1);
	protect_page(6);
	assert_error(pthread_create(&thread, NULL, call_fork, NULL), 0);
	child_uffd = (int)uffd_next_event(uffd, UFFD_EVENT_FORK).arg.fork.ufd;
	pthread_join(thread, NULL);
	assert_no_fault(child_uffd);
	assert_mapped(primary, 0, 0, 4 * BASE_PAGE);
	if (wp_unit() == BASE_PAGE) {
		check_pages(primary, 2, 1, REFILLING);
		fill_pages(primary, 2, 1, FILLING);
	}
	assert_protected(primary, 8, wp_unit() == BASE_PAGE ? 2 : 8);
}

static void full_and_collapsed(void)
{
	primary = map_split(fd, 0, 0, &uffd);
	assert_continue(uffd, primary, huge_size() - BASE_PAGE, 0, huge_size() - BASE_PAGE);
	child_end(child_start(child_sees_all));
	fill_pages(primary, 6, 1, FILLING);
	collapse(primary, huge_size());
	child_end(child_start(child_sees_all));
	fill_pages(primary, 6, 1, FILLING);
	assert_whole(primary, huge_size());
	check_pages(primary, 0, huge_pages(), FILLING);
}

/* The child unmaps first, the parent last. */
static void child_sees_one(void)
{
	check_pages(primary, 0, 1, FILLING);
	unmap(primary, huge_size());
}

static void returned_to_the_pool(void)
{
	struct pool before = pool_now();
	int own = filled_memfd(512, FILLING);

	primary = map_split(own, 0, 0, &uffd);
	assert_continue(uffd, primary, BASE_PAGE, 0, BASE_PAGE);
	child_end(child_start(child_sees_one));
	assert_pool(&before, -1, 0, "after the child");
	unmap(primary, huge_size());
	close(own);
	close(uffd);
	assert_pool(&before, 0, 0, "after the parent's last mapping");
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "fork in minor mode: the child sees the whole file, the parent keeps its entries",
		  minor },
		{ "fork in write-protect mode: the child has no protection, the parent keeps its own",
		  minor_and_protected },
		{ "fork in missing mode: the child sees the whole file, the parent keeps its entries",
		  minor_and_missing },
		{ "fork of an unregistered split mapping: child and parent see the whole file",
		  not_registered },
		{ "fork with UFFD_EVENT_FORK copies entries and write protection to the child",
		  with_event },
		{ "fork of an almost full and of a collapsed huge page: the child sees the whole file",
		  full_and_collapsed },
		{ "a huge page that child and parent unmapped returns to the pool",
		  returned_to_the_pool },
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
