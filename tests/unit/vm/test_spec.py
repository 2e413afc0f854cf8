# SPDX-License-Identifier: GPL-2.0-only
import msgspec
import pytest

from harness.errors import SpecError
from harness.records.machine import HugePages
from harness.vm import spec

GIB = 2**30
MIB = 2**20


def launch(**fields: object) -> spec.Launch:
    machine = spec.machine(spec.parse_hugepages("1G:2,2M:64", "x86_64"), arch_name="x86_64")
    known = {"machine": machine, "accel": "tcg", "cpu": "max", "kernel": "/k", "initrd": "/i"}
    return spec.Launch(**{**known, "qmp_fd": 5, "console_fd": 7, **fields})  # type: ignore[arg-type]


def value(argv: tuple[str, ...], option: str) -> str:
    return argv[argv.index(option) + 1]


@pytest.mark.parametrize(
    ("text", "pages"),
    [
        ("1G:2,2M:64", ((GIB, 2), (2 * MIB, 64))),
        ("2M:64, 1G:2", ((GIB, 2), (2 * MIB, 64))),
        ("1g:0", ((GIB, 0),)),
        ("", ()),
    ],
)
def test_huge_pages_are_read_largest_first(text: str, pages: tuple[tuple[int, int], ...]) -> None:
    wanted = tuple(HugePages(size=size, count=count) for size, count in pages)
    assert spec.parse_hugepages(text, "x86_64") == wanted


@pytest.mark.parametrize("text", ["1G", "4K:1", "1G:x", "1G:-1", "1G:2,1G:3", "1G:²"])
def test_an_invalid_pool_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="--hugepages"):
        spec.parse_hugepages(text, "x86_64")


def test_memory_is_sized_from_the_huge_pages() -> None:
    # facts: 6 GiB yield two 1 GiB pages, 4 GiB yield one.
    assert (
        spec.machine(spec.parse_hugepages("1G:2", "x86_64"), arch_name="x86_64").memory == 6 * GIB
    )
    assert spec.machine((), arch_name="x86_64").memory == 4 * GIB
    assert (
        spec.machine(spec.parse_hugepages("1G:2", "x86_64"), nodes=2, arch_name="x86_64").memory
        == 10 * GIB
    )


def test_memory_too_small_for_its_pool_is_refused_before_any_boot() -> None:
    with pytest.raises(SpecError, match="is not enough for"):
        spec.machine(spec.parse_hugepages("1G:2", "x86_64"), memory=2 * GIB, arch_name="x86_64")


@pytest.mark.parametrize(("cpus", "nodes"), [(1, 2), (2, 0), (9, 9), (3, 2)])
def test_a_node_needs_a_cpu(cpus: int, nodes: int) -> None:
    with pytest.raises(SpecError, match="NUMA"):
        spec.machine((), cpus=cpus, nodes=nodes, arch_name="x86_64")


def test_the_command_line_reserves_what_was_asked() -> None:
    words = spec.kernel_command_line(launch(append=("quiet",))).split()
    start = words.index("hugepagesz=1G")
    assert words[start : start + 4] == [
        "hugepagesz=1G",
        "hugepages=2",
        "hugepagesz=2M",
        "hugepages=64",
    ]
    assert words[0] == "console=ttyS0"
    assert words[-1] == "quiet"


def test_the_memory_map_of_huge_pages_is_freed_on_request_only() -> None:
    word = "hugetlb_free_vmemmap=on"
    plain = launch()
    assert word not in spec.kernel_command_line(plain).split()
    freed = launch(machine=msgspec.structs.replace(plain.machine, hvo=True))
    assert word in spec.kernel_command_line(freed).split()


def test_gigantic_pages_come_out_of_cma_on_request() -> None:
    plain = launch()
    assert "hugetlb_cma" not in spec.kernel_command_line(plain)
    cma = launch(machine=msgspec.structs.replace(plain.machine, hugetlb_cma=True))
    words = spec.kernel_command_line(cma).split()
    assert f"hugetlb_cma={2 * GIB}" in words
    assert "hugepagesz=1G" not in words  # those reserved at boot would not be out of CMA
    assert words[words.index("hugepagesz=2M") + 1] == "hugepages=64"


