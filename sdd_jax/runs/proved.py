"""What each method gives on pairs and games: numbers, kept on disk by method.

Methods that cost few passes share one program, and in it the pass of the pair; of the
costly ones each has its own, and the first few pairs.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sdd_jax import screen
from sdd_jax.faithfulness import Perturbation, pair_curves
from sdd_jax.faithfulness.comparison import Measured
from sdd_jax.models import FaceClassifier
from sdd_jax.models.functional import split_model
from sdd_jax.pair_saliency.controls import means_of_others
from sdd_jax.pair_saliency.methods import (
    ALIKE,
    BLIND,
    DIFFERENT,
    METHODS,
    QUESTIONS,
    TAKES_RIVALS,
    TAKES_THRESHOLD,
    passes,
)
from sdd_jax.runs import pair_programs, store
from sdd_jax.runs.method_maps import MEAN_MAP
from sdd_jax.types import Explanation

Arrays = dict[str, np.ndarray]

# Whose mean over other people's pairs is the control, of pairs and of games.
MEAN_OF = {"pairs": "fine_similarity", "games": "fine_distance"}


@dataclasses.dataclass(frozen=True)
class Sets:
    """Pairs and games, and their people: [pairs, 2], of probe and reference."""

    pairs: Arrays  # probes, references, rivals
    is_genuine: np.ndarray
    pair_people: np.ndarray
    games: Arrays  # probes are altered
    game_people: np.ndarray
    masks: np.ndarray  # bool [games, height, width]


@dataclasses.dataclass(frozen=True)
class Found:
    """A method's numbers; of pairs, or of games, it may have none."""

    name: str
    hidden: Arrays  # intact [pairs], hidden [pairs, perturbations], is_flat
    games: Arrays  # `patch_games.measures`, and is_flat
    columns: Mapping[tuple[str, str], np.ndarray]  # of `pair_curves.columns`, by fill

    def measured(self, fills: Sequence[str], among: np.ndarray) -> Measured:
        """Return the numbers of some pairs; flat maps are not counted."""
        number = len(self.hidden["is_flat"])
        counted = among[:number] & ~self.hidden["is_flat"]
        return Measured(dict(self.columns), dict.fromkeys(self.columns, counted))

    def costs(self, num_dimensions: int) -> dict[str, int]:
        """Return passes for a map, and how many maps there were, and flat ones."""
        own = passes(self.name, num_dimensions) if self.name in METHODS else (0, 0)
        flat = [x["is_flat"] for x in (self.hidden, self.games) if x]
        return {
            "forward_passes": own[0],
            "backward_passes": own[1],
            "num_pairs": len(self.hidden["is_flat"]) if self.hidden else 0,
            "num_games": len(self.games["is_flat"]) if self.games else 0,
            "flat_maps": int(sum(x.sum() for x in flat)),
        }


