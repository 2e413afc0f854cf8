// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random operations on a mapping of huge pages, against a model of what must be
 * seen; a sequence that fails is shrunk to a short one that still fails.
 *
 *   random_ops --size 2M [--seed N] [--steps N] [--seconds N] [--grain base|huge] [--trace 1]
 *   random_ops --size 2M --replay 'cont 3 5; wp 0 512; write 4'
 *
 * A round is STEPS operations made from one seed, and rounds with the seeds
 * after it follow until the seconds are over. The first operation or check that
 * disagrees with the model ends it: the seed, the sequence's length and what was
 * seen are printed, and then the shortest subsequence that was found (ddmin), as
 * text for --replay. Every sequence runs in a process and a mapping of its own.
 * --trace writes each operation to the kernel's log before it is done, for
 * kernels that do not survive it. With the grain "huge" all ranges are whole
 * huge pages and nothing is split, which every kernel can do.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hgm_probe.h"

#define TABLE (PMD_PAGE / BASE_PAGE)
#define MAX_PAGES (2 * PUD_PAGE / BASE_PAGE)
#define MAX_STEPS 4096
#define CHECK_ALL_EVERY 16
#define SHRINK_SECONDS 20
#define SEQUENCE_SECONDS 30
/* Pages whose contents are looked at: those of the first and the last 2 MiB regions. */
#define REGIONS 4

/* ---- operations: what they are called, and how often they are made ---- */

enum kind {
	CONT, CONT_WP, WP, UNWP, READ, WRITE, ALIAS, COLLAPSE, VMREAD, FORK, READONLY,
	REMAP, SIDE, REREGISTER, DONTNEED, PUNCH, TRUNCATE, KINDS
};

/* Each takes a page and a count of pages; some look at the first or at its huge page alone. */
static const struct {
	const char *name;
	unsigned int weight;
	bool fine_only; /* not with the grain "huge" */
} kinds[KINDS] = {
	[CONT] = { "cont", 30, false },		/* continue the pages */
	[CONT_WP] = { "contwp", 6, true },	/* the same, write-protected */
	[WP] = { "wp", 14, false },		/* write-protect them */
	[UNWP] = { "unwp", 8, false },		/* lift that */
	[READ] = { "read", 8, false },		/* read the first, answering its fault */
	[WRITE] = { "write", 12, false },	/* write the first, answering its faults */
	[ALIAS] = { "alias", 10, false },	/* write them through the other mapping */
	[COLLAPSE] = { "collapse", 6, true },	/* MADV_COLLAPSE */
	[VMREAD] = { "vmread", 4, false },	/* process_vm_readv() of what is mapped */
	[FORK] = { "fork", 2, false },		/* a child sees the file's contents */
	[READONLY] = { "readonly", 2, false },	/* mprotect() to and fro */
	[REMAP] = { "remap", 2, false },	/* mremap() to another address */
	[SIDE] = { "side", 4, false },		/* continue them in a third mapping */
	[REREGISTER] = { "reregister", 1, false }, /* unregister and register again */
	[DONTNEED] = { "dontneed", 3, false },	/* of the huge page */
	[PUNCH] = { "punch", 2, false },	/* the huge page out of the file */
	[TRUNCATE] = { "truncate", 1, false },	/* the file to nothing, and to its size again */
};

struct op {
	enum kind kind;
	size_t page, count;
};

struct sequence {
	size_t count;
	struct op ops[MAX_STEPS];
};

/* ---- the model, and what it is compared with -------------------------- */

static struct {
	uint64_t value[MAX_PAGES];	/* first and last word of the page in the file */
	bool mapped[MAX_PAGES];		/* in the primary mapping */
	bool marked[MAX_PAGES];		/* write-protected there, or to be when it is mapped */
	bool cached[64];		/* huge pages that the file has */
	uint64_t next_value;
} model;

static bool fine = true, tracing;
static size_t huge_count, pages;	/* of the file */
static int file = -1, uffd = -1;
static char *primary, *alias;

static size_t granule(void)
{
	return fine ? 1 : huge_pages();
}

static bool looked_at(size_t page)
{
	size_t region = page / TABLE;

	return region < REGIONS / 2 || region >= pages / TABLE - REGIONS / 2;
}

