// SPDX-License-Identifier: GPL-2.0-only
/* MADV_COLLAPSE of parts of a huge page, of protected pages and of holes; its page tables. */
#include "hgm_probe.h"

#define FILLING 1

static int fd;

static void fill_file(void)
{
	fd = filled_memfd(512, FILLING);
}

static char *map_both_modes(int *uffd)
{
	return map_split(fd, UFFD_FEATURE_WP_HUGETLBFS_SHMEM, UFFDIO_REGISTER_MODE_WP, uffd);
}

/* 4 KiB entries in the first 2 MiB become one entry; the rest of 1 GiB is unchanged. */
static void one_table(void)
{
	int uffd;
	char *primary = map_both_modes(&uffd);

	if (huge_size() == PMD_PAGE)
		probe_skip("needs a huge page above 2 MiB; hgm/collapse has the case of 2 MiB");
	for (size_t page = 0; page < 8; page++)
		assert_continue(uffd, primary + page * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	assert_continue(uffd, primary + 3 * PMD_PAGE, BASE_PAGE, 0, BASE_PAGE);
	collapse(primary, PMD_PAGE);
	assert_mapped(primary, 0, PMD_PAGE, BASE_PAGE);
	assert_present(primary, huge_pages(), PMD_PAGE / BASE_PAGE + 1);
	check_pages(primary, 0, 1, FILLING);
	check_zero(primary, 1, 511);
}

static void marks_are_gone(void)
{
	int uffd;
	char *primary = map_both_modes(&uffd);
	struct touch touch;

	assert_continue(uffd, primary, 4 * BASE_PAGE, 0, 4 * BASE_PAGE);
	if (wp_unit() == BASE_PAGE)
		assert_error(uffd_protect(uffd, primary + 2 * BASE_PAGE, 8 * BASE_PAGE, true), 0);
	else
		assert_error(uffd_protect(uffd, primary, huge_size(), true), 0);
	collapse(primary, huge_size());
	assert_protected(primary, huge_pages(), 0);
	touch_start(&touch, primary + 3 * BASE_PAGE + 0x80, TOUCH_WRITE);
	touch_end(&touch);
	touch_start(&touch, primary + 8 * BASE_PAGE + 0x80, TOUCH_WRITE);
	touch_end(&touch);
	assert_no_fault(uffd);
}

/* There is one entry already, which must lose its protection all the same. */
static void protected_entry(void)
{
	int uffd;
	char *primary = map_both_modes(&uffd);

	assert_continue(uffd, primary, huge_size(), 0, huge_size());
	assert_error(uffd_protect(uffd, primary, huge_size(), true), 0);
	collapse(primary, huge_size());
	assert_whole(primary, huge_size());
	assert_protected(primary, huge_pages(), 0);
}

static void from_nothing(void)
{
	int uffd;
	char *primary = map_both_modes(&uffd);

	collapse(primary, huge_size());
	assert_whole(primary, huge_size());
	check_pages(primary, 0, 1, FILLING);
	check_zero(primary, 1, 511);
	assert_no_fault(uffd);
}

static void hole_in_the_file(void)
{
	struct pool before = pool_now();
	int own = huge_memfd(1), uffd;
	char *primary = map_split(own, 0, 0, &uffd);

	collapse(primary, huge_size());
	assert_mapped(primary, 0, 0, 0);
	assert_pool(&before, 0, 0, "after the collapse");
}

/* Each protection splits the entry in another place, each collapse restores it. */
static void collapse_after_protection(void)
{
	int uffd;
	char *primary = map_both_modes(&uffd);

	for (size_t round = 0; round < 8; round++) {
		size_t page = huge_pages() * round / 8;

		/* Without the protection of base pages, fine entries come from a continue. */
		if (wp_unit() > BASE_PAGE || !offers(PROMISE_COLLAPSE_UNTOUCHED)) {
			assert_error(advise(primary, huge_size(), MADV_DONTNEED), 0);
			assert_continue(uffd, primary + page * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
		}
		collapse(primary, huge_size());
		assert_whole(primary, huge_size());
		if (wp_unit() > BASE_PAGE)
			continue;
		assert_error(uffd_protect(uffd, primary + page * BASE_PAGE, BASE_PAGE, true), 0);
		assert_protected(primary, huge_pages(), 1);
	}
}

/* In 1 GiB there are 128 tables, which is half a MiB. */
static void tables_are_freed(void)
{
	size_t step = huge_size() == PUD_PAGE ? 4 * PMD_PAGE : PMD_PAGE;
	size_t tables = huge_size() / step;
	int64_t before, full, after;
	int uffd;
	char *primary = map_both_modes(&uffd);

	before = status_bytes("VmPTE");
	for (size_t offset = 0; offset < huge_size(); offset += step)
		assert_continue(uffd, primary + offset, BASE_PAGE, 0, BASE_PAGE);
	full = status_bytes("VmPTE");
	assert_that(full - before >= (int64_t)(tables * BASE_PAGE),
		    "VmPTE grew by %s, expected at least %zu tables", size_text(full - before),
		    tables);
	collapse(primary, huge_size());
	after = status_bytes("VmPTE");
	assert_that(full - after >= (int64_t)(tables * BASE_PAGE),
		    "MADV_COLLAPSE: VmPTE fell by %s, expected at least %zu tables",
		    size_text(full - after), tables);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "MADV_COLLAPSE of 2 MiB of a 1 GiB page leaves one PMD entry and the rest unchanged",
		  one_table },
		{ "MADV_COLLAPSE clears write protection of its range, mapped or not",
		  marks_are_gone },
		{ "MADV_COLLAPSE clears write protection of a huge page that one entry maps",
		  protected_entry, PROMISE(COLLAPSE_CLEARS_WP) },
		{ "MADV_COLLAPSE of a split huge page with nothing mapped maps all of it",
		  from_nothing, PROMISE(COLLAPSE_UNTOUCHED) },
		{ "MADV_COLLAPSE over a hole in the file maps nothing and takes no huge page",
		  hole_in_the_file },
		{ "MADV_COLLAPSE leaves one entry each time that 4 KiB entries were made again",
		  collapse_after_protection },
		{ "MADV_COLLAPSE frees the page tables of the 4 KiB entries it replaces",
		  tables_are_freed },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 2,
		.needs_hgm = true,
		.asks = PROMISE(WP_BASE_PAGES) | PROMISE(COLLAPSE_UNTOUCHED),
		.setup = fill_file,
	});
}
