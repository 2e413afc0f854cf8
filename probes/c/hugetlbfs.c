// SPDX-License-Identifier: GPL-2.0-only
/*
 * hugetlbfs as a file system: mounts with limits, of which each reservation, fault
 * and fallocate takes its part, directories, and SysV segments, which are files too.
 */
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1
#define SIZE 3L /* huge pages, of a mount with a limit */

static void assert_room(int mount, long pages, long inodes, const char *when)
{
	struct statfs seen;

	assert_errno(fstatfs(mount, &seen), 0);
	assert_that(seen.f_type == HUGETLBFS_MAGIC && (size_t)seen.f_bsize == huge_size(),
		    "statfs: type %#lx, block size %s", (unsigned long)seen.f_type,
		    size_text(seen.f_bsize));
	assert_that((long)seen.f_blocks == SIZE && (long)seen.f_bfree == pages &&
		    (long)seen.f_bavail == pages,
		    "statfs %s: %ld of %ld blocks are free, and %ld available, expected %ld of %ld",
		    when, (long)seen.f_bfree, (long)seen.f_blocks, (long)seen.f_bavail, pages, SIZE);
	if (inodes >= 0)
		assert_that((long)seen.f_ffree == inodes,
			    "statfs %s: %ld inodes are free, expected %ld", when,
			    (long)seen.f_ffree, inodes);
}

static int limited_mount(void)
{
	return detached_mount("hugetlbfs", "pagesize=%zu,size=%zu", huge_size(),
			      SIZE * huge_size());
}

static int map_error(int fd, long pages)
{
	void *start = mmap(NULL, (size_t)pages * huge_size(), PROT_READ | PROT_WRITE, MAP_SHARED,
			   fd, 0);

	return start == MAP_FAILED ? errno : 0;
}

static void reserve_in_limit(void)
{
	struct pool before = pool_now();
	int mount = limited_mount(), fd = unnamed_file(mount), other = unnamed_file(mount);
	char *start;

	assert_errno(ftruncate(fd, 2 * (off_t)huge_size()), 0);
	assert_errno(ftruncate(other, 2 * (off_t)huge_size()), 0);
	assert_room(mount, SIZE, -1, "at first");
	start = map_shared(fd, 2 * huge_size(), RESERVED);
	assert_room(mount, SIZE - 2, -1, "with two pages reserved");
	for (int attempt = 0; attempt < 2; attempt++)
		assert_error(map_error(other, 2), ENOMEM);
	assert_pool(&before, 0, 2, "after mmap beyond the size of the mount");
	assert_room(mount, SIZE - 2, -1, "after mmap beyond its size");
	fill_pages(start, 0, huge_pages(), FILLING);
	assert_pool(&before, -1, 1, "after a write");
	assert_room(mount, SIZE - 2, -1, "after a write");
	assert_errno(ftruncate(fd, 0), 0);
	assert_room(mount, SIZE, -1, "after the file was emptied");
	assert_error(map_error(other, 2), 0);
	close(fd);
	close(other);
	close(mount);
	unmap(start, 2 * huge_size());
}

/* Without a reservation it is the fault, or fallocate, that finds the limit. */
static void fault_in_limit(void)
{
	struct pool before = pool_now();
	int mount = limited_mount(), fd = unnamed_file(mount);
	off_t page = (off_t)huge_size();
	char *start;

	assert_errno(ftruncate(fd, (SIZE + 1) * page), 0);
	start = map_shared(fd, (SIZE + 1) * huge_size(), UNRESERVED);
	assert_errno(fallocate(fd, 0, 0, (SIZE - 1) * page), 0);
	*(volatile char *)(start + (SIZE - 1) * page) = 1;
	assert_room(mount, 0, -1, "when it is full");
	assert_signal(start + SIZE * page, TOUCH_WRITE, SIGBUS);
	assert_errno(fallocate(fd, 0, SIZE * page, page), ENOSPC);
	assert_pool(&before, -SIZE, 0, "after a fault and fallocate beyond the size of the mount");
	assert_room(mount, 0, -1, "after a fault and fallocate beyond its size");
	punch(fd, 0, 1);
	assert_room(mount, 1, -1, "with a hole");
	assert_signal(start + SIZE * page, TOUCH_WRITE, 0);
	assert_room(mount, 0, -1, "after the page that did not fit");
	unmap(start, (SIZE + 1) * huge_size());
	close(fd);
	assert_room(mount, SIZE, -1, "without files");
	assert_pool(&before, 0, 0, "without files");
	close(mount);
}

