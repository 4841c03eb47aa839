"""What a run was started with: its recipe and the models it stands on; and whether a checkpoint is of the same.

Knows neither tensors nor the loop.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from realm.artifacts import sha256_of_text
from realm.errors import RecipeError
from realm.training.recipe import LoopSettings


@dataclass(frozen=True)
class Origin:
    """Parents of a checkpoint.

    Attributes:
        recipe: All keys, as JSON values.
        parents: Digests of the models that the job starts from, by name. The recipe's paths to them may change.
        free_keys: Keys of the recipe that may change in a run's course; see `LoopRecipe.may_change`.
    """

    recipe: Mapping[str, Any]
    parents: Mapping[str, str]
    free_keys: frozenset[str] = field(default=frozenset(), compare=False)

    @classmethod
    def of(cls, settings: LoopSettings, parents: Mapping[str, str]) -> Origin:
        """The origin of a run with this recipe."""
        values = json.loads(json.dumps(dataclasses.asdict(settings)))
        return cls(values, dict(parents), settings.keys_that_may_change())

    @property
    def digest(self) -> str:
        """Of the recipe, without the keys that may change."""
        fixed = {key: value for key, value in self.recipe.items() if key not in self.free_keys}
        return sha256_of_text(json.dumps(fixed, sort_keys=True))

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"recipe_sha256": self.digest, "recipe": dict(self.recipe), "parents": dict(self.parents)}

    def check(self, saved: Mapping[str, Any], where: Path, with_parents: bool = True) -> None:
        """Refuse a checkpoint of another run.

        Args:
            saved: What `state` gave when the checkpoint was written.
            where: The checkpoint, for the message.
            with_parents: Whether the digests of models are already known.

        Raises:
            RecipeError: A key differs that must not change, or a model that the run started from has changed.
        """
        before = saved.get("recipe", {})
        for key in sorted((before.keys() | self.recipe.keys()) - self.free_keys):
            if before.get(key) != self.recipe.get(key):
                raise RecipeError(
                    f"{where} was made with {key} = {_shown(before, key)}; the recipe now says "
                    f"{_shown(self.recipe, key)}. Use a new run folder, or the same value. "
                    f"Only these keys may change: {', '.join(sorted(self.free_keys & self.recipe.keys()))}."
                )
        if with_parents and (differing := _differing(saved.get("parents", {}), self.parents)):
            raise RecipeError(
                f"{where} was made from another {differing}: its digest was "
                f"{saved.get('parents', {}).get(differing, 'none')[:12]}, and is now "
                f"{self.parents.get(differing, 'none')[:12]}. Use a new run folder, or the same one as before."
            )


def _shown(recipe: Mapping[str, Any], key: str) -> str:
    return json.dumps(recipe[key]) if key in recipe else "nothing"


def _differing(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    return next((name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)), None)
