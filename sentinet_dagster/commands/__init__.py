"""The commands of `sentinet`, a file each: options in, one result out. `cli.py` wires them."""
