"""Views of what was read: tables, trees and drawings. Pure."""
