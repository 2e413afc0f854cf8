// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every way in which a test of a probe can end, and what each kind of failure
 * says; --setup makes one of them the setup. A failure must name the line that
 * has "here" in a comment.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hgm_probe.h"

static void passes(void)
{
}

static void fails(void)
{
	assert_that(false, "expected %s, got another", size_text(3 * BASE_PAGE)); /* here */
}

static void skips(void)
{
	probe_skip("MADV_SPLIT: %s", error_name(EINVAL));
}

static void crashes(void)
{
	raise(SIGBUS);
}

static void waits(void)
{
	for (;;)
		pause();
}

static void takes_a_second(void)
{
	sleep(1);
}

static void exits(void)
{
	_exit(77);
}

static void sees_another_page(void)
{
	char *pages = map_anonymous(4 * BASE_PAGE, 0);

	fill_pages(pages, 0, 4, 1);
	check_pages(pages, 0, 4, 1);
	memcpy(pages + BASE_PAGE, pages + 2 * BASE_PAGE, BASE_PAGE);
	check_pages(pages, 0, 4, 1); /* here */
}

static void harms(void)
{
	probe_harms("poisons memory");
}

static void mapping_is_refused(void)
{
	map_anonymous((1UL << 60) + 3 * BASE_PAGE, 0); /* here */
}

static void advice_is_accepted(void)
{
	char *page = map_anonymous(BASE_PAGE, 0);

	assert_error(advise(page, BASE_PAGE, MADV_DONTNEED), EINVAL); /* here */
}

static void thread_is_made(void)
{
	assert_error(pthread_setconcurrency(0), EAGAIN); /* here */
}

static struct uffd_result answer(int error, int64_t done, size_t length)
{
	return (struct uffd_result){ error, done, "UFFDIO_CONTINUE", length };
}

static void continue_ends_early(void)
{
	struct uffd_result got = answer(EAGAIN, 1 << 20, 2 * huge_size());

	assert_result(got, EAGAIN, (1 << 20) + 2 * (int64_t)BASE_PAGE); /* here */
}

static void continue_is_refused(void)
{
	assert_result(answer(EEXIST, -EEXIST, 3 * BASE_PAGE), 0, 3 * BASE_PAGE); /* here */
}

static void continue_lies(void)
{
	assert_result(answer(0, BASE_PAGE, 2 * BASE_PAGE), 0, 2 * BASE_PAGE); /* here */
}

static void nothing_is_mapped(void)
{
	assert_mapped(map_anonymous(BASE_PAGE, 0), 0, 0, 3 * BASE_PAGE); /* here */
}

static void pool_changes(void)
{
	struct pool before = pool_now();

	assert_pool(&before, -1, 0, "after nothing was done"); /* here */
}

/* A helper of the test calls the library: its line is the test's. */
static void check_first(const char *page)
{
	check_zero(page, 0, 1); /* here */
}

static void helper_fails(void)
{
	char *page = map_anonymous(BASE_PAGE, 0);

	*page = 1;
	check_first(page);
}

static void library_thread(void)
{
	struct server server;
	int ends[2];

	assert_that(pipe(ends) == 0 && write(ends[1], "x", 1) == 1, "no pipe");
	server_start(&server, ends[0], BASE_PAGE); /* here */
	pause();
}

static const struct probe_test tests[] = {
	{ "passes", passes },
	{ "fails", fails },
	{ "skips", skips },
	{ "crashes", crashes },
	{ "waits", waits },
	{ "takes a second", takes_a_second },
	{ "exits", exits },
	{ "sees another page", sees_another_page },
	{ "harms", harms },
	{ "mapping is refused", mapping_is_refused },
	{ "advice is accepted", advice_is_accepted },
	{ "thread is made", thread_is_made },
	{ "continue ends early", continue_ends_early },
	{ "continue is refused", continue_is_refused },
	{ "continue lies", continue_lies },
	{ "nothing is mapped", nothing_is_mapped },
	{ "pool changes", pool_changes },
	{ "helper fails", helper_fails },
	{ "library thread", library_thread },
};

static const struct probe_test *find(const char *name)
{
	for (size_t i = 0; i < COUNT_OF(tests); i++)
		if (name && strcmp(tests[i].name, name) == 0)
			return &tests[i];
	return NULL;
}

int main(int argc, char **argv)
{
	static const struct probe_argument arguments[] = {
		{ "--setup", "TEST", "the test that is the setup as well" },
		{ 0 },
	};
	const struct probe_test *setup = find(probe_option(argc, argv, "--setup"));

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.arguments = arguments,
		.setup = setup ? setup->run : NULL,
	});
}
