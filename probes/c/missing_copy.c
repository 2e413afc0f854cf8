// SPDX-License-Identifier: GPL-2.0-only
/*
 * Missing faults on a huge page, answered by a UFFDIO_COPY of the whole page: from
 * memory of each kind, into shared and private mappings, where no page or no
 * source is left, and what UFFDIO_WAKE and fdinfo make of the thread that waits.
 */
#include <stdio.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1

/* A fresh mapping, in missing mode; UFFD takes the descriptor. */
static char *map_registered(int *uffd)
{
	char *start = map_shared(huge_memfd(1), huge_size(), RESERVED);

	*uffd = uffd_open(UFFD_FEATURE_MISSING_HUGETLBFS);
	uffd_register(*uffd, start, huge_size(), UFFDIO_REGISTER_MODE_MISSING);
	return start;
}

/* A huge page's worth of ordinary memory, which UFFDIO_COPY takes. */
static char *source;

static void fill_source(void)
{
	source = map_anonymous(huge_size(), 0);
	fill_pages(source, 0, huge_pages(), FILLING);
}

static void fault_is_answered(void)
{
	int uffd;
	char *start = map_registered(&uffd);
	struct touch touch;

	touch_start(&touch, start + 7 * BASE_PAGE, TOUCH_READ);
	assert_fault(uffd, start, 0);
	assert_result(uffd_copy(uffd, start, source, huge_size()), 0, (int64_t)huge_size());
	touch_end(&touch);
	check_pages(start, 0, huge_pages(), FILLING);
	assert_no_fault(uffd);
}

static void copied_twice(void)
{
	int uffd;
	char *start = map_registered(&uffd);

	assert_result(uffd_copy(uffd, start, source, huge_size()), 0, (int64_t)huge_size());
	assert_result(uffd_copy(uffd, start, source, huge_size()), EEXIST, -EEXIST);
}

static void whole_pages_only(void)
{
	int uffd;
	char *start = map_registered(&uffd);

	assert_result(uffd_copy(uffd, start, source, BASE_PAGE), EINVAL, -EINVAL);
}

/* The ioctls that UFFDIO_REGISTER returns have no UFFDIO_ZEROPAGE: no huge page can be a zero page. */
static void no_zero_page(void)
{
	struct pool before = pool_now();
	char *start = map_shared(huge_memfd(1), huge_size(), UNRESERVED);
	int uffd = uffd_open(UFFD_FEATURE_MISSING_HUGETLBFS);
	uint64_t ioctls;

	assert_error(uffd_try_register(uffd, start, huge_size(), UFFDIO_REGISTER_MODE_MISSING,
				       &ioctls), 0);
	assert_that(ioctls & 1ULL << _UFFDIO_COPY, "UFFDIO_REGISTER does not offer UFFDIO_COPY");
	assert_that(!(ioctls & 1ULL << _UFFDIO_ZEROPAGE), "UFFDIO_REGISTER offers UFFDIO_ZEROPAGE");
	assert_result(uffd_zeropage(uffd, start, huge_size()), EINVAL, -EINVAL);
	assert_pool(&before, 0, 0, "after UFFDIO_ZEROPAGE");
}

/* A source that has contents, and no page table: the kernel has to fault it in. */
static void source_not_mapped(void)
{
	struct pool before = pool_now();
	int uffd, file = memfd_create("source", MFD_CLOEXEC);
	char *start = map_registered(&uffd), *from;

	assert_errno(ftruncate(file, (off_t)huge_size()), 0);
	assert_bytes(write(file, source, huge_size()), huge_size());
	from = map_shared(file, huge_size(), RESERVED);
	assert_result(uffd_copy(uffd, start, from, huge_size()), 0, (int64_t)huge_size());
	check_pages(start, 0, huge_pages(), FILLING);
	assert_pool(&before, -1, 0, "after UFFDIO_COPY");
}

