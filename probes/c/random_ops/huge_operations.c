// SPDX-License-Identifier: GPL-2.0-only
/*
 * The operations on huge pages of several processes. Each is done to the model first, which
 * says what must come of it, and then to the kernel; what does not fit the state of the
 * machine does nothing, so that each part of a sequence is one as well.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "huge.h"

static struct machine before;

static void begin_change(void)
{
	before = *machine;
	machine->unsure = false;
}

/* Whether the model knows the result; takes the change back if not. */
static bool is_sure(void)
{
	if (!machine->unsure)
		return true;
	*machine = before;
	return false;
}

char *address_in(size_t place)
{
	return self.arena + place * huge_size();
}

static struct place *places_of(const struct op *op)
{
	return &machine->processes[self.number].places[op->page];
}

static size_t length_of(const struct op *op)
{
	return op->count * huge_size();
}

/* What an operation can be done to. FIRST is the first place of its range. */
typedef bool suits(const struct place *place, const struct place *first);

static bool is_free(const struct place *place, const struct place *first)
{
	(void)first;
	return !place->is_mapped;
}

static bool is_mapped(const struct place *place, const struct place *first)
{
	(void)first;
	return place->is_mapped;
}

static bool is_registered(const struct place *place, const struct place *first)
{
	return place->modes && !((place->modes ^ first->modes) & MODE_ASYNC);
}

static bool is_protectable(const struct place *place, const struct place *first)
{
	return is_registered(place, first) && place->modes & UFFDIO_REGISTER_MODE_WP;
}

static bool is_async(const struct place *place, const struct place *first)
{
	(void)first;
	return place->modes & MODE_ASYNC;
}

static bool is_registered_with_messages(const struct place *place, const struct place *first)
{
	(void)first;
	return place->modes && !(place->modes & MODE_ASYNC);
}

static bool is_registered_shared(const struct place *place, const struct place *first)
{
	(void)first;
	return place->modes && place->shared;
}

/* Without a fault. */
static bool is_readable(const struct place *place, const struct place *first)
{
	(void)first;
	return place->folio != NONE && place->prot & PROT_READ;
}

static bool is_unregistered(const struct place *place, const struct place *first)
{
	(void)first;
	return place->is_mapped && !place->modes && place->prot & PROT_WRITE;
}

static bool is_unregistered_shared(const struct place *place, const struct place *first)
{
	return is_unregistered(place, first) && place->shared;
}

static size_t leading(const struct place *places, size_t count, suits *suits)
{
	size_t suiting = 0;

	while (suiting < count && suits(&places[suiting], places))
		suiting++;
	return suiting;
}

/*
 * The operation on the first place from its page on that suits it, and on those after it
 * that do, so that most operations of a random sequence do something. The count is 0 if
 * there is no such place. A sequence that is printed has the page that was found.
 */
static struct op on_suitable_of(const struct place *places, const struct op *op, suits *suits)
{
	struct op suitable = *op;

	for (size_t i = 0; i < PLACES; i++) {
		size_t page = (op->page + i) % PLACES, left = PLACES - page;
		size_t count = leading(&places[page], op->count < left ? op->count : left, suits);

		if (!count)
			continue;
		suitable.page = self.page = page;
		suitable.count = count;
		return suitable;
	}
	suitable.count = 0;
	return suitable;
}

static struct op on_suitable(const struct op *op, suits *suits)
{
	return on_suitable_of(machine->processes[self.number].places, op, suits);
}

static uint64_t next_value(void)
{
	return ++machine->next_value;
}

static volatile uint64_t *last_word(char *page)
{
	return (volatile uint64_t *)(page + huge_size()) - 1;
}

static void write_value(char *page, uint64_t value)
{
	*(volatile uint64_t *)page = *last_word(page) = value;
}

