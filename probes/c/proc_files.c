// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the files of /proc and mincore() say of huge pages: each whole, in pieces of
 * any length and at any alignment, and not a byte beyond the buffer.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1
#define PAGES 2UL /* the second is a hole */
#define CANARY 0xa5
#define ENTRY sizeof(uint64_t)

static int fd;
static char *start;

static void fill_file(void)
{
	fd = huge_memfd(PAGES);
	start = map_shared(fd, PAGES * huge_size(), UNRESERVED);
	fill_pages(start, 0, 1, FILLING);
}

/* A base page of the mapping, by its number: whether it is there. */
static bool is_filled(size_t page)
{
	return page < huge_pages();
}

/* ROOM bytes between canaries, at ALIGNMENT bytes behind a multiple of 16. */
static unsigned char *guarded(size_t room, size_t alignment)
{
	unsigned char *all = aligned_alloc(16, (room + 64) & ~15UL);

	assert_that(all, "aligned_alloc: %s", error_name(errno));
	memset(all, CANARY, (room + 64) & ~15UL);
	return all + 16 + alignment;
}

static void check_canaries(const unsigned char *buffer, size_t room, const char *who)
{
	for (size_t i = 1; i <= 16; i++)
		assert_that(buffer[-(ssize_t)i] == CANARY && buffer[room + i - 1] == CANARY,
			    "%s wrote outside of a buffer of %zu bytes", who, room);
}

static void give_back(unsigned char *buffer, size_t alignment)
{
	free(buffer - 16 - alignment);
}

/* The first and last base pages of each huge page, and those beside them. */
static size_t starts(size_t index)
{
	static const ssize_t beside[] = { -2, -1, 0, 1 };
	size_t boundary = index / COUNT_OF(beside) * huge_pages();
	ssize_t page = (ssize_t)boundary + beside[index % COUNT_OF(beside)];

	return page < 0 ? 0 : (size_t)page;
}

#define STARTS (4 * (PAGES + 1))
static const size_t counts[] = { 1, 2, 3, 7 };

static void read_entries(int pagemap, size_t first, size_t count, size_t alignment)
{
	unsigned char *buffer = guarded(count * ENTRY, alignment);
	off_t offset = (off_t)((uintptr_t)start / BASE_PAGE + first) * (off_t)ENTRY;
	uint64_t entry;

	assert_bytes(pread(pagemap, buffer, count * ENTRY, offset), count * ENTRY);
	check_canaries(buffer, count * ENTRY, "a read of pagemap");
	for (size_t i = 0; i < count && first + i < PAGES * huge_pages(); i++) {
		memcpy(&entry, buffer + i * ENTRY, ENTRY);
		assert_that(!(entry & PAGEMAP_PRESENT) == !is_filled(first + i),
			    "pagemap, %zu entries from page %zu on: page %zu is %spresent", count,
			    first, first + i, entry & PAGEMAP_PRESENT ? "" : "not ");
	}
	give_back(buffer, alignment);
}

static void pagemap_in_pieces(void)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	char buffer[32];

	assert_that(pagemap >= 0, "/proc/self/pagemap: %s", error_name(errno));
	assert_present(start, 1, 0);
	check_pages(start, 0, 1, FILLING);
	for (size_t i = 0; i < STARTS; i++)
		for (size_t j = 0; j < COUNT_OF(counts); j++)
			read_entries(pagemap, starts(i), counts[j], (i + j) % 16);
	/* Entries are read whole. */
	assert_errno(pread(pagemap, buffer, ENTRY - 1, 0), EINVAL);
	assert_errno(pread(pagemap, buffer, ENTRY, 4), EINVAL);
	assert_bytes(pread(pagemap, buffer, 0, 0), 0);
	close(pagemap);
}

static void look(size_t first, size_t count, size_t alignment, size_t tail)
{
	unsigned char *states = guarded(count, alignment);

	/* The last page counts as a whole. */
	assert_errno(mincore(start + first * BASE_PAGE, count * BASE_PAGE - tail, states), 0);
	check_canaries(states, count, "mincore");
	for (size_t i = 0; i < count; i++)
		assert_that((states[i] & 1) == is_filled(first + i),
			    "mincore of %zu pages from page %zu on: page %zu is %sresident", count,
			    first, first + i, states[i] & 1 ? "" : "not ");
	give_back(states, alignment);
}

