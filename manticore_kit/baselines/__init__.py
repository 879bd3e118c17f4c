"""What a hybrid is compared with: the ensemble of whole models, and naive frankenmerges."""

from manticore_kit.baselines.ensemble import choose_weight, ensemble_losses
from manticore_kit.baselines.frankenmerge import Frankenmerge, as_frankenmerge, frankenmerges

__all__ = ["Frankenmerge", "as_frankenmerge", "choose_weight", "ensemble_losses", "frankenmerges"]
