// SPDX-License-Identifier: GPL-2.0-only
/*
 * userfaultfd's read-write protection of base pages of a split huge page: an access to what is
 * protected waits or is found by PAGEMAP_SCAN, and one to its neighbours does not wait and is not
 * found, whatever the sizes of the entries.
 */
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1

#define PROTECT UFFDIO_RWPROTECT_MODE_RWP
#define LIFT 0

/* Pages 3 and 4 are protected, and pages next to them are accessed. */
#define PROTECTED 3UL
#define COUNT 2UL
#define BEFORE (PROTECTED - 1)
#define AFTER (PROTECTED + COUNT)
#define SOME 16UL /* pages that are mapped by an entry each */

/* What is mapped: SOME pages, or all of the huge page by one entry. */
static enum entries { BASE_PAGES, ONE_ENTRY } entries;

static int fd, uffd;
static char *primary;

/* As far as the tests look at contents. */
static void fill_memory(char *start)
{
	fill_pages(start, 0, huge_size() > PMD_PAGE ? 2 * TABLE_ENTRIES : huge_pages(), FILLING);
}

static void make_file(void)
{
	close(uffd_open(UFFD_FEATURE_RWP));
	fd = huge_memfd(1);
	fill_memory(map_shared(fd, huge_size(), RESERVED));
}

static char *page(size_t number)
{
	return primary + number * BASE_PAGE;
}

static size_t mapped(void)
{
	return entries == BASE_PAGES ? SOME : huge_pages();
}

/* An entry of 2 MiB below the huge page's own, of which other pages were mapped by one entry. */
static bool has_entry_below(void)
{
	return entries == ONE_ENTRY && huge_size() > PMD_PAGE;
}

static void rwprotect(size_t first, size_t count, uint64_t mode)
{
	assert_error(uffd_rwprotect(uffd, page(first), count * BASE_PAGE, mode), 0);
}

/* Mapped, registered for minor faults too, and nothing of it protected. */
static void map_unprotected(enum entries which, uint64_t features)
{
	entries = which;
	probe_about(which == BASE_PAGES ? "base pages" : "one entry");
	primary = map_split(fd, UFFD_FEATURE_RWP | features, UFFDIO_REGISTER_MODE_RWP, &uffd);
	assert_continue(uffd, primary, mapped() * BASE_PAGE, 0, mapped() * BASE_PAGE);
}

/* The same, and pages 3 and 4 are protected; and all of a second entry of 2 MiB if there is one. */
static void map_protected(enum entries which, uint64_t features)
{
	map_unprotected(which, features);
	rwprotect(PROTECTED, COUNT, PROTECT);
	if (has_entry_below())
		rwprotect(TABLE_ENTRIES, TABLE_ENTRIES, PROTECT);
}

static void check_contents(void)
{
	check_pages(primary, 0, SOME, FILLING);
	if (has_entry_below())
		check_pages(primary, TABLE_ENTRIES + PROTECTED, 1, FILLING);
}

/* What is protected is as map_protected() has left it. It no longer is afterwards. */
static void check_protection(void)
{
	assert_untrapped(uffd, page(BEFORE), TOUCH_READ);
	assert_untrapped(uffd, page(AFTER), TOUCH_WRITE);
	assert_untrapped(uffd, page(mapped() - 1), TOUCH_READ);
	assert_trapped(uffd, page(PROTECTED), BASE_PAGE, TOUCH_READ);
	assert_trapped(uffd, page(PROTECTED + 1), BASE_PAGE, TOUCH_WRITE);
	if (has_entry_below()) {
		assert_trapped(uffd, page(TABLE_ENTRIES + PROTECTED), BASE_PAGE, TOUCH_READ);
		assert_trapped(uffd, page(2 * TABLE_ENTRIES - 1), BASE_PAGE, TOUCH_WRITE);
	}
	check_contents();
	assert_no_fault(uffd);
}

