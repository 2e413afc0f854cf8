// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pre-copy: threads write to memory, dirty tracking says what they wrote, and that is sent
 * again, round by round. No write may be missed, and what is reported beyond the
 * pages written must come from the granularity of the tracking.
 */
#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hgm_probe.h"

#define ROUNDS 2
#define PACE 16 /* writes of a thread for a round that is sent meanwhile */
#define PACE_MS (4 * EVENT_MS)
#define WORDS (BASE_PAGE / sizeof(uint64_t))
#define SOFT_DIRTY (1ULL << 55) /* of a pagemap entry */

static enum method { ASYNC, SYNC, SOFT, RWP } method;
static const char *const methods[] = { "async", "sync", "soft-dirty", "rwp" };
static enum backing backing;
static size_t length, pages;
static size_t grain; /* bytes that one write makes dirty */
static int file;
static char *source, *copy;
static char *alias; /* of the source, not tracked: to read the source would be an access */
/* Of each page: written in this round, in any; written by the handler's account; reported. */
static char *written, *ever, *marked, *dirty;

static int uffd, stop; /* stop is an eventfd */
static pthread_t handler;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct figures {
	size_t messages, written, reported; /* the latter two are bytes */
	int64_t arm_ns, scan_ns;
	_Atomic int64_t write_ns;
} figures;

/* The first page from FROM on that has the flag; PAGES if there is none. */
static size_t next_flagged(const char *flags, size_t from)
{
	const char *found = from < pages ? memchr(flags + from, 1, pages - from) : NULL;

	return found ? (size_t)(found - flags) : pages;
}

static size_t flagged_bytes(const char *flags)
{
	size_t count = 0;

	for (size_t page = 0; (page = next_flagged(flags, page)) < pages; page++)
		count++;
	return count * BASE_PAGE;
}