/* The page that was taken for the copy goes back, and so does its reservation. */
static void no_source(void)
{
	struct pool before = pool_now();
	int uffd;
	char *start = map_registered(&uffd), *half = map_anonymous(huge_size(), 0);

	unmap(half + huge_size() / 2, huge_size() / 2);
	assert_result(uffd_copy(uffd, start, half, huge_size()), EFAULT, -EFAULT);
	assert_pool(&before, 0, 1, "after UFFDIO_COPY from half a source");
	assert_result(uffd_copy(uffd, start, source, huge_size()), 0, (int64_t)huge_size());
	assert_pool(&before, -1, 0, "after UFFDIO_COPY");
	check_pages(start, 0, huge_pages(), FILLING);
}

static void beyond_the_end(void)
{
	struct pool before = pool_now();
	int fd = huge_memfd(1), uffd = uffd_open(UFFD_FEATURE_MISSING_HUGETLBFS);
	char *start = map_shared(fd, huge_size(), UNRESERVED);

	uffd_register(uffd, start, huge_size(), UFFDIO_REGISTER_MODE_MISSING);
	assert_errno(ftruncate(fd, 0), 0);
	assert_result(uffd_copy(uffd, start, source, huge_size()), EFAULT, -EFAULT);
	assert_pool(&before, 0, 0, "after UFFDIO_COPY beyond the end of the file");
}

static void empty_pool(void)
{
	struct pool before = pool_now();
	size_t all = (size_t)(before.free - before.reserved);
	char *others = map_private_huges(all, RESERVED), *start;
	int uffd = uffd_open(UFFD_FEATURE_MISSING_HUGETLBFS);

	start = map_shared(huge_memfd(1), huge_size(), UNRESERVED);
	uffd_register(uffd, start, huge_size(), UFFDIO_REGISTER_MODE_MISSING);
	assert_result(uffd_copy(uffd, start, source, huge_size()), ENOMEM, -ENOMEM);
	assert_pool(&before, 0, (long)all, "after UFFDIO_COPY without a free page");
	unmap(others, all * huge_size());
	assert_result(uffd_copy(uffd, start, source, huge_size()), 0, (int64_t)huge_size());
	check_pages(start, 0, huge_pages(), FILLING);
}

static void private_mapping(void)
{
	struct pool before = pool_now();
	int uffd = uffd_open(UFFD_FEATURE_MISSING_HUGETLBFS);
	char *start = map_private_huge(RESERVED);

	uffd_register(uffd, start, huge_size(), UFFDIO_REGISTER_MODE_MISSING);
	assert_result(uffd_copy(uffd, start, source, huge_size()), 0, (int64_t)huge_size());
	check_pages(start, 0, huge_pages(), FILLING);
	assert_pool(&before, -1, 0, "after UFFDIO_COPY");
	*(volatile char *)start = 1;
	assert_pool(&before, -1, 0, "after a write");
	unmap(start, huge_size());
	assert_pool(&before, 0, 0, "after munmap");
}

static void protected_copy(void)
{
	int uffd = uffd_open(UFFD_FEATURE_MISSING_HUGETLBFS | UFFD_FEATURE_WP_HUGETLBFS_SHMEM);
	char *start = map_shared(huge_memfd(1), huge_size(), RESERVED);
	struct touch touch;

	uffd_register(uffd, start, huge_size(),
		      UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP);
	assert_result(uffd_copy_mode(uffd, start, source, huge_size(),
				     UFFDIO_COPY_MODE_WP), 0, (int64_t)huge_size());
	check_pages(start, 0, huge_pages(), FILLING);
	assert_protected(start, huge_pages(), huge_pages());
	touch_start(&touch, start + BASE_PAGE, TOUCH_WRITE);
	assert_fault(uffd, start, UFFD_PAGEFAULT_FLAG_WP | UFFD_PAGEFAULT_FLAG_WRITE);
	assert_error(uffd_protect(uffd, start, huge_size(), false), 0);
	touch_end(&touch);
}

