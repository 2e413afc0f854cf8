// SPDX-License-Identifier: GPL-2.0-only
/*
 * Post-copy: a socket is the link to a source process, and the destination's threads
 * touch memory that has not arrived. A handler fetches a unit, a huge page or a base
 * page, writes it through an alias, and answers the minor fault by UFFDIO_CONTINUE.
 * Anonymous memory cannot have an alias: UFFDIO_COPY answers its faults, which are missing ones.
 * Every unit must move once and arrive unchanged. Each userfaultfd has a part of the memory.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "postcopy/postcopy.h"

#define MOST_THREADS 64
#define MOST_READERS 8
#define MOST_UFFDS 4
#define PUSH PMD_PAGE /* bytes that the background push asks for at most */
#define WORDS (BASE_PAGE / sizeof(uint64_t))
#define CHUNK 16UL    /* pages that the source writes at once */

struct request {
	uint64_t offset, length;
};

static enum backing backing;
static size_t length, pages, unit;
static int file;
static char *primary, *alias; /* of anonymous memory ALIAS is a copy */
static int ends[2];
static size_t threads, readers, uffds; /* that touch; of each userfaultfd; parts of the memory */
static struct part {
	int uffd;
	char *start;
	size_t length;
} parts[MOST_UFFDS];
static size_t filling; /* which test's contents these are: the file keeps those of the one before */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *arrived, *touched; /* of each unit, of each page */
static size_t faults, again, moved;

/* An access to a unit that has not arrived, step by step; INSTALL is in RESUME. */
static struct histogram to_read, queued, fetching, installing, to_resume, accessing;
static struct {
	int64_t read, taken; /* of the message that was answered: read, and its turn come */
	int64_t fetched;     /* the unit was there, for a message or by the push */
} *brought; /* of each unit */

/* The first word of a page; word I after it is I more. */
static uint64_t first_word(size_t page)
{
	uint64_t word = (page + 1 + (filling << 32)) * 0x9e3779b97f4a7c15;

	return word ^ word >> 29;
}

static void check_page_at(size_t page)
{
	const uint64_t *words = (const uint64_t *)(primary + page * BASE_PAGE);
	uint64_t want = first_word(page);

	for (size_t i = 0; i < WORDS; i++)
		assert_that(words[i] == want + i,
			    "page %zu, byte %zu: %016lx arrived, the source has %016lx",
			    page, i * sizeof(*words), words[i], want + i);
}

static void make_memory(void)
{
	length = backing_length(backing);
	unit = backing == BACKING_HUGE ? huge_size() : BASE_PAGE;
	pages = length / BASE_PAGE;
	if (backing != BACKING_ANONYMOUS)
		alias = backing_make(backing, &file);
}

/* The source: sends what is asked for until the destination closes the link. */
static void send_memory(void)
{
	static uint64_t words[CHUNK * WORDS];
	struct request request;

	close(ends[0]);
	while (read(ends[1], &request, sizeof(request)) == sizeof(request)) {
		size_t page = request.offset / BASE_PAGE, end = page + request.length / BASE_PAGE;

		while (page < end) {
			size_t count = 0;

			for (; count < CHUNK && page < end; count++, page++)
				for (size_t i = 0; i < WORDS; i++)
					words[count * WORDS + i] = first_word(page) + i;
			assert_bytes(write(ends[1], words, count * BASE_PAGE), count * BASE_PAGE);
		}
	}
}

/* COUNT units from FIRST on, none of which has arrived: into the alias. The lock is held. */
static void fetch(size_t first, size_t count)
{
	struct request request = { first * unit, count * unit };

	assert_bytes(write(ends[0], &request, sizeof(request)), sizeof(request));
	assert_bytes(recv(ends[0], alias + request.offset, request.length, MSG_WAITALL),
		     request.length);
}

static const struct part *part_of(const char *address)
{
	size_t which = (size_t)(address - primary) / parts->length;

	return &parts[which < uffds ? which : uffds - 1];
}

static struct uffd_result place(char *start, size_t bytes)
{
	int uffd = part_of(start)->uffd;

	if (backing == BACKING_ANONYMOUS)
		return uffd_copy(uffd, start, alias + (start - primary), bytes);
	return uffd_continue(uffd, start, bytes);
}

/* Maps them, all of one part, and wakes the threads that wait for them. The lock is held. */
static void install(size_t first, size_t count)
{
	char *start = primary + first * unit;
	size_t bytes = count * unit;
	int64_t fetched = now_ns();

	for (size_t i = first; i < first + count; i++)
		brought[i].fetched = fetched;
	assert_result(place(start, bytes), 0, (int64_t)bytes);
	memset(arrived + first, 1, count);
	moved += bytes;
	residence_add(bytes);
}

