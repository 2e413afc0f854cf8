// SPDX-License-Identifier: GPL-2.0-only
/* How the memory becomes resident: the bytes that have been mapped, and when. */
#include <stdio.h>
#include <stdlib.h>

#include "postcopy.h"

#define POINTS 32 /* that are printed */

static struct landing {
	size_t bytes; /* all until now */
	int64_t ns;
} *landings;
static size_t landed;
static int64_t start;

void residence_start(size_t count)
{
	landings = calloc(count, sizeof(*landings));
	assert_that(landings, "no memory for %zu times", count);
	landed = 0;
	start = now_ns();
}

void residence_add(size_t bytes)
{
	landings[landed].bytes = bytes + (landed ? landings[landed - 1].bytes : 0);
	landings[landed].ns = now_ns() - start;
	landed++;
}

/* For each POINTS-th of all bytes when it had arrived. */
void residence_report(void)
{
	char text[POINTS * 48];
	size_t used = 0, at = 0;

	for (size_t point = 1; landed && point <= POINTS; point++) {
		size_t all = landings[landed - 1].bytes;

		if (at && landings[at - 1].bytes >= all / POINTS * point)
			continue;
		while (landings[at].bytes < all / POINTS * point)
			at++;
		used += (size_t)sprintf(text + used, "%s%zu:%ld", used ? "," : "",
					landings[at].bytes, (long)landings[at].ns);
		at++;
	}
	if (used)
		probe_note("residence: points=%s", text);
}
