// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each memory allocation in a system call or a fault fails in turn: the first,
 * the second, until there is none left to fail. A call that fails because of
 * that says so, leaves the pool and the contents as they were or as they should
 * become, and succeeds when it is done again.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#if __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#endif

#include "hgm_probe.h"

#define FILLING 1
#define COUNT 3
/* No call here allocates as often. */
#define MANY 400

struct operation {
	/* Makes a state of its own, in a process of its own. */
	void (*prepare)(void);
	/* Does it, and returns an error number; may be called again. */
	int (*act)(void);
	/* What holds before and after a call that failed, and what after one that succeeded. */
	void (*intact)(void), (*done)(void);
	/* How success changes the pool. */
	long free, reserved;
	/* An error besides ENOMEM. */
	int also;
};

static const struct operation *operation; /* the one that is tried */
static int nth;
static bool *exhausted; /* shared with the processes that try */

static int fd, uffd, fail_nth;
static char *start, *target, *source;

/* ---- the state that operations start from ------------------------------ */

static char *middle(void)
{
	return start + huge_size();
}

static void all_filled(void)
{
	for (size_t page = 0; page < COUNT; page++)
		check_pages(start, page * huge_pages(), 1, FILLING);
}

static void three_pages(void)
{
	fd = filled_memfd_of(COUNT, huge_pages() / 2, FILLING);
	start = map_shared(fd, COUNT * huge_size(), UNRESERVED);
	all_filled();
}

static void two_empty(void)
{
	fd = huge_memfd(2);
}

/* Where no page table is yet, so that those are allocated as well. */
static void map_apart(int flags)
{
	start = map_at(reserve_area(PUD_PAGE, PUD_PAGE), huge_size(), flags | MAP_NORESERVE, fd);
}

static void one_empty(void)
{
	fd = huge_memfd(1);
	map_apart(MAP_SHARED);
}

static void one_filled(void)
{
	fd = filled_memfd(huge_pages() / 2, FILLING);
	map_apart(MAP_SHARED);
}

static void three_private(void)
{
	start = map_private_huges(COUNT, UNRESERVED);
	for (size_t page = 0; page < COUNT; page++)
		fill_pages(start, page * huge_pages(), 1, FILLING);
}

static void three_and_target(void)
{
	three_private();
	target = reserve_area(PUD_PAGE, PUD_PAGE);
}

static void three_and_uffd(void)
{
	three_pages();
	uffd = uffd_open(0);
}

static void registered(uint64_t features, uint64_t mode)
{
	uffd = uffd_open(features);
	uffd_register(uffd, start, huge_size(), mode);
}

static void missing(void)
{
	one_empty();
	registered(0, UFFDIO_REGISTER_MODE_MISSING);
	source = map_anonymous(huge_size(), 0);
	fill_copy(source, 0, 1, FILLING);
}

static void minor(void)
{
	one_filled();
	registered(0, UFFDIO_REGISTER_MODE_MINOR);
}

static void write_protect(void)
{
	one_empty();
	registered(UFFD_FEATURE_WP_HUGETLBFS_SHMEM, UFFDIO_REGISTER_MODE_WP);
}

/* A mount that has room for two huge pages and keeps one of them: the file has none yet. */
static void limited_file(void)
{
	int mount = detached_mount("hugetlbfs", "pagesize=%zu,size=%zu,min_size=%zu", huge_size(),
				   2 * huge_size(), huge_size());

	fd = unnamed_file(mount);
	close(mount);
	assert_errno(ftruncate(fd, 3 * (off_t)huge_size()), 0);
}

static void limited_mapping(void)
{
	limited_file();
	map_apart(MAP_SHARED);
}

/* The mount is full. */
static void full_file(void)
{
	limited_file();
	assert_errno(fallocate(fd, 0, 0, 2 * (off_t)huge_size()), 0);
	start = map_shared(fd, 3 * huge_size(), UNRESERVED);
	fill_pages(start, 0, 1, FILLING);
}

