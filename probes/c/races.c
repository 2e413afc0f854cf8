// SPDX-License-Identifier: GPL-2.0-only
/* UFFDIO_CONTINUE, UFFDIO_WRITEPROTECT and MADV_COLLAPSE against other calls at the same time. */
#include <stdatomic.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1
#define ROUNDS 200

static int fd, uffd;
static char *primary;
static atomic_bool stop;

static void fill_file(void)
{
	fd = filled_memfd(512, FILLING);
}

/* The range may be unmapped or unregistered when the call is made. */
static void assert_one_of(const char *what, int error, const int *allowed, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (error == allowed[i])
			return;
	probe_fail("%s during another call: got %s, which is not allowed", what,
		   error_name(error));
}

static void *hammer(void *unused)
{
	static const int allowed[] = { 0, EEXIST, ENOENT, EAGAIN, ENOMEM, EINVAL, ESRCH };
	size_t page = 0;

	(void)unused;
	while (!atomic_load(&stop)) {
		char *start = primary + page * BASE_PAGE;

		assert_one_of("UFFDIO_CONTINUE", uffd_continue(uffd, start, BASE_PAGE).error, allowed,
			      COUNT_OF(allowed));
		assert_one_of("UFFDIO_WRITEPROTECT",
			      wp_unit() == BASE_PAGE ?
			      uffd_protect(uffd, start, 3 * BASE_PAGE, page & 1) :
			      uffd_protect(uffd, primary, huge_size(), page & 1),
			      allowed, COUNT_OF(allowed));
		assert_one_of("MADV_COLLAPSE", advise(primary, huge_size(), MADV_COLLAPSE), allowed,
			      COUNT_OF(allowed));
		page = (page + 37) % (huge_pages() - 3);
	}
	return NULL;
}

static pthread_t hammer_start(void)
{
	pthread_t thread;

	primary = map_split(fd, UFFD_FEATURE_WP_HUGETLBFS_SHMEM, UFFDIO_REGISTER_MODE_WP, &uffd);
	assert_error(pthread_create(&thread, NULL, hammer, NULL), 0);
	return thread;
}

/* Ends the thread; a new mapping of the file must work and show its contents. */
static void hammer_end(pthread_t thread)
{
	int other;
	char *fresh;

	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	fresh = map_split(fd, 0, 0, &other);
	assert_continue(other, fresh, BASE_PAGE, 0, BASE_PAGE);
	check_pages(fresh, 0, 1, FILLING);
	assert_mapped(fresh, 0, 0, BASE_PAGE);
}

static void against_unmap(void)
{
	pthread_t thread = hammer_start();

	for (size_t round = 0; round < ROUNDS; round++) {
		void *again;

		unmap(primary, huge_size());
		again = mmap(primary, huge_size(), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_NORESERVE, fd, 0);
		assert_that(again == primary, "mmap: %s", error_name(errno));
		split(primary, huge_size());
		uffd_register(uffd, primary, huge_size(),
			      UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_WP);
	}
	hammer_end(thread);
}

static void against_dontneed(void)
{
	pthread_t thread = hammer_start();

	for (size_t round = 0; round < ROUNDS; round++)
		assert_error(advise(primary, huge_size(), MADV_DONTNEED), 0);
	hammer_end(thread);
}

static void against_protection(void)
{
	pthread_t thread = hammer_start();

	for (size_t round = 0; round < ROUNDS; round++)
		assert_errno(mprotect(primary, huge_size(),
				      round & 1 ? PROT_READ | PROT_WRITE : PROT_READ), 0);
	hammer_end(thread);
}

static void against_readers_of_proc(void)
{
	pthread_t thread = hammer_start();

	for (size_t round = 0; round < ROUNDS / 20; round++) {
		int64_t bytes = smaps_bytes(primary, "HugetlbPteMapped");

		assert_that(bytes >= 0 && bytes <= (int64_t)huge_size(),
			    "smaps: HugetlbPteMapped is %s, expected 0 to %s", size_text(bytes),
			    size_text((int64_t)huge_size()));
		pagemap_present(primary, huge_pages());
		mincore_present(primary, huge_pages());
	}
	hammer_end(thread);
}

static void child_ends(void)
{
	_exit(0);
}

static void against_fork(void)
{
	pthread_t thread = hammer_start();

	for (size_t round = 0; round < ROUNDS / 10; round++)
		child_end(child_start(child_ends));
	hammer_end(thread);
}

static atomic_size_t mapped;

static void *continue_all(void *unused)
{
	(void)unused;
	for (size_t page = 0; page < PMD_PAGE / BASE_PAGE; page++) {
		struct uffd_result result = uffd_continue(uffd, primary + page * BASE_PAGE,
							  BASE_PAGE);

		assert_that(result.error == 0 || result.error == EEXIST,
			    "UFFDIO_CONTINUE of page %zu by one of four threads: expected success "
			    "or EEXIST, got %s", page, error_name(result.error));
		if (!result.error)
			atomic_fetch_add(&mapped, 1);
	}
	return NULL;
}

static void against_each_other(void)
{
	pthread_t threads[4];

	primary = map_split(fd, 0, 0, &uffd);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		assert_error(pthread_create(&threads[i], NULL, continue_all, NULL), 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		pthread_join(threads[i], NULL);
	assert_that(atomic_load(&mapped) == PMD_PAGE / BASE_PAGE,
		    "UFFDIO_CONTINUE succeeded %zu times, expected once for each of %zu pages",
		    atomic_load(&mapped), PMD_PAGE / BASE_PAGE);
	assert_mapped(primary, 0, 0, PMD_PAGE);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "continues, protections and collapses racing with munmap and mmap do no damage",
		  against_unmap },
		{ "continues, protections and collapses racing with MADV_DONTNEED do no damage",
		  against_dontneed },
		{ "continues, protections and collapses racing with mprotect do no damage",
		  against_protection },
		{ "reads of smaps, pagemap and mincore racing with continues and collapses do no damage",
		  against_readers_of_proc },
		{ "continues, protections and collapses racing with fork do no damage",
		  against_fork },
		{ "of four threads that continue the same base pages one maps each, the others get EEXIST",
		  against_each_other },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.needs_hgm = true,
		.asks = PROMISE(WP_BASE_PAGES),
		.setup = fill_file,
	});
}
