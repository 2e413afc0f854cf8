// SPDX-License-Identifier: GPL-2.0-only
/* MADV_COLLAPSE while other threads read and write the collapsed range. */
#include <sched.h>
#include <stdatomic.h>

#include "hgm_probe.h"

#define FILLING 1
#define ROUNDS 12
#define PAGES 64UL

static int fd, uffd;
static char *primary;
static atomic_bool stop;

static void fill_file(void)
{
	fd = filled_memfd(1, FILLING);
}

/* Counts in a word that no other thread writes: a lost write shows as a wrong count. */
struct writer {
	pthread_t thread;
	size_t page;
	_Atomic uint64_t count;
};

static void *count_up(void *argument)
{
	struct writer *writer = argument;
	volatile uint64_t *word = (void *)(primary + writer->page * BASE_PAGE + 0x200);

	while (!atomic_load(&stop)) {
		uint64_t seen = *word, count = writer->count;

		assert_that(seen == count,
			    "the counter in page %zu is %llu, expected the %llu last written",
			    writer->page, (unsigned long long)seen, (unsigned long long)count);
		*word = count + 1;
		writer->count = count + 1;
	}
	return NULL;
}

static void *read_on(void *unused)
{
	(void)unused;
	while (!atomic_load(&stop))
		check_pages(primary, 0, PAGES, FILLING);
	return NULL;
}

/* Protecting one page splits the collapsed entry; no page is unmapped in between. */
static void split_entries(size_t page)
{
	char *start = primary + page * BASE_PAGE;

	assert_error(uffd_protect(uffd, start, BASE_PAGE, true), 0);
	assert_error(uffd_protect(uffd, start, BASE_PAGE, false), 0);
}

static void under_access(void)
{
	struct writer writers[3];
	pthread_t reader;
	char *alias = map_shared(fd, huge_size(), UNRESERVED);

	primary = map_split(fd, UFFD_FEATURE_WP_HUGETLBFS_SHMEM, UFFDIO_REGISTER_MODE_WP, &uffd);
	for (size_t page = 0; page < PAGES; page++) {
		*(uint64_t *)(alias + page * BASE_PAGE + 0x200) = 0;
		assert_continue(uffd, primary + page * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	}
	assert_error(pthread_create(&reader, NULL, read_on, NULL), 0);
	for (size_t i = 0; i < COUNT_OF(writers); i++) {
		writers[i].page = 1 + i * 20;
		writers[i].count = 0;
		assert_error(pthread_create(&writers[i].thread, NULL, count_up, &writers[i]), 0);
	}
	/* Without the protection of base pages there is no way back to fine entries. */
	for (size_t round = 0; round < (wp_unit() == BASE_PAGE ? ROUNDS : 1); round++) {
		collapse(primary, huge_size());
		assert_whole(primary, huge_size());
		if (wp_unit() > BASE_PAGE)
			break;
		/* No thread writes this page, so that its protection blocks none. */
		split_entries(PAGES - 1);
		assert_smaps(primary, "HugetlbPteMapped", PMD_PAGE);
	}
	/* A writer that never gets to write is ended by the time that a test has. */
	for (size_t i = 0; i < COUNT_OF(writers); i++)
		while (writers[i].count == 0)
			sched_yield();
	atomic_store(&stop, true);
	pthread_join(reader, NULL);
	for (size_t i = 0; i < COUNT_OF(writers); i++) {
		pthread_join(writers[i].thread, NULL);
		assert_that(*(uint64_t *)(alias + writers[i].page * BASE_PAGE + 0x200) ==
			    atomic_load(&writers[i].count),
			    "the other mapping shows another counter in page %zu than the %llu "
			    "last written", writers[i].page, (unsigned long long)atomic_load(&writers[i].count));
	}
	assert_no_fault(uffd);
}

static void blocked_reader(void)
{
	struct touch touch;

	primary = map_split(fd, 0, 0, &uffd);
	/* So that there is a page table to collapse. */
	assert_continue(uffd, primary, BASE_PAGE, 0, BASE_PAGE);
	touch_start(&touch, primary + 9 * BASE_PAGE, TOUCH_READ);
	assert_fault(uffd, primary + 9 * BASE_PAGE, UFFD_PAGEFAULT_FLAG_MINOR);
	collapse(primary, huge_size());
	assert_error(uffd_wake(uffd, primary, huge_size()), 0);
	touch_end(&touch);
	check_pages(primary, 9, 1, FILLING);
	assert_no_fault(uffd);
}

static void *continue_all(void *unused)
{
	(void)unused;
	for (size_t page = 0; page < PMD_PAGE / BASE_PAGE; page++) {
		int error = uffd_continue(uffd, primary + page * BASE_PAGE, BASE_PAGE).error;

		assert_that(error == 0 || error == EEXIST,
			    "UFFDIO_CONTINUE of page %zu during MADV_COLLAPSE: expected success "
			    "or EEXIST, got %s", page, error_name(error));
	}
	return NULL;
}

static void against_continue(void)
{
	pthread_t thread;

	primary = map_split(fd, 0, 0, &uffd);
	assert_continue(uffd, primary, BASE_PAGE, 0, BASE_PAGE);
	assert_error(pthread_create(&thread, NULL, continue_all, NULL), 0);
	collapse(primary, huge_size());
	pthread_join(thread, NULL);
	assert_present(primary, huge_pages(), huge_pages());
	check_pages(primary, 0, PMD_PAGE / BASE_PAGE, FILLING);
	collapse(primary, huge_size());
	assert_whole(primary, huge_size());
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "MADV_COLLAPSE under readers and writers loses no write", under_access },
		{ "a reader blocked in a minor fault continues after MADV_COLLAPSE and UFFDIO_WAKE",
		  blocked_reader },
		{ "MADV_COLLAPSE concurrent with UFFDIO_CONTINUE leaves every base page mapped",
		  against_continue },
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
