// SPDX-License-Identifier: GPL-2.0-only
/*
 * Events of a userfaultfd in missing mode: fork, mremap, munmap, MADV_DONTNEED and MADV_REMOVE.
 * What the event says is what happens, and the registration goes where the memory goes. The same of split mappings is in events.c.
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
	for (size_t i = 0; i < UNITS; i++)
		fill_pages(source + i * unit(), 0, 1, FILLING);
	assert_result(uffd_copy(uffd, start, source, 2 * unit()), 0, (int64_t)(2 * unit()));
}

static struct call {
	void (*run)(void);
	size_t first, count;
	char *to;
} call;

static void run_munmap(void)
{
	unmap(at(call.first), call.count * unit());
}

static void run_dontneed(void)
{
	assert_error(advise(at(call.first), call.count * unit(), MADV_DONTNEED), 0);
}

static void run_remove(void)
{
	assert_error(advise(at(call.first), call.count * unit(), MADV_REMOVE), 0);
}

static void run_mremap(void)
{
	void *moved = mremap(start, UNITS * unit(), UNITS * unit(), MREMAP_MAYMOVE | MREMAP_FIXED,
			     call.to);

	assert_that(moved == call.to, "mremap: %s", error_name(errno));
}

static void *run_call(void *unused)
{
	(void)unused;
	call.run();
	return NULL;
}

static struct uffd_msg event_of(struct call which, unsigned int event)
{
	struct uffd_msg message;
	pthread_t thread;

	call = which;
	assert_error(pthread_create(&thread, NULL, run_call, NULL), 0);
	message = uffd_next_event(uffd, event);
	pthread_join(thread, NULL);
	return message;
}

static void assert_event_range(const struct uffd_msg *message, size_t first, size_t count)
{
	uint64_t from = message->arg.remove.start, to = message->arg.remove.end;

	assert_that(from == (uintptr_t)at(first) && to == (uintptr_t)at(first + count),
		    "the event's range is %#llx to %#llx, expected %p to %p",
		    (unsigned long long)from, (unsigned long long)to, at(first), at(first + count));
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
	struct uffd_msg message;

	map_registered(UFFD_FEATURE_EVENT_UNMAP);
	message = event_of((struct call){ run_munmap, 1, 2, NULL }, UFFD_EVENT_UNMAP);
	assert_event_range(&message, 1, 2);
	assert_signal(at(1), TOUCH_READ, SIGSEGV);
	check_pages(at(0), 0, 1, FILLING);
	assert_result(uffd_copy(uffd, at(2), source, unit()), ENOENT, -ENOENT);
	assert_reported(uffd, at(3));
}

/* What was dropped of a file is still there; of memory without one it is missing. */
static void dropped(void)
{
	struct uffd_msg message;

	map_registered(UFFD_FEATURE_EVENT_REMOVE);
	message = event_of((struct call){ run_dontneed, 1, 1, NULL }, UFFD_EVENT_REMOVE);
	assert_event_range(&message, 1, 1);
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
	struct uffd_msg message;

	if (kind == ANONYMOUS)
		probe_skip("anonymous memory has no file");
	map_registered(UFFD_FEATURE_EVENT_REMOVE);
	message = event_of((struct call){ run_remove, 1, 1, NULL }, UFFD_EVENT_REMOVE);
	assert_event_range(&message, 1, 1);
	check_pages(at(0), 0, 1, FILLING);
	assert_reported(uffd, at(1));
	assert_no_fault(uffd);
}

static void moved(void)
{
	struct uffd_msg message;

	map_registered(UFFD_FEATURE_EVENT_REMAP);
	call.to = reserve_area(UNITS * unit(), unit());
	message = event_of((struct call){ run_mremap, 0, UNITS, call.to }, UFFD_EVENT_REMAP);
	assert_that(message.arg.remap.from == (uintptr_t)start &&
		    message.arg.remap.to == (uintptr_t)call.to &&
		    message.arg.remap.len == UNITS * unit(),
		    "UFFD_EVENT_REMAP from %#llx to %#llx of %s, expected %p to %p of %s",
		    (unsigned long long)message.arg.remap.from,
		    (unsigned long long)message.arg.remap.to,
		    size_text((int64_t)message.arg.remap.len), start, call.to,
		    size_text((int64_t)(UNITS * unit())));
	start = call.to;
	check_pages(at(1), 0, 1, FILLING);
	assert_reported(uffd, at(2));
}

static void moved_without_event(void)
{
	map_registered(0);
	call.to = reserve_area(UNITS * unit(), unit());
	run_mremap();
	start = call.to;
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

static void run_fork(void)
{
	child_end(child_start(child_reads)); /* PR_SET_PDEATHSIG is per thread */
}

static void forked(void)
{
	pthread_t thread;
	int childs;

	map_registered(UFFD_FEATURE_EVENT_FORK);
	call.run = run_fork;
	assert_error(pthread_create(&thread, NULL, run_call, NULL), 0);
	childs = (int)uffd_next_event(uffd, UFFD_EVENT_FORK).arg.fork.ufd;
	/* The child's fault is reported to the child's userfaultfd. */
	assert_fault(childs, at(2), 0);
	assert_result(uffd_copy(childs, at(2), source, unit()), 0, (int64_t)unit());
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