/* COPY shows what page PAGE must have. */
static void check_copy_of(const char *what, const char *copy, size_t page)
{
	const volatile uint64_t *words = (const void *)copy;
	uint64_t first = words[0], last = words[BASE_PAGE / 8 - 1];

	if (first == model.value[page] && last == model.value[page])
		return;
	probe_fail("%s shows %#llx..%#llx in page %zu, expected %#llx", what,
		   (unsigned long long)first, (unsigned long long)last, page,
		   (unsigned long long)model.value[page]);
}

static void check_value(const char *what, const char *mapping, size_t page)
{
	check_copy_of(what, mapping + page * BASE_PAGE, page);
}

static void check_state(size_t page, uint64_t entry)
{
	bool present = entry & PAGEMAP_PRESENT, marked = entry & PAGEMAP_UFFD_WP;

	if (present != model.mapped[page])
		probe_fail("page %zu is %s, expected it %s", page,
			   present ? "mapped" : "not mapped",
			   model.mapped[page] ? "mapped" : "not mapped");
	if (marked != model.marked[page] && (fine || present))
		probe_fail("page %zu is %s, expected it %s", page,
			   marked ? "write-protected" : "not write-protected",
			   model.marked[page] ? "write-protected" : "not write-protected");
}

/*
 * Presence and protection of the pages (old kernels do not show that of what is
 * not mapped), and the contents of the mapped ones that are looked at.
 */
static size_t check_pages_from(size_t first, size_t count)
{
	static uint64_t entries[MAX_PAGES];
	size_t mapped = 0;

	pagemap_read(primary + first * BASE_PAGE, count, entries);
	for (size_t page = first; page < first + count; page++) {
		check_state(page, entries[page - first]);
		mapped += model.mapped[page];
		if (model.mapped[page] && looked_at(page))
			check_value("the primary mapping", primary, page);
	}
	return mapped;
}

/* All pages, and what smaps makes of them. */
static void check_all(void)
{
	size_t bytes = check_pages_from(0, pages) * BASE_PAGE;
	int64_t seen = smaps_bytes(primary, "Shared_Hugetlb") +
		       smaps_bytes(primary, "Private_Hugetlb");

	assert_that(seen == (int64_t)bytes, "smaps shows %lld bytes, expected %zu", (long long)seen,
	       bytes);
	assert_no_fault(uffd);
}

/* The pages that are looked at; all of 1 GiB takes too long to be done each time. */
static void check_some(void)
{
	size_t part = REGIONS / 2 * TABLE;

	check_pages_from(0, part);
	check_pages_from(pages - part, part);
	assert_no_fault(uffd);
}

/* ---- doing one operation, to the kernel and to the model -------------- */

static void set(bool *states, const struct op *op, bool state)
{
	memset(states + op->page, state, op->count);
}

static void new_value(char *mapping, size_t page)
{
	volatile uint64_t *words = (void *)(mapping + page * BASE_PAGE);

	words[0] = words[BASE_PAGE / 8 - 1] = model.value[page] =
		(uint64_t)page << 32 | ++model.next_value;
}

static void register_primary(void)
{
	if (fine)
		split(primary, pages * BASE_PAGE);
	uffd_register(uffd, primary, pages * BASE_PAGE,
		      UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_WP);
}

/* Pages that a continue maps before it comes to one that it cannot; ERROR says why it stops. */
static size_t continuable(const struct op *op, int *error)
{
	for (size_t i = 0; i < op->count; i += granule()) {
		*error = !model.cached[(op->page + i) / huge_pages()] ? EFAULT :
			 model.mapped[op->page + i] ? EEXIST : 0;
		if (*error)
			return i;
	}
	*error = 0;
	return op->count;
}