static void mincore_in_pieces(void)
{
	unsigned char states[2];

	check_pages(start, 0, 1, FILLING);
	for (size_t i = 0; i < STARTS; i++)
		for (size_t j = 0; j < COUNT_OF(counts); j++)
			if (starts(i) + counts[j] <= PAGES * huge_pages())
				look(starts(i), counts[j], (i + j) % 16, i % 2 ? 0 : BASE_PAGE - 1);
	assert_errno(mincore(start + 1, BASE_PAGE, states), EINVAL);
	assert_errno(mincore(start, 0, states), 0);
	unmap(start + huge_size(), huge_size());
	assert_errno(mincore(start + huge_size() - BASE_PAGE, 2 * BASE_PAGE, states), ENOMEM);
}

/* All of a file of /proc, read in pieces of STEP bytes; free() it. */
static char *read_in_pieces(const char *path, size_t step)
{
	size_t room = 1 << 18, length = 0;
	unsigned char *piece = guarded(step, 1);
	char *text = malloc(room);
	int file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	assert_that(text && file >= 0, "%s: %s", path, error_name(errno));
	while ((got = read(file, piece, step)) > 0) {
		check_canaries(piece, step, path);
		assert_that(length + (size_t)got < room, "%s is longer than %zu bytes", path, room);
		memcpy(text + length, piece, (size_t)got);
		length += (size_t)got;
		memset(piece, CANARY, step);
	}
	assert_that(got == 0, "%s: %s", path, error_name(errno));
	text[length] = '\0';
	close(file);
	give_back(piece, 1);
	return text;
}

/* What TEXT says of the mapping: all lines from its own to the next one's; free() it. */
static char *part_of(const char *text, const char *path)
{
	char head[32], *part, *end;

	snprintf(head, sizeof(head), "%lx-", (unsigned long)start);
	part = strstr(text, head);
	assert_that(part && (part == text || part[-1] == '\n'), "%s has no mapping at %p", path,
		    start);
	/* VmFlags is the last line of a mapping in smaps. */
	end = strstr(part, "VmFlags:");
	end = strchr(end ? end : part, '\n');
	return strndup(part, (size_t)(end - part));
}

/* A seq_file begins again inside of a mapping when a buffer is full. */
static void smaps_in_pieces(void)
{
	static const size_t steps[] = { 1000, 131, 4097 };
	const char *path = "/proc/self/smaps";
	char *want, *got, *text;

	check_pages(start, 0, 1, FILLING);
	text = read_in_pieces(path, 1 << 16);
	want = part_of(text, path);
	free(text);
	for (size_t i = 0; i < COUNT_OF(steps); i++) {
		text = read_in_pieces(path, steps[i]);
		got = part_of(text, path);
		assert_that(strcmp(got, want) == 0,
			    "smaps read in pieces of %zu bytes differs from one that is read at once",
			    steps[i]);
		free(got);
		free(text);
	}
	free(want);
}

static void maps_line(const void *address, char *line, size_t room)
{
	FILE *file = fopen("/proc/self/maps", "re");
	char head[32];

	assert_that(file, "/proc/self/maps: %s", error_name(errno));
	snprintf(head, sizeof(head), "%lx-", (unsigned long)address);
	while (fgets(line, (int)room, file))
		if (strncmp(line, head, strlen(head)) == 0) {
			fclose(file);
			return;
		}
	probe_fail("/proc/self/maps has no mapping at %p", address);
}

static void maps(void)
{
	char *part = map_part(fd, 1, huge_size(), UNRESERVED), line[512], want[128];
	char *private_page = map_private_huge(UNRESERVED);
	struct stat file;

	assert_errno(fstat(fd, &file), 0);
	assert_errno(mprotect(part, huge_size(), PROT_READ), 0);
	maps_line(part, line, sizeof(line));
	snprintf(want, sizeof(want), "%lx-%lx r--s %08lx ", (unsigned long)part,
		 (unsigned long)(part + huge_size()), huge_size());
	assert_that(strncmp(line, want, strlen(want)) == 0, "maps: expected '%s' in: %s", want,
		    line);
	snprintf(want, sizeof(want), " %lu ", (unsigned long)file.st_ino);
	assert_that(strstr(line, want), "maps: expected inode%sin: %s", want, line);
	assert_that(strstr(line, " /memfd:hgm-probe (deleted)\n"), "maps: expected the memfd in: %s",
		    line);
	maps_line(private_page, line, sizeof(line));
	assert_that(strstr(line, " rw-p 00000000 "), "maps: expected rw-p at 0 in: %s", line);
	assert_that(strstr(line, "/anon_hugepage (deleted)\n"),
		    "maps: expected /anon_hugepage in: %s", line);
}

