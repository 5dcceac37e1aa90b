"""Kidneys and tumours in CT volumes (KiTS19) by 3D U-Net."""
