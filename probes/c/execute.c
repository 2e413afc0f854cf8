// SPDX-License-Identifier: GPL-2.0-only
/* Base pages of a split huge page can be executed with PROT_EXEC only. */
#include <setjmp.h>
#include <signal.h>
#include <string.h>

#include "hgm_probe.h"

#define CODE_PAGE 5

static int fd;
static sigjmp_buf before_call;

static void write_code(void)
{
	char *all;

	fd = huge_memfd(1);
	all = map_shared(fd, huge_size(), RESERVED);
	put_function(all + CODE_PAGE * BASE_PAGE);
	unmap(all, huge_size());
}

static void on_signal(int number)
{
	siglongjmp(before_call, number);
}

/* What the code returns, or the negative number of the signal that kept it from running. */
static int call(const char *page)
{
	int number = sigsetjmp(before_call, 1);
	int (*function)(void);

	if (number)
		return -number;
	signal(SIGSEGV, on_signal);
	__builtin___clear_cache((char *)page, (char *)page + FUNCTION);
	memcpy(&function, &page, sizeof(function));
	return function();
}

static const char *result_name(int result)
{
	return result == -SIGSEGV ? "SIGSEGV" : result == 42 ? "42" : "another result";
}

/* The code must return WANT, or be kept from running by the signal -WANT. */
static void assert_call(const char *page, int want)
{
	int got = call(page);

	assert_that(got == want, "calling the code in page %d: expected %s, got %s", CODE_PAGE,
		    result_name(want), result_name(got));
}

static void protect(char *start, int protection)
{
	assert_errno(mprotect(start, huge_size(), protection), 0);
}

static void by_mprotect(void)
{
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);
	char *page = primary + CODE_PAGE * BASE_PAGE;

	assert_continue(uffd, page, BASE_PAGE, 0, BASE_PAGE);
	assert_call(page, -SIGSEGV);
	protect(primary, PROT_READ | PROT_EXEC);
	assert_call(page, 42);
	protect(primary, PROT_READ | PROT_WRITE);
	assert_call(page, -SIGSEGV);
	assert_no_fault(uffd);
}

/* The same for entries that are made after mprotect(). */
static void by_later_entries(void)
{
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd);
	char *page = primary + CODE_PAGE * BASE_PAGE;

	assert_continue(uffd, primary, BASE_PAGE, 0, BASE_PAGE);
	protect(primary, PROT_READ | PROT_EXEC);
	assert_continue(uffd, page, BASE_PAGE, 0, BASE_PAGE);
	assert_call(page, 42);
	collapse(primary, huge_size());
	assert_call(page, 42);
	protect(primary, PROT_READ);
	assert_call(page, -SIGSEGV);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "mprotect gives and takes PROT_EXEC of a 4 KiB entry", by_mprotect },
		{ "entries of UFFDIO_CONTINUE and MADV_COLLAPSE follow the mapping's PROT_EXEC",
		  by_later_entries },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.needs_hgm = true,
		.setup = write_code,
	});
}