static void do_continue(const struct op *op)
{
	bool protect = op->kind == CONT_WP;
	int error;
	size_t count = continuable(op, &error);
	int64_t done = count ? (int64_t)(count * BASE_PAGE) : -error;
	struct uffd_result result;

	result = uffd_continue_mode(uffd, primary + op->page * BASE_PAGE, op->count * BASE_PAGE,
				    protect ? UFFDIO_CONTINUE_MODE_WP : 0);
	if (error && count)
		error = EAGAIN;
	assert_that(result.error == error && result.done == done,
	       "got %s, mapped %lld, expected %s, %lld", error_name(result.error),
	       (long long)result.done, error_name(error), (long long)done);
	memset(model.mapped + op->page, true, count);
	memset(model.marked + op->page, protect, count);
}

static void do_protect(const struct op *op)
{
	assert_error(uffd_protect(uffd, primary + op->page * BASE_PAGE, op->count * BASE_PAGE,
				  op->kind == WP), 0);
	set(model.marked, op, op->kind == WP);
}

/* The range that one answer to a fault on PAGE covers. */
static struct op unit_of(size_t page)
{
	return (struct op){ .page = page / granule() * granule(), .count = granule() };
}

/* Lets the held thread of a minor fault go on. */
static void answer_minor(const struct op *unit, uint64_t flags)
{
	char *start = primary + unit->page * BASE_PAGE;

	assert_fault(uffd, start, UFFD_PAGEFAULT_FLAG_MINOR | flags);
	assert_continue(uffd, start, unit->count * BASE_PAGE, 0, unit->count * BASE_PAGE);
	set(model.mapped, unit, true);
	set(model.marked, unit, false);
}

static void answer_protected(const struct op *unit)
{
	char *start = primary + unit->page * BASE_PAGE;

	assert_fault(uffd, start, UFFD_PAGEFAULT_FLAG_WP | UFFD_PAGEFAULT_FLAG_WRITE);
	assert_error(uffd_protect(uffd, start, unit->count * BASE_PAGE, false), 0);
	set(model.marked, unit, false);
}

static void do_access(const struct op *op)
{
	enum touch_kind kind = op->kind == WRITE ? TOUCH_WRITE : TOUCH_READ;
	uint64_t write = kind == TOUCH_WRITE ? UFFD_PAGEFAULT_FLAG_WRITE : 0;
	struct op unit = unit_of(op->page);
	struct touch touch;
	uint64_t seen;

	if (!model.cached[op->page / huge_pages()])
		return; /* would be a missing fault, which nobody answers */
	touch_start(&touch, primary + op->page * BASE_PAGE + 0x100, kind);
	if (!model.mapped[op->page])
		answer_minor(&unit, write);
	else if (write && model.marked[op->page])
		answer_protected(&unit);
	seen = touch_end(&touch);
	assert_that(seen == 0, "byte 0x100 of page %zu shows %#llx", op->page, (unsigned long long)seen);
	if (write)
		new_value(primary, op->page);
	check_value("the primary mapping", primary, op->page);
	check_value("the alias", alias, op->page);
}

static void do_alias(const struct op *op)
{
	for (size_t page = op->page; page < op->page + op->count; page++) {
		if (!looked_at(page))
			continue;
		model.cached[page / huge_pages()] = true;
		new_value(alias, page);
	}
}

static void do_collapse(const struct op *op)
{
	collapse(primary + op->page * BASE_PAGE, op->count * BASE_PAGE);
	for (size_t page = op->page; page < op->page + op->count; page++) {
		/* There is nothing to be mapped of what the file has not; the marks go all the same. */
		model.mapped[page] = model.cached[page / huge_pages()];
		model.marked[page] = false;
	}
}

static void do_vmread(const struct op *op)
{
	static uint64_t buffer[16][BASE_PAGE / 8];
	size_t count = 0;
	struct iovec local, remote;

	while (count < op->count && count < COUNT_OF(buffer) && model.mapped[op->page + count])
		count++;
	local = (struct iovec){ buffer, count * BASE_PAGE };
	remote = (struct iovec){ primary + op->page * BASE_PAGE, count * BASE_PAGE };
	assert_that(process_vm_readv(getpid(), &local, 1, &remote, 1, 0) ==
	       (ssize_t)(count * BASE_PAGE), "%s", error_name(errno));
	for (size_t i = 0; i < count; i++)
		check_copy_of("process_vm_readv()", (char *)buffer[i], op->page + i);
}