/* Reads all, and writes what was protected. */
static void use_all(void)
{
	check_contents();
	fill_pages(primary, PROTECTED, COUNT, FILLING);
}

/* Nothing that was protected stops an access. */
static void check_no_protection(void)
{
	use_all();
	assert_untrapped(uffd, page(PROTECTED), TOUCH_WRITE);
	if (has_entry_below())
		assert_untrapped(uffd, page(2 * TABLE_ENTRIES - 1), TOUCH_WRITE);
}

static void arguments(void)
{
	primary = map_shared(fd, huge_size(), UNRESERVED);
	uffd = uffd_open(UFFD_FEATURE_RWP);
	uffd_register(uffd, primary, huge_size(), UFFDIO_REGISTER_MODE_RWP);
	assert_error(uffd_rwprotect(uffd, page(1), BASE_PAGE, PROTECT), EINVAL);
	split(primary, huge_size());
	assert_error(uffd_rwprotect(uffd, page(1), BASE_PAGE, PROTECT), 0);
	assert_error(uffd_rwprotect(uffd, page(1) + 1, BASE_PAGE, PROTECT), EINVAL);
	assert_error(uffd_rwprotect(uffd, page(1), BASE_PAGE / 2, PROTECT), EINVAL);
}

static void neighbours(void)
{
	for (entries = BASE_PAGES; entries <= ONE_ENTRY; entries++) {
		map_protected(entries, 0);
		check_protection();
	}
}

static void wakes_its_own(void)
{
	struct touch first, second;

	map_protected(BASE_PAGES, 0);
	touch_start(&first, page(PROTECTED) + 8, TOUCH_READ);
	assert_fault(uffd, page(PROTECTED), UFFD_PAGEFAULT_FLAG_RWP);
	touch_start(&second, page(PROTECTED + 1) + 8, TOUCH_WRITE);
	assert_fault(uffd, page(PROTECTED + 1),
		     UFFD_PAGEFAULT_FLAG_RWP | UFFD_PAGEFAULT_FLAG_WRITE);
	rwprotect(PROTECTED, 1, LIFT);
	touch_end(&first);
	assert_that(touch_is_blocked(&second),
		    "the writer to the next page did not wait for that one");
	assert_no_fault(uffd);
	rwprotect(PROTECTED + 1, 1, UFFDIO_RWPROTECT_MODE_DONTWAKE);
	assert_that(touch_is_blocked(&second), "UFFDIO_RWPROTECT_MODE_DONTWAKE woke the writer");
	assert_error(uffd_wake(uffd, page(PROTECTED + 1), BASE_PAGE), 0);
	touch_end(&second);
	check_no_protection();
}

/* SIZE bytes, mapped by one entry, are protected, and one base page of them no longer. */
static void lift_part_of(size_t size)
{
	size_t last = size / BASE_PAGE - 1;

	map_unprotected(ONE_ENTRY, 0);
	probe_about("an entry of %s", size_text((int64_t)size));
	assert_error(uffd_rwprotect(uffd, primary, size, PROTECT), 0);
	assert_trapped(uffd, page(PROTECTED), BASE_PAGE, TOUCH_READ);
	assert_untrapped(uffd, page(PROTECTED), TOUCH_WRITE);
	assert_trapped(uffd, page(PROTECTED - 1), BASE_PAGE, TOUCH_WRITE);
	assert_trapped(uffd, page(PROTECTED + 1), BASE_PAGE, TOUCH_READ);
	assert_trapped(uffd, page(last), BASE_PAGE, TOUCH_READ);
	assert_untrapped(uffd, page(last), TOUCH_WRITE);
	if (size < huge_size())
		assert_untrapped(uffd, page(last + 1), TOUCH_READ);
	assert_error(uffd_rwprotect(uffd, primary, size, LIFT), 0);
	check_no_protection();
}

static void part_is_lifted(void)
{
	lift_part_of(huge_size());
	if (huge_size() > PMD_PAGE)
		lift_part_of(PMD_PAGE);
}

