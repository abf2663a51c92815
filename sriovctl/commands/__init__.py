"""Commands of sriovctl, one module for each: options in, exit status out."""
