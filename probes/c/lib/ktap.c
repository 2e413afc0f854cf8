// SPDX-License-Identifier: GPL-2.0-only
/* Runs a probe's tests, a process each, and reports them as KTAP version 1. */
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "library.h"

/*
 * A test that takes longer is killed, which is a failure with a reason. Every
 * single wait in it is shorter, and each probe's budget is longer: the host
 * only sees a probe that hangs.
 */
#ifndef TEST_MS
#define TEST_MS 25000
#endif

/* A test that was killed ends within so long. */
#ifndef KILL_MS
#define KILL_MS 5000
#endif

/* kselftest's exit codes */
enum verdict { PASSED = 0, FAILED = 1, SKIPPED = 4 };

/* A child's results besides its exit code, in memory that it shares with its parent. */
struct shared {
	char skip_reason[160];
	struct promise_answer promises[PROMISE_COUNT];
};

static struct shared *shared;
static struct options options;
static size_t size;

/* The probe whose setup is running; NULL in tests. */
static const struct probe *setting_up;

size_t huge_size(void)
{
	return size;
}

size_t huge_pages(void)
{
	return size / BASE_PAGE;
}

static void note(const char *format, va_list arguments)
{
	printf("# ");
	vprintf(format, arguments);
	putchar('\n');
}

void probe_note(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	note(format, arguments);
	va_end(arguments);
}

static void report(size_t number, const char *name, enum verdict verdict)
{
	printf("%s %zu %s", verdict == FAILED ? "not ok" : "ok", number, name);
	if (verdict == SKIPPED)
		printf(" # SKIP %s", shared->skip_reason);
	putchar('\n');
}

static size_t selected_count(const struct probe *probe)
{
	size_t count = 0;

	for (size_t i = 0; i < probe->count; i++)
		count += is_selected(&options, probe->tests[i].name);
	return count;
}

static void report_all(const struct probe *probe, enum verdict verdict)
{
	size_t number = 0;

	for (size_t i = 0; i < probe->count; i++)
		if (is_selected(&options, probe->tests[i].name))
			report(++number, probe->tests[i].name, verdict);
}

/* _exit(): a test may have threads that wait in a fault for ever. */
static _Noreturn void leave(enum verdict verdict)
{
	if (setting_up)
		report_all(setting_up, verdict);
	fflush(stdout);
	_exit(verdict);
}

static char about[128];

void probe_about(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(about, sizeof(about), format, arguments);
	va_end(arguments);
}

void probe_fail(const char *format, ...)
{
	struct site site = probe_site();
	va_list arguments;
	char text[512];

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (site.file)
		probe_note("%s:%d: %s%s%s", site.file, site.line, about, *about ? ": " : "", text);
	else
		probe_note("%s", text);
	leave(FAILED);
}

void probe_skip(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(shared->skip_reason, sizeof(shared->skip_reason), format, arguments);
	va_end(arguments);
	leave(SKIPPED);
}

/* Runs in the child. */
static _Noreturn void run_in_child(void (*run)(void))
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	run();
	leave(PASSED);
}

static bool ended_within(int pidfd, int milliseconds)
{
	struct pollfd waiting = { .fd = pidfd, .events = POLLIN };

	return poll(&waiting, 1, milliseconds) > 0;
}

int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int scaled_ms(int milliseconds)
{
	double scaled = milliseconds * options.timeout_scale;

	return scaled < INT_MAX ? (int)scaled : INT_MAX;
}

/*
 * Waits for the child, and kills it after LIMIT_MS. One that SIGKILL does not end
 * is stuck in the kernel: that is a hang, so the probe hangs too, where it can be
 * examined.
 */
static enum verdict await(pid_t child, int limit_ms)
{
	int pidfd = pidfd_open(child, 0);
	bool late;
	int status;

	limit_ms = scaled_ms(limit_ms);
	late = !ended_within(pidfd, limit_ms);
	if (late) {
		kill(child, SIGKILL);
		probe_note("killed after %g s", limit_ms / 1000.0);
		if (!ended_within(pidfd, scaled_ms(KILL_MS))) {
			probe_note("process %d did not die of SIGKILL within %g s; waiting for it",
				   child, scaled_ms(KILL_MS) / 1000.0);
			ended_within(pidfd, -1);
		}
	}
	close(pidfd);
	waitpid(child, &status, 0);
	if (WIFSIGNALED(status)) {
		probe_note("ended by SIG%s", sigabbrev_np(WTERMSIG(status)));
		return FAILED;
	}
	if (late)
		return FAILED;
	switch (WEXITSTATUS(status)) {
	case PASSED:
		return PASSED;
	case SKIPPED:
		return SKIPPED;
	default:
		return FAILED;
	}
}

pid_t child_start(void (*run)(void))
{
	pid_t child = fork();

	assert_that(child >= 0, "fork: %s", error_name(errno));
	if (child == 0)
		run_in_child(run);
	return child;
}

void child_end(pid_t child)
{
	enum verdict verdict = await(child, CHILD_MS);

	if (verdict != PASSED)
		leave(verdict);
}

void run_then(void (*run)(void), void (*undo)(void))
{
	enum verdict verdict = await(child_start(run), CHILD_MS);

	undo();
	if (verdict != PASSED)
		leave(verdict);
}

/*
 * Says on what the result that follows rests. PASSED if the kernel offers all of
 * it, FAILED if it broke on the question.
 */
static enum verdict rest_on(uint32_t promises)
{
	char reason[sizeof(shared->skip_reason)];

