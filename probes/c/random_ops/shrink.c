// SPDX-License-Identifier: GPL-2.0-only
/* Shrinks a sequence that fails to a short one that still fails (ddmin), and reports it. */
#include <stdio.h>
#include <string.h>

#include "random_ops.h"

time_t now(void)
{
	return (time_t)(now_ns() / 1000000000);
}

/* Leaves out COUNT operations from FIRST on. */
static void without(const struct sequence *from, size_t first, size_t count, struct sequence *to)
{
	to->count = from->count - count;
	memcpy(to->ops, from->ops, first * sizeof(from->ops[0]));
	memcpy(to->ops + first, from->ops + first + count,
	       (from->count - first - count) * sizeof(from->ops[0]));
}

/* When to stop, in ns of the clock. */
static int64_t shrinking_ends(void)
{
	return now_ns() + scaled_ms(SHRINK_SECONDS * 1000) * 1000000LL;
}

/* Leaves out the operations that changed nothing, if the rest still fails. */
static void leave_out_idle(struct sequence *failing)
{
	struct sequence *candidate = new_sequence();

	for (size_t i = 0; i < failing->count; i++)
		if (!failing->ops[i].idle || i + 1 == failing->count)
			candidate->ops[candidate->count++] = failing->ops[i];
	if (!passes(candidate, false))
		*failing = *candidate;
}

/*
 * Zeller's ddmin, complements only: leaves out ever smaller parts as long as the
 * rest still fails. In the end no single operation can be left out, unless the
 * time is over before.
 */
static void shrink(struct sequence *failing)
{
	struct sequence *candidate = new_sequence();
	int64_t end = shrinking_ends();

	for (size_t part = (failing->count + 1) / 2; part >= 1 && now_ns() < end;) {
		bool smaller = false;

		for (size_t first = 0; first < failing->count && now_ns() < end;) {
			size_t left = failing->count - first, count = part < left ? part : left;

			without(failing, first, count, candidate);
			if (candidate->count && !passes(candidate, false)) {
				*failing = *candidate;
				smaller = true;
			} else {
				first += count;
			}
		}
		if (!smaller || part > failing->count)
			part = part > 1 ? part / 2 : 0;
	}
}

/* Halves the ranges of the operations as long as the sequence still fails. */
static void narrow(struct sequence *failing)
{
	struct sequence *candidate = new_sequence();
	int64_t end = shrinking_ends();

	for (size_t i = 0; i < failing->count; i++) {
		size_t half;

		while ((half = failing->ops[i].count / 2) && now_ns() < end) {
			*candidate = *failing;
			candidate->ops[i].count = half;
			if (passes(candidate, false)) {
				candidate->ops[i].page += failing->ops[i].count - half;
				if (passes(candidate, false))
					break;
			}
			*failing = *candidate;
		}
	}
}

void report_failure(struct sequence *failing, uint64_t seed)
{
	size_t whole = failing->count, failed = last_step();

	/* What follows the step that failed does not matter, unless only the end shows the failure. */
	if (failed + 1 < whole)
		failing->count = failed + 1;
	leave_out_idle(failing);
	shrink(failing);
	narrow(failing);
	/* One line, and an early one: the reason of a FAIL keeps the first few. */
	printf("# seed %llu failed at step %zu of %zu; shrunk to %zu operations: ",
	       (unsigned long long)seed, failed, whole, failing->count);
	print_sequence(failing);
	if (passes(failing, true))
		probe_note("these passed when they were run once more: the failure is not reproducible");
	probe_fail("the kernel and the model disagree");
}
