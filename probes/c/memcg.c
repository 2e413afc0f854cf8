// SPDX-License-Identifier: GPL-2.0-only
/*
 * The memory controller with memory_hugetlb_accounting: it counts huge pages, a call
 * beyond memory.max is ENOMEM, and a fault is SIGBUS. Page tables beyond it are not
 * here: they call the OOM killer.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "hgm_probe.h"

#define ROOT "/sys/fs/cgroup"
#define FILLING 1
/* What a process may have besides huge pages. */
#define SLACK (PMD_PAGE / 2)

static long memory_number(const char *what)
{
	return file_number(group_path(what));
}

static void limit_memory(size_t bytes)
{
	write_number(group_path("memory.max"), (long)bytes);
}

/* The mount options of the cgroup file system before. */
static char mounted_with[256];

/* ",nsdelegate": what follows "rw", which is a flag. */
static void read_options(char options[256])
{
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	char line[512], *rest;

	*options = '\0';
	while (mounts && fgets(line, sizeof(line), mounts)) {
		rest = strstr(line, " - cgroup2 ");
		if (rest && strstr(line, " " ROOT " "))
			sscanf(rest, " - cgroup2 %*s rw%255s", options);
	}
	if (mounts)
		fclose(mounts);
}

static int remount(const char *more)
{
	char options[512];

	snprintf(options, sizeof(options), "%s%s", mounted_with, more);
	return mount("cgroup", ROOT, "cgroup2", MS_REMOUNT, options) == 0 ? 0 : errno;
}

static void counted(void)
{
	struct pool before = pool_now();
	long bytes = memory_number("memory.current");
	int fd = huge_memfd(1);
	char *start = map_shared(fd, huge_size(), RESERVED);

	assert_that(memory_number("memory.current") < bytes + (long)huge_size(),
		    "memory.current counts a reservation");
	fill_pages(start, 0, 1, FILLING);
	assert_that(memory_number("memory.current") >= bytes + (long)huge_size(),
		    "memory.current went from %s to %s with a huge page", size_text(bytes),
		    size_text(memory_number("memory.current")));
	unmap(start, huge_size());
	close(fd);
	assert_that(memory_number("memory.current") < bytes + (long)huge_size(),
		    "memory.current is %s after the huge page was freed, and was %s before",
		    size_text(memory_number("memory.current")), size_text(bytes));
	assert_pool(&before, 0, 0, "after the huge page was freed");
}

/* cgroup-v2.rst: failure to charge a huge page to the memory controller is SIGBUS. */
static void fault_beyond(void)
{
	struct pool before = pool_now();
	char *start = map_private_huges(2, RESERVED);

	fill_pages(start, 0, 1, FILLING);
	limit_memory(huge_size() + SLACK);
	/* It ends a fault that is tried again and again. */
	alarm(EVENT_MS / 1000);
	assert_signal(start + huge_size(), TOUCH_WRITE, SIGBUS);
	alarm(0);
	assert_pool(&before, -1, 1, "after a fault beyond memory.max");
	check_pages(start, 0, 1, FILLING);
	limit_memory(3 * huge_size());
	assert_signal(start + huge_size(), TOUCH_WRITE, 0);
	assert_pool(&before, -2, 0, "after the limit was raised");
}

/* Which error it is differs: alloc_hugetlb_folio() may have one of its own for each reason. */
static void assert_one_of(int error, int other, int got, const char *call)
{
	assert_that(got == error || got == other, "%s beyond memory.max: expected %s or %s, got %s",
		    call, error_name(error), error_name(other), error_name(got));
}

static void calls_beyond(void)
{
	struct pool before = pool_now();
	int fd = huge_memfd(2);
	off_t page = (off_t)huge_size();
	char *start;

	assert_errno(fallocate(fd, 0, 0, page), 0);
	limit_memory(huge_size() + SLACK);
	assert_one_of(ENOMEM, ENOSPC, fallocate(fd, 0, page, page) ? errno : 0, "fallocate");
	assert_pool(&before, -1, 0, "after fallocate beyond memory.max");
	start = map_shared(fd, 2 * huge_size(), UNRESERVED);
	/* EFAULT is what madvise(2) has for SIGBUS. */
	assert_one_of(ENOMEM, EFAULT, advise(start + page, huge_size(), MADV_POPULATE_WRITE),
		      "MADV_POPULATE_WRITE");
	assert_pool(&before, -1, 0, "after MADV_POPULATE_WRITE beyond memory.max");
	limit_memory(3 * huge_size());
	assert_errno(fallocate(fd, 0, page, page), 0);
	assert_pool(&before, -2, 0, "after the limit was raised");
}

static void copy_beyond(void)
{
	struct pool before = pool_now();
	int fd = huge_memfd(2), uffd;
	off_t page = (off_t)huge_size();
	char *start = map_shared(fd, 2 * huge_size(), UNRESERVED), *source;

	fill_pages(start, 0, 1, FILLING);
	limit_memory(huge_size() + SLACK);
	source = map_shared(fd, huge_size(), UNRESERVED);
	uffd = uffd_open(UFFD_FEATURE_MISSING_HUGETLBFS);
	uffd_register(uffd, start + page, huge_size(), UFFDIO_REGISTER_MODE_MISSING);
	assert_result(uffd_copy(uffd, start + page, source, huge_size()), ENOMEM, -ENOMEM);
	assert_pool(&before, -1, 0, "after UFFDIO_COPY beyond memory.max");
	limit_memory(3 * huge_size());
	assert_result(uffd_copy(uffd, start + page, source, huge_size()), 0, (int64_t)huge_size());
	assert_pool(&before, -2, 0, "after the limit was raised");
}

static void (*inside)(void);

static void run_in_group(void)
{
	in_memory_group(inside);
}

static void put_options_back(void)
{
	remount("");
}

static void with_accounting(void (*run)(void))
{
	int error = remount(",memory_hugetlb_accounting");
	char now[256];

	if (error)
		probe_skip("remount of " ROOT " with memory_hugetlb_accounting: %s",
			   error_name(error));
	inside = run;
	run_then(run_in_group, put_options_back);
	read_options(now);
	assert_that(strcmp(now, mounted_with) == 0, ROOT " is mounted with rw%s, and was with rw%s",
		    now, mounted_with);
}

static void test_counted(void) { with_accounting(counted); }
static void test_fault(void) { with_accounting(fault_beyond); }
static void test_calls(void) { with_accounting(calls_beyond); }
static void test_copy(void) { with_accounting(copy_beyond); }

static void set_up(void)
{
	probe_harms("changes the mount options of " ROOT);
	read_options(mounted_with);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "memory_hugetlb_accounting counts a huge page from its first use to its end", test_counted },
		{ "fallocate and MADV_POPULATE_WRITE beyond memory.max are refused and take no page", test_calls },
		{ "UFFDIO_COPY beyond memory.max is ENOMEM", test_copy },
		{ "a fault beyond memory.max is SIGBUS and leaves the reservation", test_fault },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 3,
		.needs_4k_pages = true, /* memory is charged in batches of 64 base pages */
		.setup = set_up,
	});
}
