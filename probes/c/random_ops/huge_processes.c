// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs operations on huge pages, each in the process that it names, and compares after each
 * what every process, the files and the pool show with the model.
 */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "huge.h"

/* An operation, with the checks of its process, may take so long, times --timeout-scale. */
#define STEP_SECONDS 20

#define FEATURES (UFFD_FEATURE_MINOR_HUGETLBFS | UFFD_FEATURE_WP_HUGETLBFS_SHMEM | \
		  UFFD_FEATURE_MISSING_HUGETLBFS)
#define ASYNC_FEATURES (UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_WP_UNPOPULATED | \
			UFFD_FEATURE_WP_ASYNC)

struct self self;

/* What process 0 tells the others: an operation to do, if any, and checks. */
struct order {
	struct op op;
	bool acts, all;
};

/* In memory that all processes share. */
static struct board {
	struct machine machine;
	pid_t pids[PROCESSES];
} *board;

/* Both ends of a socket for each process; process 0 has the first, the others the second. */
static int sockets[PROCESSES][2];

static int mount = -1;

pid_t pid_of(size_t number)
{
	return board->pids[number];
}

int uffd_of(unsigned int modes)
{
	return self.uffds[modes & MODE_ASYNC ? 1 : 0];
}

static void open_uffds(void)
{
	self.uffds[0] = uffd_open(FEATURES);
	self.uffds[1] = rules.async ? uffd_open(ASYNC_FEATURES) : -1;
}

/* ---- checks ------------------------------------------------------------- */

static uint64_t read_entry(int pagemap, const char *address)
{
	uint64_t entry = 0;

	assert_bytes(pread(pagemap, &entry, sizeof(entry),
			   (off_t)((uintptr_t)address / BASE_PAGE * sizeof(entry))), sizeof(entry));
	return entry;
}

static void check_entry(size_t number, uint64_t entry)
{
	const struct place *place = &machine->processes[self.number].places[number];
	bool present = entry & PAGEMAP_PRESENT, marked = entry & PAGEMAP_UFFD_WP;
	bool is_shown = present || rules.shows_marks;

	assert_that(present == (place->folio != NONE), "pagemap: page %zu is %s, expected the opposite",
		    number, present ? "present" : "not present");
	assert_that(!is_shown || marked == place->marked,
		    "pagemap: page %zu is %s, expected the opposite", number,
		    marked ? "write-protected" : "not write-protected");
}

static void check_value(const char *what, size_t number, uint64_t first, uint64_t last, uint64_t value)
{
	assert_that(first == value && last == value,
		    "%s: page %zu starts with %#llx and ends with %#llx, expected %#llx in both", what,
		    number, (unsigned long long)first, (unsigned long long)last,
		    (unsigned long long)value);
}

static void check_place(int pagemap, size_t number)
{
	const struct place *place = &machine->processes[self.number].places[number];
	const char *start = address_in(number), *end = start + huge_size();

	if (!place->is_mapped)
		return;
	check_entry(number, read_entry(pagemap, start));
	check_entry(number, read_entry(pagemap, end - BASE_PAGE));
	if (place->folio != NONE && place->prot & PROT_READ)
		check_value("memory", number, *(const volatile uint64_t *)start,
			    ((const volatile uint64_t *)end)[-1], folio_of(place)->value);
}

static bool is_in(const struct scan *scan, size_t place)
{
	for (int i = 0; i < scan->count; i++)
		if (scan->regions[i].start <= (uintptr_t)address_in(place) &&
		    (uintptr_t)address_in(place + 1) <= scan->regions[i].end)
			return true;
	return false;
}

static struct scan scan_arena(uint64_t category)
{
	return scan_pages(self.arena, PLACES * huge_size(), 0, category, 0);
}

static void check_scan(void)
{
	const struct place *places = machine->processes[self.number].places;
	struct scan present = scan_arena(SCAN_PRESENT);
	struct scan written = scan_arena(SCAN_PRESENT | SCAN_WRITTEN);

	for (size_t i = 0; i < PLACES; i++) {
		bool want = places[i].folio != NONE;

		assert_that(is_in(&present, i) == want,
			    "PAGEMAP_SCAN: page %zu is %s, expected the opposite", i,
			    want ? "not present" : "present");
		want &= !places[i].marked;
		/* Of pages that are not registered kernels say different things. */
		assert_that(is_in(&written, i) == want ||
				    !(places[i].modes & UFFDIO_REGISTER_MODE_WP),
			    "PAGEMAP_SCAN: page %zu is %s, expected the opposite", i,
			    want ? "not written" : "written");
	}
}

/* The pages of this process. */
static void check_process(bool all)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	assert_that(pagemap >= 0, "/proc/self/pagemap: %s", error_name(errno));
	for (size_t i = 0; i < PLACES; i++)
		check_place(pagemap, i);
	close(pagemap);
	assert_no_fault(self.uffds[0]);
	if (all && rules.scans)
		check_scan();
}

