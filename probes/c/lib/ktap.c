// SPDX-License-Identifier: GPL-2.0-only
/* Runs a probe's tests, a process each, and reports them as KTAP version 1. */
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../hgm_probe.h"

/* A test that takes longer is killed. Every single wait in it is shorter. */
#ifndef TEST_MS
#define TEST_MS 30000
#endif

/* kselftest's exit codes */
enum verdict { PASSED = 0, FAILED = 1, SKIPPED = 4 };

/* What a child tells its parent beyond an exit code; shared between them. */
struct shared {
	char skip_reason[160];
};

static struct shared *shared;
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

const char *error_name(int error)
{
	const char *name = strerrorname_np(error);

	if (error == 0)
		return "ok";
	return name ? name : "unknown error";
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

static void report_all(const struct probe *probe, enum verdict verdict)
{
	for (size_t i = 0; i < probe->count; i++)
		report(i + 1, probe->tests[i].name, verdict);
}

/* _exit(): a test may hold threads that wait for a fault for ever. */
static _Noreturn void leave(enum verdict verdict)
{
	if (setting_up)
		report_all(setting_up, verdict);
	fflush(stdout);
	_exit(verdict);
}

void probe_fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	note(format, arguments);
	va_end(arguments);
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

const char *probe_option(int argc, char **argv, const char *name)
{
	for (int i = 1; i + 1 < argc; i += 2)
		if (strcmp(argv[i], name) == 0)
			return argv[i + 1];
	return NULL;
}

static size_t chosen_size(int argc, char **argv)
{
	const char *text = probe_option(argc, argv, "--size");

	if (text && strcmp(text, "1G") == 0)
		return PUD_PAGE;
	if (text && strcmp(text, "2M") == 0)
		return PMD_PAGE;
	fprintf(stderr, "usage: %s --size 1G|2M\n", argv[0]);
	exit(2);
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

/* Waits for the child, no longer than LIMIT_MS and the time that a kill takes. */
static enum verdict await(pid_t child, int limit_ms)
{
	int pidfd = pidfd_open(child, 0);
	int status;

	if (!ended_within(pidfd, limit_ms)) {
		kill(child, SIGKILL);
		probe_note("killed after %g s", limit_ms / 1000.0);
		if (!ended_within(pidfd, EVENT_MS)) {
			probe_note("it did not die of SIGKILL within %d s", EVENT_MS / 1000);
			return FAILED;
		}
	}
	close(pidfd);
	waitpid(child, &status, 0);
	if (WIFSIGNALED(status)) {
		probe_note("ended by SIG%s", sigabbrev_np(WTERMSIG(status)));
		return FAILED;
	}
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

static enum verdict run_test(const struct probe_test *test, int limit_ms)
{
	pid_t child = fork();

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

/* Whether no test needs to run, because the kernel does not have the feature. */
static bool lacks_hgm(const struct probe *probe)
{
	int error = probe->needs_hgm ? hgm_error() : 0;

	snprintf(shared->skip_reason, sizeof(shared->skip_reason), "MADV_SPLIT: %s",
		 error_name(error));
	return error != 0;
}

static void set_up(const struct probe *probe)
{
	if (!probe->setup)
		return;
	setting_up = probe;
	probe->setup();
	setting_up = NULL;
}

static enum verdict run_tests(const struct probe *probe)
{
	int limit_ms = probe->test_ms ? probe->test_ms : TEST_MS;
	size_t counts[SKIPPED + 1] = { 0 };

	for (size_t i = 0; i < probe->count; i++) {
		enum verdict verdict = run_test(&probe->tests[i], limit_ms);

		report(i + 1, probe->tests[i].name, verdict);
		counts[verdict]++;
	}
	if (counts[FAILED])
		return FAILED;
	return counts[PASSED] ? PASSED : SKIPPED;
}

int probe_main(int argc, char **argv, const struct probe *probe)
{
	size = chosen_size(argc, argv);
	checkpoints_listen(probe_option(argc, argv, "--checkpoints"));
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) {
		perror("mmap");
		return FAILED;
	}
	/* Lines must not wait in a buffer that fork() would copy. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("KTAP version 1\n1..%zu\n", probe->count);
	if (lacks_hgm(probe)) {
		report_all(probe, SKIPPED);
		return SKIPPED;
	}
	set_up(probe);
	return run_tests(probe);
}
