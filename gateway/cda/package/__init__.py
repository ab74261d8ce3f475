"""The official CDA package (XSD, schematrons, value sets): loaded from a folder, never shipped."""
