"""How tables, trees and drawings are made of what was read. Pure."""
