// SPDX-License-Identifier: GPL-2.0-only
/*
 * What `hgm selfcheck bench walk` measures: checkpoints of one base page, and of 1 GiB
 * that is full of 4 KiB entries. They all map the zero page, so that the range
 * costs no memory and no two entries make a run: the most that a walk can be.
 */
#include <stdlib.h>

#include "hgm_probe.h"

static long rounds;

static char *full_range(void)
{
	char *start = map_anonymous(PUD_PAGE, 0);

	assert_error(advise(start, PUD_PAGE, MADV_NOHUGEPAGE), 0);
	assert_error(advise(start, PUD_PAGE, MADV_POPULATE_READ), 0);
	return start;
}

static void look_at(size_t length)
{
	char *start = full_range();

	for (long i = 0; i < rounds; i++)
		checkpoint_of(start, length, BASE_PAGE, "pte:%zu", length / BASE_PAGE);
}

static void one_address(void)
{
	look_at(BASE_PAGE);
}

static void whole_range(void)
{
	look_at(PUD_PAGE);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "one address", one_address },
		{ "1 GiB of 4 KiB entries", whole_range },
	};
	static const struct probe_argument arguments[] = {
		{ "--rounds", "COUNT", "checkpoints of each range; 1 by default" },
		{ 0 },
	};
	const char *option = probe_option(argc, argv, "--rounds");

	rounds = option ? strtol(option, NULL, 10) : 1;
	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.arguments = arguments,
	});
}