/* Fails the test unless the scan finds these pages, which are not neighbours, and no others. */
static void assert_accessed(size_t count, const size_t *numbers)
{
	struct scan seen = scan_pages(primary, huge_size(), 0, SCAN_ACCESSED, 0);

	assert_regions(&seen, (int)count);
	for (size_t i = 0; i < count; i++)
		assert_region(&seen, (int)i, page(numbers[i]), 1);
}

static const size_t accessed[] = { PROTECTED, SOME - 2, SOME };

static void found_by_scan(void)
{
	for (entries = BASE_PAGES; entries <= ONE_ENTRY; entries++) {
		map_unprotected(entries, UFFD_FEATURE_RWP_ASYNC);
		for (int round = 0; round < 2; round++) {
			assert_error(uffd_rwprotect(uffd, primary, huge_size(), PROTECT), 0);
			assert_accessed(0, NULL);
			assert_untrapped(uffd, page(accessed[0]), TOUCH_READ);
			assert_accessed(1, accessed);
			assert_untrapped(uffd, page(accessed[1]), TOUCH_WRITE);
			assert_accessed(2, accessed);
		}
		check_contents();
	}
}

/* What the handler has lifted the protection of counts as accessed. */
static void lifted_found_by_scan(void)
{
	map_unprotected(ONE_ENTRY, 0);
	assert_error(uffd_rwprotect(uffd, primary, huge_size(), PROTECT), 0);
	assert_trapped(uffd, page(accessed[0]), BASE_PAGE, TOUCH_READ);
	assert_trapped(uffd, page(accessed[1]), BASE_PAGE, TOUCH_WRITE);
	assert_accessed(2, accessed);
}

/* A hole has no mark: what is continued there is accessible, and its neighbours as they were. */
static void holes(void)
{
	struct touch touch;

	map_unprotected(BASE_PAGES, 0);
	rwprotect(SOME - 2, 8, PROTECT);
	assert_present(primary, 2 * SOME, SOME);
	touch_start(&touch, page(SOME) + 8, TOUCH_READ);
	assert_fault(uffd, page(SOME), UFFD_PAGEFAULT_FLAG_MINOR);
	assert_continue(uffd, page(SOME), BASE_PAGE, 0, BASE_PAGE);
	touch_end(&touch);
	assert_untrapped(uffd, page(SOME), TOUCH_WRITE);
	assert_trapped(uffd, page(SOME - 1), BASE_PAGE, TOUCH_READ);
	check_pages(primary, SOME, 1, FILLING);
}

static void continue_of_protected(void)
{
	map_protected(BASE_PAGES, 0);
	assert_continue(uffd, page(PROTECTED), BASE_PAGE, EEXIST, -EEXIST);
	check_protection();
}

/* The second page of three is protected, the first and the third are holes. */
static void continue_around_protected(void)
{
	entries = BASE_PAGES;
	primary = map_split(fd, UFFD_FEATURE_RWP, UFFDIO_REGISTER_MODE_RWP, &uffd);
	assert_continue(uffd, page(1), BASE_PAGE, 0, BASE_PAGE);
	rwprotect(0, 3, PROTECT);
	assert_continue(uffd, page(0), 3 * BASE_PAGE, EAGAIN, BASE_PAGE);
	assert_continue(uffd, page(2), BASE_PAGE, 0, BASE_PAGE);
	assert_untrapped(uffd, page(0), TOUCH_READ);
	assert_untrapped(uffd, page(2), TOUCH_WRITE);
	assert_trapped(uffd, page(1), BASE_PAGE, TOUCH_WRITE);
	check_pages(primary, 0, 3, FILLING);
}

/* Without UFFD_FEATURE_EVENT_FORK the child's memory is its own. */
static void fork_unseen(void)
{
	for (entries = BASE_PAGES; entries <= ONE_ENTRY; entries++) {
		map_protected(entries, 0);
		child_end(child_start(use_all));
		assert_no_fault(uffd);
		check_protection();
	}
}

