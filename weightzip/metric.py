"""How a task's metric is written, and how much of it counts as a small loss."""

from __future__ import annotations

from dataclasses import dataclass

_SMALL_SHARE = 0.01


@dataclass(frozen=True)
class Metric:
    """label: the metric as the task calls it, with its unit, e.g. "top-1 accuracy, %"; higher is better."""

    label: str

    @property
    def is_percentage(self) -> bool:
        """Whether the values are percentages, so that a difference of 1 is a point."""
        return "%" in self.label or "percent" in self.label.lower()

    @property
    def name(self) -> str:
        """The label without the unit.

        >>> Metric("top-1 accuracy, %").name
        'top-1 accuracy'
        """
        return self.label.removesuffix("%").rstrip(" ,[(") or self.label if self.label.endswith("%") else self.label

    def format(self, value: float) -> str:
        """A value with its unit.

        >>> Metric("top-1 accuracy, %").format(98.4), Metric("negative perplexity").format(-23.456)
        ('98.40%', '-23.46')
        """
        return f"{value:.2f}%" if self.is_percentage else f"{value:.4g}"

    def format_change(self, change: float) -> str:
        """A difference of two values, with its sign, without the unit.

        >>> Metric("top-1 accuracy, %").format_change(-0.5), Metric("F1").format_change(0.0123)
        ('-0.50', '+0.0123')
        """
        return f"{change:+.2f}" if self.is_percentage else f"{change:+.3g}"

    def loss_words(self, change: float) -> str:
        """What a change of the metric means, in words.

        >>> Metric("top-1 accuracy, %").loss_words(-0.43), Metric("F1").loss_words(-0.0123), Metric("F1").loss_words(0.0)
        ('0.4 points lost', '0.0123 of F1 lost', 'nothing lost')
        """
        digits = ".3g" if not self.is_percentage else ".1f" if abs(change) >= 0.1 else ".2f"
        size = f"{abs(change):{digits}}"
        if float(size) == 0:
            return "nothing lost"
        unit = ("point" if float(size) == 1 else "points") if self.is_percentage else f"of {self.name}"
        return f"{size} {unit} {'lost' if change < 0 else 'gained'}"

    def tolerance(self, original: float) -> float:
        """A loss that most would accept: one point of a percentage, one hundredth of any other metric's original value."""
        if self.is_percentage:
            return 1.0
        return _SMALL_SHARE * abs(original) or _SMALL_SHARE

    def tolerance_words(self, original: float) -> str:
        """The tolerance in words.

        >>> Metric("accuracy, %").tolerance_words(98.0), Metric("F1").tolerance_words(0.9), Metric("F1").tolerance_words(0.0)
        ('1 point', '1% (0.009)', '0.01')
        """
        if self.is_percentage:
            return "1 point"
        size = f"{self.tolerance(original):.2g}"
        return f"1% ({size})" if original else size
