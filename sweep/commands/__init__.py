"""The commands, one file a family. They parse, call and print; nothing is decided here."""
