// SPDX-License-Identifier: GPL-2.0-only
/* A cgroup of a test's own, and its hugetlb controller. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "library.h"

#define ROOT "/sys/fs/cgroup"
#define CONTROLLERS ROOT "/cgroup.subtree_control"
#define GROUP ROOT "/hgm-probe"
#define INNER GROUP "/inner"

const char *group_path(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), GROUP "/%s", name);
	return path;
}

const char *group_file(const char *what)
{
	char name[64];

	snprintf(name, sizeof(name), "hugetlb.%sB.%s", size_name(huge_size()), what);
	return group_path(name);
}

static int64_t group_bytes(const char *what)
{
	FILE *file = fopen(group_file(what), "re");
	long long value;

	assert_that(file && fscanf(file, "%lld", &value) == 1,
		    "reading %s: %s", group_file(what), error_name(errno));
	fclose(file);
	return value;
}

void assert_charged(const char *what, size_t bytes, const char *when)
{
	int64_t seen = group_bytes(what);

	assert_that(seen == (int64_t)bytes, "%s is %s %s, expected %s", group_file(what),
		    size_text(seen), when, size_text((int64_t)bytes));
}

static void (*inside)(void);
static const char *members;

static void enter_and_run(void)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", getpid());
	assert_written(members, text);
	inside();
}

static void run_in(const char *file, void (*run)(void))
{
	members = file;
	inside = run;
	child_end(child_start(enter_and_run));
}

static void make_group(void)
{
	rmdir(INNER); /* a failed test may have left them */
	rmdir(GROUP);
	if (access(ROOT "/cgroup.procs", W_OK) != 0)
		probe_skip(ROOT ": %s", error_name(errno));
	assert_that(mkdir(GROUP, 0700) == 0, "mkdir " GROUP ": %s", error_name(errno));
	if (access(group_file("max"), W_OK) != 0)
		probe_skip("%s: %s", group_file("max"), error_name(errno));
}

static void remove_group(void)
{
	assert_charged("current", 0, "after the process in it ended");
	assert_charged("rsvd.current", 0, "after the process in it ended");
	assert_that(rmdir(GROUP) == 0, "rmdir " GROUP ": %s", error_name(errno));
}

void in_group(void (*run)(void))
{
	make_group();
	run_in(GROUP "/cgroup.procs", run);
	remove_group();
}

void in_inner_group(void (*run)(void), void (*after)(void))
{
	make_group();
	assert_written(GROUP "/cgroup.subtree_control", "+hugetlb");
	assert_that(mkdir(INNER, 0700) == 0, "mkdir " INNER ": %s", error_name(errno));
	run_in(INNER "/cgroup.procs", run);
	assert_that(rmdir(INNER) == 0, "rmdir " INNER ": %s", error_name(errno));
	after();
	remove_group();
}

static bool has_memory_controller(void)
{
	FILE *controllers = fopen(CONTROLLERS, "re");
	char line[512];
	bool found;

	if (!controllers)
		probe_skip(CONTROLLERS ": %s", error_name(errno));
	found = fgets(line, sizeof(line), controllers) && strstr(line, "memory");
	fclose(controllers);
	return found;
}

static void (*in_memory)(void);

static void run_in_group(void)
{
	in_group(in_memory);
}

static void put_controller_back(void)
{
	write_text(CONTROLLERS, "-memory");
}

void in_memory_group(void (*run)(void))
{
	int error;

	if (has_memory_controller()) {
		in_group(run);
		return;
	}
	error = write_text(CONTROLLERS, "+memory");
	if (error)
		probe_skip("+memory in " CONTROLLERS ": %s", error_name(error));
	in_memory = run;
	run_then(run_in_group, put_controller_back);
}
