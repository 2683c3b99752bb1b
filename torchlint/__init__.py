"""torchlint: finds PyTorch code that trains silently wrong, mends it, and proves each claim by training."""

__version__ = "0.1.0"