static void check_file(int file)
{
	for (size_t offset = 0; offset < FILE_PAGES; offset++) {
		int cached = machine->cache[file][offset];
		off_t start = (off_t)(offset * huge_size());
		uint64_t first = 0, last = 0;

		assert_bytes(pread(self.files[file], &first, 8, start), 8);
		assert_bytes(pread(self.files[file], &last, 8, start + (off_t)huge_size() - 8), 8);
		check_value(file == MEMFD ? "read of the memfd" : "read of the file in the mount", offset,
			    first, last, cached == NONE ? 0 : machine->folios[cached].value);
	}
}

static void check_counter(const char *name, long seen, long want)
{
	assert_that(seen == want, "%s is %ld, expected %ld", name, seen, want);
}

static void check_pool(void)
{
	const struct pool *want = &machine->pool;
	struct pool pool = pool_now();

	check_counter("nr_hugepages", pool.total, want->total);
	check_counter("free_hugepages", pool.free, want->free);
	check_counter("resv_hugepages", pool.reserved, want->reserved);
	check_counter("surplus_hugepages", pool.surplus, want->surplus);
}

/* ---- processes ---------------------------------------------------------- */

static void on_signal(int number, siginfo_t *info, void *context)
{
	(void)context;
	probe_fail("SIG%s at %p (page %ld)", sigabbrev_np(number), info->si_addr,
		   ((char *)info->si_addr - self.arena) / (long)huge_size());
}

static void catch_signals(void)
{
	static const int numbers[] = { SIGSEGV, SIGBUS };
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };

	for (size_t i = 0; i < COUNT_OF(numbers); i++)
		sigaction(numbers[i], &action, NULL);
	signal(SIGCHLD, SIG_IGN);
}

static void on_alarm(int number)
{
	(void)number;
	probe_fail("not done after %d s: stuck, or a userfaultfd holds it that should not",
		   scaled_ms(STEP_SECONDS * 1000) / 1000);
}

static void act(const struct order *order)
{
	char text[128];

	signal(SIGALRM, on_alarm);
	alarm((unsigned int)(scaled_ms(STEP_SECONDS * 1000) / 1000));
	print_op(&order->op, text, sizeof(text));
	probe_about("%s", text);
	self.page = order->op.page;
	if (order->acts)
		huge_kinds[order->op.kind].run(&order->op);
	probe_about("process %zu after %s", self.number, text);
	check_process(order->all);
	alarm(0);
}

/* Does what process 0 says until that has ended. */
static _Noreturn void serve(void)
{
	struct order order;

	while (read(sockets[self.number][1], &order, sizeof(order)) == sizeof(order)) {
		act(&order);
		if (write(sockets[self.number][1], &self.page, sizeof(self.page)) != sizeof(self.page))
			break;
	}
	_exit(0);
}

/* A child may or may not have the pages of files that its parent maps private. */
static void look_at_inherited(const struct place *parent)
{
	struct place *places = machine->processes[self.number].places;

	for (size_t i = 0; i < PLACES; i++) {
		struct folio *folio = folio_of(&parent[i]);

		if (places[i].is_mapped && !places[i].shared && folio && !folio->anon &&
		    pagemap_entry(address_in(i)) & PAGEMAP_PRESENT)
			map_folio(&places[i], folio);
	}
}

static _Noreturn void run_process(size_t number, int ready)
{
	const struct place *parent = machine->processes[self.number].places;

	if (self.number == 0)
		for (size_t i = 0; i < PROCESSES; i++)
			close(sockets[i][0]);
	for (size_t i = 0; i < COUNT_OF(self.uffds); i++)
		close(self.uffds[i]);
	self.number = number;
	board->pids[number] = getpid();
	open_uffds();
	look_at_inherited(parent);
	if (write(ready, "", 1) != 1)
		_exit(1);
	close(ready);
	serve();
}

void start_process(size_t number)
{
	int ready[2];
	char byte;
	pid_t pid;

	assert_errno(pipe2(ready, O_CLOEXEC), 0);
	fflush(stdout);
	pid = fork();
	assert_that(pid >= 0, "fork: %s", error_name(errno));
	if (pid == 0) {
		close(ready[0]);
		run_process(number, ready[1]);
	}
	close(ready[1]);
	assert_that(read(ready[0], &byte, 1) == 1, "the child of fork ended");
	close(ready[0]);
}

/* Waits for a process to do what it was told, or to end, which it may be told too; the page it was done to. */
static size_t await(size_t number, size_t page)
{
	int pidfd = pidfd_open(pid_of(number), 0);
	struct pollfd waiting[] = {
		{ .fd = sockets[number][0], .events = POLLIN },
		{ .fd = pidfd, .events = POLLIN },
	};

	/* Each process ends itself if it takes too long. */
	if (pidfd >= 0)
		poll(waiting, COUNT_OF(waiting), -1);
	close(pidfd);
	if (recv(sockets[number][0], &page, sizeof(page), MSG_DONTWAIT) == sizeof(page))
		return page;
	/* What went wrong was printed, unless the process was killed. */
	if (machine->processes[number].lives)
		probe_fail("process %zu has ended", number);
	return page;
}