static void copy_on_write(void)
{
	fd = filled_memfd(huge_pages() / 2, FILLING);
	map_apart(MAP_PRIVATE);
	check_pages(start, 0, 1, FILLING);
}

static void one_mapped(void)
{
	one_filled();
	check_pages(start, 0, 1, FILLING);
}

static void split_mapping(void)
{
	fd = filled_memfd(1, FILLING);
	start = map_split(fd, UFFD_FEATURE_WP_HUGETLBFS_SHMEM, UFFDIO_REGISTER_MODE_WP, &uffd);
}

static void split_and_continued(void)
{
	split_mapping();
	for (size_t page = 0; page < huge_pages(); page += huge_pages() / 4)
		assert_continue(uffd, start + page * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
}

/* ---- the operations ----------------------------------------------------- */

static int result(struct uffd_result got)
{
	assert_that(got.done == (got.error ? -got.error : (int64_t)got.length),
		    "%s: %s, and its result field is %lld", got.what, error_name(got.error),
		    (long long)got.done);
	return got.error;
}

static int errno_of(intptr_t returned)
{
	return returned == -1 ? errno : 0;
}

static int map_two(int flags, int file)
{
	void *made = mmap(NULL, 2 * huge_size(), PROT_READ | PROT_WRITE, flags, file, 0);

	return errno_of((intptr_t)made);
}

static int reserve_shared(void)
{
	return map_two(MAP_SHARED, fd);
}

static int reserve_private(void)
{
	return map_two(MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
}

static void still_filled(void)
{
	check_pages(start, 0, 1, FILLING);
}

static void ends_filled(void)
{
	check_pages(start, 0, 1, FILLING);
	check_pages(start, 2 * huge_pages(), 1, FILLING);
}

static int unmap_middle(void)
{
	return errno_of(munmap(middle(), huge_size()));
}

static void middle_unmapped(void)
{
	ends_filled();
	assert_signal(middle(), TOUCH_READ, SIGSEGV);
}

static int protect_middle(void)
{
	return errno_of(mprotect(middle(), huge_size(), PROT_READ));
}

static void middle_read_only(void)
{
	all_filled();
	assert_signal(middle(), TOUCH_WRITE, SIGSEGV);
}

static int move_all(void)
{
	void *moved = mremap(start, COUNT * huge_size(), COUNT * huge_size(),
			     MREMAP_MAYMOVE | MREMAP_FIXED, target);

	if (moved != MAP_FAILED)
		start = moved;
	return errno_of((intptr_t)moved);
}

/* The child sees what its parent does. */
static int fork_and_look(void)
{
	int status;
	pid_t child = fork();

	if (child < 0)
		return errno;
	if (child == 0) {
		operation->intact();
		_exit(0);
	}
	assert_that(waitpid(child, &status, 0) == child && status == 0,
		    "the child of fork ended with status %#x", status);
	return 0;
}

static int register_middle(void)
{
	return uffd_try_register(uffd, middle(), huge_size(), UFFDIO_REGISTER_MODE_MINOR, NULL);
}

static void middle_registered(void)
{
	all_filled();
	assert_error(uffd_unregister(uffd, middle(), huge_size()), 0);
}

static int copy(void)
{
	return result(uffd_copy(uffd, start, source, huge_size()));
}

static int continue_all(void)
{
	return result(uffd_continue(uffd, start, huge_size()));
}

static int protect_hole(void)
{
	return uffd_protect(uffd, start, huge_size(), true);
}

static void hole_protected(void)
{
	assert_that(pagemap_protected(start), "pagemap: the hole is not write-protected");
}

static int write_first(void)
{
	*(volatile char *)start = 1;
	return 0;
}

static void first_written(void)
{
	assert_that(*(volatile char *)start == 1, "the page shows %d, expected the 1 written to it",
		    *(volatile char *)start);
}

static int populate(void)
{
	return advise(start, huge_size(), MADV_POPULATE_WRITE);
}

static int allocate(void)
{
	return errno_of(fallocate(fd, 0, 0, (off_t)huge_size()));
}

static int mount_with_minimum(void)
{
	char options[64];
	int mount;

	snprintf(options, sizeof(options), "pagesize=%zu,min_size=%zu", huge_size(), huge_size());
	mount = try_mount("hugetlbfs", options);
	return mount < 0 ? -mount : 0;
}

/* The mount has two pages for the file, and none for another one. */
static void limit_is_reached(void)
{
	assert_errno(mmap(NULL, 3 * huge_size(), PROT_READ, MAP_SHARED, fd, 0), ENOMEM);
	assert_errno(fallocate(fd, 0, 0, 3 * (off_t)huge_size()), ENOSPC);
}

/* ENOSPC is right, so it counts as success. */
static int allocate_third(void)
{
	int error = errno_of(fallocate(fd, 0, 2 * (off_t)huge_size(), (off_t)huge_size()));

	assert_that(error, "fallocate in a full mount succeeded");
	return error == ENOSPC ? 0 : error;
}

static int reserve_third(void)
{
	void *made = mmap(NULL, huge_size(), PROT_READ, MAP_SHARED, fd, 2 * (off_t)huge_size());

	assert_that(made == MAP_FAILED, "mmap in a full mount succeeded");
	/* It is ENOMEM in any case. */
	return errno == ENOMEM ? 0 : errno;
}

static int punch_half(void)
{
	return errno_of(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				  (off_t)(huge_size() / 2), (off_t)(2 * huge_size())));
}

static void half_punched(void)
{
	check_pages(start, 0, 1, FILLING);
	check_zero(start, huge_pages() / 2, 1);
	check_zero(start, 2 * huge_pages(), 1);
	check_pages(start, 2 * huge_pages() + huge_pages() / 2, 1, FILLING);
}

static int split_one(void)
{
	return advise(start, huge_size(), MADV_SPLIT);
}

static int continue_base_page(void)
{
	return result(uffd_continue(uffd, start, BASE_PAGE));
}

static int collapse_one(void)
{
	return advise(start, huge_size(), MADV_COLLAPSE);
}

static void collapsed(void)
{
	assert_whole(start, huge_size());
	check_pages(start, 0, huge_pages(), FILLING);
}

static int protect_unit(void)
{
	return uffd_protect(uffd, start, wp_unit(), true);
}

static void unit_protected(void)
{
	assert_protected(start, 1, 1);
	still_filled();
}

/* ---- one allocation after another --------------------------------------- */

static void arm(int count)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%d", count);

	assert_bytes(pwrite(fail_nth, text, (size_t)length, 0), (size_t)length);
}

