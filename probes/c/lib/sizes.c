// SPDX-License-Identifier: GPL-2.0-only
/* The sizes of huge pages that this kernel has, and how sizes are written. */
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "library.h"

#define POOLS "/sys/kernel/mm/hugepages"

static int larger_first(const void *one, const void *other)
{
	size_t a = *(const size_t *)one, b = *(const size_t *)other;

	return (a < b) - (a > b);
}

size_t offered_sizes(size_t sizes[MAX_SIZES])
{
	DIR *directory = opendir(POOLS);
	struct dirent *entry;
	size_t count = 0, kilobytes;

	while (directory && count < MAX_SIZES && (entry = readdir(directory)))
		if (sscanf(entry->d_name, "hugepages-%zukB", &kilobytes) == 1)
			sizes[count++] = kilobytes * 1024;
	if (directory)
		closedir(directory);
	qsort(sizes, count, sizeof(*sizes), larger_first);
	return count;
}

bool is_one_entry(size_t size)
{
	return size == PUD_PAGE || size == PMD_PAGE;
}

long size_counter(size_t size, const char *name)
{
	char path[128];
	unsigned long value;
	bool known;
	FILE *file;

	snprintf(path, sizeof(path), POOLS "/hugepages-%zukB/%s", size / 1024, name);
	file = fopen(path, "re");
	known = file && fscanf(file, "%lu", &value) == 1;
	if (file)
		fclose(file);
	return known ? (long)value : LONG_MIN;
}

size_t default_size(void)
{
	int64_t bytes = meminfo_bytes("Hugepagesize");

	return bytes > 0 ? (size_t)bytes : PMD_PAGE;
}

static const struct {
	char letter;
	size_t bytes;
} units[] = { { 'G', 1UL << 30 }, { 'M', 1UL << 20 }, { 'K', 1UL << 10 } };

size_t parse_size(const char *text)
{
	char *end;
	size_t number = strtoul(text, &end, 10);

	for (size_t i = 0; i < COUNT_OF(units); i++)
		if (*end == units[i].letter && end[1] == '\0')
			return number * units[i].bytes;
	return 0;
}

/* The last few texts stay, for a line that has several. */
static char *next_text(size_t *room)
{
	static _Thread_local char texts[16][64];
	static _Thread_local unsigned int next;

	*room = sizeof(texts[0]);
	texts[next % COUNT_OF(texts)][0] = '\0';
	return texts[next++ % COUNT_OF(texts)];
}

const char *size_name(size_t bytes)
{
	size_t room;
	char *text = next_text(&room);

	for (size_t i = 0; i < COUNT_OF(units); i++)
		if (bytes % units[i].bytes == 0) {
			snprintf(text, room, "%zu%c", bytes / units[i].bytes, units[i].letter);
			return text;
		}
	snprintf(text, room, "%zu", bytes);
	return text;
}

const char *size_text(int64_t bytes)
{
	size_t room, length = 0, left = bytes < 0 ? -(uint64_t)bytes : (uint64_t)bytes;
	char *text = next_text(&room);
	const char *before = bytes < 0 ? "-(" : "";

	if (left < 1024) {
		snprintf(text, room, "%lld bytes", (long long)bytes);
		return text;
	}
	for (size_t i = 0; i < COUNT_OF(units); i++)
		if (left >= units[i].bytes) {
			length += (size_t)snprintf(text + length, room - length, "%s%zu %ciB", before,
						   left / units[i].bytes, units[i].letter);
			left %= units[i].bytes;
			before = " + ";
		}
	if (left)
		length += (size_t)snprintf(text + length, room - length, " + %zu bytes", left);
	if (bytes < 0)
		snprintf(text + length, room - length, ")");
	return text;
}

const char *range_text(size_t length)
{
	size_t room, count = huge_size() ? length / huge_size() : 0;
	char *text;

	if (!count || length % huge_size())
		return size_text((int64_t)length);
	text = next_text(&room);
	snprintf(text, room, "%zu huge page%s", count, count == 1 ? "" : "s");
	return text;
}
