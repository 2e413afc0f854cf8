// SPDX-License-Identifier: GPL-2.0-only
/*
 * A memory error in a base page of a huge page, by MADV_HWPOISON or --by
 * injection through debugfs. The page that is lost may be the base page or all of
 * the huge page, but nobody reads it, and what is left works. The huge page that
 * each test poisons is not given back.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "hgm_probe.h"

#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif

#define FILLING 1
#define BAD 3UL /* the page with the error */
#define RACES 16
#define INJECT "/sys/kernel/debug/hwpoison/corrupt-pfn"

static bool is_injected;

static int inject(char *page)
{
	int file = open(INJECT, O_WRONLY | O_CLOEXEC), error;
	char frame[32];

	if (file < 0)
		probe_skip(INJECT ": %s", error_name(errno));
	snprintf(frame, sizeof(frame), "%#llx",
		 (unsigned long long)(pagemap_entry(page) & PAGEMAP_FRAME));
	error = write(file, frame, strlen(frame)) == (ssize_t)strlen(frame) ? 0 : errno;
	close(file);
	return error;
}

/* Each test takes a page for good, and there are few of 1 GiB. */
static void only_with_many_pages(void)
{
	if (huge_size() == PUD_PAGE)
		probe_skip("one test is all that the pool of 1 GiB pages can bear; 2M has this");
}

static int advice;

static void advise_poison(void *page)
{
	advice = advise(page, BASE_PAGE, MADV_HWPOISON);
}

/* Whoever poisons a page by madvise() is taken to have read it, and gets the signal. */
static int poison_error(char *page)
{
	if (is_injected)
		return inject(page);
	advice = 0;
	assert_that(signal_of(advise_poison, page) != SIGSEGV,
		    "MADV_HWPOISON: expected SIGBUS or no signal, got SIGSEGV");
	return advice;
}

static void poison(char *page)
{
	int error = poison_error(page);

	assert_that(!is_injected || error == 0,
		    "writing the frame to " INJECT ": %s", error_name(error));
	if (error != 0)
		probe_skip("MADV_HWPOISON: %s", error_name(error));
}

static bool is_readable_from_afar(char *page)
{
	char buffer[16];
	struct iovec local = { buffer, sizeof(buffer) }, remote = { page, sizeof(buffer) };

	return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) > 0;
}

static void half_filled(void)
{
	int fd = filled_memfd(1, FILLING), uffd;
	char *primary = map_split(fd, 0, 0, &uffd), *alias;
	struct uffd_result result;

	alias = map_shared(fd, huge_size(), UNRESERVED);
	check_pages(alias, 0, 1, FILLING);
	assert_continue(uffd, primary + (BAD - 1) * BASE_PAGE, 3 * BASE_PAGE, 0, 3 * BASE_PAGE);
	poison(primary + BAD * BASE_PAGE);
	assert_signal(primary + BAD * BASE_PAGE, TOUCH_READ, SIGBUS);
	assert_signal(alias + BAD * BASE_PAGE, TOUCH_READ, SIGBUS);
	assert_that(!is_readable_from_afar(primary + BAD * BASE_PAGE),
		    "process_vm_readv of the poisoned base page succeeded, expected an error");
	result = uffd_continue(uffd, primary + BAD * BASE_PAGE, BASE_PAGE);
	assert_that(result.error != 0,
		    "UFFDIO_CONTINUE of the poisoned base page: expected an error, got success");
	assert_signal(primary + BAD * BASE_PAGE, TOUCH_READ, SIGBUS);
	unmap(primary, huge_size());
	assert_signal(alias + BAD * BASE_PAGE, TOUCH_READ, SIGBUS);
}

/* A collapse maps what is missing, but not what is bad. */
static void not_collapsed(void)
{
	int fd, uffd, error;
	char *primary;

	only_with_many_pages();
	fd = filled_memfd(1, FILLING);
	primary = map_split(fd, 0, 0, &uffd);
	assert_continue(uffd, primary + (BAD - 1) * BASE_PAGE, 3 * BASE_PAGE, 0, 3 * BASE_PAGE);
	poison(primary + BAD * BASE_PAGE);
	error = advise(primary, huge_size(), MADV_COLLAPSE);
	probe_note("MADV_COLLAPSE: %s", error_name(error));
	assert_that(error != 0,
		    "MADV_COLLAPSE over a poisoned base page: expected an error, got success");
	assert_signal(primary + BAD * BASE_PAGE, TOUCH_READ, SIGBUS);
}

/* A child of the process, and another mapping made later, do not see it either. */
static char *inherited;

static void child_reads(void)
{
	assert_signal(inherited + BAD * BASE_PAGE, TOUCH_READ, SIGBUS);
}

static void child_and_newcomer(void)
{
	int fd, uffd;
	char *later;

	only_with_many_pages();
	fd = filled_memfd(1, FILLING);
	inherited = map_split(fd, 0, 0, &uffd);
	assert_continue(uffd, inherited, 8 * BASE_PAGE, 0, 8 * BASE_PAGE);
	poison(inherited + BAD * BASE_PAGE);
	child_end(child_start(child_reads));
	later = map_shared(fd, huge_size(), UNRESERVED);
	assert_signal(later + BAD * BASE_PAGE, TOUCH_READ, SIGBUS);
}

static atomic_bool stop;
static atomic_int collapses;

static void *collapse_on(void *start)
{
	while (!atomic_load(&stop)) {
		advise(start, huge_size(), MADV_COLLAPSE);
		atomic_fetch_add(&collapses, 1);
	}
	return NULL;
}

/*
 * Memory failure locks the page and then what maps the file; a collapse that
 * does it the other way round waits for it, and it for the collapse, for ever.
 * Where the locks are taken the error may be refused, so nothing is read here.
 */
static void against_collapse(void)
{
	only_with_many_pages();
	for (int race = 0; race < RACES; race++) {
		int fd = filled_memfd(512, FILLING), uffd;
		char *start = map_split(fd, 0, 0, &uffd);
		pthread_t collapsing;
		int error;

		assert_continue(uffd, start, 8 * BASE_PAGE, 0, 8 * BASE_PAGE);
		atomic_store(&stop, false);
		atomic_store(&collapses, 0);
		assert_error(pthread_create(&collapsing, NULL, collapse_on, start), 0);
		while (atomic_load(&collapses) <= race)
			sched_yield();
		error = poison_error(start + BAD * BASE_PAGE);
		assert_that(error == 0 || error == EBUSY,
			    "memory failure during MADV_COLLAPSE: expected success or EBUSY, got "
			    "%s", error_name(error));
		atomic_store(&stop, true);
		pthread_join(collapsing, NULL);
		close(uffd);
		close(fd);
	}
}

static void set_up(void)
{
	probe_harms("poisons memory for good");
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "a poisoned base page of a partly mapped huge page can be neither read nor continued",
		  half_filled },
		{ "MADV_COLLAPSE over a poisoned base page fails and does not map it",
		  not_collapsed },
		{ "a poisoned base page is SIGBUS in a forked child and in a new mapping",
		  child_and_newcomer },
		{ "memory failure and MADV_COLLAPSE do not deadlock", against_collapse },
	};
	static const struct probe_argument arguments[] = {
		{ "--by", "madvise|injection", "MADV_HWPOISON, or debugfs; madvise by default" },
		{ 0 },
	};
	const char *by = probe_option(argc, argv, "--by");

	is_injected = by && strcmp(by, "injection") == 0;
	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.pages_small = 19,
		.arguments = arguments,
		.setup = set_up,
		.needs_hgm = true,
	});
}
