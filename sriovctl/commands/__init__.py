"""The commands of sriovctl, one module each: options in, exit status out."""