/* With a minimum as well: what is used of it is not reserved besides. */
static void both_limits(void)
{
	struct pool before = pool_now();
	int mount = detached_mount("hugetlbfs", "pagesize=%zu,size=%zu,min_size=%zu", huge_size(),
				   SIZE * huge_size(), 2 * huge_size());
	int fd = unnamed_file(mount);
	off_t page = (off_t)huge_size();

	assert_pool(&before, 0, 2, "after the mount");
	assert_room(mount, SIZE, -1, "at first");
	assert_errno(fallocate(fd, 0, 0, page), 0);
	assert_pool(&before, -1, 1, "after the first page");
	assert_errno(fallocate(fd, 0, 0, SIZE * page), 0);
	assert_pool(&before, -SIZE, 0, "after the last page");
	assert_errno(fallocate(fd, 0, SIZE * page, page), ENOSPC);
	assert_pool(&before, -SIZE, 0, "after a page more");
	punch(fd, 0, 2);
	assert_pool(&before, -1, 1, "after two holes");
	close(fd);
	assert_pool(&before, 0, 2, "without files");
	close(mount);
	assert_pool(&before, 0, 0, "unmounted");
}

static void assert_refused(int error, const char *option)
{
	char options[128];
	int mount;

	snprintf(options, sizeof(options), "%s,pagesize=%zu", option, huge_size());
	mount = try_mount("hugetlbfs", options);
	assert_that(mount == -error, "mount with options %s: expected %s, got %s", options,
		    error_name(error), mount < 0 ? error_name(-mount) : "success");
}

static void refused_options(void)
{
	static const char *const wrong[] = {
		"pagesize=12K", "size=G", "min_size=all", "nr_inodes=x", "mode=9", "colour=red",
		"size=1%,min_size=100%",
	};
	struct pool before = pool_now();
	char option[64];

	for (size_t i = 0; i < COUNT_OF(wrong); i++)
		assert_refused(EINVAL, wrong[i]);
	snprintf(option, sizeof(option), "min_size=%zu",
		 (size_t)(before.free - before.reserved + 1) * huge_size());
	assert_refused(ENOMEM, option);
	assert_pool(&before, 0, 0, "after mounts that were refused");
}

/* A percentage is of the pool. */
static void size_in_percent(void)
{
	struct statfs seen;
	int mount = detached_mount("hugetlbfs", "pagesize=%zu,size=50%%", huge_size());

	assert_errno(fstatfs(mount, &seen), 0);
	assert_that((long)seen.f_blocks == pool_counter("nr_hugepages") / 2,
		    "statfs of a mount with size=50%%: %ld blocks, of a pool of %ld huge pages",
		    (long)seen.f_blocks, pool_counter("nr_hugepages"));
}

/* The options of the mount at the path, as /proc/self/mountinfo shows them. */
static void shown_options(const char *path, char *options, size_t room)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char line[512], at[256];
	char *rest;

	assert_that(file, "/proc/self/mountinfo: %s", error_name(errno));
	while (fgets(line, sizeof(line), file)) {
		rest = strstr(line, " - hugetlbfs ");
		if (rest && sscanf(line, "%*d %*d %*s %*s %255s", at) == 1 && !strcmp(at, path)) {
			snprintf(options, room, "%s", rest);
			fclose(file);
			return;
		}
	}
	probe_fail("/proc/self/mountinfo has no hugetlbfs at %s", path);
}

