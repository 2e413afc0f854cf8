// SPDX-License-Identifier: GPL-2.0-only
/*
 * userfaultfd's read-write protection: an access to protected memory is reported
 * and waits, or, in asynchronous mode, goes on and is found by PAGEMAP_SCAN.
 */
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1
#define CHANGED 2
#define UNITS 2

#define PROTECT UFFDIO_RWPROTECT_MODE_RWP
#define LIFT 0

static enum memory_kind kind;
static int fd, uffd;
static char *start;

static size_t length(void)
{
	return UNITS * memory_unit(kind);
}

static char *at(size_t unit)
{
	return start + unit * memory_unit(kind);
}

static void open_file(void)
{
	close(uffd_open(UFFD_FEATURE_RWP));
	fd = memory_file(kind, UNITS);
}

/* Filled and registered memory; nothing of it is protected. */
static void map_registered(uint64_t features)
{
	start = memory_map(kind, fd, UNITS);
	memory_fill(kind, start, UNITS, FILLING);
	uffd = uffd_open(UFFD_FEATURE_RWP | features);
	uffd_register(uffd, start, length(), UFFDIO_REGISTER_MODE_RWP);
}

static void map_protected(uint64_t features)
{
	map_registered(features);
	assert_error(uffd_rwprotect(uffd, start, length(), PROTECT), 0);
}

/* The unit is protected, and is no longer afterwards. */
static void check_trapped(int by, size_t unit)
{
	assert_trapped(by, at(unit), memory_unit(kind), TOUCH_READ);
	check_pages(at(unit), 0, 1, FILLING);
}

/* Nothing stops an access to the unit, and nothing is reported. */
static void check_free(size_t unit)
{
	assert_untrapped(uffd, at(unit), TOUCH_READ);
}

static void registration(void)
{
	uint64_t ioctls;
	int plain = uffd_open(0), both = uffd_open(UFFD_FEATURE_RWP);

	start = memory_map(kind, fd, UNITS);
	assert_error(uffd_try_register(plain, start, length(), UFFDIO_REGISTER_MODE_RWP, NULL),
		     EINVAL);
	assert_error(uffd_try_register(both, start, length(), UFFDIO_REGISTER_MODE_RWP |
				       UFFDIO_REGISTER_MODE_WP, NULL), EINVAL);
	assert_errno(mprotect(start, length(), PROT_NONE), 0);
	assert_error(uffd_try_register(both, start, length(), UFFDIO_REGISTER_MODE_RWP, NULL),
		     EINVAL);
	assert_errno(mprotect(start, length(), PROT_READ | PROT_WRITE), 0);
	assert_error(uffd_try_register(both, start, length(), UFFDIO_REGISTER_MODE_RWP, &ioctls),
		     0);
	assert_that(ioctls & 1 << _UFFDIO_RWPROTECT,
		    "UFFDIO_REGISTER offers ioctls %#llx, expected UFFDIO_RWPROTECT among them",
		    (unsigned long long)ioctls);
	assert_error(uffd_try_register(both, start, length(), UFFDIO_REGISTER_MODE_MISSING, NULL),
		     EBUSY);
}

static void wrong_arguments(void)
{
	char *other = map_anonymous(BASE_PAGE, 0);

	map_registered(0);
	assert_error(uffd_rwprotect(uffd, other, BASE_PAGE, PROTECT), ENOENT);
	assert_error(uffd_rwprotect(uffd, start + 1, memory_unit(kind), PROTECT), EINVAL);
	assert_error(uffd_rwprotect(uffd, start, 0, PROTECT), EINVAL);
	assert_error(uffd_rwprotect(uffd, start, length(), PROTECT |
				    UFFDIO_RWPROTECT_MODE_DONTWAKE), EINVAL);
	assert_error(uffd_rwprotect(uffd, start, length(), 1 << 5), EINVAL);
	if (kind == HUGETLB)
		assert_error(uffd_rwprotect(uffd, start, BASE_PAGE, PROTECT), EINVAL);
	check_free(0);
}