/* How many allocations would still have had to come for one to fail; 0 if one has failed. */
static int disarm(void)
{
	char text[16] = "";

	assert_that(pread(fail_nth, text, sizeof(text) - 1, 0) > 0, "fail-nth: %s",
		    error_name(errno));
	arm(0);
	return atoi(text);
}

/*
 * Ends the thread's restartable sequences. The kernel writes to their area after a
 * preemption; after fork that is a copy on write, and without memory for it a SIGSEGV.
 */
static void end_rseq(void)
{
#ifdef RSEQ_SIG
	size_t size = __rseq_size > 32 ? __rseq_size : 32;

	if (__rseq_size)
		syscall(SYS_rseq, (char *)__builtin_thread_pointer() + __rseq_offset, size,
			RSEQ_FLAG_UNREGISTER, RSEQ_SIG);
#endif
}

static void assert_pool_before_or_after(const struct pool *before)
{
	struct pool now = pool_now();
	bool same = now.free == before->free && now.reserved == before->reserved;
	bool as_after = now.free == before->free + operation->free &&
			now.reserved == before->reserved + operation->reserved;

	assert_that((same || as_after) && now.total == before->total &&
		    now.surplus == before->surplus,
		    "after the call that failed, the pool has %+ld free and %+ld reserved huge pages",
		    now.free - before->free, now.reserved - before->reserved);
}

