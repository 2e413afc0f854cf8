// SPDX-License-Identifier: GPL-2.0-only
/*
 * ledger                what the kernel's books say of huge pages and page tables, a "key value"
 *                       line each
 * ledger run COMMAND... runs a command in a cgroup of its own, whose huge pages the books name
 *
 * No probe: it judges nothing. The host reads the books before and after each probe.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hgm_probe.h"

#define CGROUP "/sys/fs/cgroup/probe"

static const struct {
	const char *name;
	const char *cgroup;
	unsigned long kilobytes;
} sizes[] = { { "1G", "1GB", PUD_PAGE / 1024 }, { "2M", "2MB", PMD_PAGE / 1024 } };

/* Prints "KEY NUMBER" from a file that holds a number; nothing if there is no such file. */
__attribute__((format(printf, 2, 3)))
static void print_number(const char *path, const char *key, ...)
{
	FILE *file = fopen(path, "re");
	va_list arguments;
	long value;

	if (!file)
		return;
	if (fscanf(file, "%ld", &value) == 1) {
		va_start(arguments, key);
		vprintf(key, arguments);
		va_end(arguments);
		printf(" %ld\n", value);
	}
	fclose(file);
}

/* What a node has; without NUMA what there is at all, as node 0's. */
static void print_node(const char *directory, const char *size, int node)
{
	static const struct {
		const char *file, *key;
	} counters[] = {
		{ "nr_hugepages", "total" },
		{ "free_hugepages", "free" },
		{ "surplus_hugepages", "surplus" },
	};
	char path[256];

	for (size_t i = 0; i < COUNT_OF(counters); i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, counters[i].file);
		print_number(path, "pool.%s.node%d.%s", size, node, counters[i].key);
	}
}

static void print_pool(const char *size, unsigned long kilobytes)
{
	char all[96], path[128];
	int node = 0;

	snprintf(all, sizeof(all), "/sys/kernel/mm/hugepages/hugepages-%lukB", kilobytes);
	snprintf(path, sizeof(path), "%s/resv_hugepages", all);
	print_number(path, "pool.%s.reserved", size);
	for (;; node++) {
		snprintf(path, sizeof(path),
			 "/sys/devices/system/node/node%d/hugepages/hugepages-%lukB", node,
			 kilobytes);
		if (access(path, F_OK) != 0)
			break;
		print_node(path, size, node);
	}
	if (node == 0)
		print_node(all, size, node);
}

static void print_cgroup(const char *size, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), CGROUP "/hugetlb.%s.current", name);
	print_number(path, "cgroup.%s.used", size);
	snprintf(path, sizeof(path), CGROUP "/hugetlb.%s.rsvd.current", name);
	print_number(path, "cgroup.%s.reserved", size);
}

static void print_meminfo(void)
{
	static const char *const fields[] = {
		"PageTables", "HugePages_Total", "HugePages_Free", "HugePages_Rsvd",
		"HugePages_Surp", "Hugetlb",
	};
	char line[128], name[64];
	long value;
	FILE *file;

	/* Each CPU counts for itself first; this adds up what they have. */
	meminfo_bytes("MemTotal");
	file = fopen("/proc/meminfo", "re");
	while (file && fgets(line, sizeof(line), file))
		for (size_t i = 0; i < COUNT_OF(fields); i++)
			if (sscanf(line, "%63[^:]: %ld", name, &value) == 2 &&
			    strcmp(name, fields[i]) == 0)
				printf("meminfo.%s %ld\n", name, value);
	if (file)
		fclose(file);
}

/* A process that cannot have a cgroup of its own runs without: then the books do not name one. */
static void join_cgroup(void)
{
	int fd;

	mkdir(CGROUP, 0755);
	fd = open(CGROUP "/cgroup.procs", O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, "0", 1) != 1)
		perror(CGROUP);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	if (argc > 2 && strcmp(argv[1], "run") == 0) {
		join_cgroup();
		execvp(argv[2], argv + 2);
		perror(argv[2]);
		return 127;
	}
	mkdir(CGROUP, 0755);
	print_meminfo();
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		print_pool(sizes[i].name, sizes[i].kilobytes);
		print_cgroup(sizes[i].name, sizes[i].cgroup);
	}
	return 0;
}
