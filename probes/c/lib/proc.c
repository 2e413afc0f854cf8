// SPDX-License-Identifier: GPL-2.0-only
/* smaps, pagemap, mincore, and other files of /proc and /sys. */
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "library.h"

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

	assert_that(file, "/proc/self/smaps: %s", error_name(errno));
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

static bool smaps_has_flag(const void *address, const char *letters)
{
	char value[256], *rest = value, *word;

	assert_that(smaps_field(address, "VmFlags", value, sizeof(value)), "smaps has no VmFlags");
	while ((word = strsep(&rest, " \n")))
		if (strcmp(word, letters) == 0)
			return true;
	return false;
}

void assert_flag(const void *address, const char *letters, bool want)
{
	if (smaps_has_flag(address, letters) != want)
		probe_fail("smaps: VmFlags of the mapping at %p %s %s, expected that they %s it",
			   address, want ? "lack" : "have", letters, want ? "have" : "lack");
}

void assert_smaps(const void *address, const char *field, size_t bytes)
{
	int64_t seen = smaps_bytes(address, field);

	if (seen != (int64_t)bytes)
		probe_fail("smaps: %s is %s, expected %s", field,
			   seen < 0 ? "missing" : size_text(seen), size_text((int64_t)bytes));
}

void assert_mapped(const void *start, size_t by_pud, size_t by_pmd, size_t by_pte)
{
	static const char *const fields[] = {
		"HugetlbPudMapped", "HugetlbPmdMapped", "HugetlbPteMapped",
	};
	const size_t wanted[] = { by_pud, by_pmd, by_pte };

	for (size_t i = 0; i < COUNT_OF(fields); i++)
		assert_smaps(start, fields[i], wanted[i]);
}

void numa_maps_line(const void *start, char *line, size_t room)
{
	FILE *file = fopen("/proc/self/numa_maps", "re");
	char wanted[32];

	if (!file)
		probe_skip("/proc/self/numa_maps: %s", error_name(errno));
	snprintf(wanted, sizeof(wanted), "%08lx ", (unsigned long)start);
	while (fgets(line, (int)room, file))
		if (strncmp(line, wanted, strlen(wanted)) == 0) {
			fclose(file);
			return;
		}
	probe_fail("/proc/self/numa_maps has no mapping at %p", start);
}

int64_t file_bytes(const char *path, const char *field)
{
	FILE *file = fopen(path, "re");
	size_t length = strlen(field);
	int64_t bytes = -1;
	char line[256];

	while (file && bytes < 0 && fgets(line, sizeof(line), file))
		if (strncmp(line, field, length) == 0 && line[length] == ':')
			bytes = atoll(line + length + 1) * 1024;
	if (file)
		fclose(file);
	return bytes;
}

int write_text(const char *path, const char *text)
{
	int file = open(path, O_WRONLY | O_CLOEXEC), error;

	if (file < 0)
		return errno;
	error = write(file, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : errno;
	close(file);
	return error;
}

void assert_written(const char *path, const char *text)
{
	int error = write_text(path, text);

	assert_that(error == 0, "writing %s to %s: %s", text, path, error_name(error));
}

int64_t status_bytes(const char *field)
{
	return file_bytes("/proc/self/status", field);
}

/*
 * A CPU that is idle keeps the address space of the process that ran there last,
 * ended or not, and with it the topmost page table. Running there replaces it.
 */
static void run_on_each_cpu(void)
{
	cpu_set_t all, one;

	if (sched_getaffinity(0, sizeof(all), &all) != 0)
		return;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		sched_setaffinity(0, sizeof(one), &one);
	}
	sched_setaffinity(0, sizeof(all), &all);
}

void settle_page_tables(void)
{
	int fd;
	char nothing;

	run_on_each_cpu();
	/* Since 6.14 a page table is counted until an RCU callback frees it: wait for them all. */
	fd = open("/sys/module/rcutree/parameters/do_rcu_barrier", O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		if (write(fd, "1", 1) < 0)
			probe_note("rcutree.do_rcu_barrier: %s", error_name(errno));
		close(fd);
	}
	/* Each CPU counts for itself first; this adds up what they have. */
	fd = open("/proc/sys/vm/stat_refresh", O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		if (read(fd, &nothing, 1) < 0)
			probe_note("/proc/sys/vm/stat_refresh: %s", error_name(errno));
		close(fd);
	}
}

int64_t meminfo_bytes(const char *field)
{
	settle_page_tables();
	return file_bytes("/proc/meminfo", field);
}