/* The child has no userfaultfd: what it touches comes by itself. */
static void see_contents(void)
{
	for (size_t page = 0; page < pages; page++)
		if (looked_at(page) && model.cached[page / huge_pages()])
			check_value("the child", primary, page);
}

static void do_readonly(void)
{
	assert_that(mprotect(primary, pages * BASE_PAGE, PROT_READ) == 0, "%s", error_name(errno));
	check_some();
	assert_that(mprotect(primary, pages * BASE_PAGE, PROT_READ | PROT_WRITE) == 0, "%s",
	       error_name(errno));
}

/* Whether a move keeps marks depends on the kernel's age, so none are left to keep. */
static void do_remap(void)
{
	struct op all = { .kind = UNWP, .page = 0, .count = pages };
	size_t length = pages * BASE_PAGE;
	char *to = map_shared(file, length, UNRESERVED);

	do_protect(&all);
	to = mremap(primary, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	assert_that(to != MAP_FAILED, "mremap: %s", error_name(errno));
	primary = to;
	register_primary();
}

static void do_side(const struct op *op)
{
	size_t length = pages * BASE_PAGE;
	char *side = map_shared(file, length, UNRESERVED);

	if (fine)
		split(side, length);
	uffd_register(uffd, side, length, UFFDIO_REGISTER_MODE_MINOR);
	if (model.cached[op->page / huge_pages()] &&
	    model.cached[(op->page + op->count - 1) / huge_pages()] && op->count <= huge_pages()) {
		assert_continue(uffd, side + op->page * BASE_PAGE, op->count * BASE_PAGE, 0,
				op->count * BASE_PAGE);
		for (size_t page = op->page; page < op->page + op->count; page++)
			if (looked_at(page))
				check_value("the third mapping", side, page);
	}
	unmap(side, length);
}

static void do_reregister(void)
{
	assert_error(uffd_unregister(uffd, primary, pages * BASE_PAGE), 0);
	memset(model.marked, false, pages);
	register_primary();
}

static struct op huge_of(size_t page)
{
	return (struct op){ .page = page / huge_pages() * huge_pages(), .count = huge_pages() };
}

static void do_dontneed(const struct op *op)
{
	struct op huge = huge_of(op->page);

	assert_error(advise(primary + huge.page * BASE_PAGE, huge_size(), MADV_DONTNEED), 0);
	set(model.mapped, &huge, false);
}

static void forget(const struct op *huge)
{
	set(model.mapped, huge, false);
	memset(model.value + huge->page, 0, huge->count * sizeof(model.value[0]));
	model.cached[huge->page / huge_pages()] = false;
}

static void do_punch(const struct op *op)
{
	struct op huge = huge_of(op->page);

	punch(file, huge.page / huge_pages(), 1);
	forget(&huge);
}

static void do_truncate(void)
{
	assert_that(ftruncate(file, 0) == 0, "%s", error_name(errno));
	assert_that(ftruncate(file, (off_t)(pages * BASE_PAGE)) == 0, "%s", error_name(errno));
	for (size_t page = 0; page < pages; page += huge_pages()) {
		struct op huge = huge_of(page);

		forget(&huge);
		set(model.marked, &huge, false);
	}
}

static void do_op(const struct op *op)
{
	switch (op->kind) {
	case CONT:
	case CONT_WP:
		return do_continue(op);
	case WP:
	case UNWP:
		return do_protect(op);
	case READ:
	case WRITE:
		return do_access(op);
	case ALIAS:
		return do_alias(op);
	case COLLAPSE:
		return do_collapse(op);
	case VMREAD:
		return do_vmread(op);
	case FORK:
		return child_end(child_start(see_contents));
	case READONLY:
		return do_readonly();
	case REMAP:
		return do_remap();
	case SIDE:
		return do_side(op);
	case REREGISTER:
		return do_reregister();
	case DONTNEED:
		return do_dontneed(op);
	case PUNCH:
		return do_punch(op);
	case TRUNCATE:
		return do_truncate();
	case KINDS:
		break;
	}
}

/* ---- sequences: making, reading, writing, running --------------------- */

static uint64_t random_state;

/* xorshift64*, so that a seed means the same everywhere. */
static size_t below(size_t limit)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (size_t)((random_state * 0x2545f4914f6cdd1dULL >> 33) % limit);
}

