// SPDX-License-Identifier: GPL-2.0-only
/*
 * counters                 the kernel's counters of huge pages and page tables, a "key value" line
 *                          each; or why page tables are left out
 * counters run COMMAND...  runs a command in a cgroup of its own, whose huge pages are counted
 *
 * Not a probe: it tests nothing. The harness and run-here run it before and after each probe.
 */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "hgm_probe.h"

#define CGROUP "/sys/fs/cgroup/probe"

/* Prints "KEY NUMBER" from a file that holds a number; nothing if there is no such file. */
__attribute__((format(printf, 2, 3)))
static void print_number(const char *path, const char *key, ...)
{
	FILE *file = fopen(path, "re");
	va_list arguments;
	unsigned long value;

	if (!file)
		return;
	if (fscanf(file, "%lu", &value) == 1) {
		va_start(arguments, key);
		vprintf(key, arguments);
		va_end(arguments);
		printf(" %ld\n", (long)value); /* below zero, if it has been counted down too far */
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

static void print_pool(const char *size, size_t kilobytes)
{
	char all[96], path[128];
	int node = 0;

	snprintf(all, sizeof(all), "/sys/kernel/mm/hugepages/hugepages-%zukB", kilobytes);
	snprintf(path, sizeof(path), "%s/resv_hugepages", all);
	print_number(path, "pool.%s.reserved", size);
	for (;; node++) {
		snprintf(path, sizeof(path),
			 "/sys/devices/system/node/node%d/hugepages/hugepages-%zukB", node,
			 kilobytes);
		if (access(path, F_OK) != 0)
			break;
		print_node(path, size, node);
	}
	if (node == 0)
		print_node(all, size, node);
}

static void print_cgroup(const char *size)
{
	char path[128];

	snprintf(path, sizeof(path), CGROUP "/hugetlb.%sB.current", size);
	print_number(path, "cgroup.%s.used", size);
	snprintf(path, sizeof(path), CGROUP "/hugetlb.%sB.rsvd.current", size);
	print_number(path, "cgroup.%s.reserved", size);
}

static void print_meminfo(void)
{
	static const char *const fields[] = {
		"HugePages_Total", "HugePages_Free", "HugePages_Rsvd", "HugePages_Surp",
		"Hugetlb",
	};
	char line[128], name[64];
	unsigned long value;
	FILE *file = fopen("/proc/meminfo", "re");

	while (file && fgets(line, sizeof(line), file))
		for (size_t i = 0; i < COUNT_OF(fields); i++)
			if (sscanf(line, "%63[^:]: %lu", name, &value) == 2 &&
			    strcmp(name, fields[i]) == 0)
				printf("meminfo.%s %ld\n", name, (long)value);
	if (file)
		fclose(file);
}

static int64_t tables_of_processes(void)
{
	DIR *processes = opendir("/proc");
	struct dirent *entry;
	char path[sizeof(entry->d_name) + sizeof("/proc//status")];
	int64_t bytes = 0, of_process;

	if (!processes)
		return 0;
	while ((entry = readdir(processes))) {
		if (!isdigit(entry->d_name[0]))
			continue;
		/* Kernel threads have no such field, and processes that end have no file. */
		snprintf(path, sizeof(path), "/proc/%s/status", entry->d_name);
		of_process = file_bytes(path, "VmPTE");
		bytes += of_process < 0 ? 0 : of_process;
	}
	closedir(processes);
	return bytes;
}

/*
 * Page tables that no process has, in kB: what the kernel has for itself, the
 * topmost of each process, which VmPTE leaves out, and what was lost. A reading
 * is repeated when a process gained or lost a table, or ended, during it.
 */
static void print_unowned_tables(void)
{
	int64_t all, before, owned = tables_of_processes();
	int tries = 0;

	do {
		before = owned;
		all = meminfo_bytes("PageTables");
		owned = tables_of_processes();
	} while (owned != before && ++tries < 20);
	printf("pagetables.unowned %lld\n", (long long)(all - owned) / 1024);
}

static bool in_vmalloc_space(const char *function)
{
	FILE *areas = fopen("/proc/vmallocinfo", "re");
	bool found = false;
	char line[256];

	while (areas && !found && fgets(line, sizeof(line), areas))
		found = strstr(line, function) != NULL;
	if (areas)
		fclose(areas);
	return found;
}

/*
 * Has per-CPU memory that does not fit where the kernel's own is come from
 * vmalloc space, by cgroups that need it: the page tables there stay, and a
 * probe would be charged with them. 100 cgroups have been enough.
 */
static void grow_per_cpu_memory(void)
{
	char path[sizeof(CGROUP) + 16];
	int made = 0;

	while (made < 256 && !in_vmalloc_space("pcpu_get_vm_areas"))
		for (int end = made + 16; made < end; made++) {
			snprintf(path, sizeof(path), CGROUP "/%d", made);
			mkdir(path, 0755);
		}
	while (made-- > 0) {
		snprintf(path, sizeof(path), CGROUP "/%d", made);
		rmdir(path);
	}
}

static bool kernel_counts_its_own_tables(void)
{
	unsigned int major = 0, minor = 0;
	struct utsname system;

	uname(&system);
	sscanf(system.release, "%u.%u", &major, &minor);
	return major > 6 || (major == 6 && minor >= 16);
}

/* One of these is what alloc_thread_stack_node() is inlined in. */
static bool maps_stacks(void)
{
	return in_vmalloc_space(" dup_task_struct+") || in_vmalloc_space(" copy_process+") ||
	       in_vmalloc_space(" kernel_clone+");
}

/*
 * Kernels since 6.16 count their own page tables too. With CONFIG_VMAP_STACK each new task may need
 * one more of these, and where the memory map of huge pages is freed, each huge page that is new to
 * the pool, for good. Then the number says nothing about the processes, and why is printed instead.
 */
static void print_tables(void)
{
	bool own = kernel_counts_its_own_tables();
	bool stacks = own && maps_stacks(), map = own && frees_memory_map();

	if (stacks)
		printf("pagetables.left_out CONFIG_VMAP_STACK\n");
	if (map)
		printf("pagetables.left_out hugetlb_free_vmemmap\n");
	if (!stacks && !map)
		print_unowned_tables();
}

/* Where there is no cgroup v2, or no right to it, a command runs without, and none is counted. */
static void make_cgroup(void)
{
	if (access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0 && mkdir(CGROUP, 0755) == 0)
		grow_per_cpu_memory();
}

static void join_cgroup(void)
{
	int fd;

	make_cgroup();
	fd = open(CGROUP "/cgroup.procs", O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, "0", 1) != 1)
		perror(CGROUP);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	size_t sizes[MAX_SIZES], count = offered_sizes(sizes);

	if (argc > 1 && strcmp(argv[1], "-h") == 0) {
		printf("usage: counters [run COMMAND...]\n"
		       "prints the counters of huge pages, or runs a command in a cgroup\n");
		return 0;
	}
	if (argc > 2 && strcmp(argv[1], "run") == 0) {
		join_cgroup();
		execvp(argv[2], argv + 2);
		perror(argv[2]);
		return 127;
	}
	make_cgroup();
	print_tables();
	print_meminfo();
	for (size_t i = 0; i < count; i++) {
		print_pool(size_name(sizes[i]), sizes[i] / 1024);
		print_cgroup(size_name(sizes[i]));
	}
	return 0;
}