@pytest.mark.parametrize(
    ("arch", "pages", "size", "at_boot"),
    [
        ("x86_64", "1G:2,2M:64", 2 * GIB, ["2M"]),
        # 32 MiB are gigantic with base pages of 4 KiB; 512 MiB are not with those of 64 KiB.
        ("aarch64", "1G:2,32M:8,2M:64,64K:64", 3 * GIB, ["2M", "64K"]),
        ("aarch64", "32M:8", GIB, []),
        ("aarch64", "512M:4,2M:64", 0, ["512M", "2M"]),
    ],
)
def test_the_page_allocator_has_a_largest_page(
    arch: str, pages: str, size: int, at_boot: list[str]
) -> None:
    machine = spec.machine(spec.parse_hugepages(pages, arch), arch_name=arch)
    machine = msgspec.structs.replace(machine, hugetlb_cma=True)
    words = spec.kernel_command_line(launch(machine=machine)).split()
    assert f"hugetlb_cma={size}" in words
    assert [word.partition("=")[2] for word in words if word.startswith("hugepagesz=")] == at_boot


def test_two_nodes_share_memory_cpus_and_pages() -> None:
    two = spec.machine(
        spec.parse_hugepages("1G:3,2M:64", "x86_64"),
        nodes=2,
        cpus=4,
        memory=12 * GIB,
        arch_name="x86_64",
    )
    argv = spec.qemu_argv(launch(machine=two))
    assert "node,nodeid=0,memdev=node0,cpus=0-1" in argv
    assert "node,nodeid=1,memdev=node1,cpus=2-3" in argv
    assert value(argv, "-smp") == "cpus=4,sockets=2,cores=2,threads=1"
    assert f"memory-backend-ram,id=node1,size={6 * GIB}b" in argv
    assert "hugepagesz=1G hugepages=0:2,1:1 hugepagesz=2M hugepages=0:32,1:32" in argv[-1]


def test_nothing_listens_off_loopback_and_the_guest_reaches_nothing() -> None:
    argv = spec.qemu_argv(launch())
    assert value(argv, "-netdev") == "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:22"
    assert argv.count("-netdev") == 1
    assert not {"-vnc", "-spice", "-gdb", "-s", "-incoming"} & set(argv)


def test_qemu_runs_sandboxed_paused_and_without_a_users_configuration() -> None:
    argv = spec.qemu_argv(launch())
    assert value(argv, "-sandbox").startswith("on,")
    assert "spawn=deny" in value(argv, "-sandbox")
    assert {"-S", "-nodefaults", "-no-user-config", "-no-reboot"} <= set(argv)


def test_memory_is_shared_with_its_file_unless_that_is_a_saved_guests() -> None:
    saved = spec.qemu_argv(launch(memory=("/m,0",), files="/f"))
    size = launch().machine.memory
    backend = f"memory-backend-file,mem-path=/m,,0,share=on,id=node0,size={size}b"
    assert backend in saved
    assert "memory-backend=node0" in saved
    assert "hgm_saved=1" in saved[-1]
    assert "-incoming" not in saved
    restored = spec.qemu_argv(launch(memory=("/m,0",), files="/f", restored=True))
    assert backend in restored
    assert value(restored, "-incoming") == "defer"
    mapped = spec.qemu_argv(launch(memory=("/m,0",), files="/f", restored=True, mapped=True))
    assert backend.replace("share=on", "share=off") in mapped
    two = spec.machine((), nodes=2, memory=2 * GIB, arch_name="x86_64")
    both = spec.qemu_argv(launch(machine=two, memory=("/a", "/b")))
    assert f"memory-backend-file,mem-path=/b,share=on,id=node1,size={GIB}b" in both
    assert "memory-backend=node0" not in both


def test_a_comma_in_the_disks_path_does_not_end_the_option() -> None:
    argv = spec.qemu_argv(launch(disk="/a,readonly=off/disk"))
    assert "file=/a,,readonly=off/disk," in value(argv, "-drive")


def test_another_client_of_qmp_has_a_socket_with_a_name_where_it_is_asked_for() -> None:
    argv = spec.qemu_argv(launch(monitor="/a,b"))
    assert value(argv, "-qmp") == "unix:/a,,b,server=on,wait=off"
    assert "-qmp" not in spec.qemu_argv(launch())


def test_no_disk_and_no_initrd_are_left_out() -> None:
    argv = spec.qemu_argv(launch(initrd=""))
    assert "-drive" not in argv
    assert "-initrd" not in argv