/* Without a page the thread faults again when it is woken, and with one only then. */
static void wake(void)
{
	int uffd;
	char *start = map_registered(&uffd);
	struct touch touch;

	touch_start(&touch, start + BASE_PAGE, TOUCH_READ);
	assert_fault(uffd, start, 0);
	assert_error(uffd_wake(uffd, start, huge_size()), 0);
	assert_fault(uffd, start, 0);
	assert_that(touch_is_blocked(&touch), "the reader does not wait");
	assert_result(uffd_copy_mode(uffd, start, source, huge_size(),
				     UFFDIO_COPY_MODE_DONTWAKE), 0, (int64_t)huge_size());
	assert_that(touch_is_blocked(&touch), "UFFDIO_COPY with MODE_DONTWAKE woke the reader");
	assert_error(uffd_wake(uffd, start, huge_size()), 0);
	touch_end(&touch);
	assert_no_fault(uffd);
	assert_error(uffd_wake(uffd, start, huge_size()), 0);
	assert_error(uffd_wake(uffd, start + 1, huge_size()), EINVAL);
	assert_error(uffd_wake(uffd, start, 0), EINVAL);
}

static void assert_waiting(int uffd, long pending, long total, const char *when)
{
	char path[64], line[128];
	long seen_pending = -1, seen_total = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", uffd);
	file = fopen(path, "re");
	assert_that(file, "%s: %s", path, error_name(errno));
	while (fgets(line, sizeof(line), file)) {
		sscanf(line, "pending: %ld", &seen_pending);
		sscanf(line, "total: %ld", &seen_total);
	}
	fclose(file);
	assert_that(seen_pending == pending && seen_total == total,
		    "fdinfo %s: %ld pending and %ld in total, expected %ld and %ld", when,
		    seen_pending, seen_total, pending, total);
}

static void counted_in_fdinfo(void)
{
	int uffd;
	char *start = map_registered(&uffd);
	struct touch touch;

	assert_waiting(uffd, 0, 0, "at first");
	touch_start(&touch, start, TOUCH_READ);
	assert_that(uffd_is_readable(uffd), "no fault message");
	assert_waiting(uffd, 1, 1, "with a fault that was not read");
	assert_fault(uffd, start, 0);
	assert_waiting(uffd, 0, 1, "with a fault that was read");
	assert_result(uffd_copy(uffd, start, source, huge_size()), 0, (int64_t)huge_size());
	touch_end(&touch);
	assert_waiting(uffd, 0, 0, "after UFFDIO_COPY");
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "a missing fault reports the huge page's address; UFFDIO_COPY of it ends the fault",
		  fault_is_answered },
		{ "UFFDIO_COPY to a mapped huge page is EEXIST", copied_twice },
		{ "UFFDIO_COPY of 4 KiB to a hugetlb mapping is EINVAL", whole_pages_only },
		{ "UFFDIO_ZEROPAGE of a hugetlb mapping is not offered, and EINVAL", no_zero_page },
		{ "UFFDIO_COPY from memory that is not mapped yet has its contents", source_not_mapped },
		{ "UFFDIO_COPY from an address without memory is EFAULT and keeps the reservation",
		  no_source },
		{ "UFFDIO_COPY beyond the end of a file is EFAULT and takes no huge page", beyond_the_end },
		{ "UFFDIO_COPY without a free huge page is ENOMEM until there is one", empty_pool },
		{ "UFFDIO_COPY to a private mapping uses its reservation, once", private_mapping },
		{ "UFFDIO_COPY with MODE_WP leaves the huge page write-protected", protected_copy },
		{ "a thread that UFFDIO_WAKE wakes without a page faults again", wake },
		{ "fdinfo of a userfaultfd counts the faults that wait, and those not read yet",
		  counted_in_fdinfo },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.setup = fill_source,
	});
}
