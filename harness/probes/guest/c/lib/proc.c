// SPDX-License-Identifier: GPL-2.0-only
/* smaps, pagemap, mincore and the pool's counters. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../hgm_probe.h"

/* Documentation/admin-guide/mm/pagemap.rst */
#define PAGEMAP_PRESENT (1ULL << 63)
#define PAGEMAP_UFFD_WP (1ULL << 57)

/* Leaves FILE after the header line of the mapping that holds ADDRESS. */
static void seek_mapping(FILE *file, const void *address)
{
	unsigned long from, to, wanted = (unsigned long)address;
	char line[512];

	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2 && from <= wanted && wanted < to)
			return;
	probe_fail("/proc/self/smaps has no mapping at %p", address);
}

/*
 * Finds a field of one mapping; VALUE takes what follows its colon. VmFlags is
 * the last field of every mapping.
 */
static bool smaps_field(const void *address, const char *name, char *value, size_t room)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	size_t length = strlen(name);
	bool found = false;
	char line[512];

	expect(file, "/proc/self/smaps: %s", error_name(errno));
	seek_mapping(file, address);
	while (!found && fgets(line, sizeof(line), file)) {
		found = strncmp(line, name, length) == 0 && line[length] == ':';
		if (found)
			snprintf(value, room, "%s", line + length + 1);
		if (strncmp(line, "VmFlags:", 8) == 0)
			break;
	}
	fclose(file);
	return found;
}

int64_t smaps_bytes(const void *address, const char *field)
{
	char value[256];

	return smaps_field(address, field, value, sizeof(value)) ? atoll(value) * 1024 : -1;
}

bool smaps_has_flag(const void *address, const char *letters)
{
	char value[256], *rest = value, *word;

	expect(smaps_field(address, "VmFlags", value, sizeof(value)), "no such field");
	while ((word = strsep(&rest, " \n")))
		if (strcmp(word, letters) == 0)
			return true;
	return false;
}

long pool_counter(const char *name)
{
	char path[128];
	long value;
	FILE *file;

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%zukB/%s",
		 huge_size() / 1024, name);
	file = fopen(path, "re");
	expect(file, "%s: %s", path, error_name(errno));
	expect(fscanf(file, "%ld", &value) == 1, "%s holds no number", path);
	fclose(file);
	return value;
}

static uint64_t *pagemap_read(const void *start, size_t count)
{
	uint64_t *entries = calloc(count, sizeof(*entries));
	off_t offset = (off_t)((uintptr_t)start / BASE_PAGE * sizeof(*entries));
	size_t length = count * sizeof(*entries), done = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	expect(entries && fd >= 0, "/proc/self/pagemap: %s", error_name(errno));
	while (done < length) {
		ssize_t got = pread(fd, (char *)entries + done, length - done,
				    offset + (off_t)done);

		expect(got > 0, "/proc/self/pagemap: %s", error_name(errno));
		done += (size_t)got;
	}
	close(fd);
	return entries;
}

size_t pagemap_present(const void *start, size_t count)
{
	uint64_t *entries = pagemap_read(start, count);
	size_t present = 0;

	for (size_t i = 0; i < count; i++)
		present += (entries[i] & PAGEMAP_PRESENT) != 0;
	free(entries);
	return present;
}

bool pagemap_protected(const void *address)
{
	uint64_t *entry = pagemap_read(address, 1);
	bool marked = (*entry & PAGEMAP_UFFD_WP) != 0;

	free(entry);
	return marked;
}

size_t mincore_present(void *start, size_t count)
{
	unsigned char *states = calloc(count, 1);
	size_t present = 0;

	expect(states && mincore(start, count * BASE_PAGE, states) == 0, "%s",
	       error_name(errno));
	for (size_t i = 0; i < count; i++)
		present += states[i] & 1;
	free(states);
	return present;
}