static void each_access_waits(void)
{
	uint64_t before[UNITS], after;
	struct touch touch;

	map_registered(0);
	for (size_t unit = 0; unit < UNITS; unit++)
		before[unit] = pagemap_entry(at(unit));
	assert_error(uffd_rwprotect(uffd, start, length(), PROTECT), 0);
	for (size_t unit = 0; unit < UNITS; unit++) {
		after = pagemap_entry(at(unit));
		assert_that(after & PAGEMAP_PRESENT &&
			    (after & PAGEMAP_FRAME) == (before[unit] & PAGEMAP_FRAME),
			    "pagemap: %#llx after the protection, expected a present page with the frame of %#llx",
			    (unsigned long long)after, (unsigned long long)before[unit]);
	}
	check_trapped(uffd, 0);
	touch_start(&touch, at(1), TOUCH_WRITE);
	assert_fault(uffd, at(1), UFFD_PAGEFAULT_FLAG_RWP | UFFD_PAGEFAULT_FLAG_WRITE);
	check_free(0);
	assert_that(touch_is_blocked(&touch), "the writer did not wait for its own unit");
	assert_error(uffd_rwprotect(uffd, at(1), memory_unit(kind), LIFT), 0);
	touch_end(&touch);
	memory_fill(kind, start, UNITS, CHANGED);
	check_pages(at(1), 0, 1, CHANGED);
	assert_no_fault(uffd);
}

static void accessed_pages(void)
{
	size_t pages = memory_unit(kind) / BASE_PAGE;
	struct scan seen;

	map_protected(UFFD_FEATURE_RWP_ASYNC);
	seen = scan_pages(start, length(), 0, SCAN_ACCESSED, 0);
	assert_regions(&seen, 0);
	check_free(1);
	seen = scan_pages(start, length(), 0, SCAN_ACCESSED, 0);
	assert_regions(&seen, 1);
	assert_region(&seen, 0, at(1), pages);
	fill_pages(at(0), 0, 1, CHANGED);
	seen = scan_pages(start, length(), 0, SCAN_ACCESSED, 0);
	assert_regions(&seen, 1);
	assert_region(&seen, 0, at(0), UNITS * pages);
	assert_error(uffd_rwprotect(uffd, start, length(), PROTECT), 0);
	seen = scan_pages(start, length(), 0, SCAN_ACCESSED, 0);
	assert_regions(&seen, 0);
	check_pages(at(0), 0, 1, CHANGED);
	check_pages(at(1), 0, 1, FILLING);
}

/* Of protected memory one unit was accessed, and the scan says so. */
static void assert_accessed(size_t unit)
{
	struct scan seen = scan_pages(start, length(), 0, SCAN_ACCESSED, 0);

	assert_regions(&seen, 1);
	assert_region(&seen, 0, at(unit), memory_unit(kind) / BASE_PAGE);
}

/* What the handler has lifted the protection of counts as accessed. */
static void accessed_and_waited(void)
{
	struct scan seen;

	map_protected(0);
	seen = scan_pages(start, length(), 0, SCAN_ACCESSED, 0);
	assert_regions(&seen, 0);
	check_trapped(uffd, 1);
	assert_accessed(1);
}

/* A scan protects only memory that is registered for asynchronous write protection. */
static void scan_protects_nothing(void)
{
	struct scan_masks present = { .all_of = SCAN_PRESENT, .returned = SCAN_PRESENT };
	struct scan_limits limits = { .regions = UNITS };
	struct scan_region regions[UNITS];
	char *end;
	int found;

	map_protected(UFFD_FEATURE_RWP_ASYNC);
	check_free(1);
	found = scan_try(start, length(), SCAN_PROTECTS | SCAN_CHECKS_ASYNC, present, limits,
			 regions, &end);
	assert_that(found == -EPERM, "PAGEMAP_SCAN that protects and checks: %d, expected -EPERM",
		    found);
	found = scan_try(start, length(), SCAN_PROTECTS, present, limits, regions, &end);
	assert_that(found == 0, "PAGEMAP_SCAN that protects: %d regions, expected none", found);
	assert_accessed(1);
	check_free(0);
}