static void try_once(void)
{
	struct pool before;
	int error;

	probe_about("allocation %d fails", nth);
	end_rseq();
	fail_nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (operation->prepare)
		operation->prepare();
	before = pool_now();
	arm(nth);
	error = operation->act();
	*exhausted = disarm() > 0;
	if (*exhausted)
		probe_about("no allocation fails");
	assert_that(!error || (!*exhausted && (error == ENOMEM || error == operation->also)),
		    "expected success%s, got %s", *exhausted ? "" : " or ENOMEM", error_name(error));
	if (error) {
		assert_pool_before_or_after(&before);
		if (operation->intact)
			operation->intact();
		error = operation->act();
		assert_that(!error, "the same call again: expected success, got %s",
			    error_name(error));
	}
	assert_pool(&before, operation->free, operation->reserved, "after the call");
	if (operation->done)
		operation->done();
}

static void fail_each(const struct operation *which)
{
	struct pool before = pool_now();

	operation = which;
	*exhausted = false;
	for (nth = 1; !*exhausted; nth++) {
		assert_that(nth < MANY, "the call still allocates after %d allocations", MANY);
		child_end(child_start(try_once));
		assert_pool(&before, 0, 0, "after the process had ended");
	}
	probe_note("%d allocations", nth - 2);
}

#define OPERATION(name, ...)                                                    \
	static void name(void)                                                  \
	{                                                                       \
		fail_each(&(struct operation){ __VA_ARGS__ });                  \
	}

OPERATION(in_mmap, two_empty, reserve_shared, .reserved = 2)
/* ENOSPC where the file of the mapping cannot be made. */
OPERATION(in_private_mmap, .act = reserve_private, .reserved = 2, .also = ENOSPC)
OPERATION(in_munmap, three_pages, unmap_middle, all_filled, middle_unmapped)
OPERATION(in_mprotect, three_pages, protect_middle, all_filled, middle_read_only)
OPERATION(in_mremap, three_and_target, move_all, all_filled, all_filled)
OPERATION(in_fork, three_private, fork_and_look, all_filled, all_filled, .also = EAGAIN)
OPERATION(in_register, three_and_uffd, register_middle, all_filled, middle_registered)
OPERATION(in_copy, missing, copy, NULL, still_filled, .free = -1)
OPERATION(in_continue, minor, continue_all, NULL, still_filled)
OPERATION(in_protect, write_protect, protect_hole, NULL, hole_protected)
OPERATION(in_fault, one_empty, write_first, NULL, first_written, .free = -1)
OPERATION(in_cow, copy_on_write, write_first, NULL, first_written, .free = -1)
OPERATION(in_populate, one_empty, populate, NULL, NULL, .free = -1)
OPERATION(in_fallocate, one_empty, allocate, NULL, NULL, .free = -1)
OPERATION(in_punch, three_pages, punch_half, NULL, half_punched, .free = 1)
OPERATION(in_mount, .act = mount_with_minimum, .reserved = 1)
OPERATION(in_limited_mmap, limited_file, reserve_shared, NULL, limit_is_reached, .reserved = 1)
OPERATION(in_limited_fault, limited_mapping, write_first, NULL, first_written, .free = -1,
	  .reserved = -1)
OPERATION(in_full_fallocate, full_file, allocate_third, still_filled, still_filled)
OPERATION(in_full_mmap, full_file, reserve_third, still_filled, still_filled)
OPERATION(in_split, one_mapped, split_one, still_filled, still_filled)
OPERATION(in_continue_base_page, split_mapping, continue_base_page, NULL, still_filled)
OPERATION(in_collapse, split_and_continued, collapse_one, still_filled, collapsed)
OPERATION(in_protect_split, split_and_continued, protect_unit, still_filled, unit_protected)
OPERATION(in_fork_split, split_and_continued, fork_and_look, still_filled, still_filled,
	  .also = EAGAIN)