static enum kind random_kind(void)
{
	unsigned int total = 0, chosen;

	for (size_t i = 0; i < KINDS; i++)
		total += kinds[i].weight;
	chosen = (unsigned int)below(total);
	for (size_t i = 0;; i++) {
		if (chosen < kinds[i].weight)
			return kinds[i].fine_only && !fine ? CONT : (enum kind)i;
		chosen -= kinds[i].weight;
	}
}

/* Near the ends of 2 MiB regions, which are those of tables: that is where mistakes live. */
static size_t random_page(void)
{
	size_t region = below(REGIONS), near = below(3) ? below(8) : below(TABLE);

	if (region >= REGIONS / 2)
		region = pages / TABLE - 1 - (region - REGIONS / 2);
	region %= pages / TABLE;
	return region * TABLE + (below(2) ? near : TABLE - 1 - near);
}

static size_t random_count(void)
{
	static const size_t counts[] = { 1, 1, 1, 2, 3, 7, 16, 64, TABLE - 1, TABLE, TABLE + 1 };
	size_t which = below(COUNT_OF(counts) + 1);

	return which < COUNT_OF(counts) ? counts[which] : pages;
}

static struct op random_op(void)
{
	struct op op = { .kind = random_kind(), .page = random_page(), .count = random_count() };

	if (!below(4)) /* whole 2 MiB regions */
		op.page = op.page / TABLE * TABLE;
	op.page = op.page / granule() * granule();
	op.count = (op.count + granule() - 1) / granule() * granule();
	if (op.count > pages - op.page)
		op.count = pages - op.page;
	return op;
}

static void make_sequence(struct sequence *sequence, uint64_t seed, size_t steps)
{
	random_state = seed * 0x9e3779b97f4a7c15ULL + 1;
	sequence->count = steps;
	for (size_t i = 0; i < steps; i++)
		sequence->ops[i] = random_op();
}

static void print_op(const struct op *op, char *text, size_t room)
{
	snprintf(text, room, "%s %zu %zu", kinds[op->kind].name, op->page, op->count);
}

/* "cont 3 5; wp 0 512; write 4"; a count that is left out is one. */
static void parse_sequence(struct sequence *sequence, const char *text)
{
	char *rest = strdup(text), *part, name[16];

	while ((part = strsep(&rest, ";"))) {
		struct op op = { .kind = 0, .count = 1 };

		if (sscanf(part, " %15s %zu %zu", name, &op.page, &op.count) < 1)
			continue;
		while (op.kind < KINDS && strcmp(kinds[op.kind].name, name) != 0)
			op.kind++;
		if (op.kind == KINDS || op.page >= pages || op.count > pages - op.page ||
		    op.count == 0 || sequence->count == MAX_STEPS)
			probe_fail("--replay: '%s' is no operation on %zu pages", part, pages);
		sequence->ops[sequence->count++] = op;
	}
}

/* For kernels that do not survive: the last line of the log is the culprit. */
static void trace(const struct op *op)
{
	static int log = -1;
	char text[64] = "random_ops: ";

	if (!tracing)
		return;
	if (log < 0)
		log = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	print_op(op, text + strlen(text), sizeof(text) - strlen(text));
	if (log < 0 || write(log, text, strlen(text)) < 0)
		probe_note("/dev/kmsg: %s", error_name(errno));
}

/* What the process that runs a sequence tells the one that waits for it; shared between them. */
static struct progress {
	size_t step;
} *progress;

static const struct sequence *running;

/* Nothing is left of the last sequence: all huge pages are in the file, and zero. */
static void fresh_state(void)
{
	size_t length = pages * BASE_PAGE;

	memset(&model, 0, sizeof(model));
	alias = map_shared(file, length, UNRESERVED);
	primary = map_shared(file, length, UNRESERVED);
	uffd = uffd_open(UFFD_FEATURE_MINOR_HUGETLBFS | UFFD_FEATURE_WP_HUGETLBFS_SHMEM);
	register_primary();
	for (size_t page = 0; page < pages; page++) {
		if (!looked_at(page))
			continue;
		memset(alias + page * BASE_PAGE, 0, BASE_PAGE);
		model.cached[page / huge_pages()] = true;
	}
	for (size_t huge = 0; huge < huge_count; huge++) {
		alias[huge * huge_size()] = 0;
		model.cached[huge] = true;
	}
}