static void child_uses_protected(void)
{
	check_pages(primary, BEFORE, 1, FILLING);
	fill_pages(primary, AFTER, 1, FILLING);
	check_pages(primary, PROTECTED, 1, FILLING);
	fill_pages(primary, PROTECTED + 1, 1, FILLING);
	if (has_entry_below())
		check_pages(primary, 2 * TABLE_ENTRIES - 1, 1, FILLING);
}

static void *call_fork(void *run)
{
	child_end(child_start((void (*)(void))run)); /* PR_SET_PDEATHSIG is per thread */
	return NULL;
}

/* The next access that waits in the child is to this page, whose protection there ends. */
static void answer_child(int of_child, size_t number, uint64_t flags)
{
	assert_fault(of_child, page(number), UFFD_PAGEFAULT_FLAG_RWP | flags);
	assert_error(uffd_rwprotect(of_child, page(number), BASE_PAGE, LIFT), 0);
}

static void fork_inherits(void)
{
	pthread_t thread;
	int of_child;

	for (entries = BASE_PAGES; entries <= ONE_ENTRY; entries++) {
		map_protected(entries, UFFD_FEATURE_EVENT_FORK);
		assert_error(pthread_create(&thread, NULL, call_fork, child_uses_protected), 0);
		of_child = (int)uffd_next_event(uffd, UFFD_EVENT_FORK).arg.fork.ufd;
		answer_child(of_child, PROTECTED, 0);
		answer_child(of_child, PROTECTED + 1, UFFD_PAGEFAULT_FLAG_WRITE);
		if (has_entry_below())
			answer_child(of_child, 2 * TABLE_ENTRIES - 1, 0);
		pthread_join(thread, NULL);
		assert_no_fault(of_child);
		check_protection();
		close(uffd); /* or the next fork would wait until its event is read there */
	}
}

static void *move_mapping(void *to)
{
	void *moved = mremap(primary, huge_size(), huge_size(), MREMAP_MAYMOVE | MREMAP_FIXED, to);

	assert_that(moved == to, "mremap: %s", error_name(errno));
	return NULL;
}

static void mremap_unseen(void)
{
	for (entries = BASE_PAGES; entries <= ONE_ENTRY; entries++) {
		char *to = map_shared(fd, huge_size(), UNRESERVED);

		map_protected(entries, 0);
		move_mapping(to);
		primary = to;
		assert_untrapped(uffd, page(PROTECTED), TOUCH_READ);
		check_no_protection();
		assert_error(uffd_rwprotect(uffd, page(PROTECTED), BASE_PAGE, PROTECT), ENOENT);
	}
}

/* Its userfaultfd must have UFFD_FEATURE_EVENT_REMAP. */
static void move_registered(void)
{
	char *to = map_shared(fd, huge_size(), UNRESERVED);

	uffd_event_of(uffd, UFFD_EVENT_REMAP, move_mapping, to);
	primary = to;
}

static void mremap_inherits(void)
{
	for (entries = BASE_PAGES; entries <= ONE_ENTRY; entries++) {
		map_protected(entries, UFFD_FEATURE_EVENT_REMAP);
		move_registered();
		check_protection();
	}
}

static void mprotect_keeps(void)
{
	for (entries = BASE_PAGES; entries <= ONE_ENTRY; entries++) {
		map_protected(entries, 0);
		assert_errno(mprotect(page(PROTECTED), BASE_PAGE, PROT_READ), EINVAL);
		assert_errno(mprotect(primary, huge_size(), PROT_READ), 0);
		assert_untrapped(uffd, page(BEFORE), TOUCH_READ);
		assert_signal(page(BEFORE) + 8, TOUCH_WRITE, SIGSEGV);
		assert_trapped(uffd, page(PROTECTED), BASE_PAGE, TOUCH_READ);
		assert_signal(page(PROTECTED) + 8, TOUCH_WRITE, SIGSEGV);
		rwprotect(PROTECTED, 1, PROTECT);
		assert_errno(mprotect(primary, huge_size(), PROT_READ | PROT_WRITE), 0);
		check_protection();
	}
}