/* Has a process act; returns the page that the operation was done to. */
static size_t tell(size_t number, const struct order *order)
{
	if (number == 0) {
		act(order);
		return self.page;
	}
	assert_bytes(write(sockets[number][0], order, sizeof(*order)), sizeof(*order));
	return await(number, order->op.page);
}

/* ---- the model ---------------------------------------------------------- */

static const char *space(void)
{
	static char text[96];

	snprintf(text, sizeof(text), "%d processes with %d huge pages each, and %d files of %d",
		 PROCESSES, PLACES, FILES, FILE_PAGES);
	return text;
}

static bool is_valid(const struct op *op)
{
	return op->process < PROCESSES && op->page < PLACES && op->count && op->count <= PLACES &&
	       op->file < FILES && op->offset < FILE_PAGES;
}

static void draw(struct op *op)
{
	static const size_t counts[] = { 1, 1, 1, 2, 2, 3, 4 };

	op->process = op->kind == EXITS ? 1 + below(PROCESSES - 1) : below(2) ? 0 : below(PROCESSES);
	op->page = below(below(2) ? PLACES : PLACES / 2);
	op->count = counts[below(COUNT_OF(counts))];
	op->file = below(FILES);
	op->offset = below(2) ? 0 : below(FILE_PAGES);
	op->choice = below(24);
}

static void prepare(void)
{
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_that(board != MAP_FAILED, "mmap: %s", error_name(errno));
	machine = &board->machine;
	close(uffd_open(FEATURES));
	ask_rules();
}

/* All of the pool but AVAILABLE pages is reserved, so that it can be exhausted. */
static void begin_pool(void)
{
	struct pool *pool = &machine->pool;
	long others;

	*pool = pool_now();
	machine->base_total = pool->total;
	others = pool->free - pool->reserved - AVAILABLE;
	if (others > 0)
		map_private_huges((size_t)others, RESERVED);
	mount = detached_mount("hugetlbfs", "pagesize=%zu,min_size=%zu", huge_size(),
			       MINIMUM * huge_size());
	machine->subpool = MINIMUM;
	pool->reserved += (others > 0 ? others : 0) + MINIMUM;
}

/* The processes take turns: to wake one up on another CPU takes longer than most operations. */
static void share_a_cpu(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
}

static void begin(void)
{
	memset(board, 0, sizeof(*board));
	memset(machine->cache, NONE, sizeof(machine->cache));
	for (size_t i = 0; i < PROCESSES * PLACES; i++)
		machine->processes[i / PLACES].places[i % PLACES].folio = NONE;
	machine->processes[0].lives = true;
	self = (struct self){ .number = 0, .files = { -1, -1, -1 } };
	board->pids[0] = getpid();
	catch_signals();
	share_a_cpu();
	begin_pool();
	self.arena = reserve_area(PLACES * huge_size(), huge_size());
	self.source = map_anonymous(huge_size(), 0);
	/* A part of a transparent huge page cannot be missing. */
	madvise(self.source, huge_size(), MADV_NOHUGEPAGE);
	self.files[MEMFD] = huge_memfd(FILE_PAGES);
	self.files[MOUNTED] = unnamed_file(mount);
	assert_errno(ftruncate(self.files[MOUNTED], (off_t)(FILE_PAGES * huge_size())), 0);
	for (size_t i = 0; i < PROCESSES; i++)
		assert_errno(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets[i]), 0);
	open_uffds();
}

static void step(struct op *op, bool all)
{
	static struct machine before;
	struct order order = { .all = all };

	if (!machine->processes[op->process].lives)
		op->process = 0;
	order.op = *op;
	order.acts = true;
	before = *machine;
	op->page = tell(op->process, &order);
	op->idle = memcmp(&before, machine, sizeof(before)) == 0;
	if (!all && op->idle)
		return;
	order.op = *op;
	order.acts = false;
	for (size_t i = 0; i < PROCESSES; i++)
		if (i != op->process && machine->processes[i].lives)
			tell(i, &order);
	check_file(MEMFD);
	check_file(MOUNTED);
	check_pool();
}

/* Ends all processes but the first, which passes() compares the pool after. */
static void end(void)
{
	for (size_t i = 1; i < PROCESSES; i++) {
		int pidfd = machine->processes[i].lives ? pidfd_open(pid_of(i), 0) : -1;
		struct pollfd waiting = { .fd = pidfd, .events = POLLIN };

		close(sockets[i][0]);
		if (pidfd >= 0)
			poll(&waiting, 1, -1);
		close(pidfd);
	}
}

static long held(void)
{
	return 0;
}

const struct model_info huge_model = {
	.kinds = huge_kinds,
	.kind_count = HUGE_KINDS,
	.space = space,
	.prepare = prepare,
	.draw = draw,
	.is_valid = is_valid,
	.begin = begin,
	.step = step,
	.end = end,
	.held = held,
};
