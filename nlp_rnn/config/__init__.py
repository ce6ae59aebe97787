"""Typed settings: a recipe, then a YAML file, then dotted options, all of one schema."""
