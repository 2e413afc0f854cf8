/* SPDX-License-Identifier: GPL-2.0-only */
/* What all parts of random_ops share: operations, sequences, and what a model must offer. */
#ifndef RANDOM_OPS_H
#define RANDOM_OPS_H

#include <time.h>

#include "../hgm_probe.h"

#define MAX_STEPS 4096
#define SHRINK_SECONDS 20
#define SEQUENCE_SECONDS 30

/* nr_hugepages of a size, in KiB. */
#define POOL_FILE "/sys/kernel/mm/hugepages/hugepages-%zukB/nr_hugepages"

/* One operation. A kind uses some of the fields, in the order of its arguments; the others are 0. */
struct op {
	size_t kind, process, page, count, file, offset, choice;
	bool idle;	/* it changed nothing when it was done last */
};

struct kind_info {
	const char *name;
	unsigned int weight;	/* how often it is chosen */
	/* A letter for each field: Process, pAge, Count, File, Offset, choice (X). */
	const char *arguments;
	void (*run)(const struct op *op);
};

/* What a sequence is run against. Seeds stand for the same operations as long as the kinds stay. */
struct model_info {
	const struct kind_info *kinds;
	size_t kind_count;
	/* What an operation can name, for an error: "1024 pages". */
	const char *(*space)(void);
	/* Once, before any sequence runs. */
	void (*prepare)(void);
	/* Draws the fields of an operation whose kind is chosen. */
	void (*draw)(struct op *op);
	bool (*is_valid)(const struct op *op);
	/*
	 * In the process of a sequence: before it, each operation with its checks, after it. A
	 * step may replace what the operation names by what it was done to.
	 */
	void (*begin)(void);
	void (*step)(struct op *op, bool all);
	void (*end)(void);
	/* Huge pages that are in use between sequences. */
	long (*held)(void);
};

/* base_*.c: base pages of a mapping that was split; huge_*.c: huge pages of several processes. */
extern const struct model_info base_model, huge_model;

/* The one that was chosen. */
extern const struct model_info *the_model;

/* ---- sequence.c: sequences made from a seed, and as text ---------------- */

struct sequence {
	size_t count;
	struct op ops[MAX_STEPS];
};

void make_sequence(struct sequence *sequence, uint64_t seed, size_t steps);

/* A random number below LIMIT, for draw(). */
size_t below(size_t limit);

/* "cont 3 5; wp 0 512; write 4"; a count that is left out is one. Fails if TEXT is wrong. */
void parse_sequence(struct sequence *sequence, const char *text);

void print_op(const struct op *op, char *text, size_t room);
void print_sequence(const struct sequence *sequence);

/* ---- run.c: a sequence in a process of its own -------------------------- */

/* Whether each operation is written to the kernel's log before it is done. */
extern bool is_traced;

/* Prepares the model. Once, before any sequence runs. */
void prepare_to_run(void);

/* In memory that the processes which run it share. */
struct sequence *new_sequence(void);

/* Whether the kernel agrees with the model. What a failing sequence prints is seen if LOUD. */
bool passes(struct sequence *sequence, bool loud);

/* The operation that was running when the last sequence ended. */
size_t last_step(void);

/* ---- shrink.c: the shortest sequence that still fails ------------------- */

/* Seconds of the monotonic clock. */
time_t now(void);

/* Prints a short sequence that fails like this one, and fails the test. */
_Noreturn void report_failure(struct sequence *failing, uint64_t seed);

#endif