static void mode_changes(void)
{
	struct touch touch;
	int plain = uffd_open(0);

	map_protected(UFFD_FEATURE_RWP_ASYNC);
	assert_error(uffd_set_mode(uffd, UFFD_FEATURE_RWP_ASYNC, UFFD_FEATURE_RWP_ASYNC), EINVAL);
	assert_error(uffd_set_mode(uffd, UFFD_FEATURE_RWP, 0), EINVAL);
	assert_error(uffd_set_mode(plain, UFFD_FEATURE_RWP_ASYNC, 0), EINVAL);
	check_free(0);
	assert_error(uffd_set_mode(uffd, 0, UFFD_FEATURE_RWP_ASYNC), 0);
	touch_start(&touch, at(1), TOUCH_READ);
	assert_fault(uffd, at(1), UFFD_PAGEFAULT_FLAG_RWP);
	assert_that(touch_is_blocked(&touch), "the reader did not wait");
	assert_error(uffd_set_mode(uffd, UFFD_FEATURE_RWP_ASYNC, 0), 0);
	touch_end(&touch);
	assert_no_fault(uffd);
}

static void use_memory(void)
{
	check_pages(at(0), 0, 1, FILLING);
	fill_pages(at(1), 0, 1, FILLING);
}

/* Without UFFD_FEATURE_EVENT_FORK the child's memory is its own. */
static void fork_unseen(void)
{
	map_protected(0);
	child_end(child_start(use_memory));
	assert_no_fault(uffd);
	check_trapped(uffd, 0);
	check_trapped(uffd, 1);
}

static void *fork_child(void *unused)
{
	(void)unused;
	child_end(child_start(use_memory)); /* PR_SET_PDEATHSIG is per thread */
	return NULL;
}

static void fork_inherits(void)
{
	pthread_t thread;
	int of_child;

	map_protected(UFFD_FEATURE_EVENT_FORK);
	assert_error(pthread_create(&thread, NULL, fork_child, NULL), 0);
	of_child = (int)uffd_next_event(uffd, UFFD_EVENT_FORK).arg.fork.ufd;
	assert_fault(of_child, at(0), UFFD_PAGEFAULT_FLAG_RWP);
	assert_error(uffd_rwprotect(of_child, at(0), memory_unit(kind), LIFT), 0);
	assert_fault(of_child, at(1), UFFD_PAGEFAULT_FLAG_RWP | UFFD_PAGEFAULT_FLAG_WRITE);
	assert_error(uffd_rwprotect(of_child, at(1), memory_unit(kind), LIFT), 0);
	pthread_join(thread, NULL);
	check_trapped(uffd, 0);
	check_trapped(uffd, 1);
}

static void *move_mapping(void *to)
{
	void *moved = mremap(start, length(), length(), MREMAP_MAYMOVE | MREMAP_FIXED, to);

	assert_that(moved == to, "mremap: %s", error_name(errno));
	return NULL;
}

static void mremap_unseen(void)
{
	char *to;

	map_protected(0);
	to = memory_map(kind, fd, UNITS);
	move_mapping(to);
	start = to;
	check_free(0);
	check_pages(at(0), 0, 1, FILLING);
	memory_fill(kind, start, UNITS, CHANGED);
	assert_error(uffd_rwprotect(uffd, start, length(), PROTECT), ENOENT);
}

static void mremap_inherits(void)
{
	char *to;

	map_protected(UFFD_FEATURE_EVENT_REMAP);
	to = memory_map(kind, fd, UNITS);
	uffd_event_of(uffd, UFFD_EVENT_REMAP, move_mapping, to);
	start = to;
	check_trapped(uffd, 0);
	check_trapped(uffd, 1);
}

/* In asynchronous mode; the child of fork uses memory that is not registered. */
static void changes_keep_accesses(void)
{
	char *to;

	map_protected(UFFD_FEATURE_RWP_ASYNC | UFFD_FEATURE_EVENT_REMAP);
	check_free(1);
	assert_accessed(1);
	child_end(child_start(use_memory));
	assert_accessed(1);
	assert_errno(mprotect(start, length(), PROT_READ), 0);
	assert_accessed(1);
	assert_errno(mprotect(start, length(), PROT_READ | PROT_WRITE), 0);
	assert_accessed(1);
	to = memory_map(kind, fd, UNITS);
	uffd_event_of(uffd, UFFD_EVENT_REMAP, move_mapping, to);
	start = to;
	assert_accessed(1);
	check_pages(at(1), 0, 1, FILLING);
}

