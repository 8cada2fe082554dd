"""Image encoders, and the features that they see in pictures, computed once. Importing this package loads nothing."""
