// SPDX-License-Identifier: GPL-2.0-only
/* Runs a sequence in a process and a mapping of its own, and checks the pool after it. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "random_ops.h"

#define CHECK_ALL_EVERY 16

bool is_traced;

/* In memory that the process of a sequence shares with the one that waits for it. */
static size_t *step;

static struct sequence *running;

static void *map_for_all(size_t size)
{
	void *start = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_that(start != MAP_FAILED, "mmap: %s", error_name(errno));
	return start;
}

void prepare_to_run(void)
{
	the_model->prepare();
	step = map_for_all(sizeof(*step));
}

struct sequence *new_sequence(void)
{
	return map_for_all(sizeof(struct sequence));
}

size_t last_step(void)
{
	return *step;
}

/* For a kernel that does not survive: the last line of its log is the operation. */
static void trace(const struct op *op)
{
	static int log = -1;
	char text[128] = "random_ops: ";

	if (!is_traced)
		return;
	if (log < 0)
		log = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	print_op(op, text + strlen(text), sizeof(text) - strlen(text));
	if (log < 0 || write(log, text, strlen(text)) < 0)
		probe_note("/dev/kmsg: %s", error_name(errno));
}

static void run_sequence(void)
{
	the_model->begin();
	for (size_t i = 0; i < running->count; i++) {
		*step = i;
		trace(&running->ops[i]);
		the_model->step(&running->ops[i],
				i % CHECK_ALL_EVERY == 0 || i + 1 == running->count);
	}
	*step = running->count;
	the_model->end();
}

/* What the model does not hold must be in the pool again. */
static bool pool_is_whole(const struct pool *before, long held, bool loud)
{
	struct pool after = pool_now();
	long lost = before->free + held - after.free - the_model->held();

	if (!lost && after.reserved == before->reserved && after.surplus == before->surplus)
		return true;
	if (loud)
		probe_note("after the sequence the pool lacks %ld huge pages; reserved %+ld, surplus %+ld",
			   lost, after.reserved - before->reserved,
			   after.surplus - before->surplus);
	return false;
}

/* Models may change it. */
static void resize_pool_to(long total)
{
	char path[96], text[24];

	snprintf(path, sizeof(path), POOL_FILE, huge_size() / 1024);
	snprintf(text, sizeof(text), "%ld", total);
	assert_written(path, text);
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

bool passes(struct sequence *sequence, bool loud)
{
	struct pool before = pool_now();
	long held = the_model->held();
	int status = 0;
	pid_t pid;

	running = sequence;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	fflush(stdout);
	pid = fork();
	assert_that(pid >= 0, "fork: %s", error_name(errno));
	if (pid == 0)
		run_in_child(loud);
	waitpid(pid, &status, 0);
	while (wait(NULL) > 0) /* those that it left */
		;
	if (WIFSIGNALED(status) && loud)
		probe_note("the sequence's process ended by SIG%s", sigabbrev_np(WTERMSIG(status)));
	if (pool_now().total != before.total || pool_now().surplus != before.surplus)
		resize_pool_to(before.total);
	return status == 0 && pool_is_whole(&before, held, loud);
}