static void run_sequence(void)
{
	fresh_state();
	for (size_t i = 0; i < running->count; i++) {
		progress->step = i;
		trace(&running->ops[i]);
		do_op(&running->ops[i]);
		if (i % CHECK_ALL_EVERY == 0 || i + 1 == running->count)
			check_all();
		else
			check_some();
	}
	progress->step = running->count;
	unmap(primary, pages * BASE_PAGE);
	for (size_t page = 0; page < pages; page++)
		if (looked_at(page) && model.cached[page / huge_pages()])
			check_value("the file at the end", alias, page);
}

/* ---- failures and their shrinking ------------------------------------- */

/* Huge pages that the file holds. */
static long file_pages(void)
{
	struct stat status;

	assert_that(fstat(file, &status) == 0, "%s", error_name(errno));
	return (long)(status.st_blocks * 512 / (blkcnt_t)huge_size());
}

/* What the file does not hold must be in the pool again. */
static bool pool_is_whole(const struct pool *before, long held, bool loud)
{
	struct pool after = pool_now();
	long lost = before->free + held - after.free - file_pages();

	if (!lost && after.reserved == before->reserved && after.surplus == before->surplus)
		return true;
	if (loud)
		probe_note("at the end the pool has lost %ld pages; reserved %+ld, surplus %+ld",
			   lost, after.reserved - before->reserved,
			   after.surplus - before->surplus);
	return false;
}

static _Noreturn void child(bool loud)
{
	if (!loud && !freopen("/dev/null", "w", stdout))
		_exit(1);
	alarm(SEQUENCE_SECONDS); /* for a thread that nobody wakes */
	run_sequence();
	fflush(stdout);
	_exit(0);
}

/* Whether the sequence runs as the model says; if LOUD, what it prints is seen. */
static bool passes(const struct sequence *sequence, bool loud)
{
	struct pool before = pool_now();
	long held = file_pages();
	int status = 0;
	pid_t pid;

	running = sequence;
	fflush(stdout);
	pid = fork();
	assert_that(pid >= 0, "fork: %s", error_name(errno));
	if (pid == 0)
		child(loud);
	waitpid(pid, &status, 0);
	if (WIFSIGNALED(status) && loud)
		probe_note("ended by SIG%s", sigabbrev_np(WTERMSIG(status)));
	return status == 0 && pool_is_whole(&before, held, loud);
}

static time_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec;
}

/* Leaves out COUNT operations from FIRST on. */
static void without(const struct sequence *from, size_t first, size_t count, struct sequence *to)
{
	to->count = from->count - count;
	memcpy(to->ops, from->ops, first * sizeof(from->ops[0]));
	memcpy(to->ops + first, from->ops + first + count,
	       (from->count - first - count) * sizeof(from->ops[0]));
}

/*
 * Zeller's ddmin, complements only: leaves out ever smaller parts for as long as
 * what is left still fails. At the end no single operation can be left out,
 * unless the time is over before.
 */
static void shrink(struct sequence *failing)
{
	static struct sequence candidate;
	time_t end = now() + SHRINK_SECONDS;

	for (size_t part = (failing->count + 1) / 2; part >= 1 && now() < end;) {
		bool smaller = false;

		for (size_t first = 0; first < failing->count && now() < end;) {
			size_t count = part < failing->count - first ? part : failing->count - first;

			without(failing, first, count, &candidate);
			if (candidate.count && !passes(&candidate, false)) {
				*failing = candidate;
				smaller = true;
			} else {
				first += count;
			}
		}
		if (!smaller || part > failing->count)
			part = part > 1 ? part / 2 : 0;
	}
}