static void make_memory(void)
{
	length = backing_length(backing);
	pages = length / BASE_PAGE;
	if (backing != BACKING_ANONYMOUS)
		backing_make(backing, &file);
	ever = mmap(NULL, pages, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_errno(ever, 0);
}

/* The file keeps what the tests before wrote, and EVER says where that is. */
static void zero_written_pages(void)
{
	for (size_t page = 0; (page = next_flagged(ever, page)) < pages; page++)
		memset(source + page * BASE_PAGE, 0, BASE_PAGE);
	memset(ever, 0, pages);
}

/* ---- ways to track ------------------------------------------------------ */

/* In these modes an access waits until a thread has lifted the protection. */
static bool needs_handler(void)
{
	return method == SYNC || method == RWP;
}

/* Read-write protection stops reads as well; nothing here reads what is tracked. */
static int protect(char *start, size_t bytes, bool on)
{
	if (method == RWP)
		return uffd_rwprotect(uffd, start, bytes, on ? UFFDIO_RWPROTECT_MODE_RWP : 0);
	return uffd_protect(uffd, start, bytes, on);
}

static void clear_soft_dirty(void)
{
	assert_written("/proc/self/clear_refs", "4");
}

static bool is_soft_dirty(char *page)
{
	clear_soft_dirty();
	*(volatile char *)page = 0;
	return pagemap_entry(page) & SOFT_DIRTY;
}

static void take_async(void)
{
	char *end = source + length;

	for (char *start = source; start < end;) {
		struct scan scan = scan_pages(start, (size_t)(end - start),
					      SCAN_PROTECTS | SCAN_CHECKS_ASYNC, SCAN_WRITTEN, 0);

		for (int i = 0; i < scan.count; i++)
			memset(dirty + (scan.regions[i].start - (uintptr_t)source) / BASE_PAGE, 1,
			       (scan.regions[i].end - scan.regions[i].start) / BASE_PAGE);
		start = scan.walk_end;
	}
}

static void take_sync(void)
{
	size_t each = grain / BASE_PAGE;

	/* Else the handler would lift a protection for a write that this round has taken. */
	pthread_mutex_lock(&lock);
	memcpy(dirty, marked, pages);
	memset(marked, 0, pages);
	for (size_t page = 0; (page = next_flagged(dirty, page)) < pages; page += each)
		assert_error(protect(source + page * BASE_PAGE, grain, true), 0);
	pthread_mutex_unlock(&lock);
}

static void take_soft_dirty(void)
{
	uint64_t *entries = malloc(pages * sizeof(*entries));

	assert_that(entries, "no memory for %zu pages", pages);
	pagemap_read(source, pages, entries);
	clear_soft_dirty();
	for (size_t page = 0; page < pages; page++)
		dirty[page] = (entries[page] & SOFT_DIRTY) != 0;
	free(entries);
}

static void *answer_writes(void *argument)
{
	struct pollfd waiting[] = {
		{ .fd = uffd, .events = POLLIN }, { .fd = stop, .events = POLLIN },
	};
	struct uffd_msg message;

	(void)argument;
	while (poll(waiting, COUNT_OF(waiting), -1) > 0 && !waiting[1].revents) {
		size_t offset;

		if (read(uffd, &message, sizeof(message)) != sizeof(message))
			continue;
		offset = (size_t)((char *)(uintptr_t)message.arg.pagefault.address - source);
		offset -= offset % grain;
		pthread_mutex_lock(&lock);
		figures.messages++;
		memset(marked + offset / BASE_PAGE, 1, grain / BASE_PAGE);
		assert_error(protect(source + offset, grain, false), 0);
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

/* Maps the memory, and tracks writes to it from now on. */
static void start_tracking(enum method which)
{
	uint64_t features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
	int64_t start;

	method = which;
	/*
	 * Read-write protection is lost with the entry that has it (userfaultfd.rst), and to lift
	 * it from a part of a file's transparent huge page would cost the rest its entries.
	 * Anonymous memory keeps its entries when that of a huge page is split.
	 */
	grain = backing == BACKING_HUGE ? huge_size() :
		backing == BACKING_SPLIT ? wp_unit() :
		backing_is_thp(backing) && method == SOFT ? PMD_PAGE :
		backing_is_thp(backing) && method == RWP && backing != BACKING_ANONYMOUS ? PMD_PAGE :
		BASE_PAGE;
	source = backing == BACKING_ANONYMOUS ? backing_make(backing, &file) :
						backing_map(backing, file);
	if (backing == BACKING_SPLIT)
		split(source, length);
	for (size_t page = 0; page < pages; page++)
		*(volatile char *)(source + page * BASE_PAGE);
	zero_written_pages();
	alias = backing == BACKING_ANONYMOUS ? source : backing_map(backing, file);
	copy = map_anonymous(length, MAP_NORESERVE);
	written = calloc(pages, 1);
	marked = calloc(pages, 1);
	dirty = calloc(pages, 1);
	assert_that(written && marked && dirty, "no memory for %zu pages", pages);
	if (method == SOFT) {
		if (!is_soft_dirty(map_anonymous(BASE_PAGE, 0)))
			probe_skip("pagemap has no soft-dirty bit");
		if (!is_soft_dirty(source))
			probe_skip("a write sets no soft-dirty bit in this memory");
		clear_soft_dirty();
		return;
	}
	if (method == ASYNC)
		features |= UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED;
	if (method == RWP)
		features = UFFD_FEATURE_RWP;
	uffd = uffd_open(features);
	uffd_register(uffd, source, length,
		      method == RWP ? UFFDIO_REGISTER_MODE_RWP : UFFDIO_REGISTER_MODE_WP);
	start = now_ns();
	assert_error(protect(source, length, true), 0);
	figures.arm_ns = now_ns() - start;
	stop = eventfd(0, 0);
	if (needs_handler())
		assert_error(pthread_create(&handler, NULL, answer_writes, NULL), 0);
}

static void end_tracking(void)
{
	if (!needs_handler())
		return;
	assert_errno(eventfd_write(stop, 1), 0);
	pthread_join(handler, NULL);
}

/* ---- rounds ------------------------------------------------------------- */

struct writer {
	pthread_t thread;
	enum access access;
	size_t number, first;
};

static sem_t paces;

static void *write_pages(void *argument)
{
	struct writer *writer = argument;
	uint64_t state = writer->number + 1 + writer->first;
	int64_t taken = 0;

	for (size_t step = writer->first; step < writer->first + WORKLOAD_STEPS; step++) {
		size_t page = access_page(writer->access, pages, pages / WORKLOAD_THREADS,
					  writer->number, step, &state);
		volatile uint64_t *words = (volatile uint64_t *)(source + page * BASE_PAGE);
		int64_t start;

		written[page] = ever[page] = 1;
		start = now_ns();
		words[(step * WORKLOAD_THREADS + writer->number) % WORDS] =
			(step + 1) << 8 | writer->number;
		taken += now_ns() - start;
		if (step % PACE == PACE - 1)
			sem_post(&paces);
	}
	figures.write_ns += taken;
	return NULL;
}

static void start_writers(struct writer *writers, enum access access, size_t first)
{
	assert_errno(sem_init(&paces, 0, 0), 0);
	for (size_t i = 0; i < WORKLOAD_THREADS; i++) {
		writers[i] = (struct writer){ .access = access, .number = i, .first = first };
		assert_error(pthread_create(&writers[i].thread, NULL, write_pages, &writers[i]), 0);
	}
}

static void wait_for_writes(size_t count)
{
	struct timespec limit;

	for (size_t i = 0; i < count / PACE; i++) {
		clock_gettime(CLOCK_REALTIME, &limit);
		limit.tv_sec += scaled_ms(PACE_MS) / 1000;
		assert_that(sem_timedwait(&paces, &limit) == 0,
			    "no thread ended %d writes in %d ms, %zu messages were answered", PACE,
			    scaled_ms(PACE_MS), figures.messages);
	}
}

static void join_writers(struct writer *writers)
{
	for (size_t i = 0; i < WORKLOAD_THREADS; i++)
		pthread_join(writers[i].thread, NULL);
}

/* Nothing is reported unless part of its grain is in THESE. */
static void check_reported(const char *these)
{
	size_t each = grain / BASE_PAGE, first;

	for (size_t page = 0; (page = next_flagged(dirty, page)) < pages; page = first + each) {
		first = page - page % each;
		assert_that(memchr(these + first, 1, each),
			    "page %zu is reported dirty, nothing in its %s was written", page,
			    size_text((int64_t)grain));
	}
}

static void check_all_reported(size_t round)
{
	for (size_t page = 0; (page = next_flagged(written, page)) < pages; page++)
		assert_that(dirty[page], "round %zu: page %zu was written and is not reported dirty",
			    round, page);
}

/* Without an alias, protection that stops reads is lifted meanwhile; no thread writes then. */
static void read_source(size_t page, char *to)
{
	char *from = alias + page * BASE_PAGE;
	bool stops = method == RWP && alias == source;

	if (stops)
		assert_error(protect(from, BASE_PAGE, false), 0);
	memcpy(to, from, BASE_PAGE);
	if (stops)
		assert_error(protect(from, BASE_PAGE, true), 0);
}

/*
 * Sends what has become dirty, whose protection is back already. A page that was never
 * written is zero at both ends: it counts, and is not copied.
 */
static void send_round(void)
{
	int64_t start = now_ns();

	memset(dirty, 0, pages);
	if (method == ASYNC)
		take_async();
	else if (needs_handler())
		take_sync();
	else
		take_soft_dirty();
	figures.scan_ns += now_ns() - start;
	figures.reported += flagged_bytes(dirty);
	for (size_t page = 0; (page = next_flagged(ever, page)) < pages; page++)
		if (dirty[page])
			read_source(page, copy + page * BASE_PAGE);
}

static void check_copy_is_source(void)
{
	char now[BASE_PAGE];

	for (size_t page = 0; page < pages; page++) {
		if (!ever[page] && page * BASE_PAGE >= WORKLOAD_BYTES)
			continue;
		read_source(page, now);
		assert_that(memcmp(copy + page * BASE_PAGE, now, BASE_PAGE) == 0,
			    "page %zu differs at the destination: a write to it was not sent", page);
	}
}

static void report(const struct figures *these, enum access access, const char *kind,
		   size_t rounds)
{
	probe_note("precopy: backing=%s method=%s pattern=%s%s grain=%zu memory=%zu rounds=%zu "
		   "written=%zu reported=%zu messages=%zu arm_ns=%ld write_ns=%ld scan_ns=%ld",
		   backing_name(backing), methods[method], access_name(access), kind, grain, length,
		   rounds, these->written, these->reported, these->messages, (long)these->arm_ns,
		   (long)these->write_ns, (long)these->scan_ns);
}

/* Writers stop at the end of each round: what is reported is known exactly. */
static void rounds(enum method which)
{
	struct figures of[ACCESS_KINDS];
	struct writer writers[WORKLOAD_THREADS];

	start_tracking(which);
	/* The protection of a transparent huge page is left in entries that are not present. */
	if (method == ASYNC && !backing_is_thp(backing))
		checkpoint_of(source, length, backing_is_hugetlb(backing) ? huge_size() : BASE_PAGE,
			      "wp:%zu", pages);
	for (enum access access = 0; access < ACCESS_KINDS; access++) {
		for (size_t round = 0; round < ROUNDS; round++) {
			memset(written, 0, pages);
			start_writers(writers, access, round * WORKLOAD_STEPS);
			wait_for_writes(WORKLOAD_THREADS * WORKLOAD_STEPS);
			join_writers(writers);
			send_round();
			check_all_reported(round);
			check_reported(written);
			figures.written += flagged_bytes(written);
		}
		check_copy_is_source();
		of[access] = figures;
		figures = (struct figures){ 0 };
	}
	end_tracking();
	for (enum access access = 0; access < ACCESS_KINDS; access++)
		report(&of[access], access, "", ROUNDS);
}

/* Writers go on while what they wrote is sent; the last round is sent when all have ended. */
static void live(enum method which)
{
	const size_t count = WORKLOAD_THREADS * WORKLOAD_STEPS / PACE;
	struct writer writers[WORKLOAD_THREADS];

	start_tracking(which);
	start_writers(writers, ZIPF, 0);
	for (size_t round = 0; round < count; round++) {
		wait_for_writes(PACE);
		send_round();
		check_reported(ever);
	}
	join_writers(writers);
	end_tracking();
	check_copy_is_source();
	figures.written = flagged_bytes(ever);
	report(&figures, ZIPF, "+live", count);
}

static void async_rounds(void)
{
	rounds(ASYNC);
}

static void sync_rounds(void)
{
	rounds(SYNC);
}

static void soft_dirty_rounds(void)
{
	rounds(SOFT);
}

static void rwp_rounds(void)
{
	rounds(RWP);
}

static void async_live(void)
{
	live(ASYNC);
}

static void sync_live(void)
{
	live(SYNC);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "asynchronous write protection reports just what is written, in each round",
		  async_rounds },
		{ "synchronous write protection reports just what is written, in each round",
		  sync_rounds },
		{ "soft-dirty reports just what is written, in each round", soft_dirty_rounds },
		{ "read-write protection reports just what is written, in each round", rwp_rounds },
		{ "pre-copy by asynchronous write protection misses no write of threads that go on",
		  async_live },
		{ "pre-copy by synchronous write protection misses no write of threads that go on",
		  sync_live },
	};
	static const struct probe_argument arguments[] = { BACKING_ARGUMENT, { 0 } };
	struct probe probe;

	backing = backing_of(argc, argv);
	probe = workload_probe(backing, 1);
	probe.arguments = arguments;
	probe.tests = tests;
	probe.count = COUNT_OF(tests);
	probe.setup = make_memory;
	probe.asks = backing == BACKING_SPLIT ? PROMISE(WP_BASE_PAGES) : 0;
	return probe_main(argc, argv, &probe);
}
