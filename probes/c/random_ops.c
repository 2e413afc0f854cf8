// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random operations on huge pages, against a model of what must be seen; a sequence
 * that fails is shrunk to a short one that still fails.
 *
 *   random_ops --size 2M [--grain base|huge] [--seed N] [--steps N] [--seconds N] [--trace 1]
 *   random_ops --size 2M --grain huge --replay 'map 0 0 2 1 0 1; write 0 1; fork 0'
 *   random_ops --size 2M --grain base --replay 'cont 3 5; wp 0 512; write 4'
 *
 * A round is STEPS operations made from one seed; rounds with the seeds after it
 * follow until the seconds are over. The first operation or check that disagrees
 * with the model ends the test: it prints the seed, the length of the sequence and
 * what was seen, and then the shortest failing subsequence it found (ddmin), as
 * text for --replay. --trace writes each operation to the kernel's log before it
 * is done, for kernels that do not survive it.
 *
 * There are two models. With --grain huge: whole huge pages of several processes, private
 * and shared, of two files, one of which is in a mount with min_size, and the accounting of
 * the pool; every kernel can do that. With --grain base: base pages of one mapping that
 * was split.
 *
 * random_ops/ has the parts: base_*.c and huge_*.c, the models; sequences, running, shrinking.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "random_ops/base.h"

static struct {
	uint64_t seed;
	size_t steps;
	time_t seconds;
	const char *replay;
} options;

const struct model_info *the_model = &base_model;


static void replay(void)
{
	struct sequence *sequence = new_sequence();

	parse_sequence(sequence, options.replay);
	if (!passes(sequence, true))
		probe_fail("the sequence failed at step %zu of %zu", last_step(), sequence->count);
}

static void random_rounds(void)
{
	struct sequence *sequence = new_sequence();
	time_t end = now() + options.seconds;
	uint64_t seed = options.seed;
	size_t rounds = 0;

	probe_note("--seed %llu --steps %zu", (unsigned long long)seed, options.steps);
	do {
		make_sequence(sequence, seed, options.steps);
		if (!passes(sequence, true))
			report_failure(sequence, seed);
		seed++;
		rounds++;
	} while (now() < end);
	probe_note("%zu sequences agreed with the model", rounds);
}

static uint64_t fresh_seed(void)
{
	uint32_t seed;

	return getrandom(&seed, sizeof(seed), 0) == sizeof(seed) ? seed : 1;
}

static uint64_t number_option(int argc, char **argv, const char *name, uint64_t otherwise)
{
	const char *text = probe_option(argc, argv, name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

int main(int argc, char **argv)
{
	static const struct probe_test base_pages[] = {
		{ "random operations on base pages of split huge pages agree with a model",
		  random_rounds },
	};
	static const struct probe_test whole_pages[] = {
		{ "random operations on huge pages of several processes agree with a model", random_rounds },
	};
	static const struct probe_test replayed[] = {
		{ "the operations of --replay agree with a model", replay },
	};
	static const struct probe_argument arguments[] = {
		{ "--grain", "base|huge", "base pages of one split mapping, or huge pages of several processes" },
		{ "--seed", "NUMBER", "of the first sequence; a random one by default" },
		{ "--steps", "NUMBER", "operations of a sequence; 60 of base pages or 300 by default" },
		{ "--seconds", "NUMBER", "go on with the next seeds for so long; 3 by default" },
		{ "--replay", "OPERATIONS", "run these instead, such as 'cont 3 5; wp 0 512; write 4', separated by semicolons" },
		{ "--trace", "0|1", "write each operation to the kernel's log first" },
		{ 0 },
	};
	const char *grain = probe_option(argc, argv, "--grain");
	bool is_base;

	the_model = grain && strcmp(grain, "huge") == 0 ? &huge_model : &base_model;
	is_base = the_model == &base_model;
	is_traced = number_option(argc, argv, "--trace", 0) != 0;
	options.replay = probe_option(argc, argv, "--replay");
	options.seed = number_option(argc, argv, "--seed", fresh_seed());
	options.steps = number_option(argc, argv, "--steps", is_base ? 60 : 300);
	options.seconds = (time_t)number_option(argc, argv, "--seconds", 3);
	if (options.steps < 1 || options.steps > MAX_STEPS || options.seconds > 3600) {
		fprintf(stderr, "%s: --steps is 1 to %d, --seconds 0 to 3600\n", argv[0], MAX_STEPS);
		return 2;
	}
	return probe_main(argc, argv, &(struct probe){
		.tests = options.replay ? replayed : is_base ? base_pages : whole_pages,
		.count = 1,
		.pages = is_base ? 1 : 8,
		.pages_small = is_base ? 2 : 8,
		.arguments = arguments,
		.needs_hgm = is_base,
		.asks = is_base || hgm_error() == 0 ? RULES : 0,
		.setup = prepare_to_run,
		.test_ms = (int)(options.seconds + 2 * (SHRINK_SECONDS + SEQUENCE_SECONDS)) * 1000,
	});
}