static void map_places(const struct op *op)
{
	bool shared = op->choice & 1 && op->file != ANON;
	bool reserves = op->choice & 6;
	struct place *places = places_of(op);
	int flags = (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_FIXED | (reserves ? 0 : MAP_NORESERVE);
	int file = self.files[op->file], error;

	begin_change();
	for (size_t i = 0; i < op->count; i++)
		places[i] = (struct place){
			.is_mapped = true, .shared = shared, .reserves = reserves,
			.file = (int)op->file, .offset = op->offset + i,
			.prot = PROT_READ | PROT_WRITE, .folio = NONE,
		};
	error = reserve_mapping(places, op->count);
	if (!is_sure())
		return;
	if (error)
		*machine = before;
	if (op->file == ANON)
		flags |= MAP_ANONYMOUS | MAP_HUGETLB | __builtin_ctzl(huge_size()) << MAP_HUGE_SHIFT;
	assert_errno(mmap(address_in(op->page), length_of(op), PROT_READ | PROT_WRITE, flags, file,
			  op->file == ANON ? 0 : (off_t)(op->offset * huge_size())), error);
	/* A refused mmap() with MAP_FIXED has removed what was there. */
	if (error)
		map_at(address_in(op->page), length_of(op),
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
}

static void do_map(const struct op *op)
{
	struct op free = on_suitable(op, is_free);

	if (free.count > FILE_PAGES - op->offset)
		free.count = FILE_PAGES - op->offset;
	if (free.count)
		map_places(&free);
}

/* Address space in which nothing can be accessed. */
static void leave_empty(const struct op *op)
{
	assert_errno(mmap(address_in(op->page), length_of(op), PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0), 0);
}

static void end_mappings(struct place *places, size_t count)
{
	for (size_t i = 0; i < count; i++)
		clear_place(&places[i], false);
	settle();
	for (size_t i = 0; i < count; i++)
		end_mapping(&places[i]);
}

static void do_unmap(const struct op *whole)
{
	struct op op = on_suitable(whole, is_mapped);

	if (!op.count)
		return;
	begin_change();
	end_mappings(places_of(&op), op.count);
	if (!is_sure())
		return;
	unmap(address_in(op.page), length_of(&op));
	leave_empty(&op);
}

/*
 * What UFFDIO_COPY copies. The kernel copies with page faults disabled first; if a page of
 * this is not there it gives the huge page that it had taken back, copies to another one, and
 * takes one again. That depends on the memory's history unless the pages are there, or are not.
 */
static void prepare_source(uint64_t value, bool holes)
{
	char *middle = self.source + BASE_PAGE;
	size_t length = huge_size() - 2 * BASE_PAGE;

	write_value(self.source, value);
	if (holes)
		assert_error(advise(middle, length, MADV_DONTNEED), 0);
	/*
	 * MADV_POPULATE_READ would not do: fork makes entries old, and an arm64 kernel without
	 * CONFIG_ARM64_HW_AFDBM takes a fault for an access by one.
	 */
	for (size_t offset = 0; !holes && offset < length; offset += BASE_PAGE)
		*(volatile char *)(middle + offset);
}

static void answer_missing(const struct op *op, const struct place *place, uint64_t flags)
{
	char *start = address_in(op->page);
	struct folio *folio = folio_of(place);

	folio->value = next_value();
	prepare_source(folio->value, false);
	assert_fault(uffd_of(place->modes), start, flags);
	assert_result(uffd_copy(uffd_of(place->modes), start, self.source, huge_size()), 0,
		      (int64_t)huge_size());
}

static void answer_minor(const struct op *op, const struct place *place, uint64_t flags)
{
	char *start = address_in(op->page);

	assert_fault(uffd_of(place->modes), start, UFFD_PAGEFAULT_FLAG_MINOR | flags);
	assert_continue(uffd_of(place->modes), start, huge_size(), 0, (int64_t)huge_size());
}

static void answer_protected(const struct op *op, const struct place *place)
{
	char *start = address_in(op->page);

	assert_fault(uffd_of(place->modes), start,
		     UFFD_PAGEFAULT_FLAG_WP | UFFD_PAGEFAULT_FLAG_WRITE);
	assert_error(uffd_protect(uffd_of(place->modes), start, huge_size(), false), 0);
}

/* A touch of a word between those that have the page's value; returns what was read. */
static uint64_t touch_place(const struct op *op, const struct place *place,
			    const struct outcome *outcome)
{
	bool write = op->kind == STORE;
	uint64_t flags = write ? UFFD_PAGEFAULT_FLAG_WRITE : 0;
	volatile uint64_t *word = (void *)(address_in(op->page) + 0x100);
	struct touch touch;

	if (!outcome->minor && !outcome->missing && !outcome->protected) {
		if (!write)
			return *word;
		return *word = 0;
	}
	touch_start(&touch, (void *)word, write ? TOUCH_WRITE : TOUCH_READ);
	if (outcome->missing)
		answer_missing(op, place, flags);
	if (outcome->minor)
		answer_minor(op, place, flags);
	if (outcome->protected)
		answer_protected(op, place);
	return touch_end(&touch);
}

static void access_suitable(const struct op *op)
{
	struct place *place = places_of(op);
	bool write = op->kind == STORE;
	enum touch_kind kind = write ? TOUCH_WRITE : TOUCH_READ;
	char *start = address_in(op->page);
	struct outcome outcome;
	uint64_t seen;

	if (!(place->prot & (write ? PROT_WRITE : PROT_READ))) {
		assert_signal(start, kind, SIGSEGV);
		return;
	}
	begin_change();
	outcome = access_place(place, write);
	if (!is_sure())
		return;
	if (outcome.sigbus) {
		assert_signal(start, kind, SIGBUS);
		return;
	}
	seen = touch_place(op, place, &outcome);
	assert_that(seen == 0, "a word in the page reads as %#llx, expected 0",
		    (unsigned long long)seen);
	if (write)
		write_value(start, folio_of(place)->value = next_value());
}

static void do_access(const struct op *whole)
{
	struct op op = on_suitable(whole, is_mapped);

	if (op.count)
		access_suitable(&op);
}

/* The number of a process that does not live, or PROCESSES. */
static size_t free_process(void)
{
	size_t number = 0;

	while (number < PROCESSES && machine->processes[number].lives)
		number++;
	return number;
}

static void protect_place(size_t page, bool on)
{
	struct place *place = &machine->processes[self.number].places[page];

	assert_error(uffd_protect(uffd_of(place->modes), address_in(page), huge_size(), on), 0);
	place->marked = on;
}

/* The child has the private pages, no reservation of its own, and is not registered. */
static void inherit(struct place *child, const struct place *parent)
{
	*child = *parent;
	child->owner = child->consumed = child->marked = false;
	child->modes = 0;
	child->folio = NONE;
	/* Whether it has a page of the file is up to the kernel: start_process() looks. */
	if (parent->folio != NONE && folio_of(parent)->anon)
		map_folio(child, folio_of(parent));
}

static void do_fork(const struct op *op)
{
	size_t number = free_process();
	struct place *places = machine->processes[self.number].places;

	(void)op;
	if (number == PROCESSES)
		return;
	for (size_t i = 0; i < PLACES; i++) {
		if (rules.fork_copies_marks && places[i].marked && !places[i].shared)
			protect_place(i, false);
		inherit(&machine->processes[number].places[i], &places[i]);
	}
	machine->processes[number].lives = true;
	start_process(number);
}

static void do_exit(const struct op *op)
{
	(void)op;
	if (self.number == 0)
		return;
	begin_change();
	end_mappings(machine->processes[self.number].places, PLACES);
	machine->processes[self.number].lives = false;
	if (!is_sure())
		return;
	fflush(stdout);
	_exit(0);
}

static void do_discard(const struct op *whole)
{
	struct op op = on_suitable(whole, is_mapped);

	if (!op.count)
		return;
	begin_change();
	for (size_t i = 0; i < op.count; i++)
		clear_place(&places_of(&op)[i], true);
	settle();
	if (is_sure())
		assert_error(advise(address_in(op.page), length_of(&op), MADV_DONTNEED), 0);
}

static void do_mprotect(const struct op *whole)
{
	static const int prots[] = { PROT_READ | PROT_WRITE, PROT_READ, PROT_READ | PROT_WRITE,
				     PROT_NONE };
	struct op op = on_suitable(whole, is_mapped);
	int prot = prots[op.choice % COUNT_OF(prots)];

	if (!op.count)
		return;
	for (size_t i = 0; i < op.count; i++)
		places_of(&op)[i].prot = prot;
	assert_errno(mprotect(address_in(op.page), length_of(&op), prot), 0);
}

/* The mapping, by /proc/self/maps, that a place is in: its first place, and how many. */
static struct op mapping_of(size_t page)
{
	FILE *file = fopen("/proc/self/maps", "re");
	unsigned long from, to, wanted = (unsigned long)address_in(page);
	struct op all = { .page = page, .count = 1 };
	char line[512];

	assert_that(file, "/proc/self/maps: %s", error_name(errno));
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2 && from <= wanted && wanted < to)
			all = (struct op){
				.page = (from - (unsigned long)self.arena) / huge_size(),
				.count = (to - from) / huge_size(),
			};
	fclose(file);
	return all;
}

/* Moving ends the registration; whether marks stay differs, so they are removed before. */
static void move_places(const struct op *from, struct place *to)
{
	struct place *places = places_of(from);

	for (size_t i = 0; i < from->count; i++) {
		if (places[i].marked)
			protect_place(from->page + i, false);
		to[i] = places[i];
		to[i].modes = 0;
		places[i] = (struct place){ .folio = NONE };
	}
}

/*
 * A private mapping is moved as a whole: up to 7.3 at least the reservation of the rest
 * is lost for ever when a part is moved.
 */
static void do_move(const struct op *whole)
{
	struct op from = on_suitable(whole, is_mapped), all;
	struct place *to = &machine->processes[self.number].places[whole->choice % PLACES];
	char *target = address_in(whole->choice % PLACES);
	void *moved;

	if (!from.count)
		return;
	all = mapping_of(from.page);
	if (!places_of(&from)->shared || all.page + all.count < from.page + from.count)
		from = all;
	if (whole->choice % PLACES + from.count > PLACES ||
	    leading(to, from.count, is_free) < from.count)
		return;
	move_places(&from, to);
	moved = mremap(address_in(from.page), length_of(&from), length_of(&from),
		       MREMAP_MAYMOVE | MREMAP_FIXED, target);
	assert_that(moved == target, "mremap of %s: %s", size_text((int64_t)length_of(&from)),
		    error_name(errno));
	leave_empty(&from);
}

static void do_allocate(const struct op *op)
{
	int error = 0;

	if (op->file == ANON)
		return;
	begin_change();
	if (machine->cache[op->file][op->offset] == NONE &&
	    !allocate_in_file((int)op->file, op->offset))
		error = ENOSPC;
	if (is_sure())
		assert_errno(fallocate(self.files[op->file], 0, (off_t)(op->offset * huge_size()),
				       (off_t)huge_size()), error);
}

static size_t last_offset(const struct op *op)
{
	size_t end = op->offset + op->count;

	return end < FILE_PAGES ? end : FILE_PAGES;
}

static void do_hole(const struct op *op)
{
	size_t end = last_offset(op);

	if (op->file == ANON)
		return;
	begin_change();
	remove_pages((int)op->file, op->offset, end, false);
	if (is_sure())
		punch(self.files[op->file], op->offset, end - op->offset);
}

static void do_shorten(const struct op *op)
{
	int file = self.files[op->file];

	if (op->file == ANON)
		return;
	begin_change();
	remove_pages((int)op->file, op->offset, FILE_PAGES, true);
	for (size_t offset = op->offset; offset < FILE_PAGES; offset++)
		unreserve_page((int)op->file, offset);
	if (!is_sure())
		return;
	assert_errno(ftruncate(file, (off_t)(op->offset * huge_size())), 0);
	assert_errno(ftruncate(file, (off_t)(FILE_PAGES * huge_size())), 0);
}

static void do_register(const struct op *whole)
{
	static const unsigned int choices[] = {
		UFFDIO_REGISTER_MODE_MISSING,
		UFFDIO_REGISTER_MODE_MINOR,
		UFFDIO_REGISTER_MODE_WP,
		UFFDIO_REGISTER_MODE_WP | UFFDIO_REGISTER_MODE_MISSING,
		UFFDIO_REGISTER_MODE_WP | UFFDIO_REGISTER_MODE_MINOR,
		UFFDIO_REGISTER_MODE_WP | UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_MISSING,
		UFFDIO_REGISTER_MODE_WP | MODE_ASYNC,
	};
	unsigned int modes = choices[whole->choice % COUNT_OF(choices)];
	struct op op = on_suitable(whole, modes & UFFDIO_REGISTER_MODE_MINOR ?
				   is_unregistered_shared : is_unregistered);

	if (!op.count || (modes & MODE_ASYNC && !rules.async))
		return;
	for (size_t i = 0; i < op.count; i++)
		places_of(&op)[i].modes = modes;
	uffd_register(uffd_of(modes), address_in(op.page), length_of(&op),
		      modes & ~(unsigned int)MODE_ASYNC);
}

static void do_unregister(const struct op *whole)
{
	struct op op = on_suitable(whole, is_registered);
	struct place *places = places_of(&op);

	if (!op.count)
		return;
	assert_error(uffd_unregister(uffd_of(places->modes), address_in(op.page), length_of(&op)), 0);
	for (size_t i = 0; i < op.count; i++) {
		places[i].marked = false;
		places[i].modes = 0;
	}
}

static void do_protect(const struct op *whole)
{
	struct op op = on_suitable(whole, is_protectable);
	struct place *places = places_of(&op);
	struct op mapping;

	if (!op.count)
		return;
	if (!rules.protects_mappings) {
		mapping = mapping_of(op.page);
		if (op.page + op.count > mapping.page + mapping.count)
			op.count = mapping.page + mapping.count - op.page;
	}
	assert_error(uffd_protect(uffd_of(places->modes), address_in(op.page), length_of(&op),
				  op.kind == PROTECT), 0);
	for (size_t i = 0; i < op.count; i++)
		places[i].marked = op.kind == PROTECT;
}

static bool has_reservation(const struct place *place)
{
	return place->shared ? machine->reserved[place->file][place->offset] :
			       place->owner && !place->consumed;
}

/* UFFDIO_COPY, also where no thread waits for it. */
static void do_copy(const struct op *whole)
{
	struct op op = on_suitable(whole, is_registered_with_messages);
	bool holes = op.choice & 1;
	struct place *place = places_of(&op);
	struct folio *folio;
	int error = 0;

	if (!op.count)
		return;
	begin_change();
	if (place->folio != NONE || (place->shared && cached_of(place))) {
		error = EEXIST;
	} else {
		/*
		 * Left out of the model: without a reservation the other page may be the last free
		 * one, and a page that is given back to a mount becomes one of its minimum (see take());
		 * and a surplus page that is given back is none of the pool's any more.
		 */
		machine->unsure |= holes && (!has_reservation(place) || machine->pool.surplus);
		folio = allocate(place, false);
		error = folio ? 0 : rules.copy_error;
	}
	if (!is_sure())
		return;
	if (!error) {
		map_folio(place, folio);
		folio->value = next_value();
		place->marked = false;
	}
	prepare_source(machine->next_value, holes);
	assert_result(uffd_copy(uffd_of(place->modes), address_in(op.page), self.source, huge_size()),
		      error, error ? -error : (int64_t)huge_size());
}

static void do_continue(const struct op *whole)
{
	struct op op = on_suitable(whole, is_registered_shared);
	struct place *place = places_of(&op);
	bool protect = op.choice & 1 && place->modes & UFFDIO_REGISTER_MODE_WP &&
		       rules.continues_protected;
	struct folio *folio;
	int error;

	if (!op.count)
		return;
	folio = cached_of(place);
	error = !folio ? EFAULT : place->folio != NONE ? EEXIST : 0;
	if (!error) {
		map_folio(place, folio);
		place->marked = protect;
	}
	assert_result(uffd_continue_mode(uffd_of(place->modes), address_in(op.page), huge_size(),
					 protect ? UFFDIO_CONTINUE_MODE_WP : 0),
		      error, error ? -error : (int64_t)huge_size());
}

/* PAGEMAP_SCAN that protects what was written since it was protected last. */
static void do_scan_protect(const struct op *whole)
{
	struct op op = on_suitable(whole, is_async);

	if (!rules.scans || !op.count)
		return;
	scan_pages(address_in(op.page), length_of(&op),
		   SCAN_PROTECTS | SCAN_CHECKS_ASYNC | SCAN_WITHOUT_REGIONS, SCAN_WRITTEN, 0);
	for (size_t i = 0; i < op.count; i++)
		places_of(&op)[i].marked |= places_of(&op)[i].folio != NONE;
}

/*
 * Reads the memory of another process. As that pins the page, a private one that is
 * shared since a fork is copied first. Kernels before 6.3 lose its mark (60d5b473d61b).
 */
static void do_peek(const struct op *whole)
{
	size_t other = machine->processes[whole->choice % PROCESSES].lives ?
		       whole->choice % PROCESSES : self.number;
	struct place *places = machine->processes[other].places;
	struct op op = on_suitable_of(places, whole, is_readable);
	struct place *place = &places[op.page];
	char *start = address_in(op.page);
	int shared = place->folio;
	uint64_t words[2];
	struct iovec local = { words, sizeof(words) };
	struct iovec remote[] = { { start, 8 }, { (void *)last_word(start), 8 } };

	if (!op.count)
		return;
	begin_change();
	if (folio_of(place)->anon && !copy_on_write(place))
		machine->unsure = true;
	if (!is_sure())
		return;
	place->marked &= place->folio == shared || rules.unsharing_keeps_marks;
	assert_bytes(process_vm_readv(pid_of(other), &local, 1, remote, 2, 0), sizeof(words));
	assert_that(words[0] == folio_of(place)->value && words[1] == words[0],
		    "process_vm_readv from process %zu: %#llx and %#llx, expected %#llx", other,
		    (unsigned long long)words[0], (unsigned long long)words[1],
		    (unsigned long long)folio_of(place)->value);
}

static void do_resize(const struct op *op)
{
	long total = machine->base_total - 2 * (long)(op->choice % 8);
	char path[96], text[24];
	long seen;

	if (!rules.resizes)
		return;
	begin_change();
	resize_pool(total);
	if (!is_sure())
		return;
	snprintf(path, sizeof(path), POOL_FILE, huge_size() / 1024);
	snprintf(text, sizeof(text), "%ld", total);
	assert_written(path, text);
	/* Fewer than asked if the kernel finds no memory. */
	seen = pool_now().total;
	if (seen < machine->pool.total && seen >= before.pool.total) {
		machine->pool.free -= machine->pool.total - seen;
		machine->pool.total = seen;
	}
}

/* A process comes first. A page is one of its address space, an offset one of the file. */
const struct kind_info huge_kinds[HUGE_KINDS] = {
	[MAP] = { "map", 18, "pacfox", do_map },	/* mmap; the choice: 1 shared, 2 or 4 reserved */
	[UNMAP] = { "unmap", 8, "pac", do_unmap },
	[LOAD] = { "read", 8, "pa", do_access },	/* and answer the messages of the fault */
	[STORE] = { "write", 26, "pa", do_access },
	[FORKS] = { "fork", 8, "p", do_fork },
	[EXITS] = { "exit", 4, "p", do_exit },
	[DISCARD] = { "dontneed", 6, "pac", do_discard },
	[MPROTECT] = { "mprotect", 4, "pacx", do_mprotect },	/* read and write, read, none */
	[MOVE] = { "mremap", 6, "pacx", do_move },	/* to the page of the choice */
	[ALLOCATE] = { "fallocate", 3, "pfo", do_allocate },
	[HOLE] = { "punch", 4, "pfoc", do_hole },
	[SHORTEN] = { "truncate", 2, "pfo", do_shorten },	/* and back to its size */
	[REGISTER] = { "register", 10, "pacx", do_register },
	[UNREGISTER] = { "unregister", 2, "pac", do_unregister },
	[PROTECT] = { "wp", 14, "pac", do_protect },
	[UNPROTECT] = { "unwp", 3, "pac", do_protect },
	[COPY] = { "copy", 4, "pax", do_copy },	/* the choice: 1 from memory that is not there */
	[CONTINUE] = { "continue", 6, "pax", do_continue },	/* the choice: 1 write-protected */
	[SCAN_PROTECT] = { "scan", 4, "pac", do_scan_protect },
	[PEEK] = { "peek", 8, "pax", do_peek },		/* at the process of the choice */
	[RESIZE] = { "resize", 3, "px", do_resize },	/* the pool, by twice the choice less */
};
