// SPDX-License-Identifier: GPL-2.0-only
/*
 * Events of a userfaultfd in missing mode: fork, mremap, munmap, MADV_DONTNEED and MADV_REMOVE.
 * What the event says is what happens, and the registration goes where the memory goes. The same
 * of split mappings is in events.c.
 */
#include <signal.h>
#include <unistd.h>

#include "hgm_probe.h"

#define UNITS 4UL
#define FILLING 1

static enum memory_kind kind;
static int fd, uffd;
static char *start, *source;

static size_t unit(void)
{
	return memory_unit(kind);
}

static char *at(size_t number)
{
	return start + number * unit();
}

/* Units 0 and 1 are there, 2 and 3 are holes. */
static void map_registered(uint64_t features)
{
	if (kind == TRANSPARENT)
		probe_skip("a transparent huge page is filled by base pages");
	fd = memory_file(kind, UNITS);
	start = memory_map(kind, fd, UNITS);
	uffd = uffd_open(features);
	uffd_register(uffd, start, UNITS * unit(), UFFDIO_REGISTER_MODE_MISSING);
	source = map_anonymous(UNITS * unit(), 0);
	memory_fill(kind, source, UNITS, FILLING);
	assert_result(uffd_copy(uffd, start, source, 2 * unit()), 0, (int64_t)(2 * unit()));
}

/* Threads for the system calls. */
struct range {
	size_t first, count;
};

static void *call_munmap(void *argument)
{
	const struct range *range = argument;

	unmap(at(range->first), range->count * unit());
	return NULL;
}

static void *call_dontneed(void *argument)
{
	const struct range *range = argument;

	assert_error(advise(at(range->first), range->count * unit(), MADV_DONTNEED), 0);
	return NULL;
}

static void *call_remove(void *argument)
{
	const struct range *range = argument;

	assert_error(advise(at(range->first), range->count * unit(), MADV_REMOVE), 0);
	return NULL;
}

static void *call_mremap(void *to)
{
	void *moved = mremap(start, UNITS * unit(), UNITS * unit(), MREMAP_MAYMOVE | MREMAP_FIXED,
			     to);

	assert_that(moved == to, "mremap: %s", error_name(errno));
	return NULL;
}

/* Makes the call for a range of units; its event must have that range. */
static void check_event(void *(*call)(void *), size_t first, size_t count, unsigned int event)
{
	struct range range = { first, count };
	struct uffd_msg message = uffd_event_of(uffd, event, call, &range);

	assert_event_range(&message, at(first), count * unit());
}

/* An access to a hole is reported to this userfaultfd, and ended by it. */
static void assert_reported(int reporting, char *hole)
{
	struct touch touch;

	touch_start(&touch, hole, TOUCH_READ);
	assert_fault(reporting, hole, 0);
	assert_result(uffd_copy(reporting, hole, source, unit()), 0, (int64_t)unit());
	touch_end(&touch);
	check_pages(hole, 0, 1, FILLING);
}

static void unmapped(void)
{
	map_registered(UFFD_FEATURE_EVENT_UNMAP);
	check_event(call_munmap, 1, 2, UFFD_EVENT_UNMAP);
	assert_signal(at(1), TOUCH_READ, SIGSEGV);
	check_pages(at(0), 0, 1, FILLING);
	assert_result(uffd_copy(uffd, at(2), source, unit()), ENOENT, -ENOENT);
	assert_reported(uffd, at(3));
}

/* What was dropped of a file is still there; of memory without one it is missing. */
static void dropped(void)
{
	map_registered(UFFD_FEATURE_EVENT_REMOVE);
	check_event(call_dontneed, 1, 1, UFFD_EVENT_REMOVE);
	assert_present(at(1), 1, 0);
	check_pages(at(0), 0, 1, FILLING);
	if (fd < 0)
		assert_reported(uffd, at(1));
	else
		check_pages(at(1), 0, 1, FILLING);
	assert_no_fault(uffd);
}

static void removed(void)
{
	if (kind == ANONYMOUS)
		probe_skip("anonymous memory has no file");
	map_registered(UFFD_FEATURE_EVENT_REMOVE);
	check_event(call_remove, 1, 1, UFFD_EVENT_REMOVE);
	check_pages(at(0), 0, 1, FILLING);
	assert_reported(uffd, at(1));
	assert_no_fault(uffd);
}

static void moved(void)
{
	struct uffd_msg message;
	char *to;

	map_registered(UFFD_FEATURE_EVENT_REMAP);
	to = reserve_area(UNITS * unit(), unit());
	message = uffd_event_of(uffd, UFFD_EVENT_REMAP, call_mremap, to);
	assert_event_remap(&message, start, to, UNITS * unit());
	start = to;
	check_pages(at(1), 0, 1, FILLING);
	assert_reported(uffd, at(2));
}

static void moved_without_event(void)
{
	char *to;

	map_registered(0);
	to = reserve_area(UNITS * unit(), unit());
	call_mremap(to);
	start = to;
	check_pages(at(1), 0, 1, FILLING);
	check_zero(at(2), 0, 1);
	assert_result(uffd_copy(uffd, at(3), source, unit()), ENOENT, -ENOENT);
	assert_no_fault(uffd);
}

static void child_reads(void)
{
	check_pages(at(1), 0, 1, FILLING);
	check_pages(at(2), 0, 1, FILLING);
}

static void *call_fork(void *unused)
{
	(void)unused;
	child_end(child_start(child_reads)); /* PR_SET_PDEATHSIG is per thread */
	return NULL;
}

static void forked(void)
{
	pthread_t thread;
	int child_uffd;

	map_registered(UFFD_FEATURE_EVENT_FORK);
	assert_error(pthread_create(&thread, NULL, call_fork, NULL), 0);
	child_uffd = (int)uffd_next_event(uffd, UFFD_EVENT_FORK).arg.fork.ufd;
	/* The child's fault is reported to the child's userfaultfd. */
	assert_fault(child_uffd, at(2), 0);
	assert_result(uffd_copy(child_uffd, at(2), source, unit()), 0, (int64_t)unit());
	pthread_join(thread, NULL);
	assert_present(at(2), 1, 0);
	assert_reported(uffd, at(3));
}

static void child_sees_zeros(void)
{
	check_pages(at(1), 0, 1, FILLING);
	check_zero(at(2), 0, 1);
}

static void forked_without_event(void)
{
	map_registered(0);
	child_end(child_start(child_sees_zeros));
	assert_no_fault(uffd);
	assert_reported(uffd, at(3));
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "UFFD_EVENT_UNMAP carries the range of munmap, and the rest is still registered",
		  unmapped },
		{ "UFFD_EVENT_REMOVE of MADV_DONTNEED carries its range", dropped },
		{ "UFFD_EVENT_REMOVE of MADV_REMOVE carries its range, which is missing then", removed },
		{ "UFFD_EVENT_REMAP carries both places, and the registration moves along", moved },
		{ "without UFFD_FEATURE_EVENT_REMAP the registration ends with mremap",
		  moved_without_event },
		{ "UFFD_EVENT_FORK gives a userfaultfd that fills the child's memory", forked },
		{ "without UFFD_FEATURE_EVENT_FORK a child is not registered", forked_without_event },
	};
	static const struct probe_argument arguments[] = { MEMORY_ARGUMENT, { 0 } };

	kind = memory_kind(argc, argv);
	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.arguments = arguments,
		.pages = kind == HUGETLB ? UNITS : 0,
	});
}