static void child_sees_accessed(void)
{
	assert_accessed(2, accessed);
	check_pages(primary, accessed[2], 1, FILLING);
	assert_accessed(3, accessed);
}

static void changes_keep_accesses(void)
{
	pthread_t thread;

	map_unprotected(ONE_ENTRY, UFFD_FEATURE_RWP_ASYNC | UFFD_FEATURE_EVENT_REMAP |
			UFFD_FEATURE_EVENT_FORK);
	assert_error(uffd_rwprotect(uffd, primary, huge_size(), PROTECT), 0);
	assert_untrapped(uffd, page(accessed[0]), TOUCH_READ);
	assert_untrapped(uffd, page(accessed[1]), TOUCH_WRITE);
	assert_errno(mprotect(primary, huge_size(), PROT_READ), 0);
	assert_accessed(2, accessed);
	assert_errno(mprotect(primary, huge_size(), PROT_READ | PROT_WRITE), 0);
	assert_accessed(2, accessed);
	move_registered();
	assert_accessed(2, accessed);
	assert_error(pthread_create(&thread, NULL, call_fork, child_sees_accessed), 0);
	uffd_next_event(uffd, UFFD_EVENT_FORK);
	pthread_join(thread, NULL);
	assert_accessed(2, accessed);
}

static void collapse_drops(void)
{
	for (entries = BASE_PAGES; entries <= ONE_ENTRY; entries++) {
		map_protected(entries, 0);
		collapse(primary, huge_size());
		assert_whole(primary, huge_size());
		check_no_protection();
		rwprotect(PROTECTED, COUNT, PROTECT);
		assert_trapped(uffd, page(PROTECTED), BASE_PAGE, TOUCH_READ);
		assert_untrapped(uffd, page(BEFORE), TOUCH_WRITE);
	}
}

/* Pages 3 and 4 of a protected entry are collapsed, which is of no use except for this. */
static void collapse_of_part(void)
{
	map_unprotected(ONE_ENTRY, 0);
	assert_error(uffd_rwprotect(uffd, primary, huge_size(), PROTECT), 0);
	collapse(page(PROTECTED), COUNT * BASE_PAGE);
	assert_untrapped(uffd, page(PROTECTED), TOUCH_READ);
	assert_untrapped(uffd, page(PROTECTED + 1), TOUCH_WRITE);
	assert_trapped(uffd, page(BEFORE), BASE_PAGE, TOUCH_WRITE);
	assert_trapped(uffd, page(AFTER), BASE_PAGE, TOUCH_READ);
	assert_trapped(uffd, page(huge_pages() - 1), BASE_PAGE, TOUCH_READ);
	check_pages(primary, BEFORE, COUNT + 2, FILLING);
}

static void unregistering_lifts(void)
{
	struct touch touch;

	for (entries = BASE_PAGES; entries <= ONE_ENTRY; entries++) {
		map_protected(entries, 0);
		touch_start(&touch, page(PROTECTED) + 8, TOUCH_READ);
		assert_fault(uffd, page(PROTECTED), UFFD_PAGEFAULT_FLAG_RWP);
		assert_error(uffd_unregister(uffd, primary, huge_size()), 0);
		/* Of waiting faults it wakes only missing ones. */
		assert_error(uffd_wake(uffd, page(PROTECTED), BASE_PAGE), 0);
		touch_end(&touch);
		check_no_protection();
	}
}

static void closing_lifts(void)
{
	for (entries = BASE_PAGES; entries <= ONE_ENTRY; entries++) {
		map_protected(entries, 0);
		close(uffd);
		use_all();
		check_contents();
	}
}