	if (promises)
		printf("# rests on");
	for (size_t i = 0; i < PROMISE_COUNT; i++)
		if (promises & 1U << i)
			printf(" %s", promise_name((enum promise)i));
	if (promises)
		putchar('\n');
	for (size_t i = 0; i < PROMISE_COUNT; i++) {
		const struct promise_answer *answer = &shared->promises[i];

		if (!(promises & 1U << i) || answer->state == ANSWER_OFFERED)
			continue;
		if (answer->state == ANSWER_BROKEN) {
			probe_note("the question about %s: %s", promise_name((enum promise)i),
				   answer->word);
			return FAILED;
		}
		snprintf(reason, sizeof(reason), "%s: %s: %s",
			 answer->state == ANSWER_UNKNOWN ? "cannot be asked" : "not offered",
			 promise_name((enum promise)i), answer->word);
		memcpy(shared->skip_reason, reason, sizeof(reason));
		return SKIPPED;
	}
	return PASSED;
}

static enum verdict run_test(const struct probe_test *test, int limit_ms)
{
	enum verdict verdict = rest_on(test->rests_on);
	pid_t child;

	if (verdict != PASSED)
		return verdict;
	child = fork();
	if (child < 0) {
		probe_note("fork: %s", error_name(errno));
		return FAILED;
	}
	if (child == 0) {
		checkpoints_of(test->name);
		run_in_child(test->run);
	}
	return await(child, limit_ms);
}

static size_t pages_needed(const struct probe *probe, size_t of)
{
	return of < PUD_PAGE && probe->pages_small ? probe->pages_small : probe->pages;
}

/* Huge pages that are free and not reserved. */
static long pages_free(size_t of)
{
	return size_counter(of, "free_hugepages") - size_counter(of, "resv_hugepages");
}

static bool has_enough(const struct probe *probe, size_t of)
{
	return size_counter(of, "nr_hugepages") >= 0 &&
	       pages_free(of) >= (long)pages_needed(probe, of);
}

/* The kernel's default, unless another size alone has what the tests need. */
static size_t best_size(const struct probe *probe)
{
	size_t sizes[MAX_SIZES], count = offered_sizes(sizes), usual = default_size();

	for (size_t i = 0; i < count && !has_enough(probe, usual); i++)
		if (has_enough(probe, sizes[i]))
			return sizes[i];
	return usual;
}

/* Ends the probe with a skip if this machine lacks what all of its tests need. */
static void require(const struct probe *probe)
{
	int error = probe->needs_hgm ? hgm_error() : 0;

	if (BASE_PAGE != 4096 && probe->needs_4k_pages)
		probe_skip("the base page is %s, the tests need 4 KiB",
			   size_text(BASE_PAGE));
	if (sysconf(_SC_PAGESIZE) != BASE_PAGE)
		probe_skip("the base page is %s, this program was compiled for %s",
			   size_text(sysconf(_SC_PAGESIZE)), size_text(BASE_PAGE));
	if (size_counter(size, "nr_hugepages") < 0)
		probe_skip("/sys/kernel/mm/hugepages/hugepages-%zukB: ENOENT", size / 1024);
	if (error)
		probe_skip("MADV_SPLIT: %s", error_name(error));
	if (!has_enough(probe, size))
		probe_skip("needs %zu free huge page%s of %s, the pool has %ld",
			   pages_needed(probe, size), pages_needed(probe, size) == 1 ? "" : "s",
			   size_text((int64_t)size), pages_free(size));
}

void probe_harms(const char *how)
{
	if (!options.may_harm)
		probe_skip("%s; --yes-harm-this-machine allows it", how);
}

/* What is to be asked before the tests that were selected. */
static uint32_t promises_of(const struct probe *probe)
{
	uint32_t promises = probe->asks;

	for (size_t i = 0; i < probe->count; i++)
		if (is_selected(&options, probe->tests[i].name))
			promises |= probe->tests[i].rests_on;
	return promises;
}

static void set_up(const struct probe *probe)
{
	setting_up = probe;
	require(probe);
	promises_ask(promises_of(probe), shared->promises);
	if (probe->setup)
		probe->setup();
	setting_up = NULL;
}

static enum verdict run_tests(const struct probe *probe)
{
	int limit_ms = probe->test_ms ? probe->test_ms : TEST_MS;
	size_t counts[SKIPPED + 1] = { 0 }, number = 0;

	for (size_t i = 0; i < probe->count; i++) {
		enum verdict verdict;

		if (!is_selected(&options, probe->tests[i].name))
			continue;
		verdict = run_test(&probe->tests[i], limit_ms);
		report(++number, probe->tests[i].name, verdict);
		counts[verdict]++;
	}
	if (counts[FAILED])
		return FAILED;
	return counts[PASSED] ? PASSED : SKIPPED;
}

static int list(const struct probe *probe)
{
	for (size_t i = 0; i < probe->count; i++)
		if (is_selected(&options, probe->tests[i].name))
			puts(probe->tests[i].name);
	return PASSED;
}

int probe_main(int argc, char **argv, const struct probe *probe)
{
	options = parse_options(argc, argv, probe);
	if (options.help) {
		print_help(probe);
		return PASSED;
	}
	if (options.list)
		return list(probe);
	size = options.size ? options.size : best_size(probe);
	checkpoints_listen(options.checkpoints);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) {
		perror("mmap");
		return FAILED;
	}
	/* Lines must not wait in a buffer that fork() would copy. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("KTAP version 1\n1..%zu\n", selected_count(probe));
	set_up(probe);
	return run_tests(probe);
}
