// SPDX-License-Identifier: GPL-2.0-only
/* Sequences of operations: made from a seed, and written and read as text for --replay. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "random_ops.h"

static uint64_t random_state;

/* xorshift64*, so that a seed means the same everywhere. */
size_t below(size_t limit)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (size_t)((random_state * 0x2545f4914f6cdd1dULL >> 33) % limit);
}

static size_t random_kind(void)
{
	size_t total = 0, chosen;

	for (size_t i = 0; i < the_model->kind_count; i++)
		total += the_model->kinds[i].weight;
	chosen = below(total);
	for (size_t i = 0;; i++) {
		if (chosen < the_model->kinds[i].weight)
			return i;
		chosen -= the_model->kinds[i].weight;
	}
}

static size_t *field(struct op *op, char letter)
{
	switch (letter) {
	case 'p':
		return &op->process;
	case 'a':
		return &op->page;
	case 'c':
		return &op->count;
	case 'f':
		return &op->file;
	case 'o':
		return &op->offset;
	default:
		return &op->choice;
	}
}

/* Only what a kind's arguments name counts; the rest is as it is in a replayed sequence. */
static struct op named_fields(struct op *drawn)
{
	struct op op = { .kind = drawn->kind, .count = 1 };

	for (const char *letter = the_model->kinds[op.kind].arguments; *letter; letter++)
		*field(&op, *letter) = *field(drawn, *letter);
	return op;
}

void make_sequence(struct sequence *sequence, uint64_t seed, size_t steps)
{
	random_state = seed * 0x9e3779b97f4a7c15ULL + 1;
	sequence->count = steps;
	for (size_t i = 0; i < steps; i++) {
		struct op drawn = { .kind = random_kind() };

		the_model->draw(&drawn);
		sequence->ops[i] = named_fields(&drawn);
	}
}

void print_op(const struct op *op, char *text, size_t room)
{
	const struct kind_info *kind = &the_model->kinds[op->kind];
	int length = snprintf(text, room, "%s", kind->name);

	for (const char *letter = kind->arguments; *letter; letter++)
		length += snprintf(text + length, room - (size_t)length, " %zu",
				   *field((struct op *)op, *letter));
}

void print_sequence(const struct sequence *sequence)
{
	char text[128];

	printf("--replay '");
	for (size_t i = 0; i < sequence->count; i++) {
		print_op(&sequence->ops[i], text, sizeof(text));
		printf("%s%s", i ? "; " : "", text);
	}
	printf("'\n");
}

/* Whether WORDS, split at spaces, are an operation. */
static bool parse_op(char *words, struct op *op)
{
	const char *name, *word;

	while ((name = strsep(&words, " ")) && !*name)
		;
	while (op->kind < the_model->kind_count &&
	       strcmp(the_model->kinds[op->kind].name, name) != 0)
		op->kind++;
	if (op->kind == the_model->kind_count)
		return false;
	for (const char *letter = the_model->kinds[op->kind].arguments; *letter; letter++) {
		while ((word = strsep(&words, " ")) && !*word)
			;
		if (word)
			*field(op, *letter) = strtoul(word, NULL, 0);
	}
	return !words && the_model->is_valid(op);
}

void parse_sequence(struct sequence *sequence, const char *text)
{
	char *rest = strdup(text), *part, shown[64];

	while ((part = strsep(&rest, ";"))) {
		struct op op = { .kind = 0, .count = 1 };

		if (strspn(part, " ") == strlen(part))
			continue;
		snprintf(shown, sizeof(shown), "%s", part);
		if (!parse_op(part, &op) || sequence->count == MAX_STEPS)
			probe_fail("--replay: '%s' is not an operation on %s", shown,
				   the_model->space());
		sequence->ops[sequence->count++] = op;
	}
}
