// SPDX-License-Identifier: GPL-2.0-only
/* Runs a sequence in a process and a mapping of its own, and checks the pool after it. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "random_ops.h"

#define CHECK_ALL_EVERY 16

bool is_traced;

/* In memory that the process of a sequence shares with the one that waits for it. */
static size_t *step;

static const struct sequence *running;

void make_target(void)
{
	target.huge_count = huge_size() == PUD_PAGE ? 1 : target.fine ? 2 : 4;
	target.pages = target.huge_count * huge_pages();
	target.file = huge_memfd(target.huge_count);
	close(uffd_open(UFFD_FEATURE_MINOR_HUGETLBFS | UFFD_FEATURE_WP_HUGETLBFS_SHMEM));
	step = mmap(NULL, sizeof(*step), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_that(step != MAP_FAILED, "mmap: %s", error_name(errno));
}

size_t last_step(void)
{
	return *step;
}

/* For a kernel that does not survive: the last line of its log is the operation. */
static void trace(const struct op *op)
{
	static int log = -1;
	char text[64] = "random_ops: ";

	if (!is_traced)
		return;
	if (log < 0)
		log = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	print_op(op, text + strlen(text), sizeof(text) - strlen(text));
	if (log < 0 || write(log, text, strlen(text)) < 0)
		probe_note("/dev/kmsg: %s", error_name(errno));
}

/* Nothing of the last sequence remains: all huge pages are in the file, and zero. */
static void map_target(void)
{
	size_t length = target.pages * BASE_PAGE;

	memset(&model, 0, sizeof(model));
	target.alias = map_shared(target.file, length, UNRESERVED);
	target.primary = map_shared(target.file, length, UNRESERVED);
	target.uffd = uffd_open(UFFD_FEATURE_MINOR_HUGETLBFS | UFFD_FEATURE_WP_HUGETLBFS_SHMEM);
	register_primary();
	for (size_t page = 0; page < target.pages; page++)
		if (is_checked(page))
			memset(target.alias + page * BASE_PAGE, 0, BASE_PAGE);
	for (size_t huge = 0; huge < target.huge_count; huge++) {
		target.alias[huge * huge_size()] = 0;
		model.cached[huge] = true;
	}
}

static void run_sequence(void)
{
	map_target();
	for (size_t i = 0; i < running->count; i++) {
		const struct op *op = &running->ops[i];

		*step = i;
		trace(op);
		kinds[op->kind].run(op);
		if (i % CHECK_ALL_EVERY == 0 || i + 1 == running->count)
			check_all();
		else
			check_regions();
	}
	*step = running->count;
	unmap(target.primary, target.pages * BASE_PAGE);
	for (size_t page = 0; page < target.pages; page++)
		if (is_checked(page) && model.cached[page / huge_pages()])
			check_value("the alias after munmap of the primary mapping",
				    target.alias, page);
}

/* Huge pages that the file holds. */
static long file_pages(void)
{
	struct stat status;

	assert_that(fstat(target.file, &status) == 0, "fstat: %s", error_name(errno));
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
		probe_note("after the sequence the pool lacks %ld huge pages; reserved %+ld, surplus %+ld",
			   lost, after.reserved - before->reserved,
			   after.surplus - before->surplus);
	return false;
}

static _Noreturn void run_in_child(bool loud)
{
	if (!loud && !freopen("/dev/null", "w", stdout))
		_exit(1);
	alarm(SEQUENCE_SECONDS); /* a thread may stay blocked */
	run_sequence();
	fflush(stdout);
	_exit(0);
}

bool passes(const struct sequence *sequence, bool loud)
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
		run_in_child(loud);
	waitpid(pid, &status, 0);
	if (WIFSIGNALED(status) && loud)
		probe_note("the sequence's process ended by SIG%s", sigabbrev_np(WTERMSIG(status)));
	return status == 0 && pool_is_whole(&before, held, loud);
}
