// SPDX-License-Identifier: GPL-2.0-only
/*
 * Everything at the same time on one hugetlb file, for --seconds: processes with
 * a split mapping each, threads in them that fault, continue, write-protect,
 * collapse, unmap, truncate, move, pin and fork, and one process that is killed. A
 * base page must show zeroes or its own contents, and the pool must return to what
 * it was.
 *
 * stress/ has the parts: accesses, actions of the threads, one process.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stress/stress.h"

#define PROCESSES 3
#define VICTIM_MS 3000 /* after which one process is killed */
#define GRACE_MS 60000 /* for all to end once the time is over */
#define PAGE_TABLES_SLACK (64L << 10) /* bytes: other processes in the guest */

int fd;
static int64_t end_time;

static int seconds;

/* Of 1 GiB just one: after each hole that is punched one must be cleared again. */
size_t file_pages(void)
{
	return huge_size() == PUD_PAGE ? 1 : 3;
}

size_t length(void)
{
	return file_pages() * huge_size();
}

bool time_is_over(void)
{
	return now_ns() >= end_time;
}

static pid_t start_process(void)
{
	pid_t child = fork();

	assert_that(child >= 0, "fork: %s", error_name(errno));
	if (child == 0)
		run_process();
	return child;
}

/* One process after the other is killed in the middle of what it does. */
static void kill_processes(void)
{
	while (!time_is_over()) {
		pid_t victim = start_process();
		struct pollfd ends = { .fd = pidfd_open(victim, 0), .events = POLLIN };
		int status;

		if (poll(&ends, 1, VICTIM_MS) == 0)
			kill(victim, SIGKILL);
		close(ends.fd);
		waitpid(victim, &status, 0);
		assert_that(!WIFEXITED(status) || WEXITSTATUS(status) == 0,
			    "a process exited with %d, expected 0", WEXITSTATUS(status));
	}
}

static void run_processes(void)
{
	int status;

	end_time = now_ns() + seconds * 1000000000LL;
	for (int i = 0; i < PROCESSES; i++)
		start_process();
	kill_processes();
	for (int i = 0; i < PROCESSES; i++) {
		assert_that(wait(&status) > 0, "wait: %s", error_name(errno));
		assert_that(!WIFSIGNALED(status), "a process ended by SIG%s, expected exit code 0",
			    sigabbrev_np(WTERMSIG(status)));
		assert_that(WEXITSTATUS(status) == 0, "a process exited with %d, expected 0",
			    WEXITSTATUS(status));
	}
}

/* Clearing the first huge pages takes longest and must not count as running time. */
static void allocate_pages(void)
{
	char *start = map_shared(fd, length(), RESERVED);

	for (size_t i = 0; i < file_pages(); i++)
		check_zero(start + i * huge_size(), 0, 1);
	unmap(start, length());
}

static void everything_at_once(void)
{
	struct pool before = pool_now();
	int64_t tables = meminfo_bytes("PageTables"), grown;

	fd = huge_memfd(file_pages());
	allocate_pages();
	run_processes();
	close(fd);
	assert_pool(&before, 0, 0, "after all processes ended");
	grown = meminfo_bytes("PageTables") - tables;
	assert_that(grown <= PAGE_TABLES_SLACK,
		    "PageTables in /proc/meminfo grew by %lld bytes, expected at most %ld",
		    (long long)grown, PAGE_TABLES_SLACK);
}

/* Skipped here, because in the test only one of its processes would be skipped. */
static void need_userfaultfd(void)
{
	uffd_offered();
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "concurrent faults, ioctls, collapses, unmaps and forks keep contents and pool intact",
		  everything_at_once },
	};
	static const struct probe_argument arguments[] = {
		{ "--seconds", "COUNT", "how long; 10 by default" },
		{ 0 },
	};
	const char *text = probe_option(argc, argv, "--seconds");

	seconds = text ? atoi(text) : 10;
	if (seconds <= 0) {
		fprintf(stderr, "%s: --seconds %s is not a number above 0\n", argv[0], text);
		return 2;
	}
	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.pages_small = 3,
		.arguments = arguments,
		.needs_hgm = true,
		.setup = need_userfaultfd,
		.asks = PROMISE(WP_BASE_PAGES),
		.test_ms = seconds * 1000 + GRACE_MS,
	});
}
