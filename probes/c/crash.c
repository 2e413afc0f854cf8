// SPDX-License-Identifier: GPL-2.0-only
/*
 * Breaks the kernel, or itself, on purpose:
 * crash [--hasty DETECTOR] KIND [NAME] --yes-harm-this-machine
 * Only the tests of the harness run it. It prints the KTAP of one result and
 * runs until the fault stops it. --hasty makes one of the kernel's hang detectors
 * report within seconds, before the others and before the budget ends.
 *
 *	lkdtm NAME    a crash point of LKDTM
 *	hgm NAME      a crash of kernel-patches/crashes-6.12
 *	panic         panics by sysrq, which every kernel of ours has
 *	userfaultfd   sleeps for ever in a fault that no monitor answers
 *	memory        takes all memory there is
 *	loop          runs for ever in user mode
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hgm_probe.h"

#define DEBUGFS "/sys/kernel/debug/"

/* kmemleak does not report younger objects (MSECS_MIN_AGE). */
enum { LEAK_AGE_SECONDS = 6 };

static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	ssize_t written = -1;

	if (fd >= 0) {
		written = write(fd, text, strlen(text));
		close(fd);
	}
	if (written < 0)
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
	return written < 0;
}

/* Their defaults are 10 to 120 s: a test need not wait for that. */
static const struct {
	const char *name;
	const char *path;
	const char *seconds;
} detectors[] = {
	{ "lockup", "/proc/sys/kernel/watchdog_thresh", "2" },
	{ "hung-task", "/proc/sys/kernel/hung_task_timeout_secs", "4" },
	{ "rcu", "/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout", "4" },
};

static void hasten(const char *name)
{
	for (size_t i = 0; i < COUNT_OF(detectors); i++)
		if (!strcmp(name, detectors[i].name))
			put(detectors[i].path, detectors[i].seconds);
}

/* Of a huge page of FD, maps pages 1, 3 and 4 alone. */
static int hold_split(int fd)
{
	char *start = mmap(NULL, PMD_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	int uffd;

	if (start == MAP_FAILED || advise(start, PMD_PAGE, MADV_SPLIT))
		return 1;
	uffd = uffd_open(UFFD_FEATURE_MINOR_HUGETLBFS);
	return uffd_try_register(uffd, start, PMD_PAGE, UFFDIO_REGISTER_MODE_MINOR, NULL) ||
	       uffd_continue(uffd, start + BASE_PAGE, BASE_PAGE).error ||
	       uffd_continue(uffd, start + 3 * BASE_PAGE, 2 * BASE_PAGE).error;
}

/*
 * For the memory dump: a huge page mapped by one entry and, on a kernel with HGM,
 * once more by page tables.
 */
static void hold_huge_page(void)
{
	int fd = huge_memfd_of(PMD_PAGE, 1);
	char *start = mmap(NULL, PMD_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (start == MAP_FAILED) {
		perror("mmap of a huge page");
		return;
	}
	*(volatile char *)start = 1;
	if (!hgm_error() && hold_split(fd))
		fprintf(stderr, "a huge page could not be mapped split\n");
}

static int lkdtm(const char *name)
{
	return put(DEBUGFS "provoke-crash/DIRECT", name);
}

static int hgm(const char *name)
{
	int failed = put(DEBUGFS "hgm-crashes", name);

	if (!strcmp(name, "memory-leak") && !failed) {
		sleep(LEAK_AGE_SECONDS);
		put(DEBUGFS "kmemleak", "scan");
		failed = put(DEBUGFS "kmemleak", "scan");
	}
	return failed;
}

static int panic(const char *name)
{
	(void)name;
	return put("/proc/sysrq-trigger", "c");
}

static int sleep_in_userfaultfd(const char *name)
{
	struct uffdio_api api = { .api = UFFD_API };
	char *page = mmap(NULL, BASE_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register range = {
		.range = { .start = (uintptr_t)page, .len = BASE_PAGE },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	(void)name;
	if (page == MAP_FAILED || uffd < 0 || ioctl(uffd, UFFDIO_API, &api) ||
	    ioctl(uffd, UFFDIO_REGISTER, &range)) {
		perror("userfaultfd");
		return 1;
	}
	return *(volatile char *)page;
}

static int take_memory(const char *name)
{
	(void)name;
	for (;;) {
		char *start = mmap(NULL, PMD_PAGE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (start == MAP_FAILED)
			return 1;
		memset(start, 1, PMD_PAGE);
	}
}

static int loop(const char *name)
{
	volatile bool for_ever = true;

	(void)name;
	while (for_ever)
		;
	return 1;
}

static const struct {
	const char *kind;
	int (*make)(const char *name);
} kinds[] = {
	{ "lkdtm", lkdtm },
	{ "hgm", hgm },
	{ "panic", panic },
	{ "userfaultfd", sleep_in_userfaultfd },
	{ "memory", take_memory },
	{ "loop", loop },
};

int main(int argc, char **argv)
{
	bool may_harm = strcmp(argv[argc - 1], "--yes-harm-this-machine") == 0;
	const char *detector = probe_option(argc, argv, "--hasty");
	int first = detector ? 3 : 1;
	const char *kind = argc - may_harm > first ? argv[first] : "";
	bool has_name = argc - may_harm > first + 1 && argv[first + 1][0] != '-';
	const char *name = has_name ? argv[first + 1] : "";

	printf("KTAP version 1\n1..1\n");
	fflush(stdout);
	if (!may_harm) {
		printf("ok 1 %s %s # SKIP crashes this machine; --yes-harm-this-machine allows it\n",
		       kind, name);
		return 4;
	}
	if (detector)
		hasten(detector);
	hold_huge_page();
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		if (!strcmp(kind, kinds[i].kind)) {
			int failed = kinds[i].make(name);

			printf("%sok 1 %s %s\n", failed ? "not " : "", kind, name);
			return failed;
		}
	}
	printf("not ok 1 unknown kind\n");
	return 1;
}
