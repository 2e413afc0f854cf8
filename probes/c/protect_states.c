// SPDX-License-Identifier: GPL-2.0-only
/*
 * UFFDIO_WRITEPROTECT on every kind of memory and state of a page, and what
 * happens to the protection afterwards. Each test does one thing to a protected
 * page of each kind and state; a failure names the kind and the state.
 *
 * While the protection holds, pagemap shows it, a write is reported and held,
 * and a page that was not there is still not there. Once it is gone, pagemap does
 * not show it, and a write goes to the page that the other mappings of the file
 * show, or for private memory to a page that they do not show.
 */
#include <unistd.h>

#include "hgm_probe.h"

#define OLD 1UL
#define NEW 2UL
#define FLAGS (UFFD_PAGEFAULT_FLAG_WP | UFFD_PAGEFAULT_FLAG_WRITE)
#define FEATURES (UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM)

enum kind {
	SHARED,		/* a hugetlb file */
	FRESH,		/* the same, where there is no page table yet */
	PRIVATE,	/* anonymous hugetlb memory */
	PRIVATE_FILE,	/* a private mapping of a hugetlb file that has the page */
	BASE_PAGES,		/* base pages of shared memory */
	ORDINARY,	/* anonymous base pages */
	TRANSPARENT_PAGE, /* an anonymous transparent huge page; the huge zero page if it was read */
	KINDS
};

enum state {
	HOLE,		/* not mapped */
	READ,		/* mapped by a read */
	WRITTEN,
	STATES
};

static const char *const kinds[] = {
	"shared hugetlb", "shared hugetlb without a page table", "private hugetlb",
	"a private mapping of a hugetlb file", "shmem", "anonymous memory",
	"a transparent huge page",
};
static const char *const states[] = { "a hole", "a page that was read", "a written page" };

/* The page under test, of LENGTH bytes, and another mapping of its file, if it has one. */
static struct place {
	enum kind kind;
	enum state state;
	char *start, *other;
	size_t length;
	int fd, uffd;
	struct pool before;
} at;

static bool is_anonymous(void)
{
	return at.kind == ORDINARY || at.kind == TRANSPARENT_PAGE;
}

static bool is_huge(void)
{
	return at.kind != BASE_PAGES && !is_anonymous();
}

static bool is_shared(void)
{
	return at.kind == SHARED || at.kind == FRESH || at.kind == BASE_PAGES;
}

static volatile uint64_t *word(char *start)
{
	return (volatile uint64_t *)start;
}

/* At the start of the range of a PMD table in which nothing else is mapped. */
static char *map_fresh(int fd)
{
	return map_at(reserve_area(PUD_PAGE, PUD_PAGE), huge_size(), MAP_SHARED | MAP_NORESERVE,
		      fd);
}

static char *map_private_file(int fd)
{
	char *start = mmap(NULL, huge_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE,
			   fd, 0);

	assert_that(start != MAP_FAILED, "private mmap of a hugetlb file: %s", error_name(errno));
	return start;
}

static void map_shmem(void)
{
	at.fd = memory_file(SHMEM, 1);
	at.start = map_shared(at.fd, BASE_PAGE, RESERVED);
	at.other = map_shared(at.fd, BASE_PAGE, RESERVED);
}

static void map_place(void)
{
	at.length = is_huge() ? huge_size() : at.kind == TRANSPARENT_PAGE ? PMD_PAGE : BASE_PAGE;
	at.fd = is_huge() && at.kind != PRIVATE ? huge_memfd(1) : -1;
	at.other = NULL;
	if (at.kind == BASE_PAGES)
		map_shmem();
	else if (at.kind == ORDINARY)
		at.start = map_anonymous(BASE_PAGE, 0);
	else if (at.kind == TRANSPARENT_PAGE)
		at.start = map_thp(PMD_PAGE);
	else if (at.kind == PRIVATE)
		at.start = map_private_huge(RESERVED);
	else
		at.other = map_shared(at.fd, huge_size(), UNRESERVED);
	if (at.kind == SHARED)
		at.start = map_shared(at.fd, huge_size(), UNRESERVED);
	else if (at.kind == FRESH)
		at.start = map_fresh(at.fd);
	else if (at.kind == PRIVATE_FILE) {
		*word(at.other) = OLD;
		at.start = map_private_file(at.fd);
	}
	if (at.state == READ)
		(void)*word(at.start);
	else if (at.state == WRITTEN)
		*word(at.start) = OLD;
}