static void make_file(const char *name, mode_t mode)
{
	int fd = open(name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, mode);

	assert_that(fd >= 0, "open of a new file %s: %s", name, error_name(errno));
	close(fd);
}

static int make_error(const char *name)
{
	return mknod(name, S_IFREG | 0600, 0) == 0 ? 0 : errno;
}

/* In a mount namespace of the test's own. */
static void enter_mount(int mount, char *path)
{
	if (unshare(CLONE_NEWNS) != 0)
		probe_skip("unshare of the mount namespace: %s", error_name(errno));
	assert_that(mkdtemp(path), "mkdtemp: %s", error_name(errno));
	assert_errno(syscall(SYS_mount, NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	if (move_mount(mount, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) != 0)
		probe_skip("move_mount: %s", error_name(errno));
	assert_errno(chdir(path), 0);
}

static void assert_shown(const char *options, const char *want)
{
	assert_that(strstr(options, want), "mountinfo shows%s without %s", options, want);
}

static void files_and_directories(void)
{
	char path[] = "/tmp/hgm-probe-XXXXXX", options[512], want[64];
	int mount = detached_mount("hugetlbfs",
				   "pagesize=%zu,size=%zu,min_size=%zu,nr_inodes=6,mode=1711,uid=7,gid=8",
				   huge_size(), SIZE * huge_size(), huge_size());
	struct stat seen;
	long inodes = 5; /* the root has one */

	enter_mount(mount, path);
	shown_options(path, options, sizeof(options));
	snprintf(want, sizeof(want), "pagesize=%s", size_name(huge_size()));
	assert_shown(options, want);
	snprintf(want, sizeof(want), ",size=%zu", SIZE * huge_size());
	assert_shown(options, want);
	snprintf(want, sizeof(want), ",min_size=%zu", huge_size());
	assert_shown(options, want);
	assert_shown(options, ",nr_inodes=6");
	assert_shown(options, ",uid=7,gid=8,mode=1711");
	assert_errno(stat(".", &seen), 0);
	assert_that(seen.st_uid == 7 && seen.st_gid == 8 && (seen.st_mode & 07777) == 01711,
		    "the root belongs to %d:%d and has mode %o", (int)seen.st_uid,
		    (int)seen.st_gid, seen.st_mode & 07777);
	assert_room(mount, SIZE, inodes, "with a root alone");
	assert_errno(mkdir("directory", 0700), 0);
	make_file("directory/file", 0600);
	assert_room(mount, SIZE, inodes - 2, "with a directory and a file");
	/* A link needs a page of its own, which most kernels do not give it. */
	if (symlink("directory/file", "link") == 0)
		assert_errno(unlink("link"), 0);
	assert_errno(lstat("link", &seen), ENOENT);
	assert_room(mount, SIZE, inodes - 2, "without a symbolic link");
	assert_errno(link("directory/file", "second"), 0);
	assert_errno(rename("second", "file"), 0);
	assert_errno(rmdir("directory"), ENOTEMPTY);
	assert_errno(chmod("file", 0640), 0);
	assert_errno(stat("directory/file", &seen), 0);
	assert_that(seen.st_nlink == 2 && (seen.st_mode & 07777) == 0640,
		    "the file has %d links and mode %o, expected 2 and 640", (int)seen.st_nlink,
		    seen.st_mode & 07777);
	assert_error(make_error("fourth"), 0);
	assert_error(make_error("fifth"), 0);
	assert_error(make_error("sixth"), 0);
	assert_room(mount, SIZE, 0, "with all inodes used");
	assert_error(make_error("seventh"), ENOSPC);
	assert_errno(unlink("fifth"), 0);
	assert_room(mount, SIZE, 1, "after unlink");
	assert_error(make_error("seventh"), 0);
	assert_errno(chdir("/"), 0);
	assert_errno(umount2(path, MNT_DETACH), 0);
	rmdir(path);
}

/* read() gives zeros for a hole, and what there is up to the end; write() is refused. */
static void reads(void)
{
	int fd = huge_memfd(2);
	char *start = map_shared(fd, 2 * huge_size(), UNRESERVED);
	static char buffer[4 * BASE_PAGE];
	off_t last = 2 * (off_t)huge_size();

	fill_pages(start + huge_size(), 0, huge_pages(), FILLING);
	memset(buffer, 1, sizeof(buffer));
	assert_bytes(pread(fd, buffer, sizeof(buffer), last / 2 - 2 * (off_t)BASE_PAGE),
		     sizeof(buffer));
	check_zero(buffer, 0, 2);
	check_copy(buffer + 2 * BASE_PAGE, 0, 2, FILLING);
	assert_bytes(pread(fd, buffer, sizeof(buffer), last - (off_t)BASE_PAGE - 8),
		     BASE_PAGE + 8);
	check_copy(buffer + 8, huge_pages() - 1, 1, FILLING);
	assert_bytes(pread(fd, buffer, sizeof(buffer), last), 0);
	assert_errno(pwrite(fd, buffer, 1, 0), EINVAL);
}

static void shared_segment(void)
{
	struct pool before = pool_now();
	int flags = SHM_HUGETLB | __builtin_ctzl(huge_size()) << MAP_HUGE_SHIFT | IPC_CREAT | 0600;
	int id = shmget(IPC_PRIVATE, huge_size() + 1, flags);
	struct shmid_ds state;
	char *start, *second;

	if (id < 0)
		probe_skip("shmget with SHM_HUGETLB: %s", error_name(errno));
	assert_pool(&before, 0, 2, "after shmget of a huge page and a byte");
	assert_errno(shmctl(id, IPC_STAT, &state), 0);
	start = shmat(id, NULL, 0);
	assert_that(start != (void *)-1, "shmat: %s", error_name(errno));
	second = shmat(id, NULL, SHM_RDONLY);
	assert_that(second != (void *)-1, "shmat with SHM_RDONLY: %s", error_name(errno));
	/* From here on it ends with the last mapping. */
	assert_errno(shmctl(id, IPC_RMID, NULL), 0);
	assert_that(state.shm_segsz == huge_size() + 1, "IPC_STAT shows a segment of %s",
		    size_text((int64_t)state.shm_segsz));
	fill_pages(start, 0, huge_pages(), FILLING);
	check_pages(second, 0, huge_pages(), FILLING);
	assert_signal(second, TOUCH_WRITE, SIGSEGV);
	assert_pool(&before, -1, 1, "after a write");
	assert_errno(shmdt(start), 0);
	check_pages(second, 0, huge_pages(), FILLING);
	assert_pool(&before, -1, 1, "after shmdt of one of two");
	assert_errno(shmdt(second), 0);
	assert_pool(&before, 0, 0, "after the last shmdt");
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "mmap in a mount with size reserves up to it, and is ENOMEM beyond", reserve_in_limit },
		{ "in a mount with size a fault is SIGBUS and fallocate ENOSPC beyond it", fault_in_limit },
		{ "a mount with size and min_size reserves what is not used of its minimum", both_limits },
		{ "mount options that are not valid, or ask for more than the pool has, are refused",
		  refused_options },
		{ "size=50% is half of the pool", size_in_percent },
		{ "mountinfo shows the options; inodes are counted up to nr_inodes", files_and_directories },
		{ "read of a hugetlb file has zeros for holes and ends with the file; write is EINVAL",
		  reads },
		{ "a SysV segment of huge pages is reserved by shmget and freed after the last shmdt",
		  shared_segment },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 5,
	});
}