/* What is mapped again has new entries, which are not protected. */
static void dropping_lifts(void)
{
	struct touch touch;

	for (entries = BASE_PAGES; entries <= ONE_ENTRY; entries++) {
		map_protected(entries, 0);
		assert_error(advise(primary, huge_size(), MADV_DONTNEED), 0);
		touch_start(&touch, page(PROTECTED) + 8, TOUCH_READ);
		assert_fault(uffd, page(PROTECTED), UFFD_PAGEFAULT_FLAG_MINOR);
		assert_continue(uffd, primary, SOME * BASE_PAGE, 0, SOME * BASE_PAGE);
		touch_end(&touch);
		assert_untrapped(uffd, page(PROTECTED + 1), TOUCH_WRITE);
		check_pages(primary, 0, SOME, FILLING);
	}
}

static void punching_lifts(void)
{
	for (entries = BASE_PAGES; entries <= ONE_ENTRY; entries++) {
		map_protected(entries, 0);
		punch(fd, 0, 1);
		assert_untrapped(uffd, page(PROTECTED), TOUCH_READ);
		check_zero(primary, 0, SOME);
		fill_memory(primary);
		assert_no_fault(uffd);
		rwprotect(PROTECTED, COUNT, PROTECT);
		assert_trapped(uffd, page(PROTECTED), BASE_PAGE, TOUCH_READ);
	}
}

#define PARTS PROMISE(RWP_BASE_PAGES)

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "UFFDIO_RWPROTECT takes base pages once MADV_SPLIT was called, and no less",
		  arguments, PARTS },
		{ "accesses to protected base pages wait, and those to their neighbours do not",
		  neighbours, PARTS },
		{ "UFFDIO_RWPROTECT of a base page wakes its waiters and no others",
		  wakes_its_own, PARTS },
		{ "the rest of a larger entry stays protected when a base page of it no longer is",
		  part_is_lifted, PARTS },
		{ "PAGEMAP_SCAN finds the base pages that were accessed in asynchronous mode",
		  found_by_scan, PARTS },
		{ "PAGEMAP_SCAN finds the base pages that the handler let go",
		  lifted_found_by_scan, PARTS },
		{ "PAGEMAP_SCAN finds the same base pages after mprotect and mremap, and in a child",
		  changes_keep_accesses, PARTS },
		{ "a hole in a protected range is a minor fault, and its page is accessible",
		  holes, PARTS },
		{ "UFFDIO_CONTINUE of a protected base page is EEXIST and leaves it protected",
		  continue_of_protected, PARTS },
		{ "UFFDIO_CONTINUE around a protected base page leaves it protected",
		  continue_around_protected, PARTS | PROMISE(CONTINUE_AROUND) },
		{ "a child of fork uses protected base pages, which stay protected in its parent",
		  fork_unseen, PARTS },
		{ "fork with UFFD_EVENT_FORK gives the child the protection of base pages",
		  fork_inherits, PARTS },
		{ "mremap leaves the protection of base pages behind", mremap_unseen, PARTS },
		{ "mremap with UFFD_EVENT_REMAP moves the protection of base pages",
		  mremap_inherits, PARTS },
		{ "mprotect keeps the protection of base pages", mprotect_keeps, PARTS },
		{ "MADV_COLLAPSE drops the protection of base pages, which can be protected again",
		  collapse_drops, PARTS | PROMISE(COLLAPSE) },
		{ "MADV_COLLAPSE of a part of a protected entry drops the protection of that part",
		  collapse_of_part,
		  PARTS | PROMISE(COLLAPSE_INSIDE) | PROMISE(COLLAPSE_CLEARS_WP) },
		{ "UFFDIO_UNREGISTER lifts the protection of base pages",
		  unregistering_lifts, PARTS },
		{ "closing the userfaultfd lifts the protection of base pages",
		  closing_lifts, PARTS },
		{ "MADV_DONTNEED drops the protection with the entries", dropping_lifts, PARTS },
		/* The last one, as it fills the file again. */
		{ "a hole that is punched drops the protection with the page",
		  punching_lifts, PARTS },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.needs_hgm = true,
		.setup = make_file,
	});
}
