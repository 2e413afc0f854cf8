// SPDX-License-Identifier: GPL-2.0-only
/*
 * A memory error in a base page of a huge page, by MADV_HWPOISON or --by
 * injection through debugfs. The kernel may give up the base page or the whole
 * huge page, but the bad page must not be readable again. Each test costs the pool
 * a huge page for good.
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

#define FILLING 1
#define BAD 3UL /* the page with the error */
#define RACES 16

static bool is_injected;

static void needs_large_pool(void)
{
	if (huge_size() == PUD_PAGE)
		probe_skip("each test poisons a huge page for good, and there are few of 1 GiB; --size 2M has it");
}

static int advice;

static void advise_poison(void *page)
{
	advice = advise(page, BASE_PAGE, MADV_HWPOISON);
}

/* MADV_HWPOISON counts as an access of the caller, which may get SIGBUS for it. */
static int poison_error(char *page)
{
	if (is_injected)
		return poison_frame(pagemap_entry(page) & PAGEMAP_FRAME);
	advice = 0;
	assert_that(signal_of(advise_poison, page) != SIGSEGV,
		    "MADV_HWPOISON: expected SIGBUS or no signal, got SIGSEGV");
	return advice;
}

static void poison(char *page)
{
	int error = poison_error(page);

	assert_that(!is_injected || error == 0, "hwpoison/corrupt-pfn: %s", error_name(error));
	if (error != 0)
		probe_skip("MADV_HWPOISON: %s", error_name(error));
}

static bool is_readable_by_kernel(char *page)
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
	assert_that(!is_readable_by_kernel(primary + BAD * BASE_PAGE),
		    "process_vm_readv of the poisoned base page succeeded, expected an error");
	result = uffd_continue(uffd, primary + BAD * BASE_PAGE, BASE_PAGE);
	assert_that(result.error != 0,
		    "UFFDIO_CONTINUE of the poisoned base page: expected an error, got success");
	assert_signal(primary + BAD * BASE_PAGE, TOUCH_READ, SIGBUS);
	unmap(primary, huge_size());
	assert_signal(alias + BAD * BASE_PAGE, TOUCH_READ, SIGBUS);
}

static void not_collapsed(void)
{
	int fd, uffd;
	char *primary;

	needs_large_pool();
	fd = filled_memfd(1, FILLING);
	primary = map_split(fd, 0, 0, &uffd);
	assert_continue(uffd, primary + (BAD - 1) * BASE_PAGE, 3 * BASE_PAGE, 0, 3 * BASE_PAGE);
	poison(primary + BAD * BASE_PAGE);
	/* An error, or success that leaves the page out: implementations differ. */
	probe_note("MADV_COLLAPSE: %s", error_name(advise(primary, huge_size(), MADV_COLLAPSE)));
	assert_signal(primary + BAD * BASE_PAGE, TOUCH_READ, SIGBUS);
}

static char *inherited;

static void child_reads(void)
{
	assert_signal(inherited + BAD * BASE_PAGE, TOUCH_READ, SIGBUS);
}

static void child_and_new_mapping(void)
{
	int fd, uffd;
	char *later;

	needs_large_pool();
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
 * Memory failure locks the folio, then i_mmap; a collapse that takes these locks
 * in the other order deadlocks with it. The error may be refused with EBUSY while
 * a lock is held, so that the contents are not checked here.
 */
static void against_collapse(void)
{
	needs_large_pool();
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
		{ "MADV_COLLAPSE over a poisoned base page does not map it",
		  not_collapsed },
		{ "a poisoned base page is SIGBUS in a forked child and in a new mapping",
		  child_and_new_mapping },
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