/* By default allocations that may sleep are spared, and single pages, and each failure is logged. */
static void spare_none(void)
{
	static const char *const files[] = { "failslab/ignore-gfp-wait",
					     "fail_page_alloc/ignore-gfp-wait",
					     "fail_page_alloc/ignore-gfp-highmem" };
	char path[128];

	if (access("/proc/thread-self/fail-nth", W_OK) != 0)
		probe_skip("/proc/thread-self/fail-nth: %s", error_name(errno));
	for (size_t i = 0; i < COUNT_OF(files); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s", files[i]);
		assert_written(path, "N");
	}
	assert_written("/sys/kernel/debug/fail_page_alloc/min-order", "0");
	assert_written("/sys/kernel/debug/fail_page_alloc/verbose", "0");
	assert_written("/sys/kernel/debug/failslab/verbose", "0");
	exhausted = mmap(NULL, BASE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_that(exhausted != MAP_FAILED, "mmap: %s", error_name(errno));
}

int main(int argc, char **argv)
{
	static const struct probe_argument arguments[] = {
		{ "--mappings", "whole|split", "whether MADV_SPLIT is called on them; whole by default" },
		{ 0 },
	};
	static const struct probe_test whole_tests[] = {
		{ "mmap of a shared file reserves all or nothing", in_mmap },
		{ "mmap of private huge pages reserves all or nothing", in_private_mmap },
		{ "munmap in the middle of a mapping unmaps all or nothing", in_munmap },
		{ "mprotect in the middle of a mapping protects all or nothing", in_mprotect },
		{ "mremap of private huge pages moves all or nothing", in_mremap },
		{ "fork copies all private huge pages or fails", in_fork },
		{ "UFFDIO_REGISTER in the middle of a mapping can be repeated", in_register },
		{ "UFFDIO_COPY of a huge page can be repeated", in_copy },
		{ "UFFDIO_CONTINUE of a huge page can be repeated", in_continue },
		{ "UFFDIO_WRITEPROTECT of a hole can be repeated", in_protect },
		{ "a fault in a hole is retried", in_fault },
		{ "a fault that copies on write is retried", in_cow },
		{ "MADV_POPULATE_WRITE of a hole can be repeated", in_populate },
		{ "fallocate of a huge page can be repeated", in_fallocate },
		{ "punching a hole with parts at both ends can be repeated", in_punch },
		{ "a mount with min_size can be repeated", in_mount },
		{ "mmap in a mount with limits can be repeated, and keeps to them", in_limited_mmap },
		{ "a fault in a mount with limits uses its reservation once", in_limited_fault },
		{ "fallocate in a full mount is ENOSPC and takes nothing", in_full_fallocate },
		{ "mmap in a full mount is ENOMEM and takes nothing", in_full_mmap },
	};
	static const struct probe_test split_tests[] = {
		{ "MADV_SPLIT of a mapped huge page can be repeated", in_split },
		{ "UFFDIO_CONTINUE of a base page can be repeated", in_continue_base_page },
		{ "MADV_COLLAPSE of a split huge page can be repeated", in_collapse, PROMISE(COLLAPSE) },
		{ "UFFDIO_WRITEPROTECT in a split huge page can be repeated", in_protect_split },
		{ "fork of a split huge page succeeds or fails as a whole", in_fork_split },
	};
	const char *mappings = probe_option(argc, argv, "--mappings");
	bool are_split = mappings && strcmp(mappings, "split") == 0;

	if (mappings && !are_split && strcmp(mappings, "whole") != 0) {
		fprintf(stderr, "%s: --mappings %s is neither whole nor split\n", argv[0], mappings);
		return 2;
	}
	return probe_main(argc, argv, &(struct probe){
		.tests = are_split ? split_tests : whole_tests,
		.count = are_split ? COUNT_OF(split_tests) : COUNT_OF(whole_tests),
		.arguments = arguments,
		.pages = 3,
		.needs_hgm = are_split,
		.asks = are_split ? PROMISE(WP_BASE_PAGES) : 0,
		.setup = spare_none,
	});
}