static size_t base_pages(void)
{
	return at.length / BASE_PAGE;
}

static void assert_marked(bool want)
{
	assert_protected(at.start, base_pages(), want ? base_pages() : 0);
}

static void assert_as_it_was(void)
{
	size_t want = at.state == HOLE ? 0 : base_pages();

	assert_present(at.start, base_pages(), want);
	if (is_huge())
		assert_resident(at.start, base_pages(), want);
}

/* The entries of a set of contiguous ones must all say the same. */
static void look(bool marked)
{
	if (is_huge() && !is_one_entry(huge_size()) && at.state == WRITTEN)
		checkpoint(at.start, at.length, "present:%zu,wp:%zu", base_pages(),
			   marked ? base_pages() : 0);
}

static void protect(bool on)
{
	assert_error(uffd_protect(at.uffd, at.start, at.length, on), 0);
}

/* The page can be written without a message, and the write goes where it belongs. */
static void assert_writable(void)
{
	*word(at.start) = NEW;
	assert_that(*word(at.start) == NEW, "the page shows %llu after a write of %lu",
		    (unsigned long long)*word(at.start), NEW);
	if (at.other) {
		uint64_t want = is_shared() ? NEW : OLD;

		assert_that(*word(at.other) == want,
			    "the file's other mapping shows %llu after a write of %lu, expected "
			    "%llu", (unsigned long long)*word(at.other), NEW,
			    (unsigned long long)want);
	}
}

/* A write is reported and held, until the protection is taken away. */
static void assert_held(void)
{
	struct touch touch;

	touch_start(&touch, at.start, TOUCH_WRITE);
	assert_fault(at.uffd, at.start, FLAGS);
	assert_that(touch_is_blocked(&touch), "the write went on although it was reported");
	protect(false);
	touch_end(&touch);
	assert_marked(false);
	assert_no_fault(at.uffd);
	assert_writable();
}

static void end_place(void)
{
	unmap(at.start, at.length);
	if (at.other)
		unmap(at.other, at.length);
	if (at.fd >= 0)
		close(at.fd);
	close(at.uffd);
	assert_pool(&at.before, 0, 0, "after the test");
}

/* Marks of anonymous holes came with UFFD_FEATURE_WP_UNPOPULATED. */
static bool can_be_marked(uint64_t offered)
{
	return !is_anonymous() || at.state != HOLE || (offered & UFFD_FEATURE_WP_UNPOPULATED);
}

static uint64_t events; /* that the test wants */

static void of_place(void (*act)(void), uint64_t offered)
{
	at.before = pool_now();
	map_place();
	at.uffd = uffd_open(FEATURES | events | (offered & UFFD_FEATURE_WP_UNPOPULATED));
	uffd_register(at.uffd, at.start, at.length, UFFDIO_REGISTER_MODE_WP);
	protect(true);
	act();
	end_place();
}

static void (*action)(void);

static void of_this_place(void)
{
	of_place(action, uffd_offered());
}

/* Returns the features offered, or skips where only anonymous memory can be protected. */
static uint64_t offered_for_files(void)
{
	uint64_t offered = uffd_offered();

	if (!(offered & UFFD_FEATURE_WP_HUGETLBFS_SHMEM))
		probe_skip("UFFDIO_API: features %#llx are not offered",
			   (unsigned long long)UFFD_FEATURE_WP_HUGETLBFS_SHMEM);
	return offered;
}

/* Whether the kernel maps memory with MADV_HUGEPAGE by a huge page, for this access. */
static bool gives_transparent_page(bool written)
{
	char *start = map_at(reserve_area(PMD_PAGE, PMD_PAGE), PMD_PAGE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1);
	bool gives;

	if (madvise(start, PMD_PAGE, MADV_HUGEPAGE) != 0)
		return false;
	if (written)
		*word(start) = OLD;
	else
		(void)*word(start);
	gives = pagemap_present(start, TABLE_ENTRIES) == TABLE_ENTRIES;
	unmap(start, PMD_PAGE);
	return gives;
}

