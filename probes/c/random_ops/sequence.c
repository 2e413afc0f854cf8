// SPDX-License-Identifier: GPL-2.0-only
/* Sequences of operations: made from a seed, and written and read as text for --replay. */
#include <stdio.h>
#include <string.h>

#include "random_ops.h"

static uint64_t random_state;

/* xorshift64*, so that a seed means the same everywhere. */
static size_t below(size_t limit)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (size_t)((random_state * 0x2545f4914f6cdd1dULL >> 33) % limit);
}

static enum kind random_kind(void)
{
	unsigned int total = 0, chosen;

	for (size_t i = 0; i < KINDS; i++)
		total += kinds[i].weight;
	chosen = (unsigned int)below(total);
	for (size_t i = 0;; i++) {
		if (chosen < kinds[i].weight)
			return kinds[i].fine_only && !target.fine ? CONT : (enum kind)i;
		chosen -= kinds[i].weight;
	}
}

/* Near the ends of 2 MiB regions, each of which has a page table: mistakes are likely there. */
static size_t random_page(void)
{
	size_t regions = target.pages / TABLE;
	size_t region = below(REGIONS), near = below(3) ? below(8) : below(TABLE);

	if (region >= REGIONS / 2)
		region = regions - 1 - (region - REGIONS / 2);
	region %= regions;
	return region * TABLE + (below(2) ? near : TABLE - 1 - near);
}

static size_t random_count(void)
{
	static const size_t counts[] = { 1, 1, 1, 2, 3, 7, 16, 64, TABLE - 1, TABLE, TABLE + 1 };
	size_t which = below(COUNT_OF(counts) + 1);

	return which < COUNT_OF(counts) ? counts[which] : target.pages;
}

static struct op random_op(void)
{
	struct op op = { .kind = random_kind(), .page = random_page(), .count = random_count() };

	if (!below(4)) /* whole 2 MiB regions */
		op.page = op.page / TABLE * TABLE;
	op.page = op.page / granule() * granule();
	op.count = (op.count + granule() - 1) / granule() * granule();
	if (op.count > target.pages - op.page)
		op.count = target.pages - op.page;
	return op;
}

void make_sequence(struct sequence *sequence, uint64_t seed, size_t steps)
{
	random_state = seed * 0x9e3779b97f4a7c15ULL + 1;
	sequence->count = steps;
	for (size_t i = 0; i < steps; i++)
		sequence->ops[i] = random_op();
}

void print_op(const struct op *op, char *text, size_t room)
{
	snprintf(text, room, "%s %zu %zu", kinds[op->kind].name, op->page, op->count);
}

void print_sequence(const struct sequence *sequence)
{
	char text[64];

	printf("# --replay '");
	for (size_t i = 0; i < sequence->count; i++) {
		print_op(&sequence->ops[i], text, sizeof(text));
		printf("%s%s", i ? "; " : "", text);
	}
	printf("'\n");
}

void parse_sequence(struct sequence *sequence, const char *text)
{
	char *rest = strdup(text), *part, name[16];

	while ((part = strsep(&rest, ";"))) {
		struct op op = { .kind = 0, .count = 1 };

		if (sscanf(part, " %15s %zu %zu", name, &op.page, &op.count) < 1)
			continue;
		while (op.kind < KINDS && strcmp(kinds[op.kind].name, name) != 0)
			op.kind++;
		if (op.kind == KINDS || op.page >= target.pages || op.count == 0 ||
		    op.count > target.pages - op.page || sequence->count == MAX_STEPS)
			probe_fail("--replay: '%s' is not an operation on %zu pages", part,
				   target.pages);
		sequence->ops[sequence->count++] = op;
	}
}
