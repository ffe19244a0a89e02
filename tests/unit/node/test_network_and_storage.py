"""Network cards and disks of a made-up server, and what file systems folders are on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core.pseudonym import pseudonym
from bench.node.network import network_facts
from bench.node.storage import storage_facts
from tests.support.server_trees import MAC, write_x86_server

Write = Callable[[str, object], Path]


@pytest.fixture
def server(tmp_path: Path, write: Write) -> Path:
    return write_x86_server(tmp_path, write)


def test_an_interface_is_told_with_its_card_and_the_link_it_is_reached_by(server: Path) -> None:
    (card,) = network_facts(server)["interfaces"]
    assert (card["driver"], card["driver_version"], card["model"]) == ("mlx5_core", "24.10-1.1.4", "15b3:1021")
    assert (card["state"], card["mbit_per_s"], card["mtu"]) == ("up", 200_000, 9000)
    assert (card["pci_address"], card["numa_node"]) == ("0000:49:00.0", 1)
    assert (card["pcie_width"], card["pcie_width_max"]) == (8, 16)
    assert (card["pcie_gt_per_s"], card["pcie_gt_per_s_max"]) == (16.0, 32.0)
    assert card["virtual_function"] is False
    assert card["missing"] == {}


def test_a_name_made_of_an_address_is_told_by_a_number(server: Path, write: Write) -> None:
    another = f"{MAC[:-1]}7"
    (write(f"sys/class/net/enx{another}/mtu", 1500).parent / "device").mkdir()
    told = network_facts(server)["interfaces"]
    assert [card["device"] for card in told] == ["enx0", "enx1"]
    text = json.dumps(told)
    assert [secret for secret in (MAC, another, pseudonym(MAC)) if secret in text] == []


def test_a_port_that_reaches_memory_past_the_kernel_is_told(server: Path) -> None:
    (port,) = network_facts(server)["rdma"]
    assert (port["device"], port["type"], port["board"]) == ("mlx5_0/1", "MT4129", "MT_0000000838")
    assert (port["state"], port["rate"], port["link_layer"]) == ("active", "400 Gb/sec (4X NDR)", "InfiniBand")
    assert (port["firmware"], port["driver"], port["numa_node"]) == ("28.43.2026", "mlx5_core", 1)


def test_a_link_that_is_down_has_no_speed_and_a_made_up_card_no_width(server: Path, write: Write) -> None:
    write(f"sys/class/net/enx{MAC}/speed", -1)
    write("sys/devices/pci0000:48/0000:49:00.0/max_link_width", 255)
    write("sys/devices/pci0000:48/0000:49:00.0/max_link_speed", "Unknown")
    write("sys/devices/pci0000:48/0000:49:00.0/numa_node", -1)
    (card,) = network_facts(server)["interfaces"]
    assert set(card["missing"]) == {"mbit_per_s", "pcie_width_max", "pcie_gt_per_s_max", "numa_node"}


def test_interfaces_without_a_device_are_no_cards(tmp_path: Path, write: Write) -> None:
    write("sys/class/net/lo/mtu", 65536)
    write("sys/class/net/eth0/mtu", 1500)
    told = network_facts(tmp_path)
    assert (told["interfaces"], told["rdma"]) == (None, None)
    assert "no network interface has a device" in told["missing"]["interfaces"]


def test_a_disk_is_told_without_its_serial(server: Path) -> None:
    (disk,) = storage_facts(server)["devices"]
    assert (disk["device"], disk["model"]) == ("nvme0n1", "SAMSUNG MZQL23T8HCLS-00A07")
    assert (disk["rotational"], disk["scheduler"], disk["firmware"]) == (False, "none", "GDC5902Q")
    assert disk["size_bytes"] == 7_501_476_528 * 512
    assert disk["missing"] == {}


@pytest.mark.parametrize(
    ("folder", "filesystem", "disk"),
    [
        ("/srv/runs/not/made/yet", "ext4", "nvme0n1"),
        ("/var/lib", "xfs", "nvme0n1"),
        ("/various", "ext4", "nvme0n1"),
        ("/mnt/a share/llama", "nfs4", None),
    ],
    ids=["not-made", "mounted-over", "name-begins-alike", "network"],
)
def test_a_folder_is_on_the_file_system_mounted_above_it(
    server: Path, folder: str, filesystem: str, disk: str | None
) -> None:
    told = storage_facts(server, {"model": Path(folder)})["folders"]["model"]
    assert (told["filesystem"], told["disk"]) == (filesystem, disk)
    assert told["rotational"] is (False if disk else None)
    assert ("rotational" in told["missing"]) == (disk is None)


def test_space_is_told_of_a_folder_that_is_there(server: Path) -> None:
    told = storage_facts(server, {"results": server / "not/made/yet"})["folders"]["results"]
    assert 0 < told["free_bytes"] <= told["total_bytes"]