/* Transparent huge pages have one size: once is enough. */
static bool has_kind(void)
{
	return at.kind != TRANSPARENT_PAGE ||
	       (huge_size() == PMD_PAGE && gives_transparent_page(at.state != READ));
}

/* ACT on a protected page of each kind from FIRST on and each state, in a process of its own. */
static void from_place(enum kind first, void (*act)(void))
{
	uint64_t offered = offered_for_files();

	action = act;
	for (at.kind = first; at.kind < KINDS; at.kind++)
		for (at.state = 0; at.state < STATES; at.state++)
			if (can_be_marked(offered) && has_kind()) {
				probe_about("%s, %s", kinds[at.kind], states[at.state]);
				child_end(child_start(of_this_place));
			}
}

static void of_each_place(void (*act)(void))
{
	from_place(SHARED, act);
}

/* ACT on a part of a transparent huge page, which is split by that. */
static void of_parts(void (*act)(void))
{
	at.kind = TRANSPARENT_PAGE;
	at.state = WRITTEN;
	if (!has_kind())
		probe_skip("MADV_HUGEPAGE of %s gives no huge page here", size_name(PMD_PAGE));
	from_place(TRANSPARENT_PAGE, act);
}

static void then_nothing(void)
{
	assert_marked(true);
	assert_as_it_was();
	look(true);
	assert_held();
}

static void then_again(void)
{
	protect(true);
	assert_marked(true);
	assert_as_it_was();
	assert_held();
}

static void then_off(void)
{
	protect(false);
	assert_marked(false);
	assert_as_it_was();
	look(false);
	assert_writable();
	assert_no_fault(at.uffd);
}

static void then_off_twice(void)
{
	protect(false);
	protect(false);
	assert_marked(false);
	assert_as_it_was();
	protect(true);
	assert_held();
}

static void then_mprotect(void)
{
	assert_errno(mprotect(at.start, at.length, PROT_READ), 0);
	assert_errno(mprotect(at.start, at.length, PROT_READ | PROT_WRITE), 0);
	assert_marked(true);
	assert_as_it_was();
	assert_held();
}

/* What is written later must be held, whatever the mapping allows now. */
static void then_mark_read_only(void)
{
	protect(false);
	assert_errno(mprotect(at.start, at.length, PROT_READ), 0);
	protect(true);
	assert_marked(true);
	assert_errno(mprotect(at.start, at.length, PROT_READ | PROT_WRITE), 0);
	assert_marked(true);
	assert_held();
}

static void then_read(void)
{
	uint64_t want = at.state == WRITTEN || at.kind == PRIVATE_FILE ? OLD : 0;
	bool is_one_of_many = at.kind == TRANSPARENT_PAGE && at.state == HOLE;

	assert_that(*word(at.start) == want, "the page reads %llu, expected %llu",
		    (unsigned long long)*word(at.start), (unsigned long long)want);
	assert_marked(true);
	assert_present(at.start, base_pages(), is_one_of_many ? 1 : base_pages());
	assert_held();
}

static void then_other_writes(void)
{
	if (!at.other || !is_shared())
		return;
	*word(at.other) = NEW;
	assert_marked(true);
	assert_as_it_was();
	assert_held();
}

static void assert_free(void)
{
	assert_marked(false);
	assert_as_it_was();
	assert_flag(at.start, "uw", false);
	assert_errno(mprotect(at.start, at.length, PROT_READ), 0);
	assert_errno(mprotect(at.start, at.length, PROT_READ | PROT_WRITE), 0);
	assert_writable();
}

static void then_unregister(void)
{
	assert_error(uffd_unregister(at.uffd, at.start, at.length), 0);
	assert_free();
}

static void then_close(void)
{
	close(at.uffd);
	assert_free();
	at.uffd = -1;
}

