// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the threads do. The system calls may fail: pages come and go under them.
 * What they may not do is change the contents of another page.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stress.h"

static void do_read(void)
{
	check_page(primary, random_page());
}

static void do_write(void)
{
	write_page(primary, random_page());
}

static void do_write_alias(void)
{
	write_page(alias, random_page());
}

static void do_continue(void)
{
	size_t page = random_page(), bytes = random_length(page);

	uffd_continue_mode(uffd, primary + page * BASE_PAGE, bytes,
			   one_in(4) ? UFFDIO_CONTINUE_MODE_WP : 0);
}

static void do_protect(void)
{
	size_t page = random_page();

	if (wp_unit() > BASE_PAGE) {
		uffd_protect(uffd, random_huge(primary), huge_size(), !one_in(3));
		return;
	}
	uffd_protect(uffd, primary + page * BASE_PAGE, random_length(page), !one_in(3));
}

static void do_collapse(void)
{
	size_t page = random_page();

	if (one_in(2))
		advise(random_huge(primary), huge_size(), MADV_COLLAPSE);
	else
		advise(primary + page * BASE_PAGE, random_length(page), MADV_COLLAPSE);
}

static void do_dontneed(void)
{
	advise(random_huge(primary), huge_size(), MADV_DONTNEED);
}

static void do_populate(void)
{
	size_t page = random_page();

	advise(primary + page * BASE_PAGE, 8 * BASE_PAGE,
	       one_in(2) ? MADV_POPULATE_READ : MADV_POPULATE_WRITE);
}

static void do_punch(void)
{
	fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		  (off_t)(random_below(file_pages()) * huge_size()), (off_t)huge_size());
}

static void do_truncate(void)
{
	if (ftruncate(fd, (off_t)(random_below(file_pages() + 1) * huge_size())) == 0)
		assert_that(ftruncate(fd, (off_t)length()) == 0,
			    "ftruncate to the file's old length: %s", error_name(errno));
}

static void do_mprotect(void)
{
	char *huge = random_huge(primary);

	mprotect(huge, huge_size(), one_in(2) ? PROT_READ : PROT_NONE);
	mprotect(huge, huge_size(), PROT_READ | PROT_WRITE);
}

/* Few pages: mlock() faults in each of them, and each fault is a message. */
static void do_mlock(void)
{
	char *start = primary + random_page() * BASE_PAGE;

	mlock(start, 8 * BASE_PAGE);
	munlock(start, 8 * BASE_PAGE);
}

static _Noreturn void run_child(void)
{
	signal(SIGALRM, SIG_DFL);
	alarm(5); /* the handler of its faults may have ended */
	for (int i = 0; i < 20; i++)
		check_page(one_in(2) ? primary : alias, random_page());
	_exit(0);
}

static void do_fork(void)
{
	pid_t child = fork();
	int status;

	if (child == 0)
		run_child();
	if (child < 0)
		return;
	waitpid(child, &status, 0);
	assert_that(!WIFEXITED(status) || WEXITSTATUS(status) == 0,
		    "a child of fork exited with %d, expected 0", WEXITSTATUS(status));
}

/* Moves a mapping of the file to addresses that no other thread can map meanwhile. */
static char *moved(char *from)
{
	size_t room = length() + PUD_PAGE;
	char *start = map_anonymous(room, MAP_NORESERVE);
	char *to = (char *)(((uintptr_t)start + PUD_PAGE - 1) & -PUD_PAGE);

	if (mremap(from, length(), length(), MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED) {
		munmap(start, room);
		return from;
	}
	munmap(start, (size_t)(to - start));
	munmap(to + length(), (size_t)(start + room - to) - length());
	return to;
}

/* Another mapping, registered as well: it is filled, moved and unmapped in parts. */
static void do_move(void)
{
	char *start = mmap(NULL, length(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
			   fd, 0);

	if (start == MAP_FAILED)
		return;
	split(start, length());
	uffd_register(uffd, start, length(), UFFDIO_REGISTER_MODE_MINOR);
	for (int i = 0; i < 8; i++) {
		size_t page = random_page();

		uffd_continue(uffd, start + page * BASE_PAGE, random_length(page));
	}
	start = moved(start);
	for (int i = 0; i < 8; i++)
		check_page(start, random_page());
	munmap(start, huge_size());
	if (length() > huge_size())
		munmap(start + huge_size(), length() - huge_size());
}

static void read_file(const char *path)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	char buffer[4096];

	assert_that(file >= 0, "%s: %s", path, error_name(errno));
	while (read(file, buffer, sizeof(buffer)) > 0)
		;
	close(file);
}

static void do_proc(void)
{
	static const char *const paths[] = {
		"/proc/self/smaps", "/proc/self/smaps_rollup", "/proc/self/numa_maps",
	};
	size_t page = random_page() / 512 * 512;

	if (one_in(2)) {
		read_file(paths[random_below(COUNT_OF(paths))]);
		return;
	}
	pagemap_present(primary + page * BASE_PAGE, 512);
	mincore_present(primary + page * BASE_PAGE, 512);
}

/* The kernel takes a reference on a page: to copy it at once, or to hold it in a pipe. */
static void do_pin(void)
{
	char buffer[BASE_PAGE];
	struct iovec to = { buffer, BASE_PAGE };
	struct iovec from = { primary + random_page() * BASE_PAGE, BASE_PAGE };
	int ends[2];

	if (one_in(2)) {
		process_vm_readv(getpid(), &to, 1, &from, 1, 0);
	} else if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0) {
		vmsplice(ends[1], &from, 1, SPLICE_F_NONBLOCK);
		advise(random_huge(primary), huge_size(), MADV_DONTNEED);
		if (read(ends[0], buffer, BASE_PAGE) < 0)
			buffer[0] = 0;
		close(ends[0]);
		close(ends[1]);
	}
}

const struct action actions[ACTIONS] = {
	{ do_read, "read", 300, false },	{ do_write, "write", 200, false },
	{ do_write_alias, "alias", 60, false },	{ do_continue, "continue", 200, false },
	{ do_protect, "protect", 60, false },	{ do_collapse, "collapse", 10, true },
	{ do_dontneed, "dontneed", 6, true },	{ do_populate, "populate", 10, false },
	{ do_punch, "punch", 2, true },		{ do_truncate, "truncate", 2, true },
	{ do_mprotect, "mprotect", 4, true },	{ do_mlock, "mlock", 10, false },
	{ do_fork, "fork", 3, true },		{ do_move, "move", 2, true },
	{ do_proc, "proc", 6, true },		{ do_pin, "pin", 60, false },
};
