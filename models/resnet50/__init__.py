"""Image classification on ImageNet by ResNet-50 v1.5."""