/* Without UFFD_FEATURE_EVENT_REMAP the registration ends with a move. */
static void then_mremap(void)
{
	char *to = reserve_area(at.length, at.length);

	to = mremap(at.start, at.length, at.length, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	assert_that(to != MAP_FAILED, "mremap: %s", error_name(errno));
	at.start = to;
	assert_free();
}

static void child_is_free(void)
{
	assert_marked(false);
	assert_flag(at.start, "uw", false);
	*word(at.start) = NEW;
	assert_that(*word(at.start) == NEW, "the child's page shows %llu after a write of %lu",
		    (unsigned long long)*word(at.start), NEW);
}

/* Without UFFD_FEATURE_EVENT_FORK a child is not registered. */
static void then_fork(void)
{
	child_end(child_start(child_is_free));
	assert_marked(true);
	assert_held();
}

static void child_is_protected(void)
{
	assert_marked(true);
	assert_flag(at.start, "uw", true);
}

/* A userfaultfd of the child's own comes with the event, and fork waits until it is read. */
static void *take_childs(void *uffd)
{
	*(int *)uffd = (int)uffd_next_event(at.uffd, UFFD_EVENT_FORK).arg.fork.ufd;
	return NULL;
}

static void then_fork_with_event(void)
{
	pthread_t reader;
	int childs;

	assert_that(pthread_create(&reader, NULL, take_childs, &childs) == 0, "pthread_create");
	child_end(child_start(child_is_protected));
	assert_that(pthread_join(reader, NULL) == 0, "pthread_join");
	close(childs);
	assert_marked(true);
	assert_as_it_was();
	assert_held();
}

static void then_write_one_page(void)
{
	char *page = at.start + 5 * BASE_PAGE;
	struct touch touch;

	touch_start(&touch, page, TOUCH_WRITE);
	assert_fault(at.uffd, page, FLAGS);
	assert_error(uffd_protect(at.uffd, page, BASE_PAGE, false), 0);
	touch_end(&touch);
	assert_protected(page, 1, 0);
	assert_protected(at.start, base_pages(), base_pages() - 1);
	assert_held();
}

static void then_mprotect_half(void)
{
	char *half = at.start + at.length / 2;

	assert_errno(mprotect(half, at.length / 2, PROT_READ), 0);
	assert_marked(true);
	assert_errno(mprotect(half, at.length / 2, PROT_READ | PROT_WRITE), 0);
	assert_marked(true);
	assert_as_it_was();
	assert_held();
}

static void then_unmap_half(void)
{
	at.length /= 2;
	unmap(at.start + at.length, at.length);
	assert_marked(true);
	assert_as_it_was();
	assert_held();
}

static void alone(void) { of_each_place(then_nothing); }
static void twice(void) { of_each_place(then_again); }
static void off(void) { of_each_place(then_off); }
static void off_twice(void) { of_each_place(then_off_twice); }
static void mprotected(void) { of_each_place(then_mprotect); }
static void marked_read_only(void) { of_each_place(then_mark_read_only); }
static void was_read(void) { of_each_place(then_read); }
static void written_elsewhere(void) { of_each_place(then_other_writes); }
static void unregistered(void) { of_each_place(then_unregister); }
static void closed(void) { of_each_place(then_close); }
static void moved(void) { of_each_place(then_mremap); }
static void forked(void) { of_each_place(then_fork); }
static void one_page_written(void) { of_parts(then_write_one_page); }
static void half_mprotected(void) { of_parts(then_mprotect_half); }
static void half_unmapped(void) { of_parts(then_unmap_half); }

static void forked_with_event(void)
{
	events = UFFD_FEATURE_EVENT_FORK;
	of_each_place(then_fork_with_event);
}

/* UFFDIO_COPY of a protected page into a hole of a mapping that is read-only meanwhile. */
static void copy_read_only(void)
{
	char *source;

	at.before = pool_now();
	map_place();
	source = map_anonymous(at.length, 0);
	at.uffd = uffd_open(FEATURES | UFFD_FEATURE_MISSING_HUGETLBFS | UFFD_FEATURE_MISSING_SHMEM);
	uffd_register(at.uffd, at.start, at.length,
		      UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP);
	assert_errno(mprotect(at.start, at.length, PROT_READ), 0);
	*word(source) = OLD;
	assert_result(uffd_copy_mode(at.uffd, at.start, source, at.length, UFFDIO_COPY_MODE_WP), 0,
		      (int64_t)at.length);
	assert_marked(true);
	assert_errno(mprotect(at.start, at.length, PROT_READ | PROT_WRITE), 0);
	assert_marked(true);
	assert_that(*word(at.start) == OLD, "the page shows %llu, expected %lu",
		    (unsigned long long)*word(at.start), OLD);
	assert_held();
	end_place();
}

static void copied_read_only(void)
{
	offered_for_files();
	at.state = HOLE;
	/* UFFDIO_COPY makes base pages; a private mapping of a file does not raise missing faults. */
	for (at.kind = 0; at.kind < TRANSPARENT_PAGE; at.kind++)
		if (at.kind != PRIVATE_FILE) {
			probe_about("%s", kinds[at.kind]);
			child_end(child_start(copy_read_only));
		}
}

/* The VMA is cut inside of a range whose PMD table it shares with another mapping. */
static void cut_in_two(void)
{
	const size_t half = PUD_PAGE / 2;
	int fd = huge_memfd(PUD_PAGE / huge_size()), uffd;
	char *first = reserve_area(2 * PUD_PAGE, PUD_PAGE), *second = first + PUD_PAGE;
	struct touch touch;

	map_at(first, PUD_PAGE, MAP_SHARED | MAP_NORESERVE, fd);
	map_at(second, PUD_PAGE, MAP_SHARED | MAP_NORESERVE, fd);
	*word(first) = OLD;
	*word(first + huge_size()) = OLD;
	(void)*word(second);
	if (pagemap_present(second + huge_size(), 1) != 1)
		probe_skip("this kernel does not share PMD tables");
	uffd = uffd_open(FEATURES);
	uffd_register(uffd, second, half, UFFDIO_REGISTER_MODE_WP);
	assert_error(uffd_protect(uffd, second, 2 * huge_size(), true), 0);
	assert_protected(second, 2 * huge_pages(), 2 * huge_pages());
	assert_protected(first, 2 * huge_pages(), 0);
	touch_start(&touch, second, TOUCH_WRITE);
	assert_fault(uffd, second, FLAGS);
	*word(first) = NEW;
	assert_error(uffd_protect(uffd, second, 2 * huge_size(), false), 0);
	touch_end(&touch);
	assert_that(*word(first) == 0, "the other mapping shows %llu after a write of 0",
		    (unsigned long long)*word(first));
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "UFFDIO_WRITEPROTECT marks pages and holes of all kinds of memory and holds writes",
		  alone },
		{ "protecting twice is as protecting once", twice },
		{ "taking the protection away leaves the page as it was, and writes reach the file",
		  off },
		{ "a page that is not protected can be unprotected, and protected afterwards",
		  off_twice },
		{ "the protection outlives mprotect to read-only and back", mprotected },
		{ "what is protected while its mapping is read-only is held when that can be written",
		  marked_read_only },
		{ "UFFDIO_COPY with MODE_WP to a mapping that is read-only protects the page",
		  copied_read_only },
		{ "reading a protected page or hole maps it with its protection", was_read },
		{ "a write through another mapping leaves the protection", written_elsewhere },
		{ "UFFDIO_UNREGISTER takes the protection away", unregistered },
		{ "closing the userfaultfd takes the protection away", closed },
		{ "mremap takes the protection away", moved },
		{ "a child of fork is not protected, and its parent still is", forked },
		{ "with UFFD_FEATURE_EVENT_FORK a child of fork is protected as its parent is",
		  forked_with_event },
		{ "a write to one base page of a protected transparent huge page leaves the others protected",
		  one_page_written },
		{ "mprotect of half of a protected transparent huge page leaves all of it protected",
		  half_mprotected },
		{ "munmap of half of a protected transparent huge page leaves the rest protected",
		  half_unmapped },
		{ "the protection holds in a mapping that was cut out of one with a shared PMD table",
		  cut_in_two },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 4,
	});
}