/* Adds a line of smaps to what it is about. */
static void add_mapped(struct smaps_mapped *by, const char *line)
{
	struct {
		const char *field;
		int64_t *bytes;
	} const fields[] = {
		{ "HugetlbPudMapped: %ld", &by->pud }, { "HugetlbPmdMapped: %ld", &by->pmd },
		{ "HugetlbPteMapped: %ld", &by->pte }, { "Shared_Hugetlb: %ld", &by->all },
		{ "Private_Hugetlb: %ld", &by->all },
	};
	long kilobytes;

	for (size_t i = 0; i < COUNT_OF(fields); i++)
		if (sscanf(line, fields[i].field, &kilobytes) == 1)
			*fields[i].bytes = (*fields[i].bytes < 0 ? 0 : *fields[i].bytes) + kilobytes * 1024;
}

struct smaps_mapped smaps_mapped(const void *start, size_t length)
{
	static const struct smaps_mapped not_said = { -1, -1, -1, -1 };
	unsigned long from, to, first = (unsigned long)start, end = first + length;
	struct smaps_mapped by = not_said;
	FILE *file = fopen("/proc/self/smaps", "re");
	bool inside = false, in_part = false;
	char line[512];

	assert_that(file, "/proc/self/smaps: %s", error_name(errno));
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2) {
			inside = from >= first && to <= end;
			in_part |= !inside && from < end && to > first;
		} else if (inside) {
			add_mapped(&by, line);
		}
	}
	fclose(file);
	return in_part ? not_said : by;
}

void assert_whole(const void *start, size_t length)
{
	bool is_pud = huge_size() >= PUD_PAGE;

	assert_mapped(start, is_pud ? length : 0, is_pud ? 0 : length, 0);
}

void pagemap_read(const void *start, size_t count, uint64_t *entries)
{
	off_t offset = (off_t)((uintptr_t)start / BASE_PAGE * sizeof(*entries));
	size_t length = count * sizeof(*entries), done = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	assert_that(fd >= 0, "/proc/self/pagemap: %s", error_name(errno));
	while (done < length) {
		ssize_t got = pread(fd, (char *)entries + done, length - done,
				    offset + (off_t)done);

		assert_that(got > 0, "/proc/self/pagemap: %s", error_name(errno));
		done += (size_t)got;
	}
	close(fd);
}

uint64_t pagemap_entry(const void *address)
{
	uint64_t entry;

	pagemap_read(address, 1, &entry);
	return entry;
}

static size_t pagemap_count(const void *start, size_t count, uint64_t bit)
{
	uint64_t *entries = calloc(count, sizeof(*entries));
	size_t found = 0;

	assert_that(entries, "calloc: %s", error_name(errno));
	pagemap_read(start, count, entries);
	for (size_t i = 0; i < count; i++)
		found += (entries[i] & bit) != 0;
	free(entries);
	return found;
}

size_t pagemap_present(const void *start, size_t count)
{
	return pagemap_count(start, count, PAGEMAP_PRESENT);
}

size_t pagemap_protected_count(const void *start, size_t count)
{
	return pagemap_count(start, count, PAGEMAP_UFFD_WP);
}

bool pagemap_protected(const void *address)
{
	return pagemap_protected_count(address, 1) == 1;
}

size_t mincore_present(void *start, size_t count)
{
	unsigned char *states = calloc(count, 1);
	size_t present = 0;

	assert_that(states && mincore(start, count * BASE_PAGE, states) == 0, "mincore of %s: %s",
		    range_text(count * BASE_PAGE), error_name(errno));
	for (size_t i = 0; i < count; i++)
		present += states[i] & 1;
	free(states);
	return present;
}

static void assert_count(const char *who, const void *start, size_t got, size_t want, size_t count,
			 const char *what)
{
	if (got == want)
		return;
	if (count == 1)
		probe_fail("%s: the base page at %p is %s%s, expected the opposite", who, start,
			   want ? "not " : "", what);
	probe_fail("%s: %zu of %zu base pages from %p on are %s, expected %zu", who, got, count,
		   start, what, want);
}

void assert_present(const void *start, size_t count, size_t want)
{
	assert_count("pagemap", start, pagemap_present(start, count), want, count, "present");
}

void assert_protected(const void *start, size_t count, size_t want)
{
	assert_count("pagemap", start, pagemap_protected_count(start, count), want, count,
		     "write-protected");
}

void assert_resident(void *start, size_t count, size_t want)
{
	assert_count("mincore", start, mincore_present(start, count), want, count, "resident");
}
