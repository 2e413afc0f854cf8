// SPDX-License-Identifier: GPL-2.0-only
/* What migrated memory is worth afterwards: the time of reads, by how it is mapped. */
#include <stdio.h>
#include <sys/resource.h>

#include "postcopy.h"

#define PASSES 8
#define READS 16384UL

struct passes {
	int64_t ns[2 * PASSES];
	size_t count;
};

static struct passes others;

static long faults_now(void)
{
	struct rusage usage;

	assert_errno(getrusage(RUSAGE_THREAD, &usage), 0);
	return usage.ru_minflt + usage.ru_majflt;
}

static void pass(struct passes *passes, const char *start, uint64_t seed)
{
	uint64_t state = seed;
	long faults = faults_now();
	int64_t began = now_ns();

	for (size_t i = 0; i < READS; i++)
		*(const volatile char *)(start +
			access_page(UNIFORM, WORKLOAD_BYTES / BASE_PAGE, 0, 0, 0, &state) * BASE_PAGE);
	passes->ns[passes->count++] = now_ns() - began;
	faults = faults_now() - faults;
	assert_that(faults == 0, "%ld page faults in %zu reads of resident memory", faults, READS);
}

static void report(const char *name, const struct passes *passes)
{
	char text[2 * PASSES * 24];
	size_t used = 0;

	for (size_t i = 0; i < passes->count; i++)
		used += (size_t)sprintf(text + used, "%s%ld", i ? "," : "", (long)passes->ns[i]);
	probe_note("afterwards: mapping=%s reads=%zu ns=%s", name, READS, text);
}

void time_reads(const char *name, char *one, char *other)
{
	struct passes ones = { 0 };

	/* Their entries, and the tables above them, before the first pass. */
	for (size_t offset = 0; offset < WORKLOAD_BYTES; offset += BASE_PAGE) {
		*(volatile char *)(one + offset);
		*(volatile char *)(other + offset);
	}
	for (uint64_t i = 0; i < PASSES; i++) {
		if (i % 2)
			pass(&others, other, i);
		pass(&ones, one, i);
		if (i % 2 == 0)
			pass(&others, other, i);
	}
	report(name, &ones);
}

void report_reads_of_other(const char *name)
{
	report(name, &others);
}