/* Halves the ranges of what is left for as long as it still fails. */
static void narrow(struct sequence *failing)
{
	static struct sequence candidate;
	time_t end = now() + SHRINK_SECONDS;

	for (size_t i = 0; i < failing->count; i++) {
		size_t half;

		while ((half = failing->ops[i].count / 2 / granule() * granule()) &&
		       now() < end) {
			candidate = *failing;
			candidate.ops[i].count = half;
			if (passes(&candidate, false)) {
				candidate.ops[i].page += failing->ops[i].count - half;
				if (passes(&candidate, false))
					break;
			}
			*failing = candidate;
		}
	}
}

static void print_sequence(const struct sequence *sequence)
{
	char text[64];

	printf("# --replay '");
	for (size_t i = 0; i < sequence->count; i++) {
		print_op(&sequence->ops[i], text, sizeof(text));
		printf("%s%s", i ? "; " : "", text);
	}
	printf("'\n");
}

static _Noreturn void report_failure(struct sequence *sequence, uint64_t seed)
{
	size_t whole = sequence->count;

	/* Nothing after the step that failed matters, except for what only the end shows. */
	if (progress->step + 1 < sequence->count)
		sequence->count = progress->step + 1;
	shrink(sequence);
	narrow(sequence);
	probe_note("of %zu operations of seed %llu these are left:", whole,
		   (unsigned long long)seed);
	print_sequence(sequence);
	if (passes(sequence, true))
		probe_note("they passed when they were run once more: the failure is not a steady one");
	probe_fail("the kernel and the model disagree");
}

/* ---- the probe -------------------------------------------------------- */

static struct {
	uint64_t seed;
	size_t steps;
	time_t seconds;
	const char *replay;
} asked;

static struct sequence sequence;

static void set_up(void)
{
	huge_count = huge_size() == PUD_PAGE ? 1 : fine ? 2 : 4;
	pages = huge_count * huge_pages();
	file = huge_memfd(huge_count);
	progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_that(progress != MAP_FAILED, "mmap: %s", error_name(errno));
}

static void replay(void)
{
	if (!asked.replay)
		probe_skip("no --replay was given");
	parse_sequence(&sequence, asked.replay);
	if (!passes(&sequence, true))
		probe_fail("it fails: step %zu", progress->step);
}

static void random_rounds(void)
{
	time_t end = now() + asked.seconds;
	uint64_t seed = asked.seed;
	size_t rounds = 0;

	if (asked.replay)
		probe_skip("--replay was given");
	probe_note("--seed %llu --steps %zu", (unsigned long long)seed, asked.steps);
	do {
		make_sequence(&sequence, seed, asked.steps);
		if (!passes(&sequence, true)) {
			probe_note("seed %llu failed at step %zu of %zu",
				   (unsigned long long)seed, progress->step, asked.steps);
			report_failure(&sequence, seed);
		}
		seed++;
		rounds++;
	} while (now() < end);
	probe_note("%zu sequences agreed with the model", rounds);
}

static uint64_t fresh_seed(void)
{
	uint32_t seed;

	return getrandom(&seed, sizeof(seed), 0) == sizeof(seed) ? seed : 1;
}

static uint64_t number_option(int argc, char **argv, const char *name, uint64_t otherwise)
{
	const char *text = probe_option(argc, argv, name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "random sequences agree with the model", random_rounds },
		{ "the sequence of --replay agrees with the model", replay },
	};
	const char *grain = probe_option(argc, argv, "--grain");

	fine = !grain || strcmp(grain, "huge") != 0;
	tracing = number_option(argc, argv, "--trace", 0) != 0;
	asked.replay = probe_option(argc, argv, "--replay");
	asked.seed = number_option(argc, argv, "--seed", fresh_seed());
	asked.steps = number_option(argc, argv, "--steps", 60);
	asked.seconds = (time_t)number_option(argc, argv, "--seconds", 3);
	if (asked.steps < 1 || asked.steps > MAX_STEPS || asked.seconds > 3600) {
		fprintf(stderr, "%s: --steps is 1 to %d, --seconds 0 to 3600\n", argv[0], MAX_STEPS);
		return 2;
	}
	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = asked.replay ? 2 : 1,
		.needs_hgm = fine,
		.setup = set_up,
		.test_ms = (int)(asked.seconds + 2 * (SHRINK_SECONDS + SEQUENCE_SECONDS)) * 1000,
	});
}
