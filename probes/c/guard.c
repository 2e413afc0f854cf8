// SPDX-License-Identifier: GPL-2.0-only
/* Guard regions: MADV_GUARD_INSTALL makes accesses fail in part of a mapping, without a VMA more. */
#include <signal.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1
#define UNITS 8

static enum memory_kind kind;
static int fd;
static char *start;

static char *at(size_t page)
{
	return start + page * BASE_PAGE;
}

static size_t length(void)
{
	return UNITS * memory_unit(kind);
}

static void open_file(void)
{
	fd = memory_file(kind, UNITS);
}

/* Filled memory, of which base pages 2 and 3 are guarded. */
static void map_guarded(void)
{
	int error;

	start = memory_map(kind, fd, UNITS);
	fill_pages(start, 0, UNITS, FILLING);
	error = advise(at(2), 2 * BASE_PAGE, MADV_GUARD_INSTALL);
	if (error)
		probe_skip("MADV_GUARD_INSTALL: %s", error_name(error));
}

static void check_guarded(void)
{
	check_pages(start, 0, 2, FILLING);
	assert_signal(at(2), TOUCH_READ, SIGSEGV);
	assert_signal(at(3), TOUCH_WRITE, SIGSEGV);
	check_pages(start, 4, UNITS - 4, FILLING);
}

static void access_fails(void)
{
	map_guarded();
	check_guarded();
	assert_present(at(2), 2, 0);
	/* Twice is once. */
	assert_error(advise(at(3), 2 * BASE_PAGE, MADV_GUARD_INSTALL), 0);
	assert_signal(at(4), TOUCH_READ, SIGSEGV);
}

static void removal(void)
{
	map_guarded();
	assert_error(advise(start, UNITS * BASE_PAGE, MADV_GUARD_REMOVE), 0);
	check_pages(start, 0, 2, FILLING);
	if (fd >= 0)
		check_pages(start, 2, 2, FILLING);
	else
		check_zero(start, 2, 2);
	fill_pages(start, 2, 2, FILLING);
	check_pages(start, 0, UNITS, FILLING);
}

static void holds(void)
{
	map_guarded();
	child_end(child_start(check_guarded));
	assert_error(advise(at(2), 2 * BASE_PAGE, MADV_DONTNEED), 0);
	check_guarded();
	assert_errno(mprotect(start, length(), PROT_READ), 0);
	assert_errno(mprotect(start, length(), PROT_READ | PROT_WRITE), 0);
	check_guarded();
	assert_error(advise(start, UNITS * BASE_PAGE, MADV_POPULATE_READ), EFAULT);
}

static void scanned(void)
{
	struct scan seen;

	map_guarded();
	seen = scan_pages(start, UNITS * BASE_PAGE, 0, SCAN_GUARD, 0);
	assert_regions(&seen, 1);
	assert_region(&seen, 0, at(2), 2);
}

static void refused(void)
{
	char *plain = map_anonymous(BASE_PAGE, 0);
	int error = advise(plain, BASE_PAGE, MADV_GUARD_INSTALL);

	if (error)
		probe_skip("MADV_GUARD_INSTALL: %s", error_name(error));
	start = memory_map(kind, fd, 1);
	fill_pages(start, 0, 1, FILLING);
	assert_error(advise(start, memory_unit(kind), MADV_GUARD_INSTALL), EINVAL);
	assert_error(advise(start, memory_unit(kind), MADV_GUARD_REMOVE), EINVAL);
	check_pages(start, 0, 1, FILLING);
}

int main(int argc, char **argv)
{
	static const struct probe_test guarded[] = {
		{ "an access to a guarded page is SIGSEGV, and to its neighbours works",
		  access_fails },
		{ "MADV_GUARD_REMOVE gives back a page without its private contents", removal },
		{ "a guard holds across fork, MADV_DONTNEED and mprotect", holds },
		{ "PAGEMAP_SCAN finds guarded pages", scanned },
	};
	static const struct probe_test others[] = {
		{ "MADV_GUARD_INSTALL and MADV_GUARD_REMOVE on hugetlb are EINVAL", refused },
	};
	static const struct probe_argument arguments[] = { MEMORY_ARGUMENT, { 0 } };
	bool is_hugetlb;

	kind = memory_kind(argc, argv);
	is_hugetlb = kind == HUGETLB;
	return probe_main(argc, argv, &(struct probe){
		.tests = is_hugetlb ? others : guarded,
		.count = is_hugetlb ? COUNT_OF(others) : COUNT_OF(guarded),
		.pages = is_hugetlb,
		.arguments = arguments,
		.setup = open_file,
	});
}
