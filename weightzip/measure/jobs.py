"""What is measured: every method over a range of settings, from barely lossy to clearly too much."""

from __future__ import annotations

from dataclasses import dataclass, replace

from weightzip.baselines import sweep
from weightzip.codec import AutoCodec, LosslessCodec, PaperCodec
from weightzip.costs import training_seconds
from weightzip.interface import Codec
from weightzip.results import AUTO, LOSSLESS, PAPER, titled
from weightzip.vae import VAESettings

_STEPS = (0.02, 0.04, 0.07, 0.12, 0.18, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.9, 1.05, 1.2, 1.4)  # 5x to 100x
_SECONDS_PER_WEIGHT = 1e-6  # of encoding and decoding


@dataclass(frozen=True)
class Job:
    """A codec at one setting. seconds: roughly how long encoding and decoding take, for the progress bar."""

    method: str
    setting: str
    codec: Codec
    seconds: float

    @property
    def title(self) -> str:
        """Method and setting; no other job has it."""
        return titled(self.method, self.setting)


def main_jobs(num_weights: int, vae: VAESettings, device: str) -> list[Job]:
    """All methods, weightzip's own first; the paper's at its own number of latents."""
    quick = _SECONDS_PER_WEIGHT * num_weights
    auto = [Job(AUTO, f"step {step:g}", AutoCodec(step), quick) for step in _STEPS]
    lossless = Job(LOSSLESS, "exact", LosslessCodec(), quick)
    baselines = [Job(method, setting, codec, quick) for method, setting, codec in sweep()]
    return [*auto, paper_job(num_weights, vae, device), lossless, *baselines]


def latent_jobs(num_weights: int, vae: VAESettings, device: str) -> list[Job]:
    """The paper's codec with twice and with half as many latents (the paper went from 128 to 64)."""
    latents = (2 * vae.latent, vae.latent // 2)
    return [paper_job(num_weights, replace(vae, latent=latent), device) for latent in latents if latent]


def paper_job(num_weights: int, vae: VAESettings, device: str) -> Job:
    """The paper's codec with these settings."""
    seconds = training_seconds(num_weights, vae)
    return Job(PAPER, f"latent {vae.latent}", PaperCodec(vae, device=device), seconds)
