"""How a run is started on machines that a scheduler gives: each launcher writes files and says what submits them."""

from cloze.launchers.base import LAUNCHERS, Job, Launcher, Plan

__all__ = ["LAUNCHERS", "Job", "Launcher", "Plan"]