static void mprotect_keeps(void)
{
	map_protected(0);
	assert_errno(mprotect(start, length(), PROT_READ), 0);
	check_trapped(uffd, 0);
	assert_signal(at(0), TOUCH_WRITE, SIGSEGV);
	assert_errno(mprotect(start, length(), PROT_READ | PROT_WRITE), 0);
	check_free(0);
	check_trapped(uffd, 1);
	memory_fill(kind, start, UNITS, CHANGED);
	check_pages(at(1), 0, 1, CHANGED);
}

static void unregistering_lifts(void)
{
	struct touch touch;

	map_protected(0);
	touch_start(&touch, at(0), TOUCH_READ);
	assert_fault(uffd, at(0), UFFD_PAGEFAULT_FLAG_RWP);
	assert_error(uffd_unregister(uffd, start, length()), 0);
	/* Of waiting faults it wakes only missing ones. */
	assert_error(uffd_wake(uffd, start, length()), 0);
	touch_end(&touch);
	check_pages(at(1), 0, 1, FILLING);
	memory_fill(kind, start, UNITS, CHANGED);
	assert_error(uffd_rwprotect(uffd, start, length(), PROTECT), ENOENT);
}

static void closing_lifts(void)
{
	map_protected(0);
	close(uffd);
	check_pages(at(0), 0, 1, FILLING);
	memory_fill(kind, start, UNITS, CHANGED);
	check_pages(at(1), 0, 1, CHANGED);
}

/* What is mapped again afterwards is another entry, which nobody has protected. */
static void dropping_lifts(void)
{
	map_protected(0);
	assert_error(advise(start, length(), MADV_DONTNEED), 0);
	check_free(0);
	if (fd >= 0)
		check_pages(at(0), 0, 1, FILLING);
	else
		check_zero(at(0), 0, 1);
}

/* Page NUMBER of base pages that were filled as one huge page, of which it alone is protected. */
static void check_one_trapped(size_t number)
{
	check_pages(start, 0, number, FILLING);
	check_pages(start, number + 1, TABLE_ENTRIES - number - 1, FILLING);
	assert_no_fault(uffd);
	assert_trapped(uffd, start + number * BASE_PAGE, BASE_PAGE, TOUCH_WRITE);
	check_pages(start, 0, TABLE_ENTRIES, FILLING);
}

/* The kernel may refuse to collapse; it must not lose the protection. */
static void collapse_keeps(void)
{
	uintptr_t all = (uintptr_t)map_anonymous(2 * PMD_PAGE, 0);
	int error;

	start = (char *)((all + PMD_PAGE - 1) & ~(PMD_PAGE - 1));
	advise(start, PMD_PAGE, MADV_NOHUGEPAGE);
	fill_pages(start, 0, TABLE_ENTRIES, FILLING);
	advise(start, PMD_PAGE, MADV_HUGEPAGE);
	uffd = uffd_open(UFFD_FEATURE_RWP);
	uffd_register(uffd, start, PMD_PAGE, UFFDIO_REGISTER_MODE_RWP);
	assert_error(uffd_rwprotect(uffd, start + 3 * BASE_PAGE, BASE_PAGE, PROTECT), 0);
	error = advise(start, PMD_PAGE, MADV_COLLAPSE);
	probe_note("MADV_COLLAPSE: %s", error_name(error));
	check_one_trapped(3);
	assert_error(advise(start, PMD_PAGE, MADV_COLLAPSE), 0);
	assert_error(uffd_rwprotect(uffd, start + 5 * BASE_PAGE, BASE_PAGE, PROTECT), 0);
	check_one_trapped(5);
}

/*
 * The kernel unmaps what it collapses, which drops the protection; what is mapped afterwards
 * can be protected again.
 */
