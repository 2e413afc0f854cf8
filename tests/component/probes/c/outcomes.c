// SPDX-License-Identifier: GPL-2.0-only
/* Every way in which a test of a probe can end; --setup makes one of them the setup. */
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
	probe_asked("MADV_SPLIT", 2 * BASE_PAGE);
	check_error("", EAGAIN, EINVAL);
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
	check_pages(pages, 0, 4, 1);
}

static const struct probe_test all[] = {
	{ "passes", passes },
	{ "fails", fails },
	{ "skips", skips },
	{ "crashes", crashes },
	{ "waits", waits },
	{ "exits", exits },
	{ "sees another page", sees_another_page },
};

static const struct probe_test *find(const char *name)
{
	for (size_t i = 0; i < COUNT_OF(all); i++)
		if (name && strcmp(all[i].name, name) == 0)
			return &all[i];
	return NULL;
}

static const struct probe_argument arguments[] = {
	{ "--setup", "TEST", "the test that is the setup as well" },
	{ 0 },
};

int main(int argc, char **argv)
{
	const struct probe_test *setup = find(probe_option(argc, argv, "--setup"));

	return probe_main(argc, argv, &(struct probe){
		.tests = all,
		.count = COUNT_OF(all),
		.arguments = arguments,
		.setup = setup ? setup->run : NULL,
	});
}
