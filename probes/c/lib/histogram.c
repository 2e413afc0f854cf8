// SPDX-License-Identifier: GPL-2.0-only
/* Histograms of times: 16 cells for each power of two, so that a cell is 6 % wide. */
#include <stdio.h>
#include <string.h>

#include "library.h"

static size_t cell_of(uint64_t value)
{
	unsigned int shift;

	if (value < HISTOGRAM_STEPS)
		return value;
	shift = 63 - (unsigned int)__builtin_clzll(value) - __builtin_ctz(HISTOGRAM_STEPS);
	return (shift + 1) * HISTOGRAM_STEPS + (value >> shift) % HISTOGRAM_STEPS;
}

void histogram_add(struct histogram *histogram, int64_t ns)
{
	size_t cell = cell_of(ns < 0 ? 0 : (uint64_t)ns);

	__atomic_fetch_add(&histogram->counts[cell < HISTOGRAM_CELLS ? cell : HISTOGRAM_CELLS - 1],
			   1, __ATOMIC_RELAXED);
}

void histogram_note(const struct histogram *histogram, const char *name)
{
	char text[HISTOGRAM_CELLS * 16];
	size_t used = 0;

	for (size_t cell = 0; cell < HISTOGRAM_CELLS; cell++)
		if (histogram->counts[cell])
			used += (size_t)sprintf(text + used, "%s%zu:%u", used ? "," : "", cell,
						histogram->counts[cell]);
	if (used)
		probe_note("times: step=%s cells=%s", name, text);
}