/* The pages of all nodes, and of which size. */
static void assert_numa(const char *address, size_t pages)
{
	char line[512], size[64], *word;
	unsigned long here;
	size_t seen = 0;

	numa_maps_line(address, line, sizeof(line));
	assert_that(strstr(line, " huge"), "numa_maps: expected 'huge' in: %s", line);
	snprintf(size, sizeof(size), " kernelpagesize_kB=%zu\n", huge_size() / 1024);
	assert_that(strstr(line, size) || !pages, "numa_maps: expected%sin: %s", size, line);
	for (word = strtok(line, " "); word; word = strtok(NULL, " "))
		if (sscanf(word, "N%*u=%lu", &here) == 1)
			seen += here;
	assert_that(seen == pages, "numa_maps shows %zu huge pages at %p, expected %zu", seen,
		    address, pages);
}

static void numa(void)
{
	char *private_page = map_private_huge(UNRESERVED);

	assert_numa(private_page, 0);
	assert_numa(start, 0);
	check_pages(start, 0, 1, FILLING);
	assert_numa(start, 1);
	assert_error(advise(start, huge_size(), MADV_DONTNEED), 0);
	assert_numa(start, 0);
}

static void assert_rollup(size_t shared, size_t private)
{
	static const char path[] = "/proc/self/smaps_rollup";

	assert_that(file_bytes(path, "Shared_Hugetlb") == (int64_t)shared &&
		    file_bytes(path, "Private_Hugetlb") == (int64_t)private,
		    "smaps_rollup has %s of Shared_Hugetlb and %s of Private_Hugetlb, expected %s and %s",
		    size_text(file_bytes(path, "Shared_Hugetlb")),
		    size_text(file_bytes(path, "Private_Hugetlb")), size_text((int64_t)shared),
		    size_text((int64_t)private));
}

static void rollup(void)
{
	int64_t rss = file_bytes("/proc/self/smaps_rollup", "Rss");
	char *other;

	/* The parent of this process has the pages as well. */
	check_pages(start, 0, 1, FILLING);
	assert_rollup(huge_size(), 0);
	other = map_shared(fd, huge_size(), UNRESERVED);
	check_pages(other, 0, 1, FILLING);
	assert_rollup(2 * huge_size(), 0);
	unmap(other, huge_size());
	assert_rollup(huge_size(), 0);
	assert_that(file_bytes("/proc/self/smaps_rollup", "Rss") < rss + (int64_t)huge_size(),
		    "smaps_rollup counts huge pages in Rss");
}

/* 1 to 5 are documented, and none of them takes anything from a huge page. */
static void clear_refs(void)
{
	const char *path = "/proc/self/clear_refs";
	char number[] = "1";

	check_pages(start, 0, 1, FILLING);
	*(volatile char *)(start + 64) = 1;
	for (; *number <= '5'; (*number)++) {
		assert_error(write_text(path, number), 0);
		assert_present(start, 16, 16);
		check_pages(start, 0, 1, FILLING);
		*(volatile char *)(start + 64) = *number;
		assert_that(*(volatile char *)(start + 64) == *number,
			    "a write after clear_refs %s is lost", number);
	}
	assert_error(write_text(path, "0"), EINVAL);
	assert_error(write_text(path, "6"), EINVAL);
	assert_error(write_text(path, "all"), EINVAL);
	check_pages(start, 0, 1, FILLING);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "pagemap shows huge pages and holes at each offset, and only in the buffer",
		  pagemap_in_pieces },
		{ "mincore shows huge pages and holes at each offset, and only in the buffer",
		  mincore_in_pieces },
		{ "smaps of a huge page is the same in pieces of any length", smaps_in_pieces },
		{ "maps shows a hugetlb mapping's range, offset, permissions and file", maps },
		{ "numa_maps counts the huge pages that are mapped", numa },
		{ "smaps_rollup adds up huge pages, and leaves them out of Rss", rollup },
		{ "clear_refs takes nothing from a huge page", clear_refs },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
		.setup = fill_file,
	});
}
