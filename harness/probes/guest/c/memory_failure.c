// SPDX-License-Identifier: GPL-2.0-only
/*
 * A memory error in a base page of a huge page, by MADV_HWPOISON or --by
 * injection through debugfs. The page that is lost may be the base page or all of
 * the huge page, but nobody reads it, and what is left works. The huge page that
 * each test poisons is not given back.
 */
#include <fcntl.h>
#include <signal.h>
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
#define INJECT "/sys/kernel/debug/hwpoison/corrupt-pfn"

static bool is_injected;

static void inject(char *page)
{
	int file = open(INJECT, O_WRONLY | O_CLOEXEC);
	char frame[32];

	if (file < 0)
		probe_skip(INJECT ": %s", error_name(errno));
	snprintf(frame, sizeof(frame), "%#llx",
		 (unsigned long long)(pagemap_entry(page) & PAGEMAP_FRAME));
	expect(write(file, frame, strlen(frame)) == (ssize_t)strlen(frame), INJECT ": %s",
	       error_name(errno));
	close(file);
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
static void poison(char *page)
{
	if (is_injected) {
		inject(page);
		return;
	}
	expect(signal_of(advise_poison, page) != SIGSEGV, "MADV_HWPOISON gave SIGSEGV");
	if (advice != 0)
		probe_skip("MADV_HWPOISON: %s", error_name(advice));
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
	expect_continue(uffd, primary + (BAD - 1) * BASE_PAGE, 3 * BASE_PAGE, 0, 3 * BASE_PAGE);
	poison(primary + BAD * BASE_PAGE);
	expect(access_signal(primary + BAD * BASE_PAGE, TOUCH_READ) == SIGBUS,
	       "the split mapping reads the bad page");
	expect(access_signal(alias + BAD * BASE_PAGE, TOUCH_READ) == SIGBUS,
	       "the other mapping reads the bad page");
	expect(!is_readable_from_afar(primary + BAD * BASE_PAGE), "the kernel reads the bad page");
	result = uffd_continue(uffd, primary + BAD * BASE_PAGE, BASE_PAGE);
	expect(result.error != 0, "the bad page was continued");
	expect(access_signal(primary + BAD * BASE_PAGE, TOUCH_READ) == SIGBUS,
	       "the bad page came back");
	unmap(primary, huge_size());
	expect(access_signal(alias + BAD * BASE_PAGE, TOUCH_READ) == SIGBUS,
	       "the bad page is read after munmap");
}

/* A collapse maps what is missing, but not what is bad. */
static void not_collapsed(void)
{
	int fd, uffd, error;
	char *primary;

	only_with_many_pages();
	fd = filled_memfd(1, FILLING);
	primary = map_split(fd, 0, 0, &uffd);
	expect_continue(uffd, primary + (BAD - 1) * BASE_PAGE, 3 * BASE_PAGE, 0, 3 * BASE_PAGE);
	poison(primary + BAD * BASE_PAGE);
	error = advise(primary, huge_size(), MADV_COLLAPSE);
	probe_note("MADV_COLLAPSE: %s", error_name(error));
	expect(error != 0, "MADV_COLLAPSE succeeded over a bad page");
	expect(access_signal(primary + BAD * BASE_PAGE, TOUCH_READ) == SIGBUS,
	       "the bad page was mapped");
}

/* A child of the process, and another mapping made later, do not see it either. */
static char *inherited;

static void child_reads(void)
{
	expect(access_signal(inherited + BAD * BASE_PAGE, TOUCH_READ) == SIGBUS,
	       "the child reads the bad page");
}

static void child_and_newcomer(void)
{
	int fd, uffd;
	char *later;

	only_with_many_pages();
	fd = filled_memfd(1, FILLING);
	inherited = map_split(fd, 0, 0, &uffd);
	expect_continue(uffd, inherited, 8 * BASE_PAGE, 0, 8 * BASE_PAGE);
	poison(inherited + BAD * BASE_PAGE);
	child_end(child_start(child_reads));
	later = map_shared(fd, huge_size(), UNRESERVED);
	expect(access_signal(later + BAD * BASE_PAGE, TOUCH_READ) == SIGBUS,
	       "a new mapping reads the bad page");
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "nobody reads the bad page of a half filled huge page", half_filled },
		{ "MADV_COLLAPSE does not map it", not_collapsed },
		{ "neither a child nor a new mapping reads it", child_and_newcomer },
	};
	const char *by = probe_option(argc, argv, "--by");

	is_injected = by && strcmp(by, "injection") == 0;
	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.needs_hgm = true,
	});
}
