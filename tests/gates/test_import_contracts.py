"""Every contract in .importlinter catches a planted import, in every service it speaks about."""

import configparser
import itertools
from pathlib import Path
from typing import Protocol

import pytest

REPO = Path(__file__).resolve().parents[2]
SERVICES = sorted(p.parent.name for p in REPO.glob("services/*/__init__.py") if p.parent.name != "chassis")
FLOORS = ("__main__", "app", "handler", "adapters", "settings", "core.decide")


class Tree(Protocol):
    root: Path

    def write(self, path: str, text: str) -> None: ...
    def make(self, target: str) -> tuple[int, str]: ...


def contracts() -> dict[str, configparser.SectionProxy]:
    """Contract id → its section."""
    config = configparser.ConfigParser()
    config.read(REPO / ".importlinter")
    return {
        name.split(":")[-1]: config[name] for name in config.sections() if name.startswith("importlinter:contract:")
    }


def names(section: configparser.SectionProxy, option: str) -> list[str]:
    return section[option].split()


def layers(contract: str) -> list[list[str]]:
    """The floors of a contract from the top, each with its modules."""
    floors = contracts()[contract]["layers"].strip().splitlines()
    return [[name.strip(" ()") for name in floor.split("|")] for floor in floors]


def upside_down(contract: str) -> list[tuple[str, str, str]]:
    """In every container, every module of a floor imports one of the floor above, and its neighbour."""
    pairs = [(low, high[0]) for high, floor in itertools.pairwise(layers(contract)) for low in floor]
    pairs += [pair for floor in layers(contract) for pair in itertools.pairwise(floor)]
    containers = names(contracts()[contract], "containers")
    return [(contract, f"{inside}.{low}", f"{inside}.{high}") for inside in containers for low, high in pairs]


def plants() -> list[tuple[str, str, str]]:
    """(contract id, importing module, imported module), every pair a mistake somebody could make."""
    found = [
        ("floors", f"services.{service}.{low}", f"services.{service}.{high}")
        for service in SERVICES
        for high, low in itertools.pairwise(FLOORS)
    ]
    found += upside_down("floors") + upside_down("chassis-floors")
    found += [
        ("floors", "services.ingest.metrics", "services.ingest.settings"),
        # A module that stands on no floor is no way around them.
        ("floors", "services.notify.adapters", "services.notify.helper"),
        ("floors", "services.notify.helper", "services.notify.handler"),
        ("core", "services.notify.core.decide", "services.notify.helper"),
        ("core", "services.notify.helper", "time"),
        ("floors", "services.profile.archive.adapters", "services.profile.archive.handler"),
        ("doubles", "services.rules.handler", "services.chassis.testing.fakes"),
        ("doubles", "services.chassis.clock", "services.chassis.testing.fakes"),
        ("doubles", "cli.main", "services.chassis.testing.fakes"),
        ("doubles", "deploy.local.stack", "services.chassis.testing.fakes"),
    ]
    found += [
        ("services", f"services.{a}.handler", f"services.{b}.core.decide") for a in SERVICES for b in SERVICES if a != b
    ]
    found += [("chassis", "services.chassis.loop", f"services.{service}.settings") for service in SERVICES]
    found += [
        ("outside", f"services.{service}.app", top)
        for service in [*SERVICES, "chassis"]
        for top in ("cli", "deploy.local")
    ]
    sections = contracts()
    found += [("core", f"services.{service}.core.decide", "services.chassis.clock") for service in SERVICES]
    found += [
        ("core", "services.rules.core.deep.er", name)
        for name in names(sections["core"], "forbidden_modules")
        if not name.startswith("services.")
    ]
    for contract in ("drivers", "faust", "test-tools"):
        sources, targets = (names(sections[contract], f"{what}_modules") for what in ("source", "forbidden"))
        found += [(contract, f"{source}.planted", target) for source in sources for target in targets]
    return found


def source_of(tree: Tree, module: str) -> Path:
    """The file of a module of ours in the slice, made with its packages where it is missing."""
    path = tree.root / module.replace(".", "/")
    if path.is_dir():
        return path / "__init__.py"
    file = path.with_suffix(".py")
    if not file.exists():
        tree.write(str(file.relative_to(tree.root)), "")
        for package in file.relative_to(tree.root).parents:
            if package.name and package.as_posix() != "services":
                (tree.root / package / "__init__.py").touch()
    return file


def plant(tree: Tree, importer: str, imported: str) -> None:
    if imported.split(".")[0] in ("services", "cli", "deploy"):
        source_of(tree, imported)
    source = source_of(tree, importer)
    source.write_text(source.read_text() + f"import {imported}\n")


def broken(output: str) -> set[str]:
    """Names of the contracts that the linter reported as broken."""
    lines = (line.removesuffix(" BROKEN") for line in output.splitlines() if line.endswith(" BROKEN"))
    return {line.strip() for line in lines}


def test_a_clean_tree_keeps_every_contract(tree: Tree) -> None:
    for floor in FLOORS:
        plant(tree, f"services.ingest.{floor}", "json")
    for high, low in itertools.pairwise(FLOORS):
        plant(tree, f"services.ingest.{high}", f"services.ingest.{low}")
    plant(tree, "services.ingest.adapters", "services.chassis.clock")
    plant(tree, "services.chassis.clock", "time")
    plant(tree, "services.chassis.clock", "confluent_kafka")
    plant(tree, "services.notify.app", "faust")
    code, output = tree.make("check-imports")
    assert code == 0, output
    assert f"Contracts: {len(contracts())} kept, 0 broken." in output


@pytest.mark.parametrize("contract", sorted(contracts()))
def test_planted_imports_break_the_contract(tree: Tree, contract: str) -> None:
    planted = [(importer, imported) for name, importer, imported in plants() if name == contract]
    assert planted, f"no violation is planted for the contract {contract}"
    for importer, imported in planted:
        plant(tree, importer, imported)
    code, output = tree.make("check-imports")
    assert code != 0, output
    assert contracts()[contract]["name"] in broken(output)
    missing = [
        f"{importer} -> {imported}" for importer, imported in planted if not is_reported(output, importer, imported)
    ]
    assert not missing, f"not reported: {missing}\n{output}"


@pytest.mark.parametrize("contract", ["floors", "chassis-floors"])
def test_a_module_without_a_place_is_refused(tree: Tree, contract: str) -> None:
    for container in names(contracts()[contract], "containers"):
        source_of(tree, f"{container}.nowhere")
    code, output = tree.make("check-imports")
    assert code != 0, output
    assert broken(output) == {contracts()[contract]["name"]}
    for container in names(contracts()[contract], "containers"):
        assert f"{container}.nowhere" in output, output


def is_reported(output: str, importer: str, imported: str) -> bool:
    # A long pair fills its line, and "(l.1)" stands on the next.
    lines = (f"{line.strip()} " for line in output.splitlines())
    return any(line.lstrip("- ").startswith(f"{importer} -> {imported} ") for line in lines)


@pytest.mark.parametrize("contract", sorted(contracts()))
def test_contracts_that_list_services_list_all_of_them(contract: str) -> None:
    section = contracts()[contract]
    for option in ("modules", "source_modules", "forbidden_modules", "containers"):
        listed = (
            {name.split(".")[1] for name in names(section, option) if name.startswith("services.")}
            if option in section
            else set()
        )
        services = listed & set(SERVICES)
        allowed = {"notify"} if contract == "faust" else set()
        if "*" not in listed and len(services) > 1:
            assert set(SERVICES) - services <= allowed, f"{contract}: {option} leaves out a service"
