#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-only
# kselftest.sh DIRECTORY [OPTION...] -- PROGRAM [WORD...]
#     --need THING WHAT       skip without a path, or a flag of the CPU, which WHAT gives
#     --set SYSCTL VALUE
#     --pool MIB COUNT        that many free huge pages, exactly
#     --swap                  swap to a RAM disk, if the kernel has both
#     --user NUMBER
#
# Run one of the kernel's own tests the way its run_vmtests.sh does: in the directory of its
# programs, with so many free huge pages of a size and with sysctls set, and undo that afterwards.
# What cannot be had makes it a skip that says so, in the tests' own language.

# Behind what the disk has, busybox's: scripts call gzip, modprobe and the like.
applets=/run/busybox
[ -d $applets ] || { mkdir $applets && busybox --install -s $applets; }
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:$applets HOME=/root

cd "$1" || exit 1
shift

pools=/sys/kernel/mm/hugepages
saved=
swapped=

skip() {
    echo "TAP version 13"
    echo "1..0 # SKIP $*"
    undo
    exit 4
}

has() {
    case $1 in
    /*) [ -e "$1" ] ;;
    *) grep -qw "$1" /proc/cpuinfo ;;
    esac
}

# Remember what a file holds, unless it has been written to before, and write to it.
write() {
    case $saved in *" $1="*) ;; *) saved=" $1=$(cat "$1")$saved" ;; esac
    echo "$2" >"$1"
}

undo() {
    [ -z "$swapped" ] || swapoff "$swapped"
    for each in $saved; do
        echo "${each#*=}" >"${each%%=*}"
    done
}

# The kernel grants what it has room for, so look, make room, and look again.
pool() {
    directory=$pools/hugepages-$(($1 * 1024))kB
    [ -d "$directory" ] || skip "this kernel has no huge pages of $1 MiB"
    used=$(($(cat "$directory/nr_hugepages") - $(cat "$directory/free_hugepages")))
    write "$directory/nr_hugepages" $((used + $2)) 2>/dev/null
    if [ "$(cat "$directory/free_hugepages")" -lt "$2" ]; then
        echo 3 >/proc/sys/vm/drop_caches
        [ ! -e /proc/sys/vm/compact_memory ] || echo 1 >/proc/sys/vm/compact_memory
        write "$directory/nr_hugepages" $((used + $2)) 2>/dev/null
    fi
    free=$(cat "$directory/free_hugepages")
    [ "$free" -eq "$2" ] ||
        skip "needs $2 free huge pages of $1 MiB, and the guest could have $free"
}

# Tests change pools as well; what they leave is not what the next one shall find.
for each in "$pools"/*/nr_hugepages; do
    [ ! -e "$each" ] || saved=" $each=$(cat "$each")$saved"
done

user=
while [ "$1" != -- ]; do
    case $1 in
    --need) has "$2" || skip "this kernel has no $2 ($3)"; shift 3 ;;
    --pool) pool "$2" "$3" && shift 3 ;;
    --set)
        file=/proc/sys/$(echo "$2" | tr . /)
        if [ -e "$file" ]; then
            write "$file" "$3"
        else
            echo "kselftest.sh: this kernel has no sysctl $2" >&2
        fi
        shift 3
        ;;
    --swap)
        if [ -b /dev/ram0 ] && [ -e /proc/swaps ]; then
            mkswap /dev/ram0 >/dev/null && swapon /dev/ram0 && swapped=/dev/ram0
        fi
        shift
        ;;
    --user) user="/usr/bin/setpriv --reuid $2 --regid $2 --clear-groups --" && shift 2 ;;
    *) echo "kselftest.sh: what is $1?" >&2 && exit 1 ;;
    esac
done
shift

# A test may go on in a child when what was started has ended, as protection_keys does: cat ends
# with the last process that can write results.
exec 4>&1
code=$({ { $user "$@" 3>&- 4>&-; echo $? >&3; } | cat >&4 3>&-; } 3>&1)
exec 4>&-
# Files that a test left hold huge pages.
rm -rf /dev/hugepages-*/*
undo
exit $code