/* One unit that a thread waits for, whose message was read at READ. The lock is held. */
static void bring(size_t which, int64_t read)
{
	brought[which].read = read;
	brought[which].taken = now_ns();
	fetch(which, 1);
	install(which, 1);
	histogram_add(&installing, now_ns() - brought[which].fetched);
}

/* A unit that has arrived faults: it was mapped meanwhile, or has been unmapped. The lock is held. */
static void bring_again(size_t which)
{
	char *start = primary + which * unit;
	struct uffd_result got = place(start, unit);

	if (got.error == EEXIST) {
		assert_error(uffd_wake(part_of(start)->uffd, start, unit), 0);
		return;
	}
	assert_result(got, 0, (int64_t)unit);
	again++;
}

static int stop; /* an eventfd */

static void *answer_faults(void *argument)
{
	const struct part *part = argument;
	struct pollfd waiting[] = {
		{ .fd = part->uffd, .events = POLLIN }, { .fd = stop, .events = POLLIN },
	};
	struct uffd_msg message;

	while (poll(waiting, COUNT_OF(waiting), -1) > 0 && !waiting[1].revents) {
		char *address;
		size_t which;
		int64_t read_at;

		if (read(part->uffd, &message, sizeof(message)) != sizeof(message))
			continue;
		read_at = now_ns();
		address = (char *)(uintptr_t)message.arg.pagefault.address;
		assert_that(address >= part->start && address < part->start + part->length,
			    "userfaultfd %zu got a message of page %zu, which is not in its part",
			    (size_t)(part - parts), (size_t)(address - primary) / BASE_PAGE);
		which = (size_t)(address - primary) / unit;
		pthread_mutex_lock(&lock);
		faults++;
		if (arrived[which])
			bring_again(which);
		else
			bring(which, read_at);
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

/* Brings the rest of the first WORKLOAD_BYTES, in runs of at most PUSH, beside the faults. */
static void push_rest(void)
{
	size_t most = unit < PUSH ? PUSH / unit : 1;

	for (size_t first = 0, end; first * unit < WORKLOAD_BYTES; first = end) {
		size_t limit = (first / most + 1) * most;

		pthread_mutex_lock(&lock);
		for (end = first; end < limit && !arrived[end]; end++)
			;
		if (end > first) {
			fetch(first, end - first);
			install(first, end - first);
		}
		pthread_mutex_unlock(&lock);
		end += end == first;
	}
}

static enum access touching;

struct toucher {
	pthread_t thread;
	size_t number, first, end; /* END is the step after the last */
	uint64_t state;
	_Atomic size_t step, page; /* the access under way, and its page */
};

/*
 * An access from START to END that has waited if its unit was not there when it began. Its steps
 * are known if the message that was answered is its own, and not of a thread that came before.
 */
static void account(size_t which, int64_t start, int64_t end)
{
	if (brought[which].fetched < start)
		return;
	histogram_add(&accessing, end - start);
	if (brought[which].read < start)
		return;
	histogram_add(&to_read, brought[which].read - start);
	histogram_add(&queued, brought[which].taken - brought[which].read);
	histogram_add(&fetching, brought[which].fetched - brought[which].taken);
	histogram_add(&to_resume, end - brought[which].fetched);
}

static void *touch_pages(void *argument)
{
	struct toucher *toucher = argument;

	for (size_t step = toucher->first; step < toucher->end; step++) {
		size_t page = access_page(touching, pages, pages / threads, toucher->number, step,
					  &toucher->state);
		bool is_here = arrived[page * BASE_PAGE / unit];
		int64_t start = now_ns();

		toucher->page = page;
		toucher->step = step;
		*(volatile char *)(primary + page * BASE_PAGE);
		if (!is_here)
			account(page * BASE_PAGE / unit, start, now_ns());
		touched[page] = 1;
		check_page_at(page);
	}
	return NULL;
}

/* Waits for a thread; its access must not hang while no fault is being answered. */
static void join_toucher(struct toucher *toucher)
{
	size_t step = WORKLOAD_STEPS, seen = 0;
	struct timespec limit;
	int error;

	for (;;) {
		size_t unit_hit;

		clock_gettime(CLOCK_REALTIME, &limit);
		limit.tv_sec += scaled_ms(EVENT_MS) / 1000;
		error = pthread_timedjoin_np(toucher->thread, NULL, &limit);
		if (error != ETIMEDOUT)
			break;
		pthread_mutex_lock(&lock);
		unit_hit = toucher->page * BASE_PAGE / unit;
		assert_that(toucher->step != step || faults != seen,
			    "thread %zu hangs in page %zu, %s", toucher->number, toucher->page,
			    arrived[unit_hit] ? "which has been mapped: it was not woken" :
						"for which no fault message has come");
		step = toucher->step;
		seen = faults;
		pthread_mutex_unlock(&lock);
	}
	assert_error(error, 0);
}

static size_t count_set(const char *flags, size_t count)
{
	size_t set = 0;

	for (size_t i = 0; i < count; i++)
		set += flags[i] != 0;
	return set;
}

static size_t arrived_bytes(void)
{
	return count_set(arrived, length / unit) * unit;
}

/* Units that hold a touched page. */
static size_t touched_units(void)
{
	size_t each = unit / BASE_PAGE, count = 0;

	for (size_t first = 0; first < pages; first += each)
		count += memchr(touched + first, 1, each) != NULL;
	return count;
}

static void report(bool push_too)
{
	size_t used = count_set(touched, pages) * BASE_PAGE;

	probe_note("postcopy: backing=%s pattern=%s%s unit=%zu memory=%zu touched=%zu faults=%zu "
		   "again=%zu moved=%zu threads=%zu readers=%zu uffds=%zu", backing_name(backing),
		   access_name(touching), push_too ? "+push" : "", unit, length, used, faults, again,
		   moved, threads, readers, uffds);
	histogram_note(&to_read, "read");
	histogram_note(&queued, "queue");
	histogram_note(&fetching, "fetch");
	histogram_note(&installing, "install");
	histogram_note(&to_resume, "resume");
	histogram_note(&accessing, "access");
	if (push_too || unit > WORKLOAD_BYTES)
		residence_report();
}

static void register_primary(void)
{
	uint64_t features = backing_is_hugetlb(backing) ? UFFD_FEATURE_MINOR_HUGETLBFS :
							  UFFD_FEATURE_MINOR_SHMEM;
	uint64_t mode = UFFDIO_REGISTER_MODE_MINOR;
	size_t each = length / uffds;

	each -= each % (backing_is_hugetlb(backing) ? huge_size() : PMD_PAGE);
	primary = backing_map(backing, file);
	if (backing == BACKING_SPLIT)
		split(primary, length);
	/* As QEMU does: khugepaged would unmap what UFFDIO_CONTINUE has mapped. */
	if (backing_is_thp(backing))
		assert_error(advise(primary, length, MADV_NOHUGEPAGE), 0);
	if (backing == BACKING_ANONYMOUS) {
		/* Shared with a parent, its huge pages would be copied by base pages. */
		alias = backing_make(backing, &file);
		assert_error(advise(alias, length, MADV_NOHUGEPAGE), 0);
		features = 0;
		mode = UFFDIO_REGISTER_MODE_MISSING;
	}
	for (size_t i = 0; i < uffds; i++) {
		struct part *part = &parts[i];

		part->start = primary + i * each;
		part->length = i + 1 < uffds ? each : length - i * each;
		part->uffd = uffd_open(features);
		uffd_register(part->uffd, part->start, part->length, mode);
	}
	arrived = calloc(length / unit, 1);
	touched = calloc(pages, 1);
	brought = calloc(length / unit, sizeof(*brought));
	assert_that(arrived && touched && brought, "no memory for %zu pages", pages);
}

/* Runs the threads from one step to another, and the push if that is wanted. */
static void touch_all(struct toucher *touchers, size_t first, size_t end, bool push_too)
{
	for (size_t i = 0; i < threads; i++) {
		touchers[i].number = i;
		touchers[i].first = first;
		touchers[i].end = end;
		assert_error(pthread_create(&touchers[i].thread, NULL, touch_pages, &touchers[i]), 0);
	}
	if (push_too)
		push_rest();
	for (size_t i = 0; i < threads; i++)
		join_toucher(&touchers[i]);
}

/* The host walks the page tables of the primary: what has arrived is mapped, and nothing else. */
static void walk_from_outside(void)
{
	size_t present;

	/* A thread that was woken may have ended before its handler knows that the unit is mapped. */
	pthread_mutex_lock(&lock);
	present = arrived_bytes() / BASE_PAGE;
	pthread_mutex_unlock(&lock);
	checkpoint_of(primary, length, backing_is_hugetlb(backing) ? huge_size() : BASE_PAGE,
		      "present:%zu", present);
}

/* Post-copy of memory touched in one way; with PUSH_TOO, until WORKLOAD_BYTES have arrived. */
static void migrate(enum access access, bool push_too)
{
	pthread_t answering[MOST_UFFDS * MOST_READERS];
	struct toucher touchers[MOST_THREADS] = { 0 };
	pid_t sender;

	if (unit > WORKLOAD_BYTES && (access != SEQUENTIAL || push_too))
		probe_skip("each page of %s is touched, and moves as a whole", size_name(unit));
	touching = access;
	filling = push_too ? ACCESS_KINDS : access;
	register_primary();
	assert_errno(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	sender = child_start(send_memory);
	close(ends[1]);
	stop = eventfd(0, 0);
	for (size_t i = 0; i < uffds * readers; i++)
		assert_error(pthread_create(&answering[i], NULL, answer_faults, &parts[i % uffds]),
			     0);
	for (size_t i = 0; i < threads; i++)
		touchers[i].state = i + 1;
	residence_start(length / unit);
	if (access == UNIFORM && !push_too) {
		touch_all(touchers, 0, WORKLOAD_STEPS / 2, false);
		walk_from_outside();
		touch_all(touchers, WORKLOAD_STEPS / 2, WORKLOAD_STEPS, false);
	} else {
		touch_all(touchers, 0, WORKLOAD_STEPS, push_too);
	}
	assert_errno(eventfd_write(stop, 1), 0);
	for (size_t i = 0; i < uffds * readers; i++)
		pthread_join(answering[i], NULL);
	close(ends[0]);
	child_end(sender);

	report(push_too);
	assert_that(moved == (push_too ? arrived_bytes() : touched_units() * unit),
		    "%zu bytes moved, expected %zu", moved,
		    push_too ? arrived_bytes() : touched_units() * unit);
	assert_that(again == 0, "%zu units faulted again after %s had mapped them", again,
		    backing == BACKING_ANONYMOUS ? "UFFDIO_COPY" : "UFFDIO_CONTINUE");
	assert_present(primary, pages, moved / BASE_PAGE);
	for (size_t i = 0; i < uffds; i++)
		assert_no_fault(parts[i].uffd);
	if (push_too || unit > WORKLOAD_BYTES)
		walk_from_outside();
}

static void sequential_demand(void)
{
	migrate(SEQUENTIAL, false);
}

static void uniform_demand(void)
{
	migrate(UNIFORM, false);
}

static void zipf_demand(void)
{
	migrate(ZIPF, false);
}

static void moving_demand(void)
{
	migrate(MOVING, false);
}

static void check_resident(void)
{
	for (size_t page = 0; page < pages; page++)
		if (page < WORKLOAD_BYTES / BASE_PAGE || arrived[page * BASE_PAGE / unit])
			check_page_at(page);
}

/* The alias is, and has always been, mapped by whole huge pages. */
static void collapse_it(void)
{
	size_t huge = backing == BACKING_SPLIT ? huge_size() : PMD_PAGE;
	int64_t start;

	time_reads("base", primary, alias);
	if (backing_is_thp(backing))
		assert_error(advise(primary, length, MADV_HUGEPAGE), 0);
	start = now_ns();
	collapse(primary, length);
	probe_note("collapse: bytes=%zu ns=%ld", length, (long)(now_ns() - start));
	for (size_t i = 0; i < uffds; i++)
		if (backing == BACKING_SPLIT)
			assert_whole(parts[i].start, parts[i].length);
		else
			assert_smaps(parts[i].start, backing_thp_field(backing), parts[i].length);
	checkpoint_of(primary, length, backing == BACKING_SPLIT ? huge_size() : BASE_PAGE,
		      huge == PUD_PAGE ? "pud:%zu" : "pmd:%zu", length / huge);
	check_resident();
	time_reads("collapsed", primary, alias);
	report_reads_of_other("huge");
}

static void until_resident(void)
{
	migrate(UNIFORM, true);
	check_resident();
	if (backing == BACKING_SPLIT || backing_is_thp(backing))
		collapse_it();
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "post-copy of memory touched in sequence moves just the units that are touched",
		  sequential_demand },
		{ "post-copy of memory touched uniformly moves just the units that are touched",
		  uniform_demand },
		{ "post-copy of memory touched by a Zipf distribution moves just the units that are touched",
		  zipf_demand },
		{ "post-copy of a working set that moves moves just the units that are touched",
		  moving_demand },
		{ "post-copy with a background push moves each unit once, and its contents are the source's",
		  until_resident },
	};
	static const struct probe_argument arguments[] = {
		BACKING_ARGUMENT,
		{ "--threads", "N", "threads that touch the memory, 4 by default" },
		{ "--readers", "N", "threads that answer each userfaultfd, 2 by default" },
		{ "--uffds", "N", "userfaultfds, each with as many huge pages; 1 by default" },
		{ 0 },
	};
	struct probe probe;

	backing = backing_of(argc, argv);
	threads = probe_number(argc, argv, "--threads", WORKLOAD_THREADS, MOST_THREADS);
	readers = probe_number(argc, argv, "--readers", 2, MOST_READERS);
	uffds = probe_number(argc, argv, "--uffds", 1, MOST_UFFDS);
	probe = workload_probe(backing, uffds);
	probe.arguments = arguments;
	probe.tests = tests;
	probe.count = COUNT_OF(tests);
	probe.setup = make_memory;
	return probe_main(argc, argv, &probe);
}