static void collapse_of_file(void)
{
	uintptr_t all = (uintptr_t)map_anonymous(2 * PMD_PAGE, 0);
	int file = memfd_create("collapse", MFD_CLOEXEC);
	struct touch touch;

	assert_that(file >= 0 && ftruncate(file, PMD_PAGE) == 0, "memfd: %s", error_name(errno));
	start = (char *)((all + PMD_PAGE - 1) & ~(PMD_PAGE - 1));
	start = mmap(start, PMD_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0);
	assert_that(start != MAP_FAILED, "mmap: %s", error_name(errno));
	fill_pages(start, 0, TABLE_ENTRIES, FILLING);
	uffd = uffd_open(UFFD_FEATURE_RWP);
	uffd_register(uffd, start, PMD_PAGE, UFFDIO_REGISTER_MODE_RWP);
	assert_error(uffd_rwprotect(uffd, start + 3 * BASE_PAGE, BASE_PAGE, PROTECT), 0);
	probe_note("MADV_COLLAPSE: %s", error_name(advise(start, PMD_PAGE, MADV_COLLAPSE)));
	touch_start(&touch, start + 3 * BASE_PAGE, TOUCH_READ);
	if (touch_is_blocked(&touch)) {
		assert_fault(uffd, start + 3 * BASE_PAGE, UFFD_PAGEFAULT_FLAG_RWP);
		assert_error(uffd_rwprotect(uffd, start, PMD_PAGE, LIFT), 0);
	}
	touch_end(&touch);
	check_pages(start, 0, TABLE_ENTRIES, FILLING);
	assert_error(uffd_rwprotect(uffd, start + 5 * BASE_PAGE, BASE_PAGE, PROTECT), 0);
	check_one_trapped(5);
}

static void part_of_an_entry(void)
{
	map_registered(0);
	fill_pages(start, 0, TABLE_ENTRIES, FILLING);
	assert_error(uffd_rwprotect(uffd, start + 3 * BASE_PAGE, BASE_PAGE, PROTECT), 0);
	check_one_trapped(3);
}

int main(int argc, char **argv)
{
	static struct probe_test tests[] = {
		{ "UFFDIO_REGISTER in RWP mode needs the feature and excludes WP mode",
		  registration },
		{ "UFFDIO_RWPROTECT refuses what is not registered, aligned or known",
		  wrong_arguments },
		{ "a read and a write of protected memory wait for UFFDIO_RWPROTECT",
		  each_access_waits },
		{ "PAGEMAP_SCAN finds what was accessed in asynchronous mode", accessed_pages },
		{ "PAGEMAP_SCAN finds what the handler let go", accessed_and_waited },
		{ "PAGEMAP_SCAN that protects leaves read-write protected memory alone",
		  scan_protects_nothing },
		{ "PAGEMAP_SCAN finds the same after fork, mprotect and mremap",
		  changes_keep_accesses },
		{ "UFFDIO_SET_MODE starts and ends asynchronous mode and wakes who waits",
		  mode_changes },
		{ "a child of fork accesses protected memory, which stays protected in its parent",
		  fork_unseen },
		/* Known by its first letter in catalog.toml. */
		{ "fork with UFFD_EVENT_FORK gives the child the protection", fork_inherits },
		{ "mremap leaves the protection behind", mremap_unseen },
		{ "mremap with UFFD_EVENT_REMAP moves the protection", mremap_inherits },
		{ "mprotect keeps the protection", mprotect_keeps },
		{ "UFFDIO_UNREGISTER lifts the protection", unregistering_lifts },
		{ "closing the userfaultfd lifts the protection", closing_lifts },
		{ "MADV_DONTNEED drops the protection with the page", dropping_lifts },
		{ "MADV_COLLAPSE keeps the protection of a base page", collapse_keeps },
	};
	static const struct probe_test of_part = {
		"UFFDIO_RWPROTECT protects a base page of a transparent huge page",
		part_of_an_entry,
	};
	static const struct probe_test of_file = {
		"MADV_COLLAPSE of a file keeps its contents, which can be protected again",
		collapse_of_file,
	};
	static const struct probe_argument arguments[] = { MEMORY_ARGUMENT, { 0 } };

	kind = memory_kind(argc, argv);
	if (kind == TRANSPARENT)
		tests[COUNT_OF(tests) - 1] = of_part;
	if (kind == SHMEM)
		tests[COUNT_OF(tests) - 1] = of_file;
	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		/* The last is of memory with base pages and a table of its own. */
		.count = COUNT_OF(tests) - (kind == HUGETLB),
		.pages = kind == HUGETLB ? UNITS : 0,
		.arguments = arguments,
		.setup = open_file,
	});
}