@dataclasses.dataclass(frozen=True)
class Proof:
    """What methods are proved on, and how."""

    model: FaceClassifier
    sets: Sets
    options: Mapping[str, Any]  # the config's section `prove_pairs`
    threshold: float
    wanted: tuple[Perturbation, ...]
    results: Path
    key: Mapping[str, Any]  # what all stored results depend on

    def all_methods(self) -> dict[str, Found]:
        """Return what every method gives, and the mean map of others."""
        names = [*self.options["methods"], MEAN_MAP]
        found = {name: store.load(self.results, self._key(name)) for name in names}
        missing = [name for name, one in found.items() if one is None]
        maps: dict[str, dict[str, np.ndarray]] = {}
        for group in self._groups(missing):
            screen.say(f"maps: {', '.join(group)}")
            for name, own in self._maps(group).items():
                if name in missing:
                    found[name] = self._save(name, own)
                if name in MEAN_OF.values():
                    maps[name] = own
        if MEAN_MAP in missing:
            found[MEAN_MAP] = self._save(MEAN_MAP, self._mean_maps(maps))
        return {name: self._found(name, one) for name, one in found.items() if one}

    def _groups(self, missing: Sequence[str]) -> list[list[str]]:
        """Return the methods whose maps are missing, those of one program together."""
        asked = self.options["methods"]
        names = [name for name in asked if name in missing]
        if MEAN_MAP in missing:
            more = [name for name in MEAN_OF.values() if name in asked]
            names += [name for name in more if name not in names]
        cheap = [name for name in names if not self._is_costly(name)]
        costly = [[name] for name in names if self._is_costly(name)]
        return [cheap, *costly] if cheap else costly

    def _is_costly(self, name: str) -> bool:
        dimensions = self.sets.pairs["rivals"].shape[2]
        return sum(passes(name, dimensions)) > self.options["costly"]

    def _number(self, group: Sequence[str], of_all: int) -> int:
        costly = any(self._is_costly(name) for name in group)
        return min(of_all, self.options["num_costly"]) if costly else of_all

    def _maps(self, group: Sequence[str]) -> dict[str, Arrays]:
        """Return the maps of a group's methods, by name: of "pairs" and of "games".

        One launch has both: a program is compiled for one number of batches.
        """
        graphdef, arrays = split_model(self.model)
        how = {name: self.options[name] for name in ("seed", "batch_size")}
        parts = {}
        for of in ("pairs", "games"):
            if any(_is_asked(name, of) for name in group):
                rows = getattr(self.sets, of)
                number = self._number(group, len(rows["probes"]))
                parts[of] = {name: one[:number] for name, one in rows.items()}
        joined = {
            name: np.concatenate([part[name] for part in parts.values()])
            for name in ("probes", "references", "rivals")
        }
        rows = pair_programs.laid_out(joined, batch_size=how["batch_size"])
        methods = {name: self._bound(name) for name in group}
        program = pair_programs.maps_program(graphdef, methods, **how)
        found = pair_programs.over_rows(program, arrays, rows, rows.number)
        ends = np.cumsum([len(part["probes"]) for part in parts.values()])[:-1]
        result: dict[str, Arrays] = {name: {} for name in group}
        for name, maps in found.items():
            is_turned = QUESTIONS[name] == ALIKE and name not in BLIND
            for of, own in zip(parts, np.split(maps, ends), strict=True):
                if _is_asked(name, of):
                    result[name][of] = -own if of == "games" and is_turned else own
        return result

    def _bound(self, name: str) -> Any:
        """Return a method as (model, pair, key, rivals) -> its explanation."""
        options = {"threshold": self.threshold} if name in TAKES_THRESHOLD else {}

        def explain(model: Any, pair: Any, key: Any, rivals: Any) -> Explanation:
            own = {"rivals": rivals} if name in TAKES_RIVALS else {}
            return METHODS[name](model, pair, key, **options, **own)

        return explain

    def _mean_maps(self, maps: Mapping[str, Arrays]) -> Arrays:
        people = {"pairs": self.sets.pair_people, "games": self.sets.game_people}
        return {
            of: means_of_others(maps[name][of], people[of][: len(maps[name][of])])
            for of, name in MEAN_OF.items()
            if name in maps
        }

    def _save(self, name: str, maps: Arrays) -> Arrays:
        """Return a method's numbers, after writing them."""
        found: Arrays = {}
        if "pairs" in maps:
            rows = self._judged(self._hiding, self.sets.pairs, maps["pairs"])
            found |= {f"pairs_{x}": row for x, row in rows.items()}
        if "games" in maps:
            masks = {"masks": self.sets.masks}
            rows = self._judged(self._games, masks, maps["games"])
            found |= {f"games_{x}": row for x, row in rows.items()}
        store.save(self.results, self._key(name), found)
        return found

    def _judged(self, program: Any, data: Arrays, maps: np.ndarray) -> Arrays:
        """Return what a program says of some maps, of the first pairs or of all."""
        own = {name: data[name] for name in data if name != "rivals"}
        number, of_all = len(maps), len(next(iter(own.values())))
        # Of one length for all methods, so that a program is compiled once.
        whole = np.zeros((of_all, *maps.shape[1:]), np.float32)
        whole[:number] = maps
        size = self.options["batch_size"]
        rows = pair_programs.laid_out(own | {"maps": whole}, batch_size=size)
        _, arrays = split_model(self.model)
        return pair_programs.over_rows(program, arrays, rows, number)

    @functools.cached_property
    def _hiding(self) -> Any:
        graphdef, _ = split_model(self.model)
        how = {name: self.options[name] for name in ("seed", "batch_size")}
        return pair_programs.hiding_program(
            graphdef, self.wanted, threshold=self.threshold, **how
        )

    @functools.cached_property
    def _games(self) -> Any:
        how = {name: self.options[name] for name in ("seed", "batch_size")}
        return pair_programs.games_program(**how)

    def _found(self, name: str, arrays: Arrays) -> Found:
        hidden, games = (
            {x[len(of) :]: row for x, row in arrays.items() if x.startswith(of)}
            for of in ("pairs_", "games_")
        )
        columns = {}
        for fill in self.options["fills"] if hidden else ():
            numbers = pair_curves.columns(
                hidden["intact"],
                hidden["hidden"].T,
                self.wanted,
                self.sets.is_genuine[: len(hidden["intact"])],
                fill=fill,
                fraction=self.options["fraction"],
                threshold=self.threshold,
            )
            columns |= {(metric, fill): x for metric, x in numbers.items()}
        return Found(name, hidden, games, columns)

    def _key(self, name: str) -> dict[str, Any]:
        limits = {x: self.options[x] for x in ("costly", "num_costly")}
        about = {"method": name, "wanted": self.wanted}
        return {**self.key, **about, "threshold": self.threshold, **limits}


def _is_asked(name: str, of: str) -> bool:
    """Return whether a method takes part: those of differences only in games."""
    return of == "games" or QUESTIONS[name] != DIFFERENT
